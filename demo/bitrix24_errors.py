"""Errors of the emulated Bitrix24: the code is what counts, the status depends on whom one believes."""

from typing import Any

Json = dict[str, Any]

STATUSES: dict[str, tuple[int, int]] = {
    "QUERY_LIMIT_EXCEEDED": (503, 503),
    "OPERATION_TIME_LIMIT": (429, 429),
    "OVERLOAD_LIMIT": (401, 503),
    "INTERNAL_SERVER_ERROR": (500, 500),
    "NO_AUTH_FOUND": (401, 401),
    "INVALID_CREDENTIALS": (401, 403),
    "expired_token": (401, 401),
    "invalid_token": (401, 401),
    "insufficient_scope": (401, 403),
    "authorization_error": (401, 401),
    "ACCESS_DENIED": (403, 403),
    "WRONG_AUTH_TYPE": (403, 403),
    "WRONG_LICENSE": (403, 403),
    "ERROR_METHOD_NOT_FOUND": (404, 404),
    "ERROR_BATCH_METHOD_NOT_ALLOWED": (400, 405),
    "PORTAL_DELETED": (403, 500),
}
"""Status as the server's code has it, and as the documentation has it; 400 for all others."""


class RestError(Exception):
    """An answer in place of a result."""

    def __init__(self, code: Any, text: str = "", *, status: int | None = None, **more: Any) -> None:
        super().__init__(code, text)
        self.code, self.text, self.more = code, text, more
        self._status = status

    def status(self, mode: str) -> int:
        """`mode`: code or documentation."""
        if self._status is not None:
            return self._status
        return STATUSES.get(self.code, (400, 400))[mode == "documentation"]

    @property
    def body(self) -> Json:
        return {"error": self.code, "error_description": self.text, **self.more}


def invalid_argument(text: str) -> RestError:
    return RestError("INVALID_ARG_VALUE", text)
