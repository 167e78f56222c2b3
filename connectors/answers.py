"""What a source's answers mean: data, a failure that may pass, a plea to slow down, or an error with a sentence for a
person."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx
import orjson

from connectors.errors import CredentialsError, ForbiddenError, MissingError, PayloadError, Phrase


@dataclass(frozen=True)
class Asked:
    """A request as messages name it.

    account: the source and its host. what: the request, without anything secret. is_extra: not in every plan.
    """

    account: str
    what: str
    is_extra: bool = False

    @property
    def where(self) -> str:
        return f"{self.account}, {self.what}"


class PassingError(Exception):
    """A failure that may pass by itself: the same request is sent again. is_slow: the source gave up on it (504)."""

    def __init__(self, said: Phrase, *, is_slow: bool = False) -> None:
        super().__init__(said)
        self.said = said
        self.is_slow = is_slow


class Answers:
    """Answers of a source that tells by HTTP status what is wrong.

    pauses_s: waits after pleas to slow down in a row, where the source names none. most_pleas: so many of them in a row
    end the run.
    """

    pauses_s: Sequence[float] = (10.0, 30.0, 120.0, 300.0)
    most_pleas = 3

    def is_too_fast(self, response: httpx.Response) -> bool:
        """Whether the account has to be asked more slowly. The body is still to be read."""
        return response.status_code == httpx.codes.TOO_MANY_REQUESTS

    def pause_s(self, response: httpx.Response) -> float | None:
        """How long the source wants to be left alone: from the body, else from the header."""
        for value in ((problem_of(response) or {}).get("retry_after"), response.headers.get("retry-after")):
            try:
                seconds = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if seconds > 0:
                return seconds
        return None

    def new_home(self, response: httpx.Response) -> httpx.URL | None:
        """Where the account has moved to, if that is a place its secrets may go to. Nowhere: a redirect means the wrong
        host."""
        return None

    def refused_token(self, asked: Asked) -> CredentialsError:
        raise NotImplementedError

    def read(self, response: httpx.Response, asked: Asked) -> Any:
        """The JSON of an answer, None where there is nothing.

        Raises:
            PassingError: the request is worth repeating. CredentialsError: the account is lost for this run.
            PayloadError, ForbiddenError, MissingError: this list cannot be read.
        """
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            is_slow = response.status_code == httpx.codes.GATEWAY_TIMEOUT
            raise PassingError(Phrase("status {status}", status=response.status_code), is_slow=is_slow)
        if is_cut_off(response):
            raise PassingError(Phrase("the answer was cut off"))
        if not response.is_success:
            self.refuse(response, asked)
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        if not response.content.strip():
            raise PassingError(Phrase("the answer was empty"))
        try:
            return json_of(response.content)
        except ValueError:
            raise PayloadError("{where}: the answer is not JSON.", where=asked.where) from None

    def refuse(self, response: httpx.Response, asked: Asked) -> NoReturn:
        """What an unsuccessful status means; the order is that of the codes."""
        status, problem = response.status_code, problem_of(response)
        where = asked.where
        if response.is_redirect:
            raise CredentialsError("{where}: answered from a wrong host; check base_url of this account.", where=where)
        if status == httpx.codes.UNAUTHORIZED:
            raise self.refused_token(asked)
        if status == httpx.codes.PAYMENT_REQUIRED and asked.is_extra:
            raise ForbiddenError("{where}: not in the plan of this account (402).", where=where)
        if status == httpx.codes.PAYMENT_REQUIRED:
            raise CredentialsError("{where}: the account is not paid for, so it cannot be read.", where=asked.account)
        if status == httpx.codes.FORBIDDEN:
            self.forbid(response, asked)
        if status == httpx.codes.NOT_FOUND:
            raise MissingError("{where}: there is no such list (404); check base_url of this account.", where=where)
        raise PayloadError("{where}: refused with {status}{said}.", where=where, status=status, said=said(problem))

    def forbid(self, response: httpx.Response, asked: Asked) -> NoReturn:
        raise ForbiddenError(
            "{where}: the token has no right to read this{said}. Let an administrator of the account create it.",
            where=asked.where,
            said=said(problem_of(response)),
        )


def json_of(content: bytes) -> Any:
    """A body's JSON. Where it is not quite that (half of a surrogate pair, bytes that are not UTF-8, a number beyond
    all bounds), what cannot be read is `?` or null, and the rest is kept. ValueError where it is none at all."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        read = json.loads(content.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_float=finite)
    except RecursionError:
        raise ValueError("too deep") from None
    return orjson.loads(json.dumps(read, ensure_ascii=False).encode("utf-8", "replace"))


def finite(text: str) -> float | None:
    return number if math.isfinite(number := float(text)) else None


def is_cut_off(response: httpx.Response) -> bool:
    """A success whose body ends in the middle: read again. Anything else that is not JSON is the caller's matter."""
    if response.status_code != httpx.codes.OK:
        return False
    body = response.content.strip()
    return body[:1] in (b"{", b"[") and body[-1:] not in (b"}", b"]")


def problem_of(response: httpx.Response) -> Mapping[str, Any] | None:
    """The JSON object of an error answer; None for HTML and text."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def said(problem: Mapping[str, Any] | None) -> str:
    """What the source says about a refusal, short and without anything that could be a secret or a person."""
    if not problem:
        return ""
    words = [str(problem[key]) for key in ("title", "detail", "hint") if problem.get(key)]
    return f" ({redacted('; '.join(words))[:200]})" if words else ""


def redacted(text: str) -> str:
    """`text` without what looks like an e-mail, an address, a phone number or a token."""
    return re.sub(r"\S+@\S+|https?://\S+|\+?\d[\d\s()-]{6,}\d|[\w.-]{24,}", "…", text)
