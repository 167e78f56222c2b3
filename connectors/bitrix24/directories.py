"""What an account is set up with: people, pipelines and stages, custom fields, currencies, catalogues. Read whole."""

from collections.abc import Iterator, Mapping
from functools import partial

from connectors.bitrix24 import paging
from connectors.bitrix24.api import BitrixApi, told
from connectors.bitrix24.availability import CATALOGUES, INVOICES, closed, costs, left_out
from connectors.bitrix24.currencies import rate
from connectors.bitrix24.fields import check_reasons, field_id, field_records, infos, kind_of
from connectors.bitrix24.goods import product_records
from connectors.bitrix24.paging import List
from connectors.bitrix24.people import department_records, user_records
from connectors.bitrix24.reading import (
    COMPANY,
    CONTACT,
    DEAL,
    INVOICE,
    KINDS,
    LEAD,
    ROBOT,
    FieldInfo,
    Reading,
    mentioned_user,
)
from connectors.bitrix24.stages import category_records, leads_pipeline, status_records
from connectors.bitrix24.values import ref, text
from connectors.bitrix24.walking import directories, reading_of
from connectors.connector import Window
from connectors.errors import Phrase
from connectors.records import (
    Account,
    Department,
    FieldDef,
    Notice,
    Pipeline,
    Product,
    RawRecord,
    Record,
    Source,
    Stage,
    User,
    Yield,
)
from connectors.walk import kept_raw, listed_whole, mapped

USERS = List("user.get", style="user")
DEPARTMENTS = List("department.get")
CATEGORIES = "crm.category.list"
TYPES = List("crm.type.list", rows="types", key="id", cursor="id")
PRODUCT_COLUMNS = ("id", "iblockId", "iblockSectionId", "name", "code", "timestampX")
PRODUCTS = List("catalog.product.list", rows="products", key="id", cursor="id", select=PRODUCT_COLUMNS)
SMART = range(128, 1 << 31)


def access(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """What the portal says of itself, and what it does not let us read."""
    yield told(api)._replace(account_id=account.account_id)
    if not api.facts.is_admin:
        yield Notice(
            Phrase(
                "{where}: the access is not an administrator's: cards, calls and tasks of other people may be hidden. "
                "Let an administrator create it.",
                where=api.facts.host,
            )
        )
    yield from costs(api)


def users(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """Employees, the dismissed ones too. Guests, robots and who else is not listed are known by their numbers."""
    reading, now = reading_of(api, account), api.server_now()
    yield mentioned_user(account.account_id, 0, is_active=True)
    if USERS.method in closed(api):
        yield left_out(api, USERS.method)
        return
    listed = {ROBOT}
    for page in paging.keyset(api, USERS):
        for user in page:
            yield from mapped(user, USERS.method, partial(user_records, now=now), reading, key="ID")
            listed.add(f"user:{user.get('ID')}")
    api.book.employees = frozenset(listed - {ROBOT})
    yield from listed_whole(User, {(user_id,) for user_id in listed}, reading, now)
    yield from reading.conclusions()


def departments(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """Departments that are in use, with their heads."""
    if DEPARTMENTS.method in closed(api):
        yield left_out(api, DEPARTMENTS.method)
        return
    reading = reading_of(api, account)
    listed = set()
    for page in paging.by_start(api, DEPARTMENTS):
        for department in page:
            yield from mapped(department, DEPARTMENTS.method, department_records, reading, key="ID")
            listed.add((f"department:{department.get('ID')}",))
    yield from listed_whole(Department, listed, reading, api.server_now())
    yield from reading.conclusions()


def processes(api: BitrixApi) -> Mapping[int, str]:
    """Titles of the smart processes to be read, by entity type; none where they may not be listed."""
    return {} if TYPES.method in closed(api) else api.book.titles(lambda: titles(api))


def titles(api: BitrixApi) -> dict[int, str]:
    chosen = api.settings.smart_processes
    types = [one for page in paging.keyset(api, TYPES) for one in page]
    named = {ref(one.get("entityTypeId")) or 0: text(one.get("title")) for one in types}
    return {
        number: title or f"#{number}"
        for number, title in named.items()
        if number in SMART and (chosen is None or number in chosen)
    }


def entity_types(api: BitrixApi) -> list[int]:
    """All that have stages and custom fields of their own, as far as this portal has them."""
    usual = (LEAD, DEAL, CONTACT, COMPANY, *([] if INVOICES in closed(api) else [INVOICE]))
    return [*usual, *processes(api)]


def pipelines(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """Pipelines, and all directories in one answer: stages, reasons that failure stages are, sources."""
    reading = reading_of(api, account)
    keys: dict[type[Record], set[tuple[str, ...]]] = {Pipeline: set(), Stage: set(), Source: set()}
    for item in setup(api, reading):
        yield item
        if isinstance(item, Pipeline):
            keys[Pipeline].add((item.pipeline_id,))
        elif isinstance(item, Stage):
            keys[Stage].add((item.pipeline_id, item.stage_id))
        elif isinstance(item, Source):
            keys[Source].add((item.source_id,))
    now = api.server_now()
    for kind, listed in keys.items():
        yield from listed_whole(kind, listed, reading, now)
    yield from reading.conclusions()


def setup(api: BitrixApi, reading: Reading) -> Iterator[Yield]:
    yield leads_pipeline(reading)
    for number, title in processes(api).items():
        yield from mapped({"entityTypeId": number, "title": title}, TYPES.method, kept_raw, reading, key="entityTypeId")
    for type_id in entity_types(api):
        if type_id in (LEAD, CONTACT, COMPANY):
            continue
        for category in paging.whole(api, CATEGORIES, {"entityTypeId": type_id}, rows="categories"):
            to_records = partial(category_records, type_id=type_id)
            yield from mapped(category, f"{CATEGORIES}/{type_id}", to_records, reading)
    for status in directories(api):
        yield from mapped(status, "crm.status.list", status_records, reading, key="ID")


def fields(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """Custom fields of everything that has them. Fields of a list are described with the names of their options."""
    reading = reading_of(api, account)
    keys: dict[str, set[tuple[str, ...]]] = {}
    of_sales: dict[str, list[FieldInfo]] = {}
    for type_id in entity_types(api):
        answer = api.call("crm.item.fields", {"entityTypeId": type_id})
        raw = RawRecord.of(account.account_id, "crm.item.fields", type_id, answer)
        yield raw
        described = api.book.fields(type_id, partial(infos, answer))
        for info in described.values():
            yield from field_records(info, type_id, reading, raw.raw_hash)
        if type_id in (LEAD, DEAL):
            of_sales[KINDS[type_id]] = list(described.values())
        listed = keys.setdefault(KINDS.get(type_id, "process_item"), set())
        listed.update((field_id(kind_of(type_id), info.upper_name),) for info in described.values())
    for kind, found in keys.items():
        yield from listed_whole(FieldDef, found, reading, api.server_now(), among=("entity_kind", kind))
    check_reasons(of_sales, reading)
    yield from reading.conclusions()


def currencies(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """Today's rates: no others are told, so a history of them grows from sync to sync."""
    reading = reading_of(api, account)
    today = api.server_now().astimezone(reading.zone).date()
    for currency in paging.whole(api, "crm.currency.list"):
        yield from mapped(currency, "crm.currency.list", partial(rate, day=today), reading, key="CURRENCY")
    yield from reading.conclusions()


def products(api: BitrixApi, account: Account, _: Window) -> Iterator[Yield]:
    """What is sold. Each catalogue is a list of its own."""
    if CATALOGUES in closed(api):
        yield left_out(api, CATALOGUES)
        return
    reading = reading_of(api, account)
    listed: set[tuple[str, ...]] = set()
    for catalogue in paging.whole(api, CATALOGUES, rows="catalogs"):
        for page in paging.keyset(api, PRODUCTS, {"iblockId": catalogue["iblockId"]}):
            for product in page:
                yield from mapped(product, PRODUCTS.method, product_records, reading)
                listed.add((f"product:{product.get('id')}",))
    yield from listed_whole(Product, listed, reading, api.server_now())
    yield from reading.conclusions()
