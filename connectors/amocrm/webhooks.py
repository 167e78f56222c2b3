"""What a webhook of amoCRM names: a door bell, never data.

https://www.amocrm.ru/developers/content/crm_platform/webhooks-format — a form with PHP brackets and the names of the
second API: `leads[status][0][id]=18800001&account[id]=31004410`. It is not signed, may be lost, doubled or forged.
"""

import re
from collections import defaultdict
from urllib.parse import parse_qsl

from connectors.connector import Heard
from connectors.paging import Json

MOST_FIELDS = 20_000
ID = re.compile(r"[1-9][0-9]{0,18}")
GREATEST = 2**63 - 1
"""Of ids; what is above is no id, and the CRM may refuse to be asked for it."""
CARD = re.compile(r"(leads|contacts|companies|customers|task|talk)\[[a-z_]+]\[[0-9]+]\[(id|talk_id|type)]")
NOTE = re.compile(r"(leads|contacts|companies|customers)\[note]\[[0-9]+]\[note]\[(element_id|id)]")
TALK_OF_MESSAGE = re.compile(r"message\[add]\[[0-9]+]\[talk_id]")
NOTES = ("calls", "notes")
"""What a note may be: its type is a number here."""
DELETION = "[delete]"
RESOURCES = {"task": "tasks", "talk": "talks"}
"""Where the root of a field is called otherwise than our resource."""


def hear(body: bytes) -> Heard:
    """The account a webhook says it is from, and ids to be read again, by resource.

    Companies come among contacts, marked by their type. Raises ValueError for anything that is no such form.
    """
    fields = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=MOST_FIELDS)
    cards: dict[str, Json] = defaultdict(dict)
    ids: dict[str, set[str]] = defaultdict(set)
    number = ""
    for name, value in fields:
        if name == "account[id]":
            number = value
        elif card := CARD.fullmatch(name):
            cards[name.rpartition("[")[0]][card[2]] = value
        elif (note := NOTE.fullmatch(name)) and is_id(value):
            for resource in (note[1],) if note[2] == "element_id" else NOTES:
                ids[resource].add(value)
        elif TALK_OF_MESSAGE.fullmatch(name) and is_id(value):
            ids["talks"].add(value)
    for place, card_fields in cards.items():
        native_id = card_fields.get("talk_id") or card_fields.get("id", "")
        if is_id(native_id):
            root = place.partition("[")[0]
            is_company = root == "contacts" and card_fields.get("type") == "company"
            resource = "companies" if is_company else RESOURCES.get(root, root)
            if DELETION in place:
                ids["deletions"].add(f"{resource}/{native_id}")
            else:
                ids[resource].add(native_id)
    if not is_id(number):
        raise ValueError("no account")
    return Heard(number, {resource: frozenset(found) for resource, found in ids.items()})


def is_id(text: str) -> bool:
    return ID.fullmatch(text) is not None and int(text) <= GREATEST
