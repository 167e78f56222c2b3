"""A Bitrix24 to read from: serves the demo company over REST as `bitrix24.md` describes it.

    python -m demo.bitrix24 --port 0 --scale 1 --as-of 2026-11-21T00:00:00+03:00 --key-out key.json

The incoming webhook is `/rest/1/demo-secret/`; applications get their tokens at `/oauth/token/`. Beside the API there
is `/_emu/…` for tests: `log` (what was asked), `fault` (let something go wrong), `clock`, `mutate` (change the portal),
`script` (change it when a method is called), `switches`, `oauth/code`, `reset`. The portal's clock stands still at the
company's as_of unless `clock_runs`. Nothing on the portal can be written to but through `/_emu`.
`/crm/deal/details/1/` and its like are pages for people who follow a link of the dashboard.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo.bitrix24_doors import Doors
from demo.bitrix24_key import answer_key
from demo.bitrix24_pages import CardPages, missing_page
from demo.bitrix24_portal import Portal
from demo.bitrix24_server import Server
from demo.bitrix24_switches import Switches
from demo.gate import arguments, company_of, serve

__all__ = ["Switches", "create_app", "main"]

SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


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
    doors, pages = Doors(server), CardPages(server.portal)

    async def card(request: Request) -> Response:
        """A card as a page; names in it are escaped, and nothing in it may run."""
        found = pages.card(request.path_params["entity"], request.path_params["number"])
        return server.html(404 if found is None else 200, found or missing_page(), SAFE)

    app = Starlette(
        routes=[
            Route("/oauth/token/", server.token, methods=["GET", "POST"]),
            Route("/_emu/log", doors.log, methods=["GET", "DELETE"]),
            Route("/_emu/fault", doors.fault, methods=["POST", "DELETE"]),
            Route("/_emu/script", doors.script, methods=["POST", "DELETE"]),
            Route("/_emu/clock", doors.clock, methods=["GET", "POST"]),
            Route("/_emu/mutate", doors.mutate, methods=["POST"]),
            Route("/_emu/switches", doors.switches, methods=["GET", "POST"]),
            Route("/_emu/oauth/code", doors.code, methods=["POST"]),
            Route("/_emu/reset", doors.reset, methods=["POST"]),
            Route("/rest/{path:path}", server.rest, methods=["GET", "POST"]),
            Route("/crm/{entity}/details/{number:int}/", card),
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
