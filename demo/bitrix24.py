"""A Bitrix24 to read from: serves the demo company over REST as `bitrix24.md` describes it.

    python -m demo.bitrix24 --port 0 --scale 1 --as-of 2026-11-21T00:00:00+03:00 --key-out key.json

The incoming webhook is `/rest/1/demo-secret/`; applications get their tokens at `/oauth/token/`. Beside the API there
is `/_emu/…` for tests: `log` (what was asked), `fault` (let something go wrong), `clock`, `mutate` (change the portal),
`script` (change it when a method is called), `switches`, `oauth/code`, `reset`. The portal's clock stands still at the
company's as_of unless `clock_runs`. Nothing on the portal can be written to but through `/_emu`.
`/crm/deal/details/1/` and its like are pages for people who follow a link of the dashboard.
"""

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from fnmatch import fnmatch
from math import floor
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo import bitrix24_php as php
from demo.bitrix24_batch import Outcome, run_batch
from demo.bitrix24_calls import Answer, Call, Caller, Engine, Method
from demo.bitrix24_errors import RestError
from demo.bitrix24_gate import Bucket, Hit, Meter, cost, time_block
from demo.bitrix24_key import answer_key
from demo.bitrix24_methods import METHODS, is_absent
from demo.bitrix24_mutate import OrderError, mutate
from demo.bitrix24_oauth import CLIENT_ID, OAuth
from demo.bitrix24_pages import CardPages, missing_page
from demo.bitrix24_portal import Portal
from demo.bitrix24_switches import Switches
from demo.bitrix24_v3 import PREFIX, V3, V3Error
from demo.gate import Fault, RequestLog, arguments, company_of, cut, serve

__all__ = ["Switches", "create_app", "main"]

Json = dict[str, Any]
MEMBER_ID = "d3m0c0mpany0000000000000000bitrix"
USER_IN_PATH = "1"
GATEWAY_TIMEOUT = "<html><head><title>504</title></head><body><h1>504 Gateway Time-out</h1></body></html>"
V3_REFUSALS = {
    "insufficient_scope": (403, "INSUFFICIENTSCOPEEXCEPTION"),
    "OPERATION_TIME_LIMIT": (429, "RATELIMITEXCEPTION"),
}
SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@dataclass
class Script:
    """Changes that people make just before the `nth` call of a method is answered, batches included."""

    method: str
    orders: list[Json]
    nth: int = 1
    seen: int = field(default=0)


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


class Server:
    """The running emulator: the portal, what stands before it, and the doors for tests."""

    def __init__(self, portal: Any, secret: str, timer: Callable[[], float]) -> None:
        self._secret, self._timer = secret, timer
        self.engine, self.pages = Engine(portal, portal.switches), CardPages(portal)
        self.oauth = OAuth(MEMBER_ID)
        self.bucket, self.meter = Bucket(timer), Meter(timer)
        self.log = RequestLog(timer)
        self.faults: list[Fault] = []
        self.scripts: list[Script] = []
        self._set_clock(self.portal.now)

    @property
    def portal(self) -> Any:
        return self.engine.portal

    @property
    def switches(self) -> Switches:
        return self.engine.switches

    def _set_clock(self, now: int) -> None:
        self.portal.now, self._clock_set = now, (now, self._timer())

    def _now(self) -> float:
        """The portal's clock; it goes on with the timer if it runs at all."""
        now, set_at = self._clock_set
        if self.portal.now != now:  # somebody moved it
            self._set_clock(self.portal.now)
            now, set_at = self._clock_set
        if not self.switches.clock_runs:
            return now
        running = now + self._timer() - set_at
        self.portal.now = floor(running)
        self._clock_set = (self.portal.now, self._timer() - (running - floor(running)))
        return running

    # --- the API

    async def rest(self, request: Request) -> Response:
        """Any request under `/rest`."""
        asked = await _read(request)
        entry = self.log.add(
            method=request.method, path=f"/rest/{'api/' if asked.is_v3 else ''}{asked.method}", query="",
            token=asked.secret or asked.token, params=asked.params,
        )  # fmt: skip
        struck = await self._struck(asked.method)
        broken = next((fault for fault in struck if fault.status is not None), None)
        response = self._broken(broken) if broken else await self._answered(request, asked)
        end = next((fault.cut_after_bytes for fault in struck if fault.cut_after_bytes is not None), None)
        entry["status"] = response.status_code
        return response if end is None else cut(response, end)

    async def _answered(self, request: Request, asked: Asked) -> Response:
        switches = self.switches
        host = request.url.netloc
        if switches.moved_to and host != switches.moved_to:
            return Response(status_code=302, headers={"Location": str(request.url.replace(netloc=switches.moved_to))})
        hit = Hit(self.meter, switches, "", outer="")
        begun = self._timer()
        try:
            caller = self._admitted(asked)
            hit = Hit(self.meter, switches, caller.key, outer=asked.method.lower())
            body = self._v3(asked, caller, hit) if asked.is_v3 else self._v2(asked, caller, hit)
            response = self._json(200, body)
        except RestError as error:
            headers = {"Retry-After": "1"} if switches.retry_after and error.code == "QUERY_LIMIT_EXCEEDED" else {}
            response = self._refused(asked, error, headers)
        except V3Error as error:
            response = self._json(error.status, error.body)
        finally:
            hit.close()
        if switches.costs_are_slept:
            await asyncio.sleep(min(hit.seconds, switches.timeout_s) - (self._timer() - begun))
        is_cut = switches.flavour == "cloud" and hit.seconds > switches.timeout_s
        return self._html(504, GATEWAY_TIMEOUT) if is_cut else response

    def _refused(self, asked: Asked, error: RestError, headers: dict[str, str]) -> Response:
        status = error.status(self.switches.status_mode)
        if not asked.is_v3:
            return self._json(status, error.body, headers)
        status, name = V3_REFUSALS.get(error.code, (status, "ACCESSDENIEDEXCEPTION" if status == 401 else ""))
        code = f"{PREFIX}{name}" if name else error.code
        return self._json(status, {"error": {"code": code, "message": error.text}}, headers)

    def _admitted(self, asked: Asked) -> Caller:
        """Who asks.

        Raises:
            RestError: if the portal does not let him in.
        """
        switches = self.switches
        if switches.portal != "open":
            raise RestError("PORTAL_DELETED", "Portal was deleted")
        is_limited = switches.limiter and switches.flavour == "cloud"
        if is_limited and not self.bucket.lets_pass(asked.address, switches):
            raise RestError("QUERY_LIMIT_EXCEEDED", "Too many requests")
        if switches.is_overloaded:
            raise RestError("OVERLOAD_LIMIT", "REST API is blocked due to overload.")
        caller = self._caller(asked)
        if switches.tariff == "free":
            raise RestError("ACCESS_DENIED", "REST is available only by subscription.", status=401)
        return caller

    def _caller(self, asked: Asked) -> Caller:
        user_id = int(self.portal.user)
        if asked.secret:
            if (asked.user, asked.secret) != (USER_IN_PATH, self._secret):
                raise RestError("INVALID_CREDENTIALS", "Invalid request credentials")
            return Caller("webhook", f"webhook:{asked.user}", user_id)
        if not asked.token:
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data")
        if refusal := self.oauth.refusal(asked.token, floor(self._now())):
            raise RestError(refusal, "The access token provided has expired or is not known.")
        return Caller("oauth", f"oauth:{CLIENT_ID}", user_id)

    def _v2(self, asked: Asked, caller: Caller, hit: Hit) -> Json:
        name, wire = asked.method, self.engine.wire
        now = self._now() + self.switches.clock_skew_s
        if name.lower() != "batch":
            method, answer = self._run(METHODS, name, asked.params, caller, hit)
            parts = {"result": answer.result, "next": answer.next, "total": answer.total}
            body = {key: value for key, value in parts.items() if value is not None or key == "result"}
            return {**body, "time": time_block(wire, now, hit.seconds, hit, method.name)}
        is_envelope = self.switches.op_billing == "envelope"
        if is_envelope and hit.is_blocked("batch"):
            raise _time_limit()

        def run(command: str, params: Json) -> Outcome:
            self._strike_command(command)
            begun = hit.seconds
            method, answer = self._run(METHODS, command, params, caller, hit)
            block = time_block(wire, now + begun, hit.seconds - begun, hit, method.name)
            return Outcome(result=answer.result, total=answer.total, next=answer.next, time=block)

        result = run_batch(
            asked.params, run, lists_numeric_keys=self.switches.batch_numeric_keys_list,
            may_go_on=lambda: hit.seconds <= self.switches.timeout_s,
        )  # fmt: skip
        return {"result": result, "time": time_block(wire, now, hit.seconds, hit, "batch" if is_envelope else None)}

    def _strike_command(self, command: str) -> None:
        """A fault on `batch:<method>` is that command's error."""
        for fault in self.faults:
            if fault.strikes(f"batch:{command}") and isinstance(fault.body, dict):
                raise RestError(fault.body.get("error"), str(fault.body.get("error_description", "")))

    def _run(
        self, methods: Mapping[str, Method], name: str, params: Any, caller: Caller, hit: Hit
    ) -> tuple[Method, Answer]:
        """One method, if the caller may call it.

        Raises:
            RestError, V3Error: as the portal refuses.
        """
        params = dict(params) if isinstance(params, dict) else {}
        start = php.integer(params.pop("start", 0))
        call = Call(self.engine, caller, params, start)
        method = methods.get(name.lower().removesuffix(".json"))
        if method is None or is_absent(call, method.name):
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!")
        if method.scopes and not set(method.scopes) & set(self.switches.scopes):
            text = "The request requires higher privileges than provided by the access token"
            raise RestError("insufficient_scope", text)
        if method.is_for_apps and caller.kind != "oauth":
            raise RestError("WRONG_AUTH_TYPE", "Current authorization type is denied for this method")
        if any(fnmatch(method.name, pattern) for pattern in self.switches.denied_methods):
            is_old = method.name.startswith("crm.") and not method.name.startswith("crm.item.")
            raise RestError("", "Access denied.") if is_old else RestError("ACCESS_DENIED", "Access denied!")
        if hit.is_blocked(method.name):
            raise _time_limit()
        self._play_scripts(method.name)
        answer = method.run(call)
        hit.spend(method.name, cost(self.switches, method.name, answer))
        return method, answer

    def _v3(self, asked: Asked, caller: Caller, hit: Hit) -> Json:
        wire, now = self.engine.wire, self._now() + self.switches.clock_skew_s
        if asked.body is None:
            raise V3Error("INVALIDJSONEXCEPTION", "Request body is not valid JSON")
        if asked.method.lower() == "batch":
            commands = asked.body if isinstance(asked.body, list) else []
            results = [self._run(V3, one["method"], one.get("query"), caller, hit)[1].result for one in commands]
            return {"result": results, "time": time_block(wire, now, hit.seconds, hit, None)}
        method, answer = self._run(V3, asked.method, asked.body, caller, hit)
        return {"result": answer.result, "time": time_block(wire, now, hit.seconds, hit, method.name)}

    # --- tokens

    async def token(self, request: Request) -> Response:
        """`/oauth/token/`: parameters in the query."""
        self.log.add(method=request.method, path=request.url.path, query="", token="")
        struck = await self._struck(request.url.path)
        if broken := next((fault for fault in struck if fault.status is not None), None):
            return self._broken(broken)
        form = dict(request.query_params) | (dict(await request.form()) if request.method == "POST" else {})
        base = f"{request.url.scheme}://{self.switches.moved_to or request.url.netloc}"
        return self._json(*self.oauth.exchange(form, floor(self._now()), base, self.switches))

    # --- faults and answers

    async def _struck(self, path: str) -> list[Fault]:
        struck = [fault for fault in self.faults if fault.strikes(path)]
        for fault in struck:
            if fault.delay:
                await asyncio.sleep(fault.delay)
        return struck

    def _broken(self, fault: Fault) -> Response:
        status = fault.status or 500
        if isinstance(fault.body, dict | list):
            return self._json(status, fault.body, fault.headers)
        return self._html(status, fault.body or "", fault.headers)

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
        written = orjson.dumps(body)
        for plain, escaped in ((b"/", b"\\/"), (b"<", b"\\u003C"), (b">", b"\\u003E"), (b"&", b"\\u0026")):
            written = written.replace(plain, escaped)  # none of them occurs in JSON outside of texts
        return Response(written, status, self._headers(headers), "application/json; charset=utf-8")

    def _html(self, status: int, body: str, headers: dict[str, str] | None = None) -> Response:
        return Response(body, status, self._headers(headers), "text/html")

    def _headers(self, more: dict[str, str] | None) -> dict[str, str]:
        return {"Date": formatdate(self._now() + self.switches.clock_skew_s, usegmt=True), **(more or {})}

    # --- doors for tests

    def _play_scripts(self, method: str) -> None:
        for script in self.scripts:
            if fnmatch(method, script.method):
                script.seen += 1
                if script.seen == script.nth:
                    for order in script.orders:
                        mutate(self.portal, order)

    async def door_log(self, request: Request) -> Response:
        """GET: all requests so far; DELETE: forget them."""
        if request.method == "DELETE":
            self.log.entries.clear()
        return self._json(200, {"requests": list(self.log.entries)})

    async def door_fault(self, request: Request) -> Response:
        """POST a fault (see `Fault`; its path is a method's name, `batch:` before it in a batch); DELETE: none."""
        return await self._keep(request, self.faults, Fault)

    async def door_script(self, request: Request) -> Response:
        """POST a script (see `Script`); DELETE: none any more."""
        return await self._keep(request, self.scripts, Script)

    async def _keep(self, request: Request, kept: list[Any], kind: Callable[..., Any]) -> Response:
        if request.method == "DELETE":
            kept.clear()
        else:
            try:
                kept.append(kind(**await request.json()))
            except TypeError as error:
                return self._json(400, {"detail": str(error)})
        return self._json(200, {"kept": len(kept)})

    async def door_clock(self, request: Request) -> Response:
        """GET: the time; POST `{"now": unix}` or `{"advance": seconds}`."""
        now = floor(self._now())
        if request.method == "POST":
            order = await request.json()
            self._set_clock(int(order.get("now", now)) + int(order.get("advance", 0)))
        return self._json(200, {"now": self.portal.now})

    async def door_mutate(self, request: Request) -> Response:
        """POST one order, or a list of them carried out in turn."""
        orders = await request.json()
        is_list = isinstance(orders, list)
        self._now()
        try:
            results = [mutate(self.portal, order) for order in (orders if is_list else [orders])]
        except OrderError as wrong:
            return self._json(400, {"detail": str(wrong)})
        return self._json(200, {"results": results} if is_list else results[0])

    async def door_switches(self, request: Request) -> Response:
        """GET: the switches; POST some: the portal goes on under them."""
        if request.method == "POST":
            changes = {k: tuple(v) if isinstance(v, list) else v for k, v in (await request.json()).items()}
            try:
                self.switch(**changes)
            except TypeError as error:
                return self._json(400, {"detail": str(error)})
        return self._json(200, dataclasses.asdict(self.switches))

    def switch(self, **changes: Any) -> None:
        """Go on under other switches; what was changed on the portal stays.

        Raises:
            TypeError: for a switch that is not there.
        """
        switches = replace(self.switches, **changes)
        self._now()
        self.portal.switches = switches
        self.engine = Engine(self.portal, switches, offline=self.engine.offline)

    async def door_code(self, _: Request) -> Response:
        """A new authorization code, as the consent page would hand out."""
        return self._json(200, {"code": self.oauth.new_code(floor(self._now()))})

    async def door_reset(self, request: Request) -> Response:
        """Empty bucket and meter; `{"tokens": true}` lets access tokens expire, `{"refresh": true}` forgets all."""
        self.bucket.reset()
        self.meter.reset()
        order = await request.json() if await request.body() else {}
        if order.get("refresh"):
            self.oauth.revoke()
        if order.get("tokens"):
            self.oauth.expire()
        return self._json(200, {})

    # --- pages for people

    async def card(self, request: Request) -> Response:
        """A card as a page; names in it are escaped, and nothing in it may run."""
        found = self.pages.card(request.path_params["entity"], request.path_params["number"])
        return self._html(404 if found is None else 200, found or missing_page(), SAFE)


def _time_limit() -> RestError:
    return RestError("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")


async def _read(request: Request) -> Asked:
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


def create_app(
    company: Any,
    switches: Switches | None = None,
    *,
    secret: str = "demo-secret",
    timer: Callable[[], float] = time.monotonic,
    portal: Callable[[Any, Switches], Any] = Portal,
) -> Starlette:
    """The portal of `company`.

    secret: of the webhook of user 1. timer: seconds, for the limits. portal: makes the data.
    """
    server = Server(portal(company, switches or Switches()), secret, timer)
    app = Starlette(
        routes=[
            Route("/oauth/token/", server.token, methods=["GET", "POST"]),
            Route("/_emu/log", server.door_log, methods=["GET", "DELETE"]),
            Route("/_emu/fault", server.door_fault, methods=["POST", "DELETE"]),
            Route("/_emu/script", server.door_script, methods=["POST", "DELETE"]),
            Route("/_emu/clock", server.door_clock, methods=["GET", "POST"]),
            Route("/_emu/mutate", server.door_mutate, methods=["POST"]),
            Route("/_emu/switches", server.door_switches, methods=["GET", "POST"]),
            Route("/_emu/oauth/code", server.door_code, methods=["POST"]),
            Route("/_emu/reset", server.door_reset, methods=["POST"]),
            Route("/rest/{path:path}", server.rest, methods=["GET", "POST"]),
            Route("/crm/{entity}/details/{number:int}/", server.card),
        ]
    )
    app.state.server = server
    return app


def main() -> None:
    """Serve on the loopback until stopped; prints `READY http://127.0.0.1:PORT` once it listens."""
    parser = arguments("demo.bitrix24", main.__doc__)
    parser.add_argument("--secret", default=os.environ.get("DEMO_TOKEN", "demo-secret"))
    parser.add_argument("--switches", type=json.loads, default={}, help="JSON: knobs of demo.bitrix24_switches")
    options = parser.parse_args()
    switches = Switches(limiter=options.limit, clock_runs=options.limit)
    company = company_of(options, answer_key)
    serve(create_app(company, replace(switches, **options.switches), secret=options.secret), options.port)


if __name__ == "__main__":
    main()
