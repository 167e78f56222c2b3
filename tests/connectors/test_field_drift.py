"""Custom fields come, change their type and go: the next morning says so, nothing stops, and what was read stays."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from amo_demo import Crm, rows
from bitrix_demo import Portal
from demo_crm import tables_of

from demo.bitrix24_setup import LOSS_FIELD
from explorer import explore
from sync import publish_all
from sync.publication import PUBLICATION
from sync.remap import remap
from warehouse.status import RunStatus

DAY = timedelta(days=1)
Json = dict[str, Any]


class Amo(Crm):
    """number: a field of deals that holds numbers."""

    number = "field:780103"

    def __init__(self) -> None:
        super().__init__()
        self.definitions: Callable[[list[Json]], None] = lambda fields: None
        self.values: Callable[[Json], None] = lambda lead: None

    def adds(self) -> str:
        self.repaint = self._drifted
        self.definitions = lambda fields: fields.append({**fields[0], "id": 999, "type": "text", "name": "Новое"})
        self.values = lambda lead: lead.update(
            custom_fields_values=[*(lead["custom_fields_values"] or ()), self._value(999, "text", "да")]
        )
        return "field:999"

    def removes(self) -> None:
        self.repaint = self._drifted
        self.definitions = lambda fields: fields.remove(self._one(fields))
        self.values = lambda lead: lead.update(
            custom_fields_values=[one for one in lead["custom_fields_values"] or () if one["field_id"] != 780103]
        )

    def retypes(self) -> None:
        self.repaint = self._drifted
        self.definitions = lambda fields: self._one(fields).update(type="text")
        self.values = lambda lead: [
            one.update(field_type="text", values=[{"value": "много"}])
            for one in lead["custom_fields_values"] or ()
            if one["field_id"] == 780103
        ]

    def edits(self, deal_id: str) -> None:
        self.people("edit", entity="leads", id=int(deal_id.partition(":")[2]), fields={"price": 1})

    def _one(self, fields: list[Json]) -> Json:
        return next(one for one in fields if one["id"] == 780103)

    def _value(self, number: int, kind: str, value: Any) -> Json:
        return {"field_id": number, "field_name": "", "field_code": None, "field_type": kind,
                "values": [{"value": value}]}  # fmt: skip

    def _drifted(self, url: Any, body: Json) -> Json:
        embedded = body.get("_embedded") or {}
        if url.path.endswith("/leads/custom_fields"):
            self.definitions(embedded["custom_fields"])
        elif url.path.endswith("/leads"):
            for lead in embedded["leads"]:
                self.values(lead)
        return body


class Bitrix(Portal):
    number = "field:deal:UF_CRM_780103"

    def adds(self) -> str:
        fields = self.portal.table("userfield:deal")
        fields.put({**self._one(), "ID": 999, "FIELD_NAME": "UF_CRM_999", "USER_TYPE_ID": "string"})
        deals = self.portal.table("deal")
        for number in self.ids("deal"):
            deals.put({**deals.get(number), "UF_CRM_999": "да"})
        return "field:deal:UF_CRM_999"

    def removes(self) -> None:
        self.portal.table("userfield:deal").remove(self._one()["ID"])

    def retypes(self) -> None:
        self.portal.table("userfield:deal").put({**self._one(), "USER_TYPE_ID": "string"})

    def edits(self, deal_id: str) -> None:
        self.people("update", table="deal", id=int(deal_id.partition(":")[2]), fields={"OPPORTUNITY": "1"})

    def _one(self) -> Json:
        fields = self.portal.table("userfield:deal")
        return next(row for number in fields.ids if (row := fields.get(number))["FIELD_NAME"] == "UF_CRM_780103")


@pytest.fixture(params=[Amo, Bitrix])
def source(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def next_morning(source: Any, folder: Path) -> RunStatus:
    source.passes(DAY)
    done = source.synced(folder)
    assert done.is_well
    return done


def asked(folder: Path, query: str, source: Any) -> list[tuple[Any, ...]]:
    """The answer of `voronka sql` after a publish."""
    manifest = publish_all(folder, now=source.now)
    return explore(folder / PUBLICATION / manifest["generation"], query).rows()


def of_number(source: Any, folder: Path) -> list[tuple[Any, ...]]:
    return rows(
        folder,
        "SELECT entity_id, value_num, value_text FROM field_value "
        f"WHERE field_id = '{source.number}' AND entity_kind = 'deal' ORDER BY entity_id",
    )


def is_remade(source: Any, folder: Path) -> bool:
    before = tables_of(folder)
    list(remap(folder, [source.as_account()], now=lambda: source.now))
    return tables_of(folder) == before


def test_a_new_field_is_there_for_sql_the_next_morning(source: Any, folder: Path):
    source.synced(folder)
    new = source.adds()
    deal = rows(folder, "SELECT min(deal_id) FROM deal WHERE entity_kind = 'deal' AND deleted_at IS NULL")[0][0]
    source.edits(deal)
    next_morning(source, folder)
    query = f"SELECT type, (SELECT count(*) > 0 FROM field_value WHERE field_id = '{new}') FROM field_def"
    assert asked(folder, f"{query} WHERE field_id = '{new}'", source) == [("text", True)]


def test_a_field_that_goes_keeps_the_values_it_had(source: Any, folder: Path):
    source.synced(folder)
    before = of_number(source, folder)
    source.removes()
    for deal, *_ in before:
        source.edits(deal)  # so that it is read again without the field
    next_morning(source, folder)
    removed = f"SELECT removed_at IS NOT NULL FROM field_def WHERE field_id = '{source.number}'"
    assert asked(folder, removed, source) == [(True,)]
    next_morning(source, folder)
    assert of_number(source, folder) == before != []
    assert is_remade(source, folder)


def test_a_value_that_was_cleared_before_its_field_went_is_cleared(source: Any, folder: Path):
    source.synced(folder)
    before = of_number(source, folder)
    number = int(before[0][0].partition(":")[2])
    if isinstance(source, Amo):
        source.removes()
        source.definitions = lambda fields: None
        source.edits(before[0][0])
    else:
        deals = source.portal.table("deal")
        deals.put({**deals.get(number), "UF_CRM_780103": None})
        source.edits(before[0][0])
    next_morning(source, folder)
    assert of_number(source, folder) == before[1:]
    source.removes()
    next_morning(source, folder)
    assert of_number(source, folder) == before[1:]
    assert is_remade(source, folder)


def test_a_field_of_another_type_says_what_it_was_and_old_values_stay_readable(source: Any, folder: Path):
    source.synced(folder)
    before = of_number(source, folder)
    source.retypes()
    source.edits(before[0][0])
    next_morning(source, folder)
    query = f"SELECT type, was_type, retyped_at = '{source.now:%Y-%m-%d %H:%M:%S}+00' FROM field_def"
    assert asked(folder, f"{query} WHERE field_id = '{source.number}'", source) == [("text", "number", True)]
    (_, number, text), *others = of_number(source, folder)
    assert number is None
    assert text is not None
    assert [row[0] for row in others] == [row[0] for row in before[1:]]
    assert {*others} & {*before}  # of cards that nothing has happened on
    assert all(num is not None or said for _, num, said in others)
    assert is_remade(source, folder)
    next_morning(source, folder)
    assert rows(folder, "SELECT count(*) FROM field_def WHERE was_type IS NOT NULL") == [(1,)]


def warnings(done: RunStatus) -> str:
    return " ".join(str(said) for said in done.account("main").resource("fields").warnings)


def test_a_setting_says_that_the_field_it_names_is_gone_or_of_another_type(folder: Path):
    source = Amo()
    source.definitions = lambda fields: None
    assert "amount_field_id" not in warnings(source.synced(folder, amount_field_id=780103))
    source.retypes()
    assert "amount_field_id: the custom field 780103 of deal is of the type text now" in warnings(
        source.synced(folder, amount_field_id=780103)
    )
    source.removes()
    assert "amount_field_id: there is no custom field 780103" in warnings(source.synced(folder, amount_field_id=780103))


def test_a_field_of_loss_reasons_says_that_it_is_gone(folder: Path):
    source = Bitrix()
    assert "loss_reason_fields" not in warnings(source.synced(folder))
    fields = source.portal.table("userfield:deal")
    fields.remove(next(number for number in fields.ids if fields.get(number)["FIELD_NAME"] == LOSS_FIELD))
    assert f"there is no field {LOSS_FIELD}" in warnings(source.synced(folder))
