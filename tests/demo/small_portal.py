"""A portal of a few hand-made rows, and a client that asks the emulated server about it."""

from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from starlette.testclient import TestClient

from demo.bitrix24 import Switches, create_app
from demo.bitrix24_table import Table, named_by
from demo.bitrix24_values import Day, Instant, Never

NOW = 1_787_219_542
"""2026-08-20T12:52:22+03:00"""
MINUTE, DAY = 60, 86_400


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def deal(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "ID": number, "TITLE": f"Deal {number}", "CATEGORY_ID": 0, "STAGE_ID": "NEW", "STAGE_SEMANTIC_ID": "P",
        "IS_RECURRING": False, "OPPORTUNITY": Decimal("19999.99"), "CURRENCY_ID": "RUB", "LEAD_ID": None,
        "COMPANY_ID": 9, "CONTACT_ID": 84, "CONTACT_IDS": [84, 91], "OBSERVERS": [], "OPENED": True, "CLOSED": False,
        "BEGINDATE": Day(date(2026, 8, 1)), "CLOSEDATE": Day(date(2026, 9, 9)), "ASSIGNED_BY_ID": 5,
        "CREATED_BY_ID": 1, "MODIFY_BY_ID": 5, "MOVED_BY_ID": 5, "DATE_CREATE": Instant(NOW - DAY * 10 + number),
        "DATE_MODIFY": Instant(NOW - DAY + number * MINUTE), "MOVED_TIME": Instant(NOW - DAY), "SOURCE_ID": "WEB",
        "UTM_SOURCE": None, "UF_CRM_LOSS_REASON": 3157, "UF_CRM_1721244482250": [], "UF_CRM_IS_VIP": True,
    } | fields  # fmt: skip


def lead(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "ID": number, "TITLE": f"Lead {number}", "STATUS_ID": "NEW", "STATUS_SEMANTIC_ID": "P", "COMPANY_ID": None,
        "CONTACT_ID": None, "CONTACT_IDS": [], "DATE_CREATE": Instant(NOW), "DATE_MODIFY": Instant(NOW),
        "DATE_CLOSED": None, "OPPORTUNITY": Decimal(0), "ASSIGNED_BY_ID": 5, "CREATED_BY_ID": 1,
    } | fields  # fmt: skip


def phone(number: int, value: str) -> dict[str, Any]:
    return {"ID": number, "VALUE_TYPE": "WORK", "VALUE": value, "TYPE_ID": "PHONE"}


def contact(number: int, *phones: str) -> dict[str, Any]:
    return {
        "ID": number, "NAME": f"Contact {number}", "LAST_NAME": None, "BIRTHDATE": None, "DATE_MODIFY": Instant(NOW),
        "ASSIGNED_BY_ID": 5, "DATE_CREATE": Instant(NOW), "COMPANY_ID": None,
        "PHONE": [phone(10 * number + place, value) for place, value in enumerate(phones)], "EMAIL": [],
    }  # fmt: skip


def activity(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "ID": number, "OWNER_ID": 101, "OWNER_TYPE_ID": 2, "TYPE_ID": 2, "PROVIDER_ID": "VOXIMPLANT_CALL",
        "SUBJECT": "Call", "CREATED": Instant(NOW), "LAST_UPDATED": Instant(NOW + number),
        "START_TIME": Instant(NOW - number), "DEADLINE": Never, "COMPLETED": False, "STATUS": 1, "RESPONSIBLE_ID": 5,
        "SETTINGS": {}, "PROVIDER_PARAMS": {}, "COMMUNICATIONS": [{"VALUE": "+79990000000"}],
        "BINDINGS": [{"OWNER_TYPE_ID": 2, "OWNER_ID": 101}, {"OWNER_TYPE_ID": 3, "OWNER_ID": 84}],
    } | fields  # fmt: skip


def call(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "ID": number, "PORTAL_USER_ID": 5, "PHONE_NUMBER": "79060000000", "CALL_ID": f"externalCall.{number}",
        "CALL_DURATION": 95, "CALL_START_DATE": Instant(NOW + number), "CALL_FAILED_CODE": "603-S",
        "COST": Decimal("0.0000"), "COST_CURRENCY": "RUR", "CALL_TYPE": 2, "CRM_ACTIVITY_ID": 20,
        "RECORD_FILE_ID": 9079, "CALL_RECORD_URL": None,
    } | fields  # fmt: skip


def task(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "ID": number, "TITLE": "Call back", "STATUS": 3, "SUB_STATUS": -1, "PRIORITY": 2, "GROUP_ID": 0,
        "CREATED_DATE": Instant(NOW), "CHANGED_DATE": Instant(NOW + number), "CLOSED_DATE": None,
        "DEADLINE": Instant(NOW + DAY), "RESPONSIBLE_ID": 5, "CREATED_BY": 1, "AUDITORS": [13], "ACCOMPLICES": [],
        "UF_CRM_TASK": [],
    } | fields  # fmt: skip


def move(number: int, owner: int, **fields: Any) -> dict[str, Any]:
    return {"ID": number, "TYPE_ID": 1, "OWNER_ID": owner, "CREATED_TIME": Instant(NOW + number), "CATEGORY_ID": 0,
            "STAGE_SEMANTIC_ID": "P", "STAGE_ID": "NEW"} | fields  # fmt: skip


def user(number: int, **fields: Any) -> dict[str, Any]:
    return {"ID": number, "ACTIVE": True, "NAME": "Ivan", "LAST_NAME": "Petrov", "SECOND_NAME": None, "EMAIL": "i@x.ru",
            "IS_ONLINE": False, "UF_DEPARTMENT": [1, 14], "WORK_PHONE": None, "IS_ADMIN": True} | fields  # fmt: skip


def status(number: int, entity: str, code: str, semantics: str | None = None) -> dict[str, Any]:
    return {"ID": number, "ENTITY_ID": entity, "STATUS_ID": code, "NAME": code.capitalize(), "NAME_INIT": "",
            "SORT": number, "SYSTEM": True, "CATEGORY_ID": 0, "COLOR": "", "SEMANTICS": semantics}  # fmt: skip


REASONS = {
    "ID": 6799, "ENTITY_ID": "CRM_DEAL", "FIELD_NAME": "UF_CRM_LOSS_REASON", "USER_TYPE_ID": "enumeration",
    "MULTIPLE": False, "MANDATORY": False, "SORT": 150, "SETTINGS": {}, "EDIT_FORM_LABEL": "Loss reason",
    "LIST": [{"ID": 3157, "SORT": 10, "VALUE": "Too expensive", "DEF": False, "XML_ID": "x"}],
}  # fmt: skip


def field(number: int, name: str, kind: str, *, multiple: bool = False) -> dict[str, Any]:
    return REASONS | {"ID": number, "FIELD_NAME": name, "USER_TYPE_ID": kind, "MULTIPLE": multiple, "LIST": []}


class SmallPortal:
    """Tables of a few rows each; `rows` replaces any of them."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]], switches: Switches) -> None:
        self.now, self.user, self.switches = NOW, 5, switches
        self.events: list[tuple[str, int, int, int]] = []
        stamps = {"deal": "DATE_MODIFY", "lead": "DATE_MODIFY", "contact": "DATE_MODIFY", "company": "DATE_MODIFY",
                  "activity": "LAST_UPDATED", "task": "CHANGED_DATE", "call": "CALL_START_DATE",
                  "stagehistory:1": "CREATED_TIME", "stagehistory:2": "CREATED_TIME"}  # fmt: skip
        owners = {"productrow": named_by("OWNER_TYPE", "OWNER_ID"), "comment": named_by("ENTITY_TYPE", "ENTITY_ID"),
                  "payment": named_by("ENTITY_TYPE_ID", "ENTITY_ID"),
                  "session": lambda row: [("CONTACT", row["CONTACT_ID"]), ("DEAL", row["DEAL_ID"])]}  # fmt: skip
        self.tables = {
            name: Table.of(found, stamp=stamps.get(name, ""), owners=owners.get(name))
            for name, found in {**usual(), **rows}.items()
        }

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)


def usual() -> dict[str, list[dict[str, Any]]]:
    return {
        "deal": [deal(number) for number in range(101, 221)],
        "lead": [lead(7)],
        "contact": [contact(84, "+79990000001", "+79990000002"), contact(91)],
        "company": [],
        "stagehistory:1": [],
        "stagehistory:2": [move(number, 100 + number) for number in range(1, 121)],
        "activity": [activity(number) for number in range(1, 121)],
        "call": [call(number) for number in range(1, 121)],
        "task": [task(number) for number in range(1, 121)],
        "user": [user(5), user(6, ACTIVE=False, SECOND_NAME="I.")],
        "department": [{"ID": number, "NAME": f"D{number}", "SORT": 500, "PARENT": 1, "UF_HEAD": None}
                       for number in range(1, 121)],
        "status": [status(1, "DEAL_STAGE", "NEW"), status(2, "DEAL_STAGE", "LOSE", "F"), status(3, "SOURCE", "WEB")],
        "category:2": [{"ID": 0, "NAME": "General", "SORT": 100, "IS_DEFAULT": True}],
        "currency": [{"ID": n, "CURRENCY": code, "AMOUNT_CNT": 1, "AMOUNT": Decimal("1.0000"), "BASE": n == 1}
                     for n, code in enumerate(("RUB", "USD", "EUR", "KZT"), 1)],
        "type": [{"ID": 37, "TITLE": "Fitting", "ENTITY_TYPE_ID": 1256, "IS_STAGES_ENABLED": True}],
        "item:1256": [],
        "userfield:deal": [REASONS, field(6800, "UF_CRM_1721244482250", "enumeration", multiple=True),
                           field(6801, "UF_CRM_IS_VIP", "boolean")],
        "productrow": [{"ID": n, "OWNER_ID": 101, "OWNER_TYPE": "D", "PRODUCT_ID": 450, "PRICE": Decimal("899.10"),
                        "QUANTITY": Decimal(3)} for n in (5, 6)],
        "payment": [{"ID": 1036, "ENTITY_TYPE_ID": 31, "ENTITY_ID": 3, "ACCOUNT_NUMBER": "3/1", "PAID": True,
                     "DATE_PAID": Instant(NOW), "SUM": Decimal(500), "CURRENCY": "RUB", "PAY_SYSTEM_NAME": "bank"}],
        "comment": [{"ID": n, "ENTITY_ID": 101, "ENTITY_TYPE": "deal", "CREATED": Instant(NOW), "COMMENT": "?",
                     "AUTHOR_ID": 5, "FILES": {}} for n in range(1, 61)],
        "session": [{"ID": 321, "CHAT_ID": 1763, "CONNECTOR_ID": "livechat", "CONTACT_ID": 84, "DEAL_ID": 101,
                     "USERS": [{"ID": 5, "NAME": "Ivan"}],
                     "MESSAGES": [{"ID": 1, "SENDERID": 0, "DATE": Instant(NOW), "TEXT": "begun"},
                                  {"ID": 2, "SENDERID": 5, "DATE": Instant(NOW + 5), "TEXT": "hello"}]}],
        "product": [{"ID": 1, "IBLOCK_ID": 24, "NAME": "Door", "PRICE": Decimal(10)}],
    }  # fmt: skip


class Bitrix:
    """Asks the emulated portal as an integration would."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]] | None = None, **switches: Any) -> None:
        self.clock = Clock()
        app = create_app(rows or {}, Switches(**switches), timer=self.clock, portal=SmallPortal)
        self.server, self.http = app.state.server, TestClient(app, follow_redirects=False)
        self.portal = self.server.portal

    def ask(self, method: str, *, path: str = "/rest/1/demo-secret", **params: Any) -> Any:
        """The whole answer of the front end."""
        return self.http.post(f"{path}/{method}", json=params)

    def call(self, method: str, **params: Any) -> Any:
        """The body of an answer that succeeded."""
        answer = self.ask(method, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def result(self, method: str, **params: Any) -> Any:
        return self.call(method, **params)["result"]

    def error(self, method: str, **params: Any) -> tuple[int, Any]:
        """Status and code of a refusal."""
        answer = self.ask(method, **params)
        assert "result" not in answer.json()
        return answer.status_code, answer.json()["error"]

    def batch(self, commands: Any, **more: Any) -> Any:
        return self.result("batch", cmd=commands, **more)

    def switch(self, **changes: Any) -> None:
        self.server.switch(**changes)


def command(method: str, **params: Any) -> str:
    """A command with its values encoded once."""
    return f"{method}?{urlencode(params)}"


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row.get("ID", row.get("id", 0))) for row in rows]
