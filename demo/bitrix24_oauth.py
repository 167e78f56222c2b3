"""The token end point of the emulated Bitrix24: codes of thirty seconds, refresh tokens that rotate (1.5)."""

from typing import Any

from demo.bitrix24_switches import Switches

Json = dict[str, Any]
CLIENT_ID, CLIENT_SECRET = "local.demo.client", "demo-client-secret"
ACCESS_S, REFRESH_S, CODE_S = 3600, 180 * 86_400, 30


class OAuth:
    """Issued codes and tokens. Lives as long as the server, whatever becomes of the portal's switches."""

    def __init__(self, member_id: str) -> None:
        self._member_id = member_id
        self._codes: dict[str, int] = {}
        self._access: dict[str, int] = {}
        self._refresh: dict[str, int] = {}
        self._n = 0

    def new_code(self, now: int) -> str:
        self._n += 1
        code = f"demo-code-{self._n}"
        self._codes[code] = now + CODE_S
        return code

    def refusal(self, token: str, now: int) -> str:
        """Why a token does not open the API; empty where it does."""
        if token not in self._access:
            return "invalid_token"
        return "" if self._access[token] > now else "expired_token"

    def expire(self) -> None:
        """Let every access token that was issued run out."""
        self._access = dict.fromkeys(self._access, 0)

    def revoke(self) -> None:
        """Forget every refresh token, as when the application is removed."""
        self._refresh.clear()
        self.expire()

    def exchange(self, form: Json, now: int, base: str, switches: Switches) -> tuple[int, Json]:
        """Status and body for a request to `/oauth/token/`. `base`: the portal's own address."""
        if form.get("client_id") != CLIENT_ID:
            return 200, _refused("WRONG_CLIENT", "Wrong client")
        if form.get("client_secret") != CLIENT_SECRET:
            return 400, _refused("invalid_client", "The client credentials are invalid")
        if switches.tariff == "free":
            return 401, _refused("PAYMENT_REQUIRED", "Payment required")
        grant = form.get("grant_type")
        if grant not in {"authorization_code", "refresh_token"}:
            return 400, _refused("invalid_request", "Invalid grant_type parameter or parameter missing")
        is_first = grant == "authorization_code"
        issued, name = (self._codes, "code") if is_first else (self._refresh, "refresh_token")
        if issued.pop(str(form.get(name)), 0) < now:
            return 400, _refused("invalid_grant", "Invalid grant")
        if not is_first and not switches.access_survives_refresh:
            self.expire()
        return 200, self._issue(now, base, switches, is_first=is_first)

    def _issue(self, now: int, base: str, switches: Switches, *, is_first: bool) -> Json:
        self._n += 1
        access, refresh = f"demo-access-{self._n:024x}", f"demo-refresh-{self._n:024x}"
        self._access[access] = now + ACCESS_S
        self._refresh[refresh] = now + REFRESH_S
        issued: Json = {
            "access_token": access, "expires_in": ACCESS_S, "refresh_token": refresh,
            "client_endpoint": f"{base}/rest/", "server_endpoint": "https://oauth.bitrix24.tech/rest/",
            "domain": "oauth.bitrix24.tech", "member_id": self._member_id, "scope": ",".join(switches.scopes),
            "status": "L",
        }  # fmt: skip
        return issued if is_first else {**issued, "expires": now + ACCESS_S, "user_id": 1}


def _refused(code: str, text: str) -> Json:
    return {"error": code, "error_description": text}
