"""The emulated Bitrix24 as a source of the suite."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
from bitrix_demo import Portal

from demo.bitrix24_setup import SEMANTICS
from demo.company import Company, build
from sources import Sight
from sync import SyncAccount

Json = dict[str, Any]
Rows = list[Json]
HOUR = timedelta(hours=1)
PLACE = re.compile(r'">(ID|id)":"?[0-9]+"?,?|,?"start":-?[0-9]+')
OF_EVERYBODY = ("profile", "scope", "server.time")
OF_WHO_SEES_ALL = ("crm.currency.list",)
OWNERS = ("assignedById", "RESPONSIBLE_ID", "responsibleId", "PORTAL_USER_ID")
REFUSAL = {"error": "ACCESS_DENIED", "error_description": "Access denied!"}


@cache
def larger() -> Company:
    """Of so many cards that those a later sync reads again anyway are few."""
    return build(scale=0.01)


class Source(Portal):
    sight: Sight = "whole"
    keys = frozenset({"id", "ID", "entityTypeId", "iblockId", "CURRENCY"})

    def __init__(self) -> None:
        super().__init__(larger())

    def as_account(self, **settings: Any) -> SyncAccount:
        weekly = {"sweep_every_days": 7}  # as for other sources: a second run a day later is not to sweep
        return super().as_account(**{"batching": "single", "commands_per_batch": 5, **weekly, **settings})

    def a_day(self) -> None:
        deals, contacts = self.ids("deal"), self.ids("contact")
        waiting = [number for number in deals if SEMANTICS[self.row("deal", number)["STAGE_ID"]] == "P"]
        task = next(number for number in self.ids("task") if self.row("task", number)["STATUS"] != 5)
        self.passes(HOUR)
        new = self.people("add", table="deal", fields={"CONTACT_IDS": [contacts[3]], "OPPORTUNITY": "5000"})["id"]
        self.passes(HOUR)
        self.people("move", table="deal", id=new, stage="WON")
        self.people("move", table="deal", id=waiting[0], stage="LOSE")
        self.people("update", table="deal", id=deals[1], fields={"OPPORTUNITY": "777"})
        self.people("delete", table="deal", id=deals[2])
        self.people("merge", table="contact", id=contacts[5], into=contacts[4])
        self.people("update", table="task", id=task, fields={"STATUS": 5})
        self.passes(HOUR)

    def quietly(self) -> str:
        number = self.ids("deal")[5]
        self.portal.table("deal").put({**self.row("deal", number), "OPPORTUNITY": "4321.00"})
        return f"deal:{number}"

    def walk_of(self, asked: str) -> str:
        return PLACE.sub("", asked)

    def objects(self, answer: Any) -> Rows:
        """Of a list that is asked for alone."""
        result = answer.get("result") if isinstance(answer, dict) else None
        if isinstance(result, dict) and "result_time" in result:
            return []
        return next(lists_in(result), [])

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await super()._answer(request)
        if self.sight == "whole":
            return answer
        body = json.loads(answer.content)
        method = request.url.path.rpartition("/")[2]
        if method == "profile":
            body["result"]["ADMIN"] = False
        elif method == "batch":
            self._cut_batch(body["result"], json.loads(request.content)["cmd"])
        elif self._is_refused(method):
            body = REFUSAL
        else:
            self._cut(body.get("result"))
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(403 if body is REFUSAL else 200, headers=headers, content=json.dumps(body))

    def _is_refused(self, method: str) -> bool:
        return method in OF_WHO_SEES_ALL or (self.sight == "nothing" and method not in OF_EVERYBODY)

    def _cut_batch(self, result: Json, commands: Json) -> None:
        for key, command in commands.items():
            if self._is_refused(command.partition("?")[0]):
                result["result"] = {name: one for name, one in dict(result["result"] or {}).items() if name != key}
                result["result_error"] = {**dict(result["result_error"] or {}), key: REFUSAL}
            elif key in result["result"]:
                self._cut(result["result"][key])

    def _cut(self, result: Any) -> None:
        """Leave one manager's own."""
        me = str(self.ids("user")[-1])
        for rows in lists_in(result):
            rows[:] = [row for row in rows if all(str(row.get(name, me)) == me for name in OWNERS)]


def lists_in(result: Any) -> Iterator[Rows]:
    """The rows of a result, which is a list or has one."""
    parts = result.values() if isinstance(result, dict) else [result]
    for part in parts:
        if isinstance(part, list) and part and all(isinstance(row, dict) for row in part):
            yield part
