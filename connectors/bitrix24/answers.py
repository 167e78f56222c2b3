"""What answers of Bitrix24 mean: the code of the error first, for statuses disagree between its documents, its code and
what was measured. An error is told by the presence of the key, never by its value. Reference, 1.7 and 1.8.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import httpx

from connectors.answers import Answers, Asked, PassingError, json_of, problem_of, redacted
from connectors.errors import (
    CredentialsError,
    ForbiddenError,
    MissingError,
    PayloadError,
    Phrase,
    RetriableError,
)
from connectors.http import SourceAuth
from connectors.paging import Json, as_object

TOO_FAST = "QUERY_LIMIT_EXCEEDED"
BUSY = frozenset({"OPERATION_TIME_LIMIT", "RATELIMIT"})
PASSING = frozenset({TOO_FAST, "INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER", "CONNECTION_ERROR"})
STALE = frozenset({"EXPIRED_TOKEN", "INVALID_TOKEN"})
NO_ENTRY = STALE | {"NO_AUTH_FOUND", "INVALID_CREDENTIALS", "APPLICATION_NOT_FOUND", "UNAUTHORIZED"}
NO_EMPLOYEE = frozenset({"USER_ACCESS_ERROR", "AUTHORIZATION_ERROR", "ALLOWED_ONLY_INTRANET_USER"})
UNCONFIRMED = frozenset({"METHOD_CONFIRM_WAITING", "METHOD_CONFIRM_DENIED"})
NO_SCOPE = frozenset({"INSUFFICIENT_SCOPE", "INSUFFICIENTSCOPE"})
NO_FEATURE = frozenset({"WRONG_AUTH_TYPE", "WRONG_LICENSE", "CRM_FEATURE_RESTRICTION_ERROR"})
NO_RIGHT = frozenset({"ACCESS_DENIED", "ACCESSDENIED"})
ABSENT = frozenset({"ERROR_METHOD_NOT_FOUND", "METHOD_NOT_FOUND", "ENTITY_TYPE_NOT_SUPPORTED"})
GONE = frozenset({"NOT_FOUND", "ENTITYNOTFOUND", "ERROR_NOT_FOUND"})
CODE = re.compile(r"[A-Z0-9_]{0,60}")
MARK = "…".encode()
"""Stands where a secret was."""
TOKENS = re.compile(rb"""((?:[?&;]|26)(?:\w+_)?(?:auth|token)=)(?:[^&"\s\\<>()\[\]#]|\\+/)+""", re.IGNORECASE)
"""Of addresses; in JSON `&` may be written as `\\u0026` or `\\u0026amp;`, and `/` as `\\/`."""
OF_V3 = re.compile(r"BITRIX_REST_V3_EXCEPTION_(?:\w+_)?(\w+?)EXCEPTION")
ON_PLANS = re.compile(r"subscription|commercial|plan\b", re.IGNORECASE)
HOUSE = re.compile(r"[a-z0-9-]+\.(bitrix24(?:\.[a-z]{2,3}){1,2})")
"""A portal of the cloud; the group is the vendor's domain it is in."""
SCOPES = {
    "crm": "crm",
    "task": "task",
    "tasks": "task",
    "voximplant": "telephony",
    "telephony": "telephony",
    "user": "user",
    "department": "department",
    "imopenlines": "imopenlines",
    "im": "im",
    "catalog": "catalog",
    "userfieldconfig": "userfieldconfig",
    "sale": "sale",
}
"""Scope by the first word of a method. Reference, 1.6."""


class BusyError(RetriableError):
    """A method has used up its server time. reset_at: unix seconds by the portal's clock, where it says so."""

    reset_at: float | None = None


@dataclass(frozen=True)
class Refusal:
    """code: in capitals, of REST 3.0 the middle of its name; "" and "0" are codes too, anything else, which
    may hold a secret, is "unknown". status: 200 within a batch."""

    code: str
    text: str
    status: int


def refusal_of(body: Any, status: int) -> Refusal | None:
    """The error an answer, or an entry of `result_error`, holds; None where it is none."""
    if not isinstance(body, dict) or "error" not in body:
        return None
    code, text = body["error"], body.get("error_description")
    if isinstance(code, dict):  # of REST 3.0
        text = code.get("message")
        code = code.get("code")
    code = str(code).upper()
    if of_v3 := OF_V3.fullmatch(code):
        code = of_v3[1]
    return Refusal(code if CODE.fullmatch(code) else "unknown", str(text or ""), status)


class BitrixAnswers(Answers):
    """pauses_s: after them turns are evenly spaced for all threads and processes, so that no jitter is needed."""

    pauses_s = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
    most_pleas = 10

    def __init__(self, auth: SourceAuth, *, secret: str = "") -> None:
        """secret: the webhook's, which addresses in answers hold: of files in rows, of what was asked in errors."""
        self._auth = auth
        self._signs = [b"auth=", b"token=", *([secret.lower().encode()] if secret else [])]
        self._secret = re.compile(re.escape(secret).encode(), re.IGNORECASE) if secret else None

    def is_too_fast(self, response: httpx.Response) -> bool:
        if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            return False
        response.read()
        refusal = refusal_of(problem_of(response), response.status_code)
        if refusal is None:
            return response.status_code == httpx.codes.TOO_MANY_REQUESTS
        return refusal.code == TOO_FAST

    def new_home(self, response: httpx.Response) -> httpx.URL | None:
        """A renamed portal: its old address leads to the new one, within the vendor's domain. Its secrets go nowhere
        else, and never unencrypted. https://apidocs.bitrix24.ru/settings/how-to-call-rest-api/change-domen.html"""
        if not response.is_redirect:
            return None
        here = response.request.url
        there = here.join(response.headers["location"])
        old, new = HOUSE.fullmatch(here.host), HOUSE.fullmatch(there.host)
        if not (old and new and old[1] == new[1] and here.host != there.host):
            return None
        if there.scheme != "https" or there.port is not None:
            return None
        return httpx.URL(f"https://{there.host}")

    def read(self, response: httpx.Response, asked: Asked) -> Json:
        """The envelope of an answer."""
        status = response.status_code
        if response.is_redirect:
            raise CredentialsError(
                "{where}: leads to another address, which is not followed; check the portal's address.",
                where=asked.account,
            )
        if status == httpx.codes.GATEWAY_TIMEOUT:
            raise PassingError(Phrase("status {status}", status=status), is_slow=True)
        try:
            body = json_of(self.clean(response.content))
        except ValueError:
            raise PassingError(Phrase("no data but a page or half an answer, status {status}", status=status)) from None
        if refusal := refusal_of(body, status):
            self.refuse_call(refusal, asked, body)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise PassingError(Phrase("status {status}", status=status))
        if not isinstance(body, dict) or not response.is_success:
            raise PayloadError("{where}: refused with {status}{said}.", where=asked.where, status=status, said="")
        if "result" not in body:
            raise PassingError(Phrase("the answer was empty"))
        return body

    def clean(self, body: bytes) -> bytes:
        """`body` without secrets: rows are stored as they came, and errors are shown."""
        plain = body.lower()  # ten times as quick as a search without regard to case, of which most bodies need none
        if not any(sign in plain for sign in self._signs):
            return body
        if self._secret:
            body = self._secret.sub(MARK, body)
        return TOKENS.sub(rb"\1" + MARK, body)

    def refuse_call(self, refusal: Refusal, asked: Asked, body: Any = None) -> NoReturn:
        """Raise what a refused call means, be it a request or a command of a batch."""
        code, where = refusal.code, asked.where
        if code in BUSY:
            raise busy(asked, as_object(body))
        if code in PASSING or (code == "ERROR_CORE" and "SQL" in refusal.text):
            raise PassingError(Phrase("the portal says {code}", code=code))
        self.stop_if_lost(refusal, asked.account)
        if refusal.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise PassingError(Phrase("status {status}", status=refusal.status))
        if code in NO_SCOPE:
            raise ForbiddenError(
                "{where}: the scope {scope} is missing. Tick it in the settings of the webhook or of the application.",
                where=where,
                scope=SCOPES.get(asked.what.partition(".")[0], "?"),
            )
        if code in NO_FEATURE:
            raise ForbiddenError("{where}: not in the plan of the portal, or not for webhooks.", where=where)
        if code in NO_RIGHT or (code == "" and "denied" in refusal.text.lower()):
            raise ForbiddenError(
                "{where}: the token has no right to read this{said}. Let an administrator of the account create it.",
                where=where,
                said=self.said(refusal),
            )
        if code in ABSENT:
            raise MissingError("{where}: not available on this portal; its module is missing or off.", where=where)
        if code in GONE or (code == "" and "not found" in refusal.text.lower()):
            raise MissingError("{where}: there is no such row.", where=where)
        raise PayloadError(
            "{where}: refused with {status}{said}.", where=where, status=code or refusal.status, said=self.said(refusal)
        )

    def said(self, refusal: Refusal) -> str:
        text = redacted(refusal.text)[:200]
        return f" ({text})" if text else ""

    def stop_if_lost(self, refusal: Refusal, account: str) -> None:
        """Raise what concerns the whole account: a person has to act."""
        code, is_unauthorized = refusal.code, refusal.status == httpx.codes.UNAUTHORIZED
        if code in NO_ENTRY or (code == "ACCESSDENIED" and is_unauthorized):
            raise self._auth.refusal(account)
        if code == "ACCESS_DENIED" and (is_unauthorized or ON_PLANS.search(refusal.text)):
            raise CredentialsError("{where}: the portal's plan has no REST, so it cannot be read.", where=account)
        if code == "OVERLOAD_LIMIT":
            raise CredentialsError(
                "{where}: the portal has blocked REST because of overload. "
                "Do not run it again before support has lifted the block.",
                where=account,
            )
        if code == "PORTAL_DELETED":
            raise CredentialsError("{where}: the portal was deleted or closed.", where=account)
        if code in NO_EMPLOYEE:
            raise CredentialsError(
                "{where}: the employee whose rights are used was dismissed, is a guest or may not use the application. "
                "Let an administrator of the portal give access anew.",
                where=account,
            )
        if code in UNCONFIRMED:
            raise CredentialsError("{where}: an administrator of the portal has to confirm the access.", where=account)


def busy(asked: Asked, body: Mapping[str, Any]) -> BusyError:
    error = BusyError(Phrase("{where}: has used up its server time for now; the next sync goes on.", where=asked.where))
    error.reset_at = instant(as_object(body.get("time")).get("operating_reset_at"))
    return error


def instant(value: Any) -> float | None:
    """Unix seconds of a number or of an ISO text, which one sample of the documents shows; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
