"""The emulated amoCRM as a source of the suite."""

import json
from datetime import timedelta
from typing import Any

import httpx
from amo_demo import Crm, Json
from amo_fake import problem

from demo import office
from demo.office import OPEN_STAGES, WON
from sources import Sight
from sync import SyncAccount

ACCOUNT = "/api/v4/account"
HOUR = timedelta(hours=1)


class Source(Crm):
    sight: Sight = "whole"
    keys = frozenset({"id", "uid", "talk_id", "contact_id"})  # by the contact of a talk its chats are asked for

    def as_account(self, **settings: Any) -> SyncAccount:
        return super().as_account(page_size=20, events_page_size=50, **settings)

    def a_day(self) -> None:
        leads, contacts = self.account.leads.ids, self.account.contacts.ids
        living = [number for number in leads if not self.account.leads.get(number).deleted_at]
        open_leads = [number for number in living if self.account.leads.get(number).stage_id not in {142, 143}]
        waiting = next(n for n in self.account.tasks.ids if not self.account.tasks.get(n).completed_at)
        self.passes(HOUR)
        new = self.people("create", entity="leads", contact_ids=[contacts[3]], price=5_000)["id"]
        self.people("call", entity="contacts", id=contacts[3], phone=79_160_000_000, duration=40, uniq=900_001)
        self.passes(HOUR)
        self.people("move", id=new, stage_id=WON)
        self.people("move", id=open_leads[0], stage_id=OPEN_STAGES[office.SALES][2])
        self.people("edit", entity="leads", id=living[1], fields={"price": 777})
        self.people("delete", entity="leads", id=living[2])
        self.people("merge", entity="contacts", id=contacts[5], into_id=contacts[4])
        self.people("task", task_id=waiting, completed=True)
        self.passes(HOUR)

    def quietly(self) -> str:
        leads = self.account.leads
        number = [one for one in leads.ids if not leads.get(one).deleted_at][5]
        leads.put(leads.get(number)._replace(price=leads.get(number).price + 4_321))
        return f"lead:{number}"

    def walk_of(self, asked: httpx.URL) -> str:
        return str(asked.copy_remove_param("page"))

    def objects(self, answer: Any) -> list[Json]:
        if not (isinstance(answer, dict) and "_page" in answer):
            return []
        (items,) = answer["_embedded"].values()
        return items

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await super()._answer(request)
        path = request.url.path
        if self.sight == "whole" or path == ACCOUNT or not path.startswith("/api/"):
            return answer
        if self.sight == "nothing" or path.startswith("/api/v4/users"):
            return problem(403, title="Forbidden")
        return self._of_one_manager(answer)

    def _of_one_manager(self, answer: httpx.Response) -> httpx.Response:
        body = json.loads(answer.content) if answer.content else {}
        me = self.account.company.users[-1].id
        if body.get("responsible_user_id", me) != me:
            return httpx.Response(204, headers={"Date": answer.headers["Date"]})
        if items := self.objects(body):
            items[:] = [item for item in items if item.get("responsible_user_id", me) == me]
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, headers=headers, content=json.dumps(body) if body else b"")
