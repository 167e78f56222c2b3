"""What cards of every CRM have in common: the phones and e-mails written on them."""

from collections.abc import Iterable

from connectors.paging import Json
from connectors.phones import numbers_in
from connectors.records import ClientEmail, ClientPhone, OwnedSet, Record


def contact_points(
    phones: Iterable[str], emails: Iterable[str], *, owner: type[Record], region: str, **common: str | None
) -> tuple[OwnedSet, OwnedSet]:
    """The phones and the e-mails of one card, each once, as the whole set it owns.

    phones, emails: as written; a text may hold several numbers. owner: the card's kind of record. common: the columns
    `account_id`, `raw_hash`, `entity_id`, and `contact_id` and `company_id` where the card is a client's.
    """
    card: Json = {**common, "entity_kind": str(common["entity_id"]).partition(":")[0]}
    numbers = {
        number or raw: ClientPhone(**card, phone_e164=number, phone_raw=raw)
        for written in phones
        for raw, number in numbers_in(written, region)
    }
    addresses = {
        address: ClientEmail(**card, email_norm=address)
        for written in emails
        if "@" in (address := written.strip().lower())
    }
    account_id, entity_id = card["account_id"], card["entity_id"]
    return (
        OwnedSet(ClientPhone, account_id, entity_id, owner, tuple(numbers.values())),
        OwnedSet(ClientEmail, account_id, entity_id, owner, tuple(addresses.values())),
    )
