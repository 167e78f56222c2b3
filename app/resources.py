"""What people call tables and the parts of a sync: one source of names for the pages and the command line."""

from collections.abc import Container

from app.i18n import N_, Language, catalogue, language
from metrics.evaluate import RESOURCES


def resource_name(table: str, code: Language | None = None) -> str:
    """`deal_stage_transition` → «История этапов»; tables people do not speak of keep their name.

    code: of the language; without it the viewer's.
    """
    spoken = code or language()
    if table in NAMES:
        return catalogue(spoken).gettext(NAMES[table])
    if table not in RESOURCES:
        return table
    russian, english = RESOURCES[table]
    name = english if spoken == "en" else russian
    return name[:1].upper() + name[1:]


def part_name(name: str, parts: Container[str], code: Language | None = None) -> str:
    """What people call a part of a sync. parts: names of all parts of its account: what amoCRM calls leads are deals,
    but where there are deals too, leads are leads."""
    if name == "leads" and "deals" in parts:
        return catalogue(code or language()).gettext(LEADS)
    return resource_name(name, code)


LEADS = N_("Leads")
NAMES = {
    "account": N_("Account"),
    "activity": N_("Notes"),
    "call_episode": N_("Calls after joining"),
    "call_episode_leg": N_("Parts of calls"),
    "chat": N_("Chats"),
    "client": N_("Clients in all"),
    "client_email": N_("E-mails of clients"),
    "client_member": N_("Cards of clients"),
    "client_phone": N_("Phones of clients"),
    "customer": N_("Customers"),
    "deal_contact": N_("Contacts of deals"),
    "deal_invoice": N_("Invoices of deals"),
    "deal_item": N_("Items of deals"),
    "deal_state": N_("Deals with outcomes"),
    "department": N_("Departments"),
    "entity_tag": N_("Tags"),
    "field_def": N_("Custom fields"),
    "field_enum": N_("Values of lists"),
    "field_required": N_("Required fields"),
    "field_value": N_("Values of fields"),
    "invoice": N_("Invoices"),
    "payment": N_("Payments"),
    "product": N_("Products"),
    "request": N_("Incoming requests"),
    "sale": N_("Sales"),
    "stage_interval": N_("Stays in stages"),
    "task_link": N_("Links of tasks"),
    "task_type": N_("Types of tasks"),
    "touch": N_("Touches"),
    "user_department": N_("People of departments"),
    "calendar_day": N_("Calendar"),
    # What connectors call their parts of the last sync.
    "users": N_("Users"),
    "pipelines": N_("Pipelines"),
    "loss_reasons": N_("Loss reasons"),
    "sources": N_("Sources"),
    "fields": N_("Custom fields"),
    "roles": N_("Roles"),
    "tags": N_("Tags"),
    "event_types": N_("Types of events"),
    "catalogs": N_("Products and invoices"),
    "leads": N_("Deals"),
    "contacts": N_("Contacts"),
    "companies": N_("Companies"),
    "customers": N_("Customers"),
    "customer_lists": N_("Statuses and segments of customers"),
    "transactions": N_("Purchases of customers"),
    "requests": N_("Incoming requests"),
    "trash": N_("Deleted deals"),
    "tasks": N_("Tasks"),
    "calls": N_("Calls"),
    "notes": N_("Notes"),
    "talks": N_("Chats"),
    "contact_chats": N_("Chats of contacts"),
    "messages": N_("Messages"),
    "events": N_("Events"),
    "merges": N_("Cards after merges"),
    "refused_notes": N_("Notes on customers that were refused before"),
    "deletions": N_("Deleted cards"),
    "access": N_("What may be read"),
    "departments": N_("Departments"),
    "currencies": N_("Currencies"),
    "products": N_("Products"),
    "deals": N_("Deals"),
    "invoices": N_("Invoices"),
    "processes": N_("Smart processes"),
    "history": N_("Stage history"),
    "lines": N_("Items of deals"),
    "activities": N_("Activities"),
    "conversations": N_("Chats"),
    "comments": N_("Comments"),
}
