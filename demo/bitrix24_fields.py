"""Which fields the cards of Bitrix24 have, and their types (`bitrix24.md`, 4.2 and 4.3)."""

from collections.abc import Iterator
from typing import Any

from demo.bitrix24_values import Row
from demo.bitrix24_wire import item_name

Json = dict[str, Any]


def _typed(text: str) -> dict[str, str]:
    """`integer: ID; string: TITLE NAME` → each name with its type."""
    return {name: kind.strip() for part in text.split(";") for kind, _, names in [part.partition(":")]
            for name in names.split()}  # fmt: skip


_COMMON = (
    "integer: ID; user: ASSIGNED_BY_ID CREATED_BY_ID MODIFY_BY_ID LAST_ACTIVITY_BY;"
    "datetime: DATE_CREATE DATE_MODIFY LAST_ACTIVITY_TIME; char: OPENED; string: COMMENTS ORIGINATOR_ID ORIGIN_ID"
    " SOURCE_DESCRIPTION UTM_SOURCE UTM_MEDIUM UTM_CAMPAIGN UTM_CONTENT UTM_TERM;"
)
_PERSON = (
    "string: HONORIFIC NAME SECOND_NAME LAST_NAME POST; date: BIRTHDATE; char: HAS_PHONE HAS_EMAIL HAS_IMOL;"
    "crm_status: SOURCE_ID; crm_multifield: PHONE EMAIL WEB IM LINK;"
)
FIELDS: dict[int, dict[str, str]] = {
    1: _typed(
        _COMMON + _PERSON + "string: TITLE COMPANY_TITLE STATUS_DESCRIPTION STATUS_SEMANTIC_ID; crm_status: STATUS_ID;"
        "crm_company: COMPANY_ID; crm_contact: CONTACT_ID CONTACT_IDS; double: OPPORTUNITY; crm_currency: CURRENCY_ID;"
        "char: IS_RETURN_CUSTOMER IS_MANUAL_OPPORTUNITY; datetime: DATE_CLOSED MOVED_TIME; user: MOVED_BY_ID OBSERVERS"
    ),
    2: _typed(
        _COMMON + "string: TITLE STAGE_SEMANTIC_ID ADDITIONAL_INFO; crm_status: TYPE_ID STAGE_ID SOURCE_ID;"
        "crm_category: CATEGORY_ID; char: IS_NEW IS_RECURRING IS_RETURN_CUSTOMER IS_REPEATED_APPROACH"
        " IS_MANUAL_OPPORTUNITY CLOSED; integer: PROBABILITY LOCATION_ID; crm_currency: CURRENCY_ID;"
        "double: OPPORTUNITY TAX_VALUE; crm_company: COMPANY_ID; crm_contact: CONTACT_ID CONTACT_IDS;"
        "crm_quote: QUOTE_ID; crm_lead: LEAD_ID; date: BEGINDATE CLOSEDATE; datetime: MOVED_TIME;"
        "user: MOVED_BY_ID OBSERVERS"
    ),
    3: _typed(
        _COMMON + _PERSON + "crm_status: TYPE_ID; char: EXPORT; file: PHOTO; crm_company: COMPANY_ID; crm_lead: LEAD_ID"
    ),
    4: _typed(
        _COMMON + "string: TITLE BANKING_DETAILS ADDRESS; crm_status: COMPANY_TYPE INDUSTRY EMPLOYEES; double: REVENUE;"
        "crm_currency: CURRENCY_ID; char: HAS_PHONE HAS_EMAIL HAS_IMOL IS_MY_COMPANY; file: LOGO; crm_lead: LEAD_ID;"
        "datetime: LAST_COMMUNICATION_TIME; crm_multifield: PHONE EMAIL WEB IM LINK"
    ),
}
ITEM_FIELDS = _typed(
    "integer: ID; string: TITLE XML_ID ACCOUNT_NUMBER; user: ASSIGNED_BY_ID CREATED_BY UPDATED_BY MOVED_BY OBSERVERS;"
    "datetime: CREATED_TIME UPDATED_TIME MOVED_TIME LAST_ACTIVITY_TIME; user: LAST_ACTIVITY_BY;"
    "crm_category: CATEGORY_ID; char: OPENED IS_MANUAL_OPPORTUNITY;"
    "crm_status: STAGE_ID PREVIOUS_STAGE_ID SOURCE_ID; date: BEGINDATE CLOSEDATE; double: OPPORTUNITY TAX_VALUE;"
    "crm_currency: CURRENCY_ID; crm_company: COMPANY_ID MYCOMPANY_ID; crm_contact: CONTACT_ID CONTACT_IDS;"
    "crm_entity: PARENT_ID_2 PARENT_ID_7; string: STAGE_SEMANTIC_ID"
)
READ_ONLY = {"ID", "DATE_CREATE", "DATE_MODIFY", "CREATED_TIME", "UPDATED_TIME", "MOVED_TIME", "STAGE_SEMANTIC_ID"}
STATUS_TYPES = {"STATUS_ID": "STATUS", "STAGE_ID": "DEAL_STAGE", "SOURCE_ID": "SOURCE", "COMPANY_TYPE": "COMPANY_TYPE",
                "INDUSTRY": "INDUSTRY", "EMPLOYEES": "EMPLOYEES"}  # fmt: skip


def fields_of(entity_type: int) -> dict[str, str]:
    """Names of the row and their types."""
    return FIELDS.get(entity_type, ITEM_FIELDS)


def described(entity_type: int, user_fields: list[Row]) -> Iterator[tuple[str, Json]]:
    """Each field as `*.fields` tells it, by the name of the row."""
    for name, kind in fields_of(entity_type).items():
        one: Json = {
            "type": kind,
            "isRequired": False,
            "isReadOnly": name in READ_ONLY,
            "isImmutable": False,
            "isMultiple": kind == "crm_multifield" or name in {"CONTACT_IDS", "OBSERVERS"},
            "isDynamic": False,
            "title": name.replace("_", " ").capitalize(),
        }
        if kind == "crm_status" and name in STATUS_TYPES:
            one["statusType"] = STATUS_TYPES[name]
        yield name, one
    for row in user_fields:
        yield row["FIELD_NAME"], _user_field(row)


def _user_field(row: Row) -> Json:
    label = row.get("EDIT_FORM_LABEL") or row["FIELD_NAME"]
    one: Json = {
        "type": row["USER_TYPE_ID"],
        "isRequired": bool(row.get("MANDATORY")),
        "isReadOnly": False,
        "isImmutable": False,
        "isMultiple": bool(row.get("MULTIPLE")),
        "isDynamic": True,
        "title": label,
        "listLabel": label,
        "formLabel": label,
        "filterLabel": label,
    }
    if row["USER_TYPE_ID"] == "enumeration":
        one["items"] = [{"ID": str(option["ID"]), "VALUE": option["VALUE"]} for option in row.get("LIST") or ()]
    return one


def universal(entity_type: int, user_fields: list[Row]) -> dict[str, Json]:
    """The fields as `crm.item.fields` tells them, by their names in universal methods."""
    return {
        item_name(name): {**one, "upperName": name}
        for name, one in described(entity_type, user_fields)
        if one["type"] != "crm_multifield"
    }
