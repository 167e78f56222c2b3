"""An amoCRM to read from: serves the demo company over the REST API v4 as `amocrm.md` describes it.

    python -m demo.amocrm --port 0 --scale 1 --as-of 2026-11-21T00:00:00+03:00 --key-out key.json

Beside the API there is `/_emu/…` for tests: `log` (what was asked), `fault` (let something go wrong), `clock`, `mutate`
(change the account), `switches`, `oauth/code`, `reset`. The `Date` header is the account's clock, which stands still at
the company's as_of. Nothing outside the token end point and `/_emu` can be written to. `/leads/detail/1` and its like
are pages for people who follow a link of the dashboard.
"""

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo.amocrm_account import Account
from demo.amocrm_api import Api
from demo.amocrm_gate import BLOCKED_PAGE, TOO_MANY, Limiter
from demo.amocrm_mutate import OrderError, mutate
from demo.amocrm_pages import card_page, missing_page
from demo.amocrm_switches import Switches
from demo.company import Company
from demo.gate import Fault, RequestLog, arguments, company_of, cut, serve

__all__ = ["Switches", "create_app", "main"]

Json = dict[str, Any]
PREFIX = "/api/v4/"
UNAUTHORIZED: Json = {
    "title": "Unauthorized",
    "type": "https://httpstatus.es/401",
    "status": 401,
    "detail": "Invalid user name or password",
}
NOT_ALLOWED: Json = {"title": "Method Not Allowed", "type": "https://httpstatus.es/405", "status": 405,
                     "detail": "Method Not Allowed"}  # fmt: skip


class Server:
    """The running emulator: the account, what stands before it, and the doors for tests."""

    def __init__(self, company: Company, switches: Switches, token: str, timer: Callable[[], float]) -> None:
        self.account = Account(company, switches, token=token)
        self.api = Api(self.account)
        self.limiter = Limiter(timer)
        self.log = RequestLog(timer)
        self.faults: list[Fault] = []
        self._n_requests = 0

    # --- the API

    async def read(self, request: Request) -> Response:
        """Any request under `/api`."""
        path, query = request.url.path, request.url.query
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        entry = self.log.add(method=request.method, path=path, query=query, token=token)
        response = await self._behind_faults(path, lambda: self._answer(request.method, path, query, token))
        entry["status"] = response.status_code
        return response

    def _answer(self, method: str, path: str, query: str, token: str) -> Response:
        if self.account.switches.limiter and (refusal := self._over_limit(token)):
            return refusal
        if not self.account.oauth.is_valid(token, self.account.now):
            return self._problem(401, UNAUTHORIZED)
        if method != "GET":
            return self._problem(405, NOT_ALLOWED)
        if path == "/api/v2/products_settings":
            return self._json(200, {"enabled": True, "catalog_id": 5601})
        if not path.startswith(PREFIX):
            return self._problem(404, {"title": "Not Found", "status": 404, "detail": "Not Found"})
        status, body = self.api.get(path.removeprefix(PREFIX), query)
        return self._problem(status, body) if status >= 400 else self._json(status, body)

    def _over_limit(self, token: str) -> Response | None:
        status = self.limiter.status(token)
        if status == 200:
            return None
        if status == 403:
            return self._html(403, BLOCKED_PAGE)
        how = self.account.switches.retry_after
        body = {**TOO_MANY, "retry_after": 1} if how == "body" else TOO_MANY
        return self._problem(429, body, {"Retry-After": "1"} if how == "header" else {})

    async def token(self, request: Request) -> Response:
        """`/oauth2/access_token`, JSON or a form."""
        self.log.add(method=request.method, path=request.url.path, query="", token="")
        return await self._behind_faults(request.url.path, Response, exchange=request)

    async def whereabouts(self, request: Request) -> Response:
        self.log.add(method=request.method, path=request.url.path, query="", token="")
        token = request.headers.get("x-refresh-token", "")
        status, body = self.account.oauth.whereabouts(token, self.account.now)
        return self._json(status, body)

    async def _behind_faults(
        self, path: str, answer: Callable[[], Response], *, exchange: Request | None = None
    ) -> Response:
        struck = [fault for fault in self.faults if fault.strikes(path)]
        for fault in struck:
            if fault.delay:
                await asyncio.sleep(fault.delay)
        broken = next((fault for fault in struck if fault.status is not None), None)
        if broken:
            response = self._broken(broken)
        elif exchange is not None:
            status, body = self.account.oauth.exchange(await _form(exchange), self.account.now)
            response = self._json(status, body) if status == 200 else self._problem(status, body)
        else:
            response = answer()
        end = next((fault.cut_after_bytes for fault in struck if fault.cut_after_bytes is not None), None)
        return response if end is None else cut(response, end)

    def _broken(self, fault: Fault) -> Response:
        status = fault.status or 500
        if isinstance(fault.body, str):
            return self._html(status, fault.body, fault.headers)
        if fault.body is None:
            return self._html(status, "", fault.headers)
        return self._problem(status, fault.body, fault.headers)

    # --- answers

    def _headers(self, more: dict[str, str] | None = None) -> dict[str, str]:
        self._n_requests += 1
        date = formatdate(self.account.now, usegmt=True)
        return {"Date": date, "X-Request-Id": f"demo-{self._n_requests}", **(more or {})}

    def _json(self, status: int, body: Json | None) -> Response:
        if body is None:
            return Response(status_code=status, headers=self._headers())
        return Response(orjson.dumps(body), status, self._headers(), "application/hal+json")

    def _problem(self, status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
        return Response(orjson.dumps(body), status, self._headers(headers), "application/problem+json")

    def _html(self, status: int, body: str, headers: dict[str, str] | None = None) -> Response:
        return Response(body, status, self._headers(headers), "text/html")

    # --- pages for people

    async def card(self, request: Request) -> Response:
        """A card as a page; names in it are escaped, and nothing in it may run."""
        page = card_page(self.account, request.path_params["entity"], request.path_params["number"])
        safe = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return self._html(404 if page is None else 200, page or missing_page(), safe)

    # --- doors for tests

    async def door_log(self, request: Request) -> Response:
        """GET: all requests so far; DELETE: forget them."""
        if request.method == "DELETE":
            self.log.entries.clear()
        return self._json(200, {"requests": list(self.log.entries)})

    async def door_fault(self, request: Request) -> Response:
        """POST a fault (see `Fault`); DELETE: none any more."""
        if request.method == "DELETE":
            self.faults.clear()
        else:
            try:
                self.faults.append(Fault(**await request.json()))
            except TypeError as error:
                return self._problem(400, {"detail": str(error)})
        return self._json(200, {"faults": len(self.faults)})

    async def door_clock(self, request: Request) -> Response:
        """GET: the time; POST `{"now": unix}` or `{"advance": seconds}`."""
        if request.method == "POST":
            order = await request.json()
            self.account.now = int(order.get("now", self.account.now)) + int(order.get("advance", 0))
        return self._json(200, {"now": self.account.now})

    async def door_mutate(self, request: Request) -> Response:
        """POST one order, or a list of them carried out in turn."""
        orders = await request.json()
        is_list = isinstance(orders, list)
        try:
            results = [mutate(self.account, order) for order in (orders if is_list else [orders])]
        except OrderError as wrong:
            return self._problem(400, {"detail": str(wrong)})
        return self._json(200, {"results": results} if is_list else results[0])

    async def door_switches(self, request: Request) -> Response:
        """GET: the switches; POST some: the account is made anew under them."""
        if request.method == "POST":
            changes = {k: tuple(v) if isinstance(v, list) else v for k, v in (await request.json()).items()}
            try:
                now = self.account.now
                self.account = self.account.switched(**changes)
                self.account.now = now
                self.api = Api(self.account)
            except TypeError as error:
                return self._problem(400, {"detail": str(error)})
        return self._json(200, dataclasses.asdict(self.account.switches))

    async def door_code(self, _: Request) -> Response:
        """A new authorization code, as the consent page would hand out."""
        return self._json(200, {"code": self.account.oauth.new_code(self.account.now)})

    async def door_reset(self, request: Request) -> Response:
        """Unblock the limiter; `{"tokens": true}` also takes back every access token."""
        self.limiter.reset()
        if (await request.body()) and (await request.json()).get("tokens"):
            self.account.oauth.revoke()
        return self._json(200, {})


async def _form(request: Request) -> Json:
    if "json" in request.headers.get("content-type", ""):
        body = await request.json()
        return body if isinstance(body, dict) else {}
    return dict(await request.form())


def create_app(
    company: Company,
    switches: Switches | None = None,
    *,
    token: str = "demo-token",
    timer: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The server of `company`. `token`: a long-lived token that always works. `timer`: seconds, for the rate limit."""
    server = Server(company, switches or Switches(), token, timer)
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(
        routes=[
            Route("/oauth2/access_token", server.token, methods=["POST"]),
            Route("/oauth2/account/current/subdomain", server.whereabouts),
            Route("/_emu/log", server.door_log, methods=["GET", "DELETE"]),
            Route("/_emu/fault", server.door_fault, methods=["POST", "DELETE"]),
            Route("/_emu/clock", server.door_clock, methods=["GET", "POST"]),
            Route("/_emu/mutate", server.door_mutate, methods=["POST"]),
            Route("/_emu/switches", server.door_switches, methods=["GET", "POST"]),
            Route("/_emu/oauth/code", server.door_code, methods=["POST"]),
            Route("/_emu/reset", server.door_reset, methods=["POST"]),
            Route("/api/{path:path}", server.read, methods=every),
            Route("/{entity}/detail/{number:int}", server.card),
        ]
    )
    app.state.server = server
    return app


def main() -> None:
    """Serve on the loopback until stopped; prints `READY http://127.0.0.1:PORT` once it listens."""
    parser = arguments("demo.amocrm", main.__doc__)
    parser.add_argument("--token", default=os.environ.get("DEMO_TOKEN", "demo-token"))
    options = parser.parse_args()
    serve(create_app(company_of(options), Switches(limiter=options.limit), token=options.token), options.port)


if __name__ == "__main__":
    main()
