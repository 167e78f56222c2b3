"""Phones and e-mails, of which a card may have several: `fm` in one generation of methods, `PHONE` in the other.

https://apidocs.bitrix24.ru/api-reference/crm/data-types.html
"""

from collections.abc import Iterator

from connectors.bitrix24.reading import Reading
from connectors.bitrix24.values import many, text
from connectors.cards import contact_points
from connectors.paging import Json, as_object
from connectors.records import OwnedSet, Record


def multifields(
    card: Json, entity_id: str, owner: type[Record], reading: Reading, raw_hash: str, **clients: str | None
) -> Iterator[OwnedSet]:
    """The phones and the e-mails of a card. clients: whose they are, for a contact or a company."""
    yield from contact_points(
        values_of(card, "PHONE"),
        values_of(card, "EMAIL"),
        owner=owner,
        region=reading.region,
        account_id=reading.account_id,
        raw_hash=raw_hash,
        entity_id=entity_id,
        **clients,
    )


def values_of(card: Json, code: str) -> list[str]:
    """The key is absent where a card has none."""
    new = [one.get("value") for one in map(as_object, many(card.get("fm"))) if one.get("typeId") == code]
    old = [one.get("VALUE") for one in map(as_object, many(card.get(code)))]
    return [written for value in (*new, *old) if (written := text(value))]
