"""What the methods of the emulated CRM share: names of types, rows in the old dialect, rights (`bitrix24.md`, 4)."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from demo import bitrix24_php as php
from demo.bitrix24_calls import Call, Json, Page
from demo.bitrix24_errors import RestError, invalid_argument
from demo.bitrix24_filters import Query
from demo.bitrix24_values import Row
from demo.bitrix24_wire import ITEM_ONLY, MULTI_FIELDS

LEAD, DEAL, CONTACT, COMPANY, OLD_INVOICE, QUOTE = 1, 2, 3, 4, 5, 7
CARDS = {"lead": LEAD, "deal": DEAL, "contact": CONTACT, "company": COMPANY}
NAMES = {number: name for name, number in CARDS.items()}
ABBREVIATIONS = {LEAD: "L", DEAL: "D", CONTACT: "C", COMPANY: "CO", QUOTE: "Q", 31: "SI"}


def table_name(entity_type: int) -> str:
    return NAMES.get(entity_type, f"item:{entity_type}")


def user_fields(call: Call, entity_type: int) -> list[Row]:
    return call.rows(f"userfield:{table_name(entity_type)}")


def old_filter(call: Call, name: str = "filter") -> Any:
    """The filter of an old method.

    Raises:
        RestError: if it is no array.
    """
    wanted = call.param(name, {})
    if not isinstance(wanted, dict | list):
        raise RestError("", f"Parameter '{name}' must be array.")
    return wanted


def filters_by(wanted: Any, name: str) -> bool:
    """Whether an old filter asks for a field by equality."""
    return any(key.lstrip("=@") == name for key, _ in php.items(wanted))


def array_of(call: Call, name: str) -> Any:
    """An array of a universal method.

    Raises:
        RestError: if it is none.
    """
    wanted = call.param(name) or {}
    if not isinstance(wanted, dict | list):
        raise invalid_argument(f"Invalid value of parameter '{name}'")
    return wanted


def hidden(call: Call, entity_type: int) -> list[Callable[[Row], bool]]:
    """Tests that rows must pass for the caller to see them."""
    lost = set(call.switches.hidden_categories)
    return [lambda row: row.get("CATEGORY_ID") not in lost] if lost and entity_type == DEAL else []


def shuffled(call: Call, query: Query) -> None:
    """An order nobody asked for is nobody's business."""
    if not query.order and call.switches.shuffle_without_order:
        query.shuffle = call.engine.chance


def present(call: Call, source: str, ids: Iterable[int]) -> Iterable[Row]:
    """The rows with those ids that are (still) there."""
    table = call.table(source)
    return (row for number in ids if table and (row := table.get(number)) is not None)


def one(call: Call, source: str, number: int, *, missing: RestError | None = None) -> Row:
    """The row with that id.

    Raises:
        RestError: as old methods refuse, or `missing`.
    """
    if number <= 0 and missing is None:
        raise RestError("", "ID is not defined or invalid.")
    table = call.table(source)
    row = table.get(number) if table else None
    if row is None or not all(test(row) for test in hidden(call, CARDS.get(source, 0))):
        raise missing or RestError("", "Not found")
    return row


def owned(call: Call, source: str, *owner: Any) -> list[Row]:
    """Rows that belong to one owner, by id."""
    table = call.table(source)
    return list(present(call, source, table.owned_by(*owner))) if table else []


def old_rows(call: Call, source: str, page: Page, select: list[str]) -> list[Json]:
    """Rows in the old dialect. Doubles of a join stay, but where rows are keyed by their id."""
    is_keyed = not select or "*" in select or any(name in MULTI_FIELDS for name in select)
    ids: Iterable[int] = dict.fromkeys(page.ids) if is_keyed else page.ids
    if select and set(select) <= {"ID"}:
        return [{"ID": str(number)} for number in ids]
    chosen = cache(lambda names: _selected(names, select))  # rows of a list nearly always have the same names
    return [call.wire.old(row, chosen(tuple(row))) for row in present(call, source, ids)]


def _selected(names: tuple[str, ...], select: list[str]) -> list[str]:
    """Names of the fields asked for; unknown ones are passed over, the id is always given."""
    every, own, users = not select, "*" in select, "UF_*" in select
    if not (every or own or users):
        return [name for name in dict.fromkeys(("ID", *select)) if name in names and name not in ITEM_ONLY]
    asked = set(select)
    return [
        name
        for name in names
        if name in asked or name == "ID" or _is_masked(name, every or own, every or users)
        if name not in ITEM_ONLY
    ]


def _is_masked(name: str, own: bool, users: bool) -> bool:
    if name in MULTI_FIELDS or name in {"COMMUNICATIONS", "FILES", "BINDINGS"}:
        return False
    return users if name.startswith("UF_") else own
