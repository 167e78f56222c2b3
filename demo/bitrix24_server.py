"""The running emulator of Bitrix24: the portal, what stands before it, and how it answers."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from fnmatch import fnmatch
from math import floor
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from demo import bitrix24_php as php
from demo.bitrix24_batch import Outcome, run_batch
from demo.bitrix24_calls import Answer, Call, Caller, Engine, Method
from demo.bitrix24_errors import RestError
from demo.bitrix24_gate import Bucket, Hit, Meter, cost, time_block
from demo.bitrix24_methods import METHODS, is_absent
from demo.bitrix24_mutate import mutate
from demo.bitrix24_oauth import CLIENT_ID, OAuth
from demo.bitrix24_request import Asked, read
from demo.bitrix24_switches import Switches
from demo.bitrix24_v3 import PREFIX, V3, V3Error
from demo.gate import Fault, RequestLog, cut

Json = dict[str, Any]
MEMBER_ID = "d3m0c0mpany0000000000000000bitrix"
USER_IN_PATH = "1"
GATEWAY_TIMEOUT = "<html><head><title>504</title></head><body><h1>504 Gateway Time-out</h1></body></html>"
V3_REFUSALS = {
    "insufficient_scope": (403, "INSUFFICIENTSCOPEEXCEPTION"),
    "OPERATION_TIME_LIMIT": (429, "RATELIMITEXCEPTION"),
}


@dataclass
class Script:
    """Changes that people make just before the `nth` call of a method is answered, batches included."""

    method: str
    orders: list[Json]
    nth: int = 1
    seen: int = field(default=0)


class Server:
    """The running emulator: the portal, what stands before it, and the doors for tests."""

    def __init__(self, portal: Any, secret: str, timer: Callable[[], float]) -> None:
        self._secret, self._timer = secret, timer
        self.engine = Engine(portal, portal.switches)
        self.oauth = OAuth(MEMBER_ID)
        self.bucket, self.meter = Bucket(timer), Meter(timer)
        self.log = RequestLog(timer)
        self.faults: list[Fault] = []
        self.scripts: list[Script] = []
        self.n_over_time = 0
        """Calls refused because their method had used up its time."""
        self.set_clock(self.portal.now)

    @property
    def portal(self) -> Any:
        return self.engine.portal

    @property
    def switches(self) -> Switches:
        return self.engine.switches

    def set_clock(self, now: int) -> None:
        """Move the portal's clock, unix seconds."""
        self.portal.now, self._clock_set = now, (now, self._timer())

    def clock(self) -> float:
        """The portal's clock; it goes on with the timer if it runs at all."""
        now, set_at = self._clock_set
        if self.portal.now != now:  # somebody moved it
            self.set_clock(self.portal.now)
            now, set_at = self._clock_set
        if not self.switches.clock_runs:
            return now
        running = now + self._timer() - set_at
        self.portal.now = floor(running)
        self._clock_set = (self.portal.now, self._timer() - (running - floor(running)))
        return running

    def switch(self, **changes: Any) -> None:
        """Go on under other switches; what was changed on the portal stays.

        Raises:
            TypeError: for a switch that is not there.
        """
        switches = replace(self.switches, **changes)
        self.clock()
        self.portal.switches = switches
        self.engine = Engine(self.portal, switches, offline=self.engine.offline)

    # --- the API

    async def rest(self, request: Request) -> Response:
        """Any request under `/rest`."""
        asked = await read(request)
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
            webhook = f"/{asked.user}/{asked.secret}" if asked.secret else ""
            self.engine.wire.asked_at = f"{request.url.scheme}://{host}/rest{webhook}"
            self.engine.wire.asked_with = asked.token
            hit = Hit(self.meter, switches, caller.key, outer=asked.method.lower())
            body = self._v3(asked, caller, hit) if asked.is_v3 else self._v2(asked, caller, hit)
            response = self.json(200, body)
        except RestError as error:
            headers = {"Retry-After": "1"} if switches.retry_after and error.code == "QUERY_LIMIT_EXCEEDED" else {}
            response = self._refused(asked, error, headers)
        except V3Error as error:
            response = self.json(error.status, error.body)
        finally:
            hit.close()
        if switches.costs_are_slept:
            await asyncio.sleep(min(hit.seconds, switches.timeout_s) - (self._timer() - begun))
        is_cut = switches.flavour == "cloud" and hit.seconds > switches.timeout_s
        return self.html(504, GATEWAY_TIMEOUT) if is_cut else response

    def _refused(self, asked: Asked, error: RestError, headers: dict[str, str]) -> Response:
        status = error.status(self.switches.status_mode)
        if not asked.is_v3:
            return self.json(status, error.body, headers)
        status, name = V3_REFUSALS.get(error.code, (status, "ACCESSDENIEDEXCEPTION" if status == 401 else ""))
        code = f"{PREFIX}{name}" if name else error.code
        return self.json(status, {"error": {"code": code, "message": error.text}}, headers)

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
        if refusal := self.oauth.refusal(asked.token, floor(self.clock())):
            raise RestError(refusal, "The access token provided has expired or is not known.")
        return Caller("oauth", f"oauth:{CLIENT_ID}", user_id)

    def _v2(self, asked: Asked, caller: Caller, hit: Hit) -> Json:
        name, wire = asked.method, self.engine.wire
        now = self.clock() + self.switches.clock_skew_s
        if name.lower() != "batch":
            method, answer = self._run(METHODS, name, asked.params, caller, hit)
            parts = {"result": answer.result, "next": answer.next, "total": answer.total}
            body = {key: value for key, value in parts.items() if value is not None or key == "result"}
            return {**body, "time": time_block(wire, now, hit.seconds, hit, method.name)}
        is_envelope = self.switches.op_billing == "envelope"
        if is_envelope and hit.is_blocked("batch"):
            raise self._time_limit()

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

    def _play_scripts(self, method: str) -> None:
        for script in self.scripts:
            if fnmatch(method, script.method):
                script.seen += 1
                if script.seen == script.nth:
                    for order in script.orders:
                        mutate(self.portal, order)

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
        method = methods.get(name.lower())
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
            raise self._time_limit()
        self._play_scripts(method.name)
        answer = method.run(call)
        hit.spend(method.name, cost(self.switches, method.name, answer))
        return method, answer

    def _v3(self, asked: Asked, caller: Caller, hit: Hit) -> Json:
        wire, now = self.engine.wire, self.clock() + self.switches.clock_skew_s
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
        return self.json(*self.oauth.exchange(form, floor(self.clock()), base, self.switches))

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
            return self.json(status, fault.body, fault.headers)
        return self.html(status, fault.body or "", fault.headers)

    def json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
        """An answer of the API; some letters are written as PHP writes them."""
        written = orjson.dumps(body)
        for plain, escaped in ((b"/", b"\\/"), (b"<", b"\\u003C"), (b">", b"\\u003E"), (b"&", b"\\u0026")):
            written = written.replace(plain, escaped)  # none of them occurs in JSON outside of texts
        return Response(written, status, self._headers(headers), "application/json; charset=utf-8")

    def html(self, status: int, body: str, headers: dict[str, str] | None = None) -> Response:
        return Response(body, status, self._headers(headers), "text/html")

    def _headers(self, more: dict[str, str] | None) -> dict[str, str]:
        return {"Date": formatdate(self.clock() + self.switches.clock_skew_s, usegmt=True), **(more or {})}

    def _time_limit(self) -> RestError:
        """The refusal of a method that has used up its time."""
        self.n_over_time += 1
        return RestError("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")
