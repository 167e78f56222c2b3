"""The rate limit of the emulated amoCRM."""

from collections import deque
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
PER_TOKEN, PER_ACCOUNT, BLOCK_AFTER, BLOCK_WINDOW_S = 7, 50, 20, 60.0
BLOCKED_PAGE = "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1><hr>nginx</body></html>"
TOO_MANY: Json = {
    "title": "Too Many Requests",
    "type": "https://httpstatus.es/429",
    "status": 429,
    "detail": "You have sent too many requests in a given amount of time. Please try again later.",
}


class Limiter:
    """A sliding second: 7 requests a token, 50 an account; 20 refusals within a minute block everything."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.is_blocked = False
        self._account: deque[float] = deque()
        self._tokens: dict[str, deque[float]] = {}
        self._refusals: deque[float] = deque()

    def status(self, token: str) -> int:
        """200 if the request may pass, else 429 or 403."""
        now = self._clock()
        if self.is_blocked:
            return 403
        own = self._tokens.setdefault(token, deque())
        for times in (own, self._account):
            while times and times[0] <= now - 1.0:
                times.popleft()
        if len(own) >= PER_TOKEN or len(self._account) >= PER_ACCOUNT:
            self._refusals.append(now)
            while self._refusals[0] <= now - BLOCK_WINDOW_S:
                self._refusals.popleft()
            self.is_blocked = len(self._refusals) >= BLOCK_AFTER
            return 429
        own.append(now)
        self._account.append(now)
        return 200

    def reset(self) -> None:
        self.is_blocked = False
        self._refusals.clear()
        self._tokens.clear()
        self._account.clear()
