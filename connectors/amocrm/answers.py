"""What amoCRM's refusals mean: statuses, and two kinds of 403 that concern the whole account."""

from typing import NoReturn

import httpx

from connectors.answers import Answers, Asked, problem_of
from connectors.errors import CredentialsError
from connectors.http import SourceAuth


class AmoAnswers(Answers):
    def __init__(self, auth: SourceAuth) -> None:
        self._auth = auth

    def refused_token(self, asked: Asked) -> CredentialsError:
        return self._auth.refusal(asked.account)

    def forbid(self, response: httpx.Response, asked: Asked) -> NoReturn:
        problem = problem_of(response)
        if "113" in str((problem or {}).get("code", "")) or "this IP" in response.text[:500]:
            raise CredentialsError(
                "{where}: this server's IP address is not on the account's white list; add it there.",
                where=asked.account,
            )
        if problem is None:
            raise CredentialsError(
                "{where}: requests are blocked (a 403 page instead of data). "
                "Do not run it again before support has lifted the block.",
                where=asked.account,
            )
        super().forbid(response, asked)
