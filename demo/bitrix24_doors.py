"""The doors of the emulated Bitrix24 for tests, under `/_emu`: what was asked, faults, clock, changes, switches."""

import dataclasses
from collections.abc import Callable
from math import floor
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from demo.bitrix24_mutate import OrderError, mutate
from demo.bitrix24_server import Script, Server
from demo.gate import Fault


class Doors:
    """The doors of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def log(self, request: Request) -> Response:
        """GET: all requests so far, and how many calls were refused for their server time; DELETE: forget them."""
        if request.method == "DELETE":
            self._server.log.entries.clear()
            self._server.n_over_time = 0
        log = {"requests": list(self._server.log.entries), "over_time": self._server.n_over_time}
        return self._server.json(200, log)

    async def fault(self, request: Request) -> Response:
        """POST a fault (see `Fault`; its path is a method's name, `batch:` before it in a batch); DELETE: none."""
        return await self._keep(request, self._server.faults, Fault)

    async def script(self, request: Request) -> Response:
        """POST a script (see `Script`); DELETE: none any more."""
        return await self._keep(request, self._server.scripts, Script)

    async def _keep(self, request: Request, kept: list[Any], kind: Callable[..., Any]) -> Response:
        if request.method == "DELETE":
            kept.clear()
        else:
            try:
                kept.append(kind(**await request.json()))
            except TypeError as error:
                return self._server.json(400, {"detail": str(error)})
        return self._server.json(200, {"kept": len(kept)})

    async def clock(self, request: Request) -> Response:
        """GET: the time; POST `{"now": unix}` or `{"advance": seconds}`."""
        now = floor(self._server.clock())
        if request.method == "POST":
            order = await request.json()
            self._server.set_clock(int(order.get("now", now)) + int(order.get("advance", 0)))
        return self._server.json(200, {"now": self._server.portal.now})

    async def mutate(self, request: Request) -> Response:
        """POST one order, or a list of them carried out in turn."""
        orders = await request.json()
        is_list = isinstance(orders, list)
        self._server.clock()
        try:
            results = [mutate(self._server.portal, order) for order in (orders if is_list else [orders])]
        except OrderError as wrong:
            return self._server.json(400, {"detail": str(wrong)})
        return self._server.json(200, {"results": results} if is_list else results[0])

    async def switches(self, request: Request) -> Response:
        """GET: the switches; POST some: the portal goes on under them."""
        if request.method == "POST":
            changes = {k: tuple(v) if isinstance(v, list) else v for k, v in (await request.json()).items()}
            try:
                self._server.switch(**changes)
            except TypeError as error:
                return self._server.json(400, {"detail": str(error)})
        return self._server.json(200, dataclasses.asdict(self._server.switches))

    async def code(self, _: Request) -> Response:
        """A new authorization code, as the consent page would hand out."""
        return self._server.json(200, {"code": self._server.oauth.new_code(floor(self._server.clock()))})

    async def reset(self, request: Request) -> Response:
        """Empty bucket and meter; `{"tokens": true}` lets access tokens expire, `{"refresh": true}` forgets all."""
        self._server.bucket.reset()
        self._server.meter.reset()
        order = await request.json() if await request.body() else {}
        if order.get("refresh"):
            self._server.oauth.revoke()
        if order.get("tokens"):
            self._server.oauth.expire()
        return self._server.json(200, {})
