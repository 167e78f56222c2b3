"""What an account is set up with besides people and funnels: custom fields of every kind of thing, roles, tags, types
of events."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from connectors.amocrm.api import AmoApi
from connectors.amocrm.goods import INVOICES, PRODUCTS
from connectors.amocrm.mapping import CARDS, ENTITY_KINDS
from connectors.amocrm.reading import Reading
from connectors.amocrm.values import field_records
from connectors.amocrm.walking import Keys, Query, if_readable, of_kind, of_lists, pages, raw_list
from connectors.connector import Window
from connectors.errors import Phrase
from connectors.records import Account, FieldDef, Yield
from connectors.walk import listed_whole, mapped

CATALOG_KINDS = {PRODUCTS: "product", INVOICES: "invoice"}
UNKNOWN = "unknown"


def fields(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Definitions of the custom fields of cards and of elements of catalogs."""
    reading = api.reading(account)
    kinds = owners_of_fields(api)
    listed: dict[str, Keys] = {}
    types: dict[str, str] = {}
    for owner in kinds:
        for item in if_readable(definitions(api, owner, kinds[owner], reading, into=listed)):
            if isinstance(item, FieldDef):
                types[item.field_id] = item.type
            yield item
    for kind in sorted({*kinds.values()} - {UNKNOWN}):  # which are of too many sorts to say what should be among them
        keys = of_lists([owner for owner in kinds if kinds[owner] == kind], listed)
        yield from listed_whole(FieldDef, keys, reading, api.server_now(), among=("entity_kind", kind))
        if keys and not reading.is_odd:
            check_named(kind, types, reading)
    yield from reading.conclusions()


def check_named(kind: str, types: Mapping[str, str], reading: Reading) -> None:
    """Tell of fields that settings name and that are gone, or of a type that does not give what they are for.

    kind: of what has the fields. types: of all that are listed."""
    for name, use in NAMED.items():
        number = getattr(reading.settings, name)
        if number is None or use.kind != kind:
            continue
        found = types.get(f"field:{number}")
        if found is None:
            what = Phrase(
                "{setting}: there is no custom field {field} of {kind} (any more), so what is read from now on does "
                "not have it. What was read with it stays.",
                setting=name,
                field=number,
                kind=kind,
            )
            reading.notice(what)
        elif found not in use.types:
            what = Phrase(
                "{setting}: the custom field {field} of {kind} is of the type {type} now, which does not give it.",
                setting=name,
                field=number,
                kind=kind,
                type=found,
            )
            reading.notice(what)


class Use(NamedTuple):
    """Of what a setting names a custom field, and of which of our types that may be."""

    kind: str
    types: tuple[str, ...]


WORDS = ("text", "enum", "multi", "url")
NAMED = {
    "amount_field_id": Use("deal", ("number",)),
    "loss_comment_field_id": Use("deal", WORDS),
    "sku_field_id": Use("product", WORDS),
    "unit_field_id": Use("product", WORDS),
}
"""Settings that name custom fields."""


def owners_of_fields(api: AmoApi) -> dict[str, str]:
    """Path of whatever has custom fields, to our word for it; catalogs are those read in this run."""
    words = [word for word in CARDS if word != "customers" or api.facts.has_customers]
    kinds = {word: ENTITY_KINDS[CARDS[word]] for word in words}
    if api.facts.has_customers:
        kinds["customers/segments"] = UNKNOWN
    catalogs = {f"catalogs/{number}": CATALOG_KINDS.get(word, UNKNOWN) for number, word in api.goods.kinds.items()}
    return kinds | catalogs


def definitions(api: AmoApi, owner: str, kind: str, reading: Reading, *, into: dict[str, Keys]) -> Iterator[Yield]:
    """Fields of one kind of thing; their keys go into `into` when all are read."""
    query = Query(f"/api/v4/{owner}/custom_fields", "custom_fields", f"{owner}/custom_fields", api.settings.page_size)
    keys: Keys = set()
    for page in pages(api, query, {}, reading):
        for definition in page:
            yield from mapped(definition, query.entity, of_kind(field_records, kind), reading)
            keys.add((f"field:{definition.get('id')}",))
    into[owner] = keys


def roles(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """Roles of users, which say what people may do; only an administrator may list them."""
    return raw_list(api, account, "roles", "roles")


def tags(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """The lists of tags. Which card bears which, cards say."""
    for word in CARDS:
        if word != "customers" or api.facts.has_customers:
            yield from raw_list(api, account, f"{word}/tags", "tags")


def event_types(api: AmoApi, account: Account, _: Window) -> Iterator[Yield]:
    """What the log of events can tell of in this account; changes of each custom field are a type of their own."""
    return raw_list(api, account, "events/types", "events_types", key="key")
