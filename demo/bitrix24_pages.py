"""The cards of the demo Bitrix24 as pages, so that links of the dashboard lead somewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

from demo.bitrix24_rows import ABBREVIATIONS, CARDS, COMPANY, CONTACT, DEAL, LEAD
from demo.bitrix24_values import Row
from demo.pages import Line, block, missing, moment, page

CRM = "Bitrix24"
WORDS = {LEAD: "Лид", DEAL: "Сделка", CONTACT: "Контакт", COMPANY: "Компания"}
TYPES = {number: name for name, number in CARDS.items()}
MOST_ROWS = 10
Owned = dict[tuple[int, int], list[int]]


class CardPages:
    """Pages of one portal; what hangs on which card is looked up once, as long as nothing changes."""

    def __init__(self, portal: Any) -> None:
        self._portal = portal
        self._owned: dict[str, tuple[int, Owned]] = {}

    def card(self, entity: str, number: int) -> str | None:
        """The page of a lead, deal, contact or company; None where there is no such card, or no more."""
        entity_type = CARDS.get(entity, 0)
        row = self._row(entity, number) if entity_type else None
        if row is None:
            return None
        blocks = [
            block("", self._facts(entity_type, row)),
            block("Связано", self._linked(row)),
            block("Открытые задачи", self._tasks(entity_type, number)),
            block("Последние события", self._activities(entity_type, number)),
        ]
        return page(f"{WORDS[entity_type]}: {_name(row)}", "".join(blocks), crm=CRM)

    def _row(self, table: str, number: int) -> Row | None:
        found = self._portal.table(table)
        row: Row | None = found.get(number) if found else None
        return row

    def _facts(self, entity_type: int, row: Row) -> Iterator[Line]:
        if entity_type in {LEAD, DEAL}:
            yield "Стадия", escape(self._status(row.get("STAGE_ID") or row.get("STATUS_ID")))
            amount = f"{row['OPPORTUNITY']:,.0f} ₽".replace(",", "\u00a0")
            yield "Сумма", amount if row["OPPORTUNITY"] else "не заполнена"
        else:
            for name, word in (("PHONE", "Телефоны"), ("EMAIL", "Почта")):
                yield word, escape(", ".join(one["VALUE"] for one in row.get(name) or ())) or "нет"
        owner = self._row("user", row["ASSIGNED_BY_ID"])
        left = " (больше не работает)" if owner and not owner["ACTIVE"] else ""
        yield "Ответственный", escape(f"{owner['NAME']} {owner['LAST_NAME']}" if owner else "не назначен") + left
        yield "Создано", moment(row["DATE_CREATE"])

    def _status(self, code: str | None) -> str:
        statuses = self._portal.table("status")
        rows = (statuses.get(number) for number in statuses.ids) if statuses else ()
        return next((row["NAME"] for row in rows if row["STATUS_ID"] == code), "—")

    def _linked(self, row: Row) -> Iterator[Line]:
        """Links to the other cards of the same client."""
        places = [("lead", row.get("LEAD_ID")), *(("contact", number) for number in row.get("CONTACT_IDS") or ())]
        for entity, number in [*places, ("company", row.get("COMPANY_ID"))][:MOST_ROWS]:
            other = self._row(entity, number) if number else None
            if other:
                link = f'<a href="/crm/{entity}/details/{number}/">{escape(_name(other))}</a>'
                yield WORDS[CARDS[entity]], link

    def _tasks(self, entity_type: int, number: int) -> Iterator[Line]:
        for task in self._hanging("task", (entity_type, number)):
            if not task["CLOSED_DATE"]:
                yield f"до {moment(task['DEADLINE'])}" if task["DEADLINE"] else "без срока", escape(task["TITLE"])

    def _activities(self, entity_type: int, number: int) -> Iterator[Line]:
        found = sorted(self._hanging("activity", (entity_type, number)), key=lambda row: -row["START_TIME"])
        for row in found[:MOST_ROWS]:
            yield moment(row["START_TIME"]), escape(row["SUBJECT"] or "")

    def _hanging(self, source: str, owner: tuple[int, int]) -> list[Row]:
        table = self._portal.table(source)
        if table is None:
            return []
        if self._owned.get(source, (-1, {}))[0] != table.version:
            self._owned[source] = (table.version, _by_owner(table))
        return [table.get(number) for number in self._owned[source][1].get(owner, ())]


def missing_page() -> str:
    return missing(crm=CRM)


def _name(row: Row) -> str:
    name = row.get("TITLE") or " ".join(filter(None, (row.get("NAME"), row.get("LAST_NAME"))))
    return name or f"без названия, №\u00a0{row['ID']}"


def _by_owner(table: Any) -> Owned:
    """Ids of activities or tasks by the cards they hang on."""
    types = {abbreviation: number for number, abbreviation in ABBREVIATIONS.items()}
    found: Owned = {}
    for number in table.ids:
        row = table.get(number)
        owners = [(one["OWNER_TYPE_ID"], one["OWNER_ID"]) for one in row.get("BINDINGS") or ()]
        for code in row.get("UF_CRM_TASK") or ():
            kind, _, card = code.partition("_")
            owners.append((types.get(kind, 0), int(card)))
        for owner in owners:
            found.setdefault(owner, []).append(number)
    return found
