"""How neutral rows of the portal are written: the old dialect, that of universal methods, that of tasks.

Old: UPPER_CASE keys, text for numbers. Universal: camelCase keys, numbers. Tasks: camelCase keys, text, dates in the
user's zone. Datetimes carry the offset of the portal's server (`bitrix24.md`, 3.2).
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from demo.bitrix24_switches import Switches
from demo.bitrix24_values import Day, File, Instant, Never, Row

Json = dict[str, Any]
Write = Callable[[Any], Any]

MULTI_FIELDS = ("PHONE", "EMAIL", "WEB", "IM", "LINK")
ITEM_ONLY = ("CONTACT_IDS", "OBSERVERS")
"""What rows hold that the old lists do not give."""

DATETIMES = {
    "DATE_CREATE", "DATE_MODIFY", "MOVED_TIME", "LAST_ACTIVITY_TIME", "LAST_COMMUNICATION_TIME", "DATE_CLOSED",
    "BEGINDATE", "CLOSEDATE", "BIRTHDATE", "DATE_REGISTER", "PERSONAL_BIRTHDAY", "LAST_LOGIN", "CREATED",
    "LAST_UPDATED", "START_TIME", "END_TIME", "DEADLINE",
}  # fmt: skip
"""Fields whose emptiness is `""` in the old dialect."""

ITEM_NAMES = {
    "DATE_CREATE": "createdTime",
    "DATE_MODIFY": "updatedTime",
    "CREATED_BY_ID": "createdBy",
    "MODIFY_BY_ID": "updatedBy",
    "MOVED_BY_ID": "movedBy",
    "STATUS_ID": "stageId",
    "STATUS_SEMANTIC_ID": "stageSemanticId",
    "COMPANY_TYPE": "typeId",
}
SWITCHED_OFF = ("isWon", "isLose", "lostAmount", "hasProducts", "isConvert", "dateCreateShort")
"""Fields of universal methods that are always null."""


@cache
def item_name(name: str) -> str:
    """The name in universal methods (3.3, 4.3)."""
    if name in ITEM_NAMES:
        return ITEM_NAMES[name]
    if found := re.fullmatch(r"UF_CRM_(?:(\d+)_)?(\w+)", name):
        number, rest = found[1] or "", found[2]
        tail = _pascal(rest) if re.fullmatch(r"[A-Z_]+", rest) else f"_{rest}"
        return f"ufCrm{number}{tail}"
    return camel(name)


def camel(name: str) -> str:
    """`ASSIGNED_BY_ID` → `assignedById`."""
    pascal = _pascal(name)
    return pascal[:1].lower() + pascal[1:]


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def php_object(value: Json) -> Any:
    """An object that is `[]` while it holds nothing."""
    return value or []


class Wire:
    """Writes values as one portal does. `now` tells the time; some dates depend on it."""

    def __init__(self, switches: Switches, now: Callable[[], int]) -> None:
        self.switches, self._now = switches, now
        self.asked_at = self.asked_with = ""
        """Where the request under way came to, webhook included, and the token it had: addresses of files hold both."""
        self.zone, self._user_zone = ZoneInfo(switches.server_zone), ZoneInfo(switches.user_zone)
        common: dict[type, Write] = {Instant: self.instant, Day: self.day, type(Never): self._never}
        self._old: dict[type, Write] = {
            **common, bool: _letter, int: str, Decimal: _money, list: self._old_list, dict: self._old_object,
            File: self._old_file,
        }  # fmt: skip
        self._item: dict[type, Write] = {**common, bool: _letter, Decimal: _number, list: self._item_list,
                                         dict: self._item_object, File: self._item_file}  # fmt: skip
        self._native: dict[type, Write] = {**common, Decimal: _number, list: self._native_list, dict: php_object}
        self._task: dict[type, Write] = {
            Instant: self._user_instant, Day: self.day, bool: _letter, int: str, list: self._old_list, dict: php_object,
        }  # fmt: skip

    # --- dates

    def instant(self, at: int) -> str:
        return _written(at, self.zone)

    def day(self, value: Day) -> str:
        """Local midnight plus today's offset, with the offset of that date: about midnight UTC."""
        midnight = datetime(value.day.year, value.day.month, value.day.day, tzinfo=self.zone)
        today = datetime.fromtimestamp(self._now(), self.zone).utcoffset() or timedelta()
        return (midnight.astimezone(UTC) + today).astimezone(self.zone).isoformat(timespec="seconds")

    def _never(self, _: Any) -> str:
        offset = self.instant(self._now())[-6:]
        return f"9999-12-31T00:00:00{offset}"

    def _user_instant(self, at: int) -> str:
        return _written(at, _zone_at(self._now(), self._user_zone))

    # --- rows

    def old(self, row: Row, names: Iterable[str], native: Collection[str] = ()) -> Json:
        """The named fields in the old dialect, `native` as JSON has them; multi-fields that hold nothing are absent."""
        write = self._old
        found: Json = {}
        for name in names:
            value = row[name]
            kind = type(value)
            if kind is str:
                found[name] = value
            elif name in native:
                found[name] = self._native.get(kind, _same)(value)
            elif kind is int:
                found[name] = str(value)
            elif value is None:
                found[name] = self._nothing(name)
            elif kind is list and name in MULTI_FIELDS:
                if value:
                    found[name] = [self.old(one, one) for one in value]
            elif name.startswith("UF_"):
                found[name] = self._old_user_value(value)
            else:
                found[name] = write[kind](value) if kind in write else value
        return found

    def _nothing(self, name: str) -> Any:
        return "" if name in DATETIMES else None

    def _old_user_value(self, value: Any) -> Any:
        if isinstance(value, bool):
            return "1" if value else "0"
        if value == []:
            return {"false": False, "null": None, "text": "", "list": []}[self.switches.empty_multiple]
        return self._old.get(type(value), _same)(value)

    def item(self, row: Row, names: Iterable[str]) -> Json:
        """The named fields in the dialect of universal methods."""
        write = self._item
        found: Json = {}
        for name in names:
            value = row[name]
            kind = type(value)
            found[item_name(name)] = write[kind](value) if kind in write else value
        return found

    def multi_fields(self, row: Row) -> list[Json]:
        """`fm`: all phones, mails and the like of a card."""
        return [self._item_object(one) for name in MULTI_FIELDS for one in row.get(name) or ()]

    def native(self, row: Row, names: Iterable[str] | None = None) -> Json:
        """UPPER_CASE keys, but numbers and booleans as JSON has them."""
        write = self._native
        return {
            name: write[type(row[name])](row[name]) if type(row[name]) in write else row[name]
            for name in (row if names is None else names)
        }

    def task(self, row: Row, names: Iterable[str]) -> Json:
        """The named fields in the dialect of tasks v2."""
        write = self._task
        return {camel(name): write.get(type(row[name]), _same)(row[name]) for name in names}

    def values(self, value: Any) -> Any:
        """A single value in the dialect of universal methods."""
        return self._item.get(type(value), _same)(value)

    # --- files

    def _old_file(self, file: File) -> Json:
        page = "/bitrix/components/bitrix/crm.deal.show/show_file.php"
        query = f"auth={self.asked_with}&ownerId={file.number}&dynamic=Y&fileId={file.number}"
        return {"id": file.number, "showUrl": f"{page}?{query}", "downloadUrl": f"{page}?{query}&download=Y"}

    def _item_file(self, file: File) -> Json:
        action = "crm.controller.item.getFile"
        token = f"token=crm%7C{file.number:032x}%7CNGYz+/{file.number}"
        auth = f"auth={self.asked_with}&" if self.asked_with else ""
        return {
            "id": file.number,
            "url": f"/bitrix/services/main/ajax.php?action={action}&id={file.number}",
            "urlMachine": f"{self.asked_at}/{action}/?{auth}{token}",
        }

    # --- what is inside values

    def _old_list(self, value: list[Any]) -> list[Any]:
        return [self._old.get(type(one), _same)(one) for one in value]

    def _old_object(self, value: Json) -> Any:
        """Settings and the like come as they were kept."""
        return php_object({key: self._native.get(type(inner), _same)(inner) for key, inner in value.items()})

    def _item_list(self, value: list[Any]) -> list[Any]:
        return [self._item.get(type(one), _same)(one) for one in value]

    def _item_object(self, value: Mapping[str, Any]) -> Json:
        return {camel(key): self._item.get(type(inner), _same)(inner) for key, inner in value.items()}

    def _native_list(self, value: list[Any]) -> list[Any]:
        return [self._native.get(type(one), _same)(one) for one in value]


def _same(value: Any) -> Any:
    return value


@lru_cache(4096)  # a row says the same instant several times, and so do its neighbours
def _written(at: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


@lru_cache
def _zone_at(now: int, zone: tzinfo) -> tzinfo:
    """The offset that a zone has at an instant, for all of time."""
    return timezone(datetime.fromtimestamp(now, zone).utcoffset() or timedelta())


def _letter(value: bool) -> str:
    return "Y" if value else "N"


def _money(value: Decimal) -> str:
    return f"{value:.2f}" if value.as_tuple().exponent > -3 else str(value)  # type: ignore[operator]


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
