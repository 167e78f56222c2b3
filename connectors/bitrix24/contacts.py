"""Contacts and companies.

https://apidocs.bitrix24.ru/api-reference/crm/universal/object-fields.html
"""

from collections.abc import Iterator

from connectors.bitrix24.deals import created
from connectors.bitrix24.fields import field_values
from connectors.bitrix24.multifields import multifields
from connectors.bitrix24.reading import COMPANY, CONTACT, Reading, prefixed
from connectors.bitrix24.values import flag, moment, text
from connectors.paging import Json
from connectors.records import Company, Contact, FieldValue, OwnedSet, Yield


def contact_records(contact: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A person's card with phones, e-mails and custom values. Of several companies the first is his."""
    contact_id = f"contact:{contact['id']}"
    company_id = prefixed("company", contact.get("companyId"))
    names = (text(contact.get(part)) for part in ("name", "secondName", "lastName"))
    yield Contact(
        account_id=reading.account_id,
        source_updated_at=moment(contact.get("updatedTime")),
        raw_hash=raw_hash,
        contact_id=contact_id,
        name=" ".join(filter(None, names)) or None,
        company_id=company_id,
        responsible_user_id=reading.responsible(contact.get("assignedById")),
        created_at=created(contact),
        created_by=reading.author(contact.get("createdBy")),
    )
    yield from multifields(
        contact, contact_id, Contact, reading, raw_hash, contact_id=contact_id, company_id=company_id
    )
    values = field_values(contact, contact_id, CONTACT, reading, raw_hash)
    yield OwnedSet(FieldValue, reading.account_id, contact_id, Contact, values)


def company_records(company: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """A company's card. One of the account's own, which invoices are made out by, is marked: it is no client."""
    company_id = f"company:{company['id']}"
    yield Company(
        account_id=reading.account_id,
        source_updated_at=moment(company.get("updatedTime")),
        raw_hash=raw_hash,
        company_id=company_id,
        name=text(company.get("title")),
        responsible_user_id=reading.responsible(company.get("assignedById")),
        created_at=created(company),
        created_by=reading.author(company.get("createdBy")),
        is_my_company=flag(company.get("isMyCompany")) is True,
    )
    yield from multifields(company, company_id, Company, reading, raw_hash, contact_id=None, company_id=company_id)
    values = field_values(company, company_id, COMPANY, reading, raw_hash)
    yield OwnedSet(FieldValue, reading.account_id, company_id, Company, values)
