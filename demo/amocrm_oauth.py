"""The token end point of the emulated amoCRM: codes used once, refresh tokens that rotate."""

import base64
from typing import Any

import orjson

from demo.amocrm_switches import Switches
from demo.model import Company

Json = dict[str, Any]
CLIENT_ID, CLIENT_SECRET = "6f1d3f0e-7f52-4e0b-9a30-2f6f6a1c9d11", "demo-secret"
REDIRECT_URI = "http://127.0.0.1/oauth/amo"
ACCESS_S, REFRESH_S, CODE_S = 86_400, 90 * 86_400, 1_200
PROBLEM = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"


class OAuth:
    """Issued codes and tokens. Lives as long as the server."""

    def __init__(self, company: Company, switches: Switches, *, long_lived: str, now: int) -> None:
        self._company, self._switches, self._long_lived = company, switches, long_lived
        self._codes: dict[str, int] = {"demo-code": now + CODE_S}
        self._access: dict[str, int] = {}
        self._refresh: dict[str, int] = {}
        self._n = 0

    def new_code(self, now: int) -> str:
        self._n += 1
        code = f"demo-code-{self._n}"
        self._codes[code] = now + CODE_S
        return code

    def is_valid(self, token: str, now: int) -> bool:
        """Whether a bearer token opens the API."""
        return token == self._long_lived or self._access.get(token, 0) > now

    def revoke(self) -> None:
        """Forget every access token that was issued, as when the integration is switched off."""
        self._access.clear()

    def exchange(self, form: Json, now: int) -> tuple[int, Json]:
        """Status and body for a request to `/oauth2/access_token`."""
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return 401, _problem("Некорректный клиент", 401, "Авторизация клиента не прошла")
        if form.get("redirect_uri") != REDIRECT_URI:
            return 400, _refused("Redirect URI does not match", 400)
        grant = form.get("grant_type")
        if grant == "authorization_code":
            if self._codes.pop(str(form.get("code")), 0) < now:
                return 400, _refused("Authorization code has expired", 400)
        elif grant == "refresh_token":
            if self._refresh.pop(str(form.get("refresh_token")), 0) < now:
                return 401, _refused("Token has been revoked", 401)
        else:
            return 400, _refused("Unsupported grant type", 400)
        return 200, self._issue(now)

    def _issue(self, now: int) -> Json:
        self._n += 1
        access, refresh = self._jwt(now), f"def50200{self._n:08d}"
        self._access[access] = now + ACCESS_S
        self._refresh[refresh] = now + REFRESH_S
        return {"token_type": "Bearer", "expires_in": ACCESS_S, "access_token": access, "refresh_token": refresh}

    def _jwt(self, now: int) -> str:
        if self._switches.jwt_claims == "opaque":
            return f"opaque-{self._n:08d}"
        claims: Json = {"aud": CLIENT_ID, "jti": f"{self._n:032x}", "iat": now, "exp": now + ACCESS_S}
        if self._switches.jwt_claims == "full":
            domain = self._switches.domain
            claims |= {"api_domain": f"api-b.{domain}", "account_id": self._company.account_id, "base_domain": domain,
                       "scopes": ["crm"], "sub": "9101001"}  # fmt: skip
        parts = (_b64(orjson.dumps({"typ": "JWT", "alg": "RS256"})), _b64(orjson.dumps(claims)), _b64(b"unsigned"))
        return ".".join(parts)

    def whereabouts(self, refresh_token: str, now: int) -> tuple[int, Json]:
        """Answer of `/oauth2/account/current/subdomain`; the token stays good."""
        if self._refresh.get(refresh_token, 0) < now:
            return 401, _refused("Token has been revoked", 401)
        subdomain, domain = self._company.subdomain, self._switches.domain
        return 200, {
            "id": self._company.account_id,
            "subdomain": subdomain,
            "domain": f"{subdomain}.{domain}",
            "top_level_domain": domain.rpartition(".")[2],
        }


def _b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _problem(title: str, status: int, detail: str) -> Json:
    return {"title": title, "type": PROBLEM, "status": status, "detail": detail}


def _refused(hint: str, status: int) -> Json:
    detail = "В запросе отсутствует ряд параметров или параметры невалидны"
    return {"hint": hint, **_problem("Некорректный запрос", status, detail)}
