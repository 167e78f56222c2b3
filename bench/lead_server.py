"""A CRM that has nothing but leads, made up by their number, so that a million of them cost it nothing.

    python bench/lead_server.py N [DELAY]      prints `READY http://127.0.0.1:<port>` and serves until it is stopped

Each lead has ten custom fields, two tags and a contact; all other lists are empty (204). Filters by `created_at`, by
`updated_at` and by page are those of the reference; leads are as old as their numbers say, four an hour. DELAY: seconds
that every answer waits for, without holding up the others.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvicorn

END = 1_795_000_000
FIRST_ID = 20_000_000
STEP_S = 900
FIELDS = 10
PIPELINE, STATUS, USER = 7_100_101, 60_200_002, 9_101_002
HAL = [(b"content-type", b"application/hal+json")]

Send = Callable[[dict[str, Any]], Awaitable[None]]


def lead(number: int, created_at: int) -> dict[str, Any]:
    values = [
        {
            "field_id": 780_100 + n,
            "field_name": f"Field {n}",
            "field_code": None,
            "field_type": "text",
            "values": [{"value": f"value {n} of {number}"}],
        }
        for n in range(FIELDS)
    ]
    return {
        "id": number,
        "name": f"Lead {number}",
        "price": number % 100_000,
        "responsible_user_id": USER,
        "group_id": 0,
        "status_id": STATUS,
        "pipeline_id": PIPELINE,
        "loss_reason_id": None,
        "source_id": None,
        "created_by": 0,
        "updated_by": USER,
        "created_at": created_at,
        "updated_at": created_at,
        "closed_at": None,
        "closest_task_at": None,
        "is_deleted": False,
        "custom_fields_values": values,
        "score": None,
        "account_id": 31_004_410,
        "_embedded": {
            "tags": [{"id": 1, "name": "site", "color": None}, {"id": 2, "name": "repeat", "color": None}],
            "companies": [],
            "contacts": [{"id": number + 5_000_000, "is_main": True}],
            "loss_reason": [],
        },
    }


class LeadServer:
    """The ASGI app. n: how many leads there are; the last was made at `END`."""

    def __init__(self, n: int, delay: float) -> None:
        self.n, self.delay = n, delay
        self.first_at = END - n * STEP_S

    async def __call__(self, scope: dict[str, Any], _receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        await asyncio.sleep(self.delay)
        body = self.answer(scope["path"], parse_qs(scope["query_string"].decode()))
        status = 204 if body is None else 200
        await send({"type": "http.response.start", "status": status, "headers": HAL})
        await send({"type": "http.response.body", "body": body or b""})

    def answer(self, path: str, query: dict[str, list[str]]) -> bytes | None:
        if path == "/api/v4/account":
            return orjson.dumps(self.account())
        if path == "/api/v4/leads/pipelines":
            return orjson.dumps(PIPELINES)
        if path == "/api/v4/leads" and "only_deleted" not in query.get("with", [""])[0]:
            return self.leads(query)
        return None

    def account(self) -> dict[str, Any]:
        return {
            "id": 31_004_410,
            "name": "Leads",
            "current_user_id": USER,
            "country": "RU",
            "currency": "RUB",
            "created_at": self.first_at,
            "updated_at": END,
            "customers_mode": "disabled",
            "is_api_filter_enabled": True,
            "_embedded": {"datetime_settings": {"timezone": "Europe/Moscow"}},
        }

    def leads(self, query: dict[str, list[str]]) -> bytes | None:
        def bound(side: str, default: int) -> int:
            found = query.get(f"filter[created_at][{side}]") or query.get(f"filter[updated_at][{side}]")
            return int(found[0]) if found else default

        low = max(0, -(-(bound("from", 0) - self.first_at) // STEP_S))
        high = min(self.n, (bound("to", END) - self.first_at) // STEP_S + 1)
        limit, page = int(query["limit"][0]), int(query["page"][0])
        begin, end = low + (page - 1) * limit, min(high, low + page * limit)
        if begin >= end:
            return None
        leads = [lead(FIRST_ID + n, self.first_at + n * STEP_S) for n in range(begin, end)]
        links = {"next": {"href": f"/api/v4/leads?page={page + 1}&limit={limit}"}} if end < high else {}
        return orjson.dumps({"_page": page, "_links": links, "_embedded": {"leads": leads}})


PIPELINES = {
    "_total_items": 1,
    "_embedded": {
        "pipelines": [
            {
                "id": PIPELINE,
                "name": "Sales",
                "sort": 1,
                "_embedded": {
                    "statuses": [
                        {"id": STATUS, "name": "New", "sort": 20, "pipeline_id": PIPELINE, "type": 0},
                        {"id": 142, "name": "Won", "sort": 10_000, "pipeline_id": PIPELINE, "type": 0},
                        {"id": 143, "name": "Lost", "sort": 11_000, "pipeline_id": PIPELINE, "type": 0},
                    ]
                },
            }
        ]
    },
}


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"READY http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    app: Any = LeadServer(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
