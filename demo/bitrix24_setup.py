"""What the demo Bitrix24 is set up with: pipelines as categories, directories of stages, user fields, currencies.

The company is the one the amoCRM twin serves. Its pipelines are categories 0, 1, 2…, its statuses 142 and 143 are `WON`
and `LOSE` of each; what comes in unsorted there is a lead here (`demo.bitrix24_cards`), so no stage answers to it.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from demo import office
from demo.bitrix24_values import Day, Instant, Row
from demo.model import DAY, Company, Field, Values
from demo.office import LOST, MSK_S, WON

LEAD_TYPE, DEAL_TYPE, CONTACT_TYPE, COMPANY_TYPE, INVOICE_TYPE, PROCESS_TYPE = 1, 2, 3, 4, 31, 1036
INVOICE_CATEGORY, PROCESS_CATEGORY = 1, 7
LOSS_FIELD, FILE_FIELD = "UF_CRM_LOSS_REASON", "UF_CRM_CONTRACT"
CURRENCY = "RUB"
IBLOCK_ID = 24
ROOT_DEPARTMENT, FIRST_DEPARTMENT = 1, 512_000
"""The company itself, and what stands for amoCRM's default group, whose id is 0."""

OPEN_CODES = ("NEW", "PREPARATION", "PREPAYMENT_INVOICE", "EXECUTING", "FINAL_INVOICE")
CATEGORIES = {pipeline.id: number for number, pipeline in enumerate(office.PIPELINES)}


class Place(NamedTuple):
    """A stage as cards name it."""

    category_id: int
    code: str
    semantics: str


def _places() -> Iterator[tuple[tuple[int, int], Place]]:
    for pipeline in office.PIPELINES:
        number = CATEGORIES[pipeline.id]
        prefix = f"C{number}:" if number else ""
        for code, stage_id in zip(OPEN_CODES, office.OPEN_STAGES[pipeline.id], strict=False):
            yield (pipeline.id, stage_id), Place(number, prefix + code, "P")
        yield (pipeline.id, WON), Place(number, f"{prefix}WON", "S")
        yield (pipeline.id, LOST), Place(number, f"{prefix}LOSE", "F")


PLACES = dict(_places())
"""By amoCRM's pipeline and status; the statuses of what is unsorted are in none."""
SEMANTICS = {place.code: place.semantics for place in PLACES.values()}
UNSORTED = frozenset(office.UNSORTED_STAGE.values())

LEAD_STATUSES = (
    ("NEW", "Не обработан", None),
    ("IN_PROCESS", "В работе", None),
    ("CONVERTED", "Качественный лид", "S"),
    ("JUNK", "Некачественный лид", "F"),
)
INVOICE_STAGES = (
    (f"DT31_{INVOICE_CATEGORY}:N", "Новый", None),
    (f"DT31_{INVOICE_CATEGORY}:S", "Отправлен", None),
    (f"DT31_{INVOICE_CATEGORY}:P", "Оплачен", "S"),
    (f"DT31_{INVOICE_CATEGORY}:D", "Не оплачен", "F"),
)
INVOICE_NEW, INVOICE_SENT, INVOICE_PAID, _ = (code for code, _, _ in INVOICE_STAGES)
PROCESS_STAGES = (
    (f"DT{PROCESS_TYPE}_{PROCESS_CATEGORY}:NEW", "Назначен", None),
    (f"DT{PROCESS_TYPE}_{PROCESS_CATEGORY}:PREPARATION", "Бригада выехала", "P"),
    (f"DT{PROCESS_TYPE}_{PROCESS_CATEGORY}:SUCCESS", "Смонтировано", "S"),
    (f"DT{PROCESS_TYPE}_{PROCESS_CATEGORY}:FAIL", "Отменён", "F"),
)
PROCESS_NEW, _, PROCESS_DONE, PROCESS_FAILED = (code for code, _, _ in PROCESS_STAGES)
SEMANTICS |= {code: name or "P" for code, _, name in (*LEAD_STATUSES, *INVOICE_STAGES, *PROCESS_STAGES)}

DIRECTORIES = {
    "DEAL_TYPE": (("SALE", "Продажа"), ("SERVICES", "Услуги")),
    "CONTACT_TYPE": (("CLIENT", "Клиенты"), ("SUPPLIER", "Поставщики")),
    "COMPANY_TYPE": (("CUSTOMER", "Клиент"), ("PARTNER", "Партнёр")),
    "INDUSTRY": (("CONSTRUCTION", "Строительство"), ("OTHER", "Другое")),
    "EMPLOYEES": (("EMPLOYEES_1", "менее 50"), ("EMPLOYEES_2", "50-250")),
}


def statuses(company: Company) -> list[Row]:
    """All directories of `crm.status.list`, in order of id."""
    rows: list[Row] = []

    def add(entity_id: str, code: str, name: str, semantics: str | None = None, *, color: str = "") -> None:
        n_before = sum(row["ENTITY_ID"] == entity_id for row in rows)
        rows.append(
            {
                "ID": 101 + len(rows),
                "ENTITY_ID": entity_id,
                "STATUS_ID": code,
                "NAME": name,
                "NAME_INIT": "",
                "SORT": 10 * (n_before + 1),
                "SYSTEM": code.rpartition(":")[2] in {"NEW", "WON", "LOSE", "CONVERTED", "JUNK"},
                "CATEGORY_ID": int(entity_id.rpartition("_")[2]) if entity_id[-1].isdigit() else None,
                "COLOR": color,
                "SEMANTICS": semantics,
            }
        )

    for code, name, semantics in LEAD_STATUSES:
        add("STATUS", code, name, semantics)
    for source in company.sources:
        add("SOURCE", str(source.id), source.name)
    for entity_id, entries in DIRECTORIES.items():
        for code, name in entries:
            add(entity_id, code, name)
    for pipeline in company.pipelines:
        number = CATEGORIES[pipeline.id]
        entity_id = f"DEAL_STAGE_{number}" if number else "DEAL_STAGE"
        for stage in pipeline.stages:
            if place := PLACES.get((pipeline.id, stage.id)):
                semantics = None if place.semantics == "P" else place.semantics
                add(entity_id, place.code, stage.name, semantics, color=stage.color)
        if not number:
            add(entity_id, "APOLOGY", "Анализ причины провала", "F")  # a second way to lose, which nobody has gone
    for code, name, semantics in INVOICE_STAGES:
        add(f"SMART_INVOICE_STAGE_{INVOICE_CATEGORY}", code, name, semantics)
    for code, name, semantics in PROCESS_STAGES:
        add(f"DYNAMIC_{PROCESS_TYPE}_STAGE_{PROCESS_CATEGORY}", code, name, semantics)
    return rows


def deal_categories(company: Company) -> list[Row]:
    return [
        {
            "ID": CATEGORIES[pipeline.id],
            "NAME": pipeline.name,
            "SORT": 100 * (CATEGORIES[pipeline.id] + 1),
            "ENTITY_TYPE_ID": DEAL_TYPE,
            "IS_DEFAULT": not CATEGORIES[pipeline.id],
        }
        for pipeline in company.pipelines
    ]


def only_category(number: int, entity_type_id: int) -> list[Row]:
    """The categories of a type of items that has but one."""
    return [{"ID": number, "NAME": "Общая", "SORT": 100, "ENTITY_TYPE_ID": entity_type_id, "IS_DEFAULT": True}]


def types() -> list[Row]:
    """Smart processes: installations of what was sold."""
    return [
        {
            "ID": 3,
            "TITLE": "Монтажи",
            "CODE": "",
            "ENTITY_TYPE_ID": PROCESS_TYPE,
            "IS_STAGES_ENABLED": True,
            "IS_CATEGORIES_ENABLED": False,
            "IS_CLIENT_ENABLED": True,
            "IS_RECYCLEBIN_ENABLED": True,
        }
    ]


def currencies(company: Company) -> list[Row]:
    rates = {"RUB": (1, "1.0000"), "USD": (1, "81.2500"), "EUR": (1, "94.1000"), "KZT": (100, "15.4200")}
    return [
        {
            "ID": number,
            "CURRENCY": code,
            "AMOUNT_CNT": count,
            "AMOUNT": Decimal(rate),
            "SORT": 100 * number,
            "BASE": code == CURRENCY,
            "DATE_UPDATE": Instant(company.started_at),
            "FULL_NAME": code,
        }
        for number, (code, (count, rate)) in enumerate(rates.items(), start=1)
    ]


def departments(company: Company) -> list[Row]:
    root = {"ID": ROOT_DEPARTMENT, "NAME": company.name, "SORT": 500, "UF_HEAD": office.HEAD}
    groups = [
        {"ID": department(group.id), "NAME": group.name, "SORT": 500, "PARENT": ROOT_DEPARTMENT}
        for group in company.groups
    ]
    return [root, *groups]


def department(group_id: int) -> int:
    return group_id or FIRST_DEPARTMENT


# --- user fields

CARDS = {"leads": "deal", "contacts": "contact", "companies": "company"}
NOT_USER_FIELDS = frozenset({office.PHONE, office.EMAIL, office.FIRM_PHONE, office.FIRM_EMAIL, office.WEB})
"""What Bitrix24 keeps as multi-fields; UTM marks are fields of its own as well."""
USER_TYPES = {
    "select": "enumeration",
    "radiobutton": "enumeration",
    "multiselect": "enumeration",
    "numeric": "double",
    "checkbox": "boolean",
    "date": "date",
    "birthday": "date",
    "file": "file",
}


def user_fields(company: Company, card: str) -> list[Field]:
    """Fields of the company that are user fields of the deals, contacts or companies here."""
    return [
        field
        for field in company.fields
        if CARDS.get(field.entity) == card and field.id not in NOT_USER_FIELDS and field.type != "tracking_data"
    ]


def user_field_rows(company: Company, card: str, *, has_files: bool = False) -> list[Row]:
    """What `crm.<card>.userfield.list` lists, options included. has_files: whether deals have a contract."""
    rows = [_user_field(card, field, f"UF_CRM_{field.id}") for field in user_fields(company, card)]
    if card == "deal":
        reasons = tuple((reason.id, reason.name, "") for reason in company.loss_reasons)
        field = Field(780_200, "leads", "Причина отказа", "select", enums=reasons)
        rows.append(_user_field(card, field, LOSS_FIELD))
    if card == "deal" and has_files:
        rows.append(_user_field(card, Field(780_201, "leads", "Договор", "file"), FILE_FIELD))
    return rows


def user_type(field: Field) -> str:
    """Numbers of many digits are kept as text: a double would round them."""
    return "string" if field.id == office.INN else USER_TYPES.get(field.type, "string")


def _user_field(card: str, field: Field, name: str) -> Row:
    options = [
        {"ID": option, "SORT": 10 * place, "VALUE": value, "DEF": False, "XML_ID": f"{option:032x}"}
        for place, (option, value, _) in enumerate(field.enums, start=1)
    ]
    return {
        "ID": field.id,
        "ENTITY_ID": f"CRM_{card.upper()}",
        "FIELD_NAME": name,
        "USER_TYPE_ID": user_type(field),
        "MULTIPLE": field.type == "multiselect",
        "MANDATORY": False,
        "SORT": 100,
        "SETTINGS": {},
        "EDIT_FORM_LABEL": field.name,
        "LIST": options,
    }


def user_values(values: Values, fields: dict[int, Field]) -> Row:
    """Values under the names of their user fields; the fields without a value are there too."""
    row: Row = {f"UF_CRM_{field.id}": [] if field.type == "multiselect" else None for field in fields.values()}
    for number, items in values:
        if field := fields.get(number):
            row[f"UF_CRM_{number}"] = list(items) if field.type == "multiselect" else _value(field, items[0])
    return row


def _value(field: Field, value: Any) -> Any:
    match user_type(field):
        case "double":
            return Decimal(str(value).replace(",", "."))
        case "date":
            return local_day(value)
        case _:
            return value


def local_day(at: int) -> Day:
    """The local date of an instant."""
    return Day(date(1970, 1, 1) + timedelta(days=(at + MSK_S) // DAY))
