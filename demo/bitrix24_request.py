"""How the front end of the emulated Bitrix24 reads a request (`bitrix24.md`, 1.1 and 1.2)."""

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request

from demo import bitrix24_php as php


@dataclass(frozen=True)
class Asked:
    """One request, read. `secret`: the webhook's, if it is one."""

    method: str
    is_v3: bool
    user: str
    secret: str
    params: Any
    token: str
    address: str
    body: Any


async def read(request: Request) -> Asked:
    """A request as the portal's front end understands it: query and body are one, the body wins."""
    parts = [part for part in request.path_params["path"].split("/") if part]
    is_v3 = parts[:1] == ["api"]
    parts = parts[1:] if is_v3 else parts
    user, secret = (parts[0], parts[1]) if len(parts) > 2 and parts[0].isdigit() else ("", "")
    method = (parts[2] if secret else parts[0] if parts else "").removesuffix(".json")
    body = await _body(request)
    params = body if is_v3 else php.parse_str(request.url.query) | (body if isinstance(body, dict) else {})
    token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if isinstance(params, dict):
        token = str(params.pop("auth", "") or params.pop("access_token", "") or token)
    address = request.client.host if request.client else ""
    return Asked(method, is_v3, user, secret, params, token, address, body)


async def _body(request: Request) -> Any:
    """What the body holds. A GET has none; what is no JSON although it says so is dropped."""
    if request.method != "POST":
        return {}
    kind = request.headers.get("content-type", "")
    content = await request.body()
    if "json" in kind:
        try:
            return orjson.loads(content) if content else {}
        except orjson.JSONDecodeError:
            return None
    if "multipart" in kind:
        form = await request.form()
        return php.nested((name, str(value)) for name, value in form.multi_items())
    return php.parse_str(content.decode("utf-8", "replace"))
