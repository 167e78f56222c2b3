"""The JSON amoCRM shows of users, funnels, cards, tasks, notes and chats (`amocrm.md`, section 3).

One function per object, called for the rows of one page only.
"""

from collections.abc import Callable, Iterator
from typing import Any

from demo import office, words
from demo.amocrm_switches import Switches
from demo.catalogs import INVOICES_ID, PRODUCTS_ID
from demo.model import (
    COMPANY,
    CONTACT,
    CUSTOMER,
    LEAD,
    CallNote,
    Company,
    Contact,
    Deal,
    Field,
    Firm,
    Request,
    Talk,
    Task,
    User,
)
from demo.office import LOST, WON
from demo.people import spelled
from demo.todo import ORIGINS

Json = dict[str, Any]
PATHS = {LEAD: "leads", CONTACT: "contacts", COMPANY: "companies", CUSTOMER: "customers"}
PROVIDERS = ("OnlinePBX", "UIS", "Mango")
HIDDEN_SPELLINGS = ("", "anonymous", None, "0")
CALL_RESULTS = ("", None, "Договорились о встрече", "")
ENTITY_OF_FIELD = {"leads": LEAD, "contacts": CONTACT, "companies": COMPANY}


class Painter:
    """Paints rows as JSON for one account under given switches."""

    def __init__(self, company: Company, switches: Switches) -> None:
        self.company, self.switches = company, switches
        self.base = f"https://{company.subdomain}.{switches.domain}"
        self._groups = {user.id: user.group_id for user in company.users}
        self._fields = {field.id: field for field in company.fields}
        self._enums = {number: (value, code or None) for f in company.fields for number, value, code in f.enums}
        self._tags = {tag.id: tag.name for tags in company.tags.values() for tag in tags}
        self._reasons = {reason.id: reason.name for reason in company.loss_reasons}
        self._sources = {source.id: source.name for source in company.sources}
        self._invoices: dict[int, list[int]] = {}
        for invoice in company.invoices:
            self._invoices.setdefault(invoice.deal_id, []).append(invoice.id)
        self.closest_task: Callable[[int, int], int | None] = lambda _kind, _number: None
        self.extra_tags: dict[tuple[int, int], list[Json]] = {}
        self.last_closed: dict[int, int] = {}
        """Reopened deals: when they were closed before."""

    def link(self, path: str) -> Json:
        return {"self": {"href": f"{self.base}/api/v4/{path}"}}

    def group(self, user_id: int) -> int:
        return self._groups.get(user_id, 0)

    def lead(self, deal: Deal, with_: frozenset[str]) -> Json:
        """A lead as a list or a by-id answer shows it."""
        switches = self.switches
        is_closed = deal.stage_id in {WON, LOST}
        closed_at: int | None = deal.closed_at if is_closed else None
        if not is_closed:
            if switches.closed_at_after_reopen == "keep" and deal.id in self.last_closed:
                closed_at = self.last_closed[deal.id]
            elif switches.closed_at_open == "0":
                closed_at = 0
        card: Json = {
            "id": deal.id,
            "name": deal.name,
            "price": deal.price,
            "responsible_user_id": deal.user_id,
            "group_id": self.group(deal.user_id),
            "status_id": deal.stage_id,
            "pipeline_id": deal.pipeline_id,
            "loss_reason_id": deal.loss_reason_id or None,
            "created_by": deal.created_by,
            "updated_by": deal.user_id,
            "created_at": deal.created_at,
            "updated_at": deal.updated_at,
            "closed_at": closed_at,
            "closest_task_at": self.closest_task(LEAD, deal.id),
            "is_deleted": bool(deal.deleted_at),
            "custom_fields_values": self.values(deal.values),
            "score": None,
            "account_id": self.company.account_id,
            "labor_cost": None,
            "_links": self.link(f"leads/{deal.id}"),
        }
        if switches.price_minor_units:
            card["price_with_minor_units"] = None if deal.price is None else float(deal.price)
        embedded: Json = {}
        self._list(embedded, "tags", self.tags(LEAD, deal.id, deal.tags))
        companies = [{"id": deal.company_id, "_links": self.link(f"companies/{deal.company_id}")}]
        self._list(embedded, "companies", companies if deal.company_id else [])
        if with_:
            self._lead_extras(deal, with_, card, embedded)
        card["_embedded"] = embedded
        return card

    def _lead_extras(self, deal: Deal, with_: frozenset[str], card: Json, embedded: Json) -> None:
        if "contacts" in with_:
            main = deal.main_contact_id
            contacts = [
                {"id": number, "is_main": number == main, "_links": self.link(f"contacts/{number}")}
                for number in deal.contact_ids
            ]
            self._list(embedded, "contacts", contacts)
        if "loss_reason" in with_:
            reason = self._reason(deal.loss_reason_id)
            if self.switches.loss_reason_shape == "object":
                embedded["loss_reason"] = reason
            else:
                self._list(embedded, "loss_reason", [reason] if reason else [])
        if "catalog_elements" in with_:
            elements = [{"id": number, "metadata": metadata} for number, metadata in self.elements(deal)]
            self._list(embedded, "catalog_elements", elements)
        if "source" in with_ and deal.source_id:
            embedded["source"] = {"id": deal.source_id, "name": self._sources[deal.source_id]}
        if "source_id" in with_:
            card["source_id"] = deal.source_id or None
        if "is_price_modified_by_robot" in with_:
            card["is_price_modified_by_robot"] = False

    def elements(self, deal: Deal) -> Iterator[tuple[int, Json]]:
        """Products and invoices of a deal, each with how it is linked."""
        for number, quantity in deal.items:
            yield number, {"quantity": quantity, "catalog_id": PRODUCTS_ID, "price_id": None}
        for number in self._invoices.get(deal.id, ()):
            yield number, {"quantity": 1, "catalog_id": INVOICES_ID, "price_id": None}

    def _reason(self, number: int) -> Json | None:
        if number not in self._reasons:
            return None
        created_at = self.company.started_at
        return {"id": number, "name": self._reasons[number], "sort": 1000, "created_at": created_at,
                "updated_at": created_at}  # fmt: skip

    def trashed(self, row: Deal | Contact | Firm) -> Json:
        """A row of the trash: all but null."""
        card: Json = dict.fromkeys(
            ("name", "responsible_user_id", "group_id", "created_by", "created_at", "closest_task_at"), None
        )
        if isinstance(row, Deal):
            card |= dict.fromkeys(("price", "status_id", "pipeline_id", "loss_reason_id", "closed_at", "score"), None)
        card |= {
            "id": row.id,
            "updated_by": row.user_id,
            "updated_at": row.deleted_at,
            "is_deleted": True,
            "custom_fields_values": None,
            "account_id": self.company.account_id,
        }
        return card

    def contact(self, row: Contact, with_: frozenset[str], linked: Callable[[int, int], list[int]]) -> Json:
        card = self._card(row, "contacts", f"{row.first_name} {row.last_name}".strip())
        card |= {"first_name": row.first_name, "last_name": row.last_name}
        phone_values = self._multitext(office.PHONE, row.phones) + self._multitext(office.EMAIL, row.emails)
        card["custom_fields_values"] = [*phone_values, *(self.values(row.values) or [])] or None
        embedded: Json = {}
        self._list(embedded, "tags", self.tags(CONTACT, row.id, row.tags))
        companies = [{"id": row.company_id, "_links": self.link(f"companies/{row.company_id}")}]
        self._list(embedded, "companies", companies if row.company_id else [])
        self._linked(embedded, with_, CONTACT, row.id, linked)
        card["_embedded"] = embedded
        return card

    def company_card(self, row: Firm, with_: frozenset[str], linked: Callable[[int, int], list[int]]) -> Json:
        card = self._card(row, "companies", row.name)
        phone_values = self._multitext(office.FIRM_PHONE, row.phones) + self._multitext(office.FIRM_EMAIL, row.emails)
        card["custom_fields_values"] = [*phone_values, *(self.values(row.values) or [])] or None
        embedded: Json = {}
        self._list(embedded, "tags", self.tags(COMPANY, row.id, row.tags))
        self._linked(embedded, with_, COMPANY, row.id, linked)
        card["_embedded"] = embedded
        return card

    def _linked(
        self, embedded: Json, with_: frozenset[str], kind: int, number: int, linked: Callable[[int, int], list[int]]
    ) -> None:
        if "leads" in with_:
            leads = [{"id": i, "_links": self.link(f"leads/{i}")} for i in linked(kind, number)]
            self._list(embedded, "leads", leads)
        if "contacts" in with_ and kind == COMPANY:
            contacts = [{"id": i, "_links": self.link(f"contacts/{i}")} for i in linked(-COMPANY, number)]
            self._list(embedded, "contacts", contacts)
        for empty in ("customers", "catalog_elements"):
            if empty in with_:
                self._list(embedded, empty, [])

    def _card(self, row: Contact | Firm, path: str, name: str) -> Json:
        return {
            "id": row.id,
            "name": name,
            "responsible_user_id": row.user_id,
            "group_id": self.group(row.user_id),
            "created_by": row.created_by,
            "updated_by": row.user_id,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "closest_task_at": None,
            "is_deleted": bool(row.deleted_at),
            "is_unsorted": False,
            "account_id": self.company.account_id,
            "_links": self.link(f"{path}/{row.id}"),
        }

    def _list(self, embedded: Json, name: str, items: list[Any]) -> None:
        if items or self.switches.embedded_when_empty_include:
            embedded[name] = items

    def tags(self, kind: int, number: int, tags: tuple[int, ...]) -> list[Json]:
        listed: list[Json] = [{"id": tag, "name": self._tags[tag], "color": None} for tag in tags]
        return listed + self.extra_tags.get((kind, number), [])

    def _multitext(self, field_id: int, written: tuple[str, ...]) -> list[Json]:
        if not written:
            return []
        field = self._fields[field_id]
        enums = field.enums
        values = [
            {"value": value, "enum_id": enums[i % len(enums)][0], "enum_code": enums[i % len(enums)][2]}
            for i, value in enumerate(written)
        ]
        return [self._field(field, values)]

    def values(self, values: tuple[tuple[int, tuple[Any, ...]], ...]) -> list[Json] | None:
        """Filled custom fields; null where none is."""
        if not values:
            return None
        painted = []
        for field_id, items in values:
            field = self._fields[field_id]
            if field.enums:
                options = [(number, *self._enums[number]) for number in items]
                shown = [{"value": value, "enum_id": number, "enum_code": code} for number, value, code in options]
            else:
                shown = [{"value": item} for item in items]
            painted.append(self._field(field, shown))
        return painted

    @staticmethod
    def _field(field: Field, values: list[Json]) -> Json:
        return {
            "field_id": field.id,
            "field_name": field.name,
            "field_code": field.code or None,
            "field_type": field.type,
            "values": values,
        }

    def task(self, row: Task) -> Json:
        result: Any = {"text": words.TASK_RESULTS[row.result]} if row.result else self.empty_object()
        path = PATHS.get(row.entity_kind)
        return {
            "id": row.id,
            "created_by": row.created_by,
            "updated_by": row.user_id if row.completed_at else row.created_by,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "responsible_user_id": row.user_id,
            "group_id": self.group(row.user_id),
            "entity_id": row.entity_id or None,
            "entity_type": path,
            "duration": 1800 if row.type_id == office.TASK_TYPES[1].id else 0,
            "is_completed": bool(row.completed_at),
            "task_type_id": row.type_id,
            "text": words.TASK_TEXTS[row.text],
            "result": result,
            "complete_till": row.due_at,
            "account_id": self.company.account_id,
            "_links": self.link(f"tasks/{row.id}"),
        }

    def empty_object(self) -> Any:
        """PHP writes an empty object as a list."""
        return [] if self.switches.empty_object_as_list else {}

    def call_note(self, row: CallNote) -> Json:
        """A call. `style` bits: 0–2 spelling of the number, 3 duration as text, 4 status as text, 5–6 the result."""
        style = row.style
        if row.phone:
            phone: str | None = str(row.phone) if row.phone < 10**6 else spelled(row.phone, style % 6)
        else:
            phone = HIDDEN_SPELLINGS[style % 4]
        params: Json = {
            "uniq": _uniq(row),
            "duration": None if row.duration < 0 else str(row.duration) if style & 8 else row.duration,
            "source": PROVIDERS[row.provider],
            "link": f"https://pbx.example.org/rec/{row.id}.mp3" if row.duration > 0 and style & 64 else None,
            "phone": phone,
            "call_result": CALL_RESULTS[style >> 5],
        }
        if row.status:
            params["call_status"] = str(row.status) if style & 16 else row.status
        if row.call_responsible_id:
            params["call_responsible"] = row.call_responsible_id if row.call_responsible_id > 0 else "Менеджер"
        return {
            "id": row.id,
            "entity_id": row.entity_id,
            "created_by": row.created_by,
            "updated_by": row.created_by,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "responsible_user_id": row.responsible_id,
            "group_id": self.group(row.responsible_id),
            "note_type": "call_in" if row.is_in else "call_out",
            "params": params,
            "account_id": self.company.account_id,
            "_links": self.link(f"{PATHS[row.entity_kind]}/{row.entity_id}/notes/{row.id}"),
        }

    def user(self, row: User, with_: frozenset[str]) -> Json:
        scope = "A" if row.is_admin else "M"
        rights = {"view": scope, "edit": scope, "add": "A", "delete": scope if row.is_admin else "D", "export": scope}
        group = next(group for group in self.company.groups if group.id == row.group_id)
        role = [] if row.is_admin else [{"id": 80_110, "name": "Менеджер"}]
        card: Json = {
            "id": row.id,
            "name": row.name,
            "email": row.email,
            "lang": "ru",
            "rights": {
                "leads": rights,
                "contacts": rights,
                "companies": rights,
                "tasks": {"edit": scope, "delete": rights["delete"]},
                "mail_access": row.is_admin,
                "catalog_access": True,
                "is_admin": row.is_admin,
                "is_free": False,
                "is_active": not row.left_at,
                "group_id": row.group_id or None,
                "role_id": None if row.is_admin else 80_110,
                "status_rights": [] if row.id % 2 else None,
            },
            "_links": self.link(f"users/{row.id}"),
        }
        extras = {
            "uuid": f"00000000-0000-4000-8000-{row.id:012d}",
            "amojo_id": f"00000000-0000-4000-9000-{row.id:012d}",
            "user_rank": "master",
            "phone_number": None,
        }
        card |= {name: value for name, value in extras.items() if name in with_}
        embedded: Json = {}
        if "role" in with_:
            embedded["roles"] = role
        if "group" in with_:
            embedded["groups"] = [{"id": group.id, "name": group.name}]
        card["_embedded"] = embedded
        return card

    def field(self, row: Field, sort: int) -> Json:
        return {
            "id": row.id,
            "name": row.name,
            "type": row.type,
            "account_id": self.company.account_id,
            "code": row.code or None,
            "sort": sort,
            "is_api_only": row.is_api_only,
            ("nested" if row.type == "category" else "enums"): [
                {"id": number, "value": value, "sort": i, **({"code": code} if code else {})}
                for i, (number, value, code) in enumerate(row.enums, 1)
            ]
            or None,
            "group_id": "statistic" if row.type == "tracking_data" else None,
            "required_statuses": [{"status_id": s, "pipeline_id": p} for p, s in row.required],
            "is_deletable": not row.code,
            "is_predefined": bool(row.code),
            "entity_type": row.entity.partition("/")[0],
            "tracking_callback": None,
            "remind": "never" if row.type == "birthday" else None,
            "triggers": [],
            "currency": None,
            "hidden_statuses": [],
            "chained_lists": None,
            "_links": self.link(f"{row.entity}/custom_fields/{row.id}"),
        }

    def talk(self, row: Talk) -> Json:
        embedded: Json = {"contacts": [{"id": row.contact_id, "_links": self.link(f"contacts/{row.contact_id}")}]}
        if row.deal_id:
            embedded["leads"] = [{"id": row.deal_id, "_links": self.link(f"leads/{row.deal_id}")}]
        return {
            "talk_id": row.id,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "rate": row.rate,
            "contact_id": row.contact_id,
            "chat_id": f"00000000-0000-4000-a000-{row.id:012d}",
            "entity_id": row.deal_id or None,
            "entity_type": "lead" if row.deal_id else None,
            "status": "in_work" if row.is_in_work else "closed",
            "is_in_work": bool(row.is_in_work),
            "is_read": bool(row.is_read),
            "origin": ORIGINS[row.origin],
            "source_id": None,
            "missed_at": row.missed_at or None,
            "account_id": self.company.account_id,
            "_links": self.link(f"talks/{row.id}"),
            "_embedded": embedded,
        }

    def request(self, row: Request) -> Json:
        phone = f"+{row.phone}"
        metadata: dict[str, Json] = {
            "forms": {"form_id": "f-1", "form_name": "Заявка", "form_page": "https://okna.example.org",
                      "ip": "203.0.113.10", "form_sent_at": row.created_at, "referer": "https://ya.example/"},
            "sip": {"from": phone, "phone": phone, "called_at": row.created_at, "duration": 35, "link": None,
                    "service_code": "pbx", "uniq": row.uid},
            "mail": {"from": "client@example.org", "received_at": row.created_at, "subject": "Заявка", "thread_id": 1,
                     "message_id": 1, "content_summary": "Нужны окна"},
            "chats": {"from": phone, "to": "", "received_at": row.created_at, "service": "telegram",
                      "client": {"name": "Клиент"}, "origin": {"chat_id": row.uid},
                      "last_message_text": "Здравствуйте"},
        }  # fmt: skip
        return {
            "uid": row.uid,
            "source_uid": f"source-{row.source_id}",
            "source_name": self._sources[row.source_id],
            "category": row.category,
            "pipeline_id": row.pipeline_id,
            "created_at": row.created_at,
            "metadata": metadata[row.category],
            "account_id": self.company.account_id,
            "_links": self.link(f"leads/unsorted/{row.uid}"),
            "_embedded": {"contacts": [{"id": row.contact_id}], "leads": [{"id": row.deal_id}], "companies": []},
        }


def _uniq(row: CallNote) -> Any:
    if not row.uniq:
        return None if row.style & 1 else ""
    if row.uniq < 0:
        return [str(-row.uniq), row.created_at]
    if row.provider == 0:
        return f"8f52d38a-5fb3-406d-93a3-{row.uniq:012x}"
    return f"{1_700_000_000 + row.uniq}.{row.uniq % 1000}"
