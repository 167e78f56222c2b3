"""The rows the demo Bitrix24 has of the company's cards and of what people do, one function per kind of object.

A row is painted when somebody asks for it; only what cannot be told from one thing alone (which lead became which deal,
when a deal was moved last) is worked out beforehand, by `demo.bitrix24_past`.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from demo import catalogs, notes, office, words
from demo.amocrm_cards import HIDDEN_SPELLINGS
from demo.bitrix24_past import CALL, FORM, MEETING, SESSION, Past
from demo.bitrix24_setup import (
    COMPANY_TYPE,
    CONTACT_TYPE,
    CURRENCY,
    DEAL_TYPE,
    FILE_FIELD,
    IBLOCK_ID,
    INVOICE_CATEGORY,
    INVOICE_NEW,
    INVOICE_PAID,
    INVOICE_SENT,
    INVOICE_TYPE,
    LEAD_TYPE,
    LOSS_FIELD,
    PLACES,
    PROCESS_CATEGORY,
    PROCESS_DONE,
    PROCESS_FAILED,
    PROCESS_NEW,
    department,
    local_day,
    user_fields,
    user_values,
)
from demo.bitrix24_values import File, Instant, Never, Row
from demo.model import (
    COMPANY,
    CONTACT,
    DAY,
    LEAD,
    PASSED_ON,
    CallNote,
    Company,
    Contact,
    Deal,
    Firm,
    Invoice,
    Message,
    Request,
    Talk,
    Task,
    TextNote,
    User,
)
from demo.people import spelled

OWNER_TYPES = {LEAD: DEAL_TYPE, CONTACT: CONTACT_TYPE, COMPANY: COMPANY_TYPE}
TASK_PREFIXES = {LEAD: "D", CONTACT: "C", COMPANY: "CO"}
OWN_COMPANY = 27_700_000
"""Just below the clients: lists are read in windows of ids."""
BOT, GUEST = 9_400_001, 900_000_000
"""The bot of the open lines; guests are their contacts' ids above `GUEST`."""
FIRST_MESSAGE, FIRST_CHAT, FIRST_ROW, FIRST_PAYMENT = 70_000_001, 30_001, 900_001, 990_001
UNANSWERED_IN = ("304", "304", "304", "304", "304", "486", "603-S", "480")
UNANSWERED_OUT = ("304", "304", "304", "486", "486", "603", "603-S", "480")
VOICEMAIL, UNMEASURED = 1, -1
LINES = ("74950000001", "74950000002", "reg133788")
CONNECTORS = ("telegrambot", "whatsappbyedna", "avito", "vkgroup", "fbinstagramdirect")
"""Channels of the open lines, in the order of `demo.todo.ORIGINS`."""
PHONE_KINDS = ("WORK", "MOBILE", "HOME", "OTHER")
PROVIDERS = {
    CALL: "VOXIMPLANT_CALL",
    MEETING: "CRM_MEETING",
    SESSION: "IMOPENLINES_SESSION",
    FORM: "CRM_WEBFORM",
}
"""`PROVIDER_ID` by what an activity is of; letters are mails or sms."""
UTM = ("UTM_SOURCE", "UTM_MEDIUM", "UTM_CAMPAIGN", "UTM_CONTENT", "UTM_TERM")


class Turn(NamedTuple):
    """A stage an item came to, and when; the first is where it was created."""

    at: int
    code: str


class Painter:
    """Paints rows of one company. past: what its history tells of single deals. has_files: whether deals have one."""

    def __init__(self, company: Company, past: Past, *, has_files: bool = False) -> None:
        self.company, self.past, self.has_files = company, past, has_files
        self._fields = {
            card: {field.id: field for field in user_fields(company, card)} for card in ("deal", "contact", "company")
        }
        self._products = {product.id: product for product in company.products}

    # --- cards

    def deal(self, deal: Deal) -> Row:
        place = PLACES[deal.pipeline_id, deal.stage_id]
        is_closed = place.semantics != "P"
        moved_at = self.past.moved_at(deal)
        contacts = [deal.main_contact_id] if deal.main_contact_id else []
        contacts += [number for number in deal.contact_ids if number != deal.main_contact_id]
        row: Row = {
            "ID": deal.id,
            "TITLE": deal.name,
            "TYPE_ID": "SALE",
            "CATEGORY_ID": place.category_id,
            "STAGE_ID": place.code,
            "STAGE_SEMANTIC_ID": place.semantics,
            "IS_NEW": place.code.endswith("NEW"),
            "IS_RECURRING": False,
            "IS_RETURN_CUSTOMER": False,
            "IS_REPEATED_APPROACH": False,
            "PROBABILITY": None,
            "CURRENCY_ID": CURRENCY,
            "OPPORTUNITY": Decimal(deal.price or 0),
            "IS_MANUAL_OPPORTUNITY": bool(deal.items),  # else the lines would tell the amount
            "TAX_VALUE": Decimal(0),
            "LEAD_ID": deal.id if self.past.is_from_lead(deal) else None,
            "COMPANY_ID": deal.company_id or None,
            "CONTACT_ID": contacts[0] if contacts else None,
            "CONTACT_IDS": contacts,
            "QUOTE_ID": None,
            "BEGINDATE": local_day(deal.created_at),
            "CLOSEDATE": local_day(deal.closed_at if is_closed else deal.created_at + 30 * DAY),
            "OPENED": True,
            "CLOSED": is_closed,
            "COMMENTS": None,
            "ASSIGNED_BY_ID": deal.user_id,
            "CREATED_BY_ID": somebody(deal.created_by),
            "MODIFY_BY_ID": deal.user_id,
            "MOVED_BY_ID": self.past.moved_by(deal),
            "DATE_CREATE": Instant(deal.created_at),
            "DATE_MODIFY": Instant(deal.updated_at),
            "MOVED_TIME": Instant(moved_at),
            "LAST_ACTIVITY_TIME": Instant(deal.updated_at),
            "LAST_ACTIVITY_BY": deal.user_id,
            "OBSERVERS": [],
            **_origin(str(deal.source_id) if deal.source_id else None, _utm(deal)),
            LOSS_FIELD: deal.loss_reason_id or None,
            **({FILE_FIELD: File(deal.id)} if self.has_files else {}),
        }
        return row | user_values(deal.values, self._fields["deal"])

    def lead_of_deal(self, deal: Deal) -> Row:
        """What came in before it was a deal: amoCRM's unsorted, taken up."""
        converted_at = self.past.accepted_at(deal)
        contacts = [deal.main_contact_id] if deal.main_contact_id else []
        source = str(deal.source_id) if deal.source_id else None
        row = self._lead(deal.id, "CONVERTED", "S", created_at=deal.created_at, moved_at=converted_at)
        return row | {
            "TITLE": deal.name,
            "COMPANY_ID": deal.company_id or None,
            "CONTACT_ID": contacts[0] if contacts else None,
            "CONTACT_IDS": contacts,
            "DATE_CLOSED": Instant(converted_at),
            "ASSIGNED_BY_ID": deal.user_id,
            "CREATED_BY_ID": somebody(deal.created_by),
            "MODIFY_BY_ID": deal.user_id,
            "MOVED_BY_ID": deal.user_id,
            **_origin(source, _utm(deal)),
        }

    def lead_of_request(self, request: Request) -> Row:
        """What came in and waits."""
        at = request.created_at
        row = self._lead(request.deal_id, "NEW", "P", created_at=at, moved_at=at)
        return row | {
            "TITLE": f"Заявка {request.uid[:6]}",
            "NAME": "Новый",
            "LAST_NAME": "клиент",
            "HAS_PHONE": True,
            "PHONE": multi("PHONE", request.deal_id, (f"+{request.phone}",)),
            **_origin(str(request.source_id), {}),
        }

    def _lead(self, number: int, status: str, semantics: str, *, created_at: int, moved_at: int) -> Row:
        return {
            "ID": number,
            "TITLE": None,
            "HONORIFIC": None,
            "NAME": None,
            "SECOND_NAME": None,
            "LAST_NAME": None,
            "BIRTHDATE": None,
            "COMPANY_TITLE": None,
            "COMPANY_ID": None,
            "CONTACT_ID": None,
            "CONTACT_IDS": [],
            "IS_RETURN_CUSTOMER": False,
            "STATUS_ID": status,
            "STATUS_DESCRIPTION": None,
            "STATUS_SEMANTIC_ID": semantics,
            "POST": None,
            "COMMENTS": None,
            "CURRENCY_ID": CURRENCY,
            "OPPORTUNITY": Decimal(0),
            "IS_MANUAL_OPPORTUNITY": False,
            "HAS_PHONE": False,
            "HAS_EMAIL": False,
            "HAS_IMOL": False,
            "OPENED": True,
            "ASSIGNED_BY_ID": office.HEAD,
            "CREATED_BY_ID": office.HEAD,
            "MODIFY_BY_ID": office.HEAD,
            "MOVED_BY_ID": office.HEAD,
            "DATE_CREATE": Instant(created_at),
            "DATE_MODIFY": Instant(moved_at),
            "DATE_CLOSED": None,
            "MOVED_TIME": Instant(moved_at),
            "LAST_ACTIVITY_TIME": Instant(moved_at),
            "LAST_ACTIVITY_BY": office.HEAD,
            "OBSERVERS": [],
            "PHONE": [],
            "EMAIL": [],
        }

    def contact(self, card: Contact) -> Row:
        row = self._client(card) | {
            "HONORIFIC": None,
            "NAME": card.first_name,
            "SECOND_NAME": None,
            "LAST_NAME": card.last_name or None,
            "PHOTO": None,
            "BIRTHDATE": None,
            "TYPE_ID": "CLIENT",
            "POST": None,
            "EXPORT": True,
            "COMPANY_ID": card.company_id or None,
            "COMPANY_IDS": [card.company_id] if card.company_id else [],
            "LEAD_ID": None,
            "PHONE": multi("PHONE", card.id, card.phones),
            "EMAIL": multi("EMAIL", card.id, card.emails),
        }
        return row | user_values(card.values, self._fields["contact"])

    def firm(self, card: Firm) -> Row:
        web = next((items[0] for number, items in card.values if number == office.WEB), None)
        row = self._client(card) | {
            "TITLE": card.name,
            "COMPANY_TYPE": "CUSTOMER",
            "LOGO": None,
            "LEAD_ID": None,
            "INDUSTRY": "CONSTRUCTION",
            "EMPLOYEES": None,
            "REVENUE": Decimal(0),
            "CURRENCY_ID": CURRENCY,
            "BANKING_DETAILS": None,
            "IS_MY_COMPANY": False,
            "PHONE": multi("PHONE", card.id, card.phones, shift=10),
            "EMAIL": multi("EMAIL", card.id, card.emails, shift=10),
            "WEB": multi("WEB", card.id, (web,), shift=10) if web else [],
        }
        return row | user_values(card.values, self._fields["company"])

    def own_company(self) -> Row:
        """The account's own card, which is nobody's client."""
        at = self.company.started_at
        card = Firm(OWN_COMPANY, self.company.name, office.HEAD, at, office.HEAD, at, (), (), (), ())
        return self.firm(card) | {"IS_MY_COMPANY": True}

    def _client(self, card: Contact | Firm) -> Row:
        return {
            "ID": card.id,
            "COMMENTS": None,
            "OPENED": True,
            "HAS_PHONE": bool(card.phones),
            "HAS_EMAIL": bool(card.emails),
            "HAS_IMOL": False,
            "ASSIGNED_BY_ID": card.user_id,
            "CREATED_BY_ID": somebody(card.created_by),
            "MODIFY_BY_ID": card.user_id,
            "DATE_CREATE": Instant(card.created_at),
            "DATE_MODIFY": Instant(card.updated_at),
            "LAST_ACTIVITY_TIME": Instant(card.updated_at),
            "LAST_ACTIVITY_BY": card.user_id,
            "OBSERVERS": [],
            **_origin(None, {}),
        }

    # --- goods and bills

    def product_row(self, deal: Deal, place: int, number: int) -> Row:
        element_id, quantity = deal.items[place]
        product = self._products[element_id]
        price = Decimal(product.price)
        return {
            "ID": number,
            "OWNER_ID": deal.id,
            "OWNER_TYPE": "D",
            "PRODUCT_ID": product.id,
            "PRODUCT_NAME": product.name,
            "PRICE": price,
            "PRICE_EXCLUSIVE": price,
            "PRICE_NETTO": price,
            "PRICE_BRUTTO": price,
            "PRICE_ACCOUNT": price,
            "QUANTITY": Decimal(quantity),
            "DISCOUNT_TYPE_ID": 2,
            "DISCOUNT_RATE": Decimal(0),
            "DISCOUNT_SUM": Decimal(0),
            "TAX_RATE": None,
            "TAX_INCLUDED": True,
            "CUSTOMIZED": True,
            "MEASURE_CODE": 796,
            "MEASURE_NAME": "шт",
            "SORT": 10 * (place + 1),
            "TYPE": 1,
            "STORE_ID": None,
        }

    def product(self, number: int) -> Row:
        product = self._products[number]
        return {
            "ID": product.id,
            "IBLOCK_ID": IBLOCK_ID,
            "IBLOCK_SECTION_ID": 1_200 + product.group,
            "NAME": product.name,
            "ACTIVE": True,
            "AVAILABLE": True,
            "CODE": product.sku.lower(),
            "XML_ID": product.sku,
            "SORT": 500,
            "TYPE": 1,
            "MEASURE": 796,
            "PRICE": Decimal(product.price),
            "CURRENCY": CURRENCY,
            "DATE_CREATE": Instant(self.company.started_at),
            "TIMESTAMP_X": Instant(self.company.started_at),
        }

    def invoice(self, invoice: Invoice) -> Row:
        turns = invoice_turns(invoice)
        values = dict(invoice.values)
        payer = values.get(catalogs.PAYER, ({},))[0]
        is_company = payer.get("entity_type") == "companies"
        contact_id = payer.get("entity_id") if payer.get("entity_type") == "contacts" else None
        return self._item(invoice.id, invoice.name, INVOICE_CATEGORY, turns) | {
            "ACCOUNT_NUMBER": str(invoice.id - catalogs.FIRST_INVOICE + 1),
            "ENTITY_TYPE_ID": INVOICE_TYPE,
            "OPPORTUNITY": invoice_sum(invoice),
            "BEGINDATE": local_day(invoice.created_at),
            "CLOSEDATE": local_day(invoice.created_at + 14 * DAY),
            "COMPANY_ID": payer.get("entity_id") if is_company else None,
            "CONTACT_ID": contact_id,
            "CONTACT_IDS": [contact_id] if contact_id else [],
            "MYCOMPANY_ID": OWN_COMPANY,
            "PARENT_ID_2": invoice.deal_id or None,
        }

    def payment(self, invoice: Invoice, number: int) -> Row:
        """What was paid of a bill: all of it, or half of it so far."""
        values = dict(invoice.values)
        paid_at = values.get(catalogs.PAID_ON, (invoice_turns(invoice)[-1].at,))[0]
        is_whole = catalogs.PAID_ON in values
        return {
            "ID": number,
            "ENTITY_TYPE_ID": INVOICE_TYPE,
            "ENTITY_ID": invoice.id,
            "ACCOUNT_NUMBER": f"{invoice.id}/1",
            "PAID": True,
            "DATE_PAID": Instant(paid_at),
            "EMP_PAID_ID": office.HEAD,
            "PAY_SYSTEM_ID": 3,
            "PAY_SYSTEM_NAME": "Безналичный расчёт",
            "SUM": invoice_sum(invoice) / (1 if is_whole else 2),
            "CURRENCY": CURRENCY,
        }

    def installation(self, deal: Deal, number: int) -> Row:
        """An item of the smart process: what was sold is put in."""
        return self._item(number, f"Монтаж: {deal.name}", PROCESS_CATEGORY, self.process_turns(deal)) | {
            "OPPORTUNITY": Decimal(0),
            "BEGINDATE": local_day(deal.closed_at),
            "CLOSEDATE": local_day(deal.closed_at + 10 * DAY),
            "COMPANY_ID": deal.company_id or None,
            "CONTACT_ID": deal.main_contact_id or None,
            "CONTACT_IDS": [deal.main_contact_id] if deal.main_contact_id else [],
            "PARENT_ID_2": deal.id,
        }

    def process_turns(self, deal: Deal) -> list[Turn]:
        turns = [Turn(deal.closed_at, PROCESS_NEW)]
        done_at = deal.closed_at + 10 * DAY
        if done_at < self.company.now:
            turns.append(Turn(done_at, PROCESS_DONE if deal.id % 80 else PROCESS_FAILED))
        return turns

    @staticmethod
    def _item(number: int, title: str, category_id: int, turns: Sequence[Turn]) -> Row:
        last = turns[-1]
        return {
            "ID": number,
            "TITLE": title,
            "XML_ID": None,
            "CATEGORY_ID": category_id,
            "STAGE_ID": last.code,
            "PREVIOUS_STAGE_ID": turns[-2].code if len(turns) > 1 else None,
            "CURRENCY_ID": CURRENCY,
            "IS_MANUAL_OPPORTUNITY": True,
            "TAX_VALUE": Decimal(0),
            "OPENED": True,
            "ASSIGNED_BY_ID": office.HEAD,
            "CREATED_BY": office.HEAD,
            "UPDATED_BY": office.HEAD,
            "MOVED_BY": office.HEAD,
            "CREATED_TIME": Instant(turns[0].at),
            "UPDATED_TIME": Instant(last.at),
            "MOVED_TIME": Instant(last.at),
            "LAST_ACTIVITY_TIME": Instant(last.at),
            "LAST_ACTIVITY_BY": office.HEAD,
            "OBSERVERS": [],
            "SOURCE_ID": None,
            "SOURCE_DESCRIPTION": None,
            "COMMENTS": None,
        }

    # --- calls

    def call(self, note: CallNote, activity_id: int) -> Row:
        """A call as a PBX registered it: once, and only with what is true of it."""
        code = call_code(note)
        entity = {CONTACT: "CONTACT", COMPANY: "COMPANY"}.get(note.entity_kind)  # a deal is known by the activity only
        is_recorded = code == "200" and bool(note.style & 64)
        return {
            "ID": note.id,
            "PORTAL_USER_ID": note.responsible_id,
            "PORTAL_NUMBER": LINES[note.provider],
            "PHONE_NUMBER": number_called(note),
            "CALL_ID": call_id(note),
            "EXTERNAL_CALL_ID": str(note.uniq) if note.uniq > 0 else None,
            "CALL_CATEGORY": "external",
            "CALL_LOG": None,
            "CALL_DURATION": talk_s(note),
            "CALL_START_DATE": Instant(note.created_at),
            "CALL_RECORD_URL": f"https://pbx.example.org/rec/{note.id}.mp3" if is_recorded else None,
            "CALL_VOTE": None,
            "COST": Decimal(0),
            "COST_CURRENCY": "RUR",
            "CALL_FAILED_CODE": code,
            "CALL_FAILED_REASON": "" if code == "200" else "Declined" if code.startswith("603") else "Skipped call",
            "CRM_ENTITY_TYPE": entity,
            "CRM_ENTITY_ID": note.entity_id if entity else None,
            "CRM_ACTIVITY_ID": activity_id,
            "REST_APP_ID": 3,
            "REST_APP_NAME": "PBX",
            "TRANSCRIPT_ID": None,
            "TRANSCRIPT_PENDING": False,
            "SESSION_ID": None,
            "REDIAL_ATTEMPT": None,
            "COMMENT": None,
            "RECORD_DURATION": talk_s(note) if is_recorded else None,
            "RECORD_FILE_ID": note.id - 60_000_000 if is_recorded else None,
            "CALL_TYPE": call_type(note),
        }

    # --- activities

    def call_activity(self, number: int, note: CallNote) -> Row:
        is_missed = call_type(note) == 2 and call_code(note) == "304"
        owner = note.entity_kind, note.entity_id
        deal_id = self.past.deal_called_about(note)
        owners = [(LEAD, deal_id), owner] if deal_id else [owner]
        ended_at = note.created_at + talk_s(note)
        row = _activity(number, owners, user=note.responsible_id, created_at=note.created_at, updated_at=ended_at)
        return row | {
            "TYPE_ID": 2,
            "PROVIDER_ID": PROVIDERS[CALL],
            "PROVIDER_TYPE_ID": "CALL",
            "SUBJECT": "Входящий звонок" if note.is_in else "Исходящий звонок",
            "END_TIME": Instant(ended_at),
            "COMPLETED": not is_missed,
            "STATUS": 1 if is_missed else 2,
            "DIRECTION": 1 if note.is_in else 2,
            "SETTINGS": {"MISSED_CALL": True} if is_missed else {},
            "ORIGIN_ID": f"VI_{call_id(note)}",
            "COMMUNICATIONS": [{"TYPE": "PHONE", "VALUE": number_called(note)}] if note.phone else [],
        }

    def meeting(self, number: int, task: Task) -> Row:
        """A meeting, which is planned until it took place."""
        owners = [(task.entity_kind, task.entity_id)]
        at = task.completed_at or task.due_at
        row = _activity(number, owners, user=task.user_id, created_at=task.created_at, updated_at=task.updated_at)
        return row | {
            "TYPE_ID": 1,
            "PROVIDER_ID": PROVIDERS[MEETING],
            "PROVIDER_TYPE_ID": "MEETING",
            "SUBJECT": words.TASK_TEXTS[task.text],
            "START_TIME": Instant(at),
            "END_TIME": Instant(at),
            "DEADLINE": Instant(task.due_at),
            "COMPLETED": bool(task.completed_at),
            "STATUS": 2 if task.completed_at else 1,
        }

    def letter(self, number: int, note: TextNote) -> Row:
        """A mail or an sms."""
        is_mail = note.note_type == "amomail_message"
        is_out = notes.is_from_us(note)
        user = note.responsible_id or office.HEAD
        owners = [(note.entity_kind, note.entity_id)]
        row = _activity(number, owners, user=user, created_at=note.created_at, updated_at=note.updated_at)
        address = (
            {"TYPE": "EMAIL", "VALUE": "client@example.org"} if is_mail else {"TYPE": "PHONE", "VALUE": "+79990000000"}
        )
        return row | {
            "TYPE_ID": 4 if is_mail else 6,
            "PROVIDER_ID": "CRM_EMAIL" if is_mail else "CRM_SMS",
            "PROVIDER_TYPE_ID": "EMAIL" if is_mail else "SMS",
            "SUBJECT": note.params.get("subject") or "Сообщение",
            "DESCRIPTION": note.params.get("content_summary") or note.params.get("text"),
            "COMPLETED": True,
            "STATUS": 2,
            "DIRECTION": 2 if is_out else 1,
            "AUTHOR_ID": note.created_by or office.HEAD,
            "COMMUNICATIONS": [address],
        }

    def session_activity(self, number: int, talk: Talk) -> Row:
        contact = (CONTACT, talk.contact_id)
        owners = [(LEAD, talk.deal_id), contact] if talk.deal_id else [contact]
        operator = self.past.operator(talk) or office.HEAD
        row = _activity(number, owners, user=operator, created_at=talk.created_at, updated_at=talk.updated_at)
        return row | {
            "TYPE_ID": 6,
            "PROVIDER_ID": PROVIDERS[SESSION],
            "PROVIDER_TYPE_ID": "1",
            "ASSOCIATED_ENTITY_ID": talk.id,
            "SUBJECT": "Чат открытой линии",
            "END_TIME": Instant(talk.updated_at),
            "COMPLETED": not talk.is_in_work,
            "STATUS": 1 if talk.is_in_work else 2,
            "DIRECTION": 1,
        }

    def web_form(self, number: int, request: Request) -> Row:
        """How a request came in through a form of the site."""
        at = request.created_at
        row = _activity(number, [], user=office.HEAD, created_at=at, updated_at=at)
        return row | {
            "OWNER_ID": request.deal_id,
            "OWNER_TYPE_ID": LEAD_TYPE,
            "BINDINGS": [{"OWNER_TYPE_ID": LEAD_TYPE, "OWNER_ID": request.deal_id}],
            "TYPE_ID": 6,
            "PROVIDER_ID": PROVIDERS[FORM],
            "PROVIDER_TYPE_ID": "1",
            "SUBJECT": "Заполнена форма",
            "COMPLETED": True,
            "STATUS": 2,
            "DIRECTION": 1,
        }

    # --- chats

    def session(self, talk: Talk, first: int, messages: Sequence[Message]) -> Row:
        """An open-line session with its messages, oldest first. `first`: the place of its first message of all."""
        guest = GUEST + talk.contact_id
        number = FIRST_MESSAGE + first + (talk.id - self.company.talks[0].id)
        opening = {"ID": number, "SENDERID": 0, "DATE": Instant(talk.created_at), "TEXT": "Обращение принято"}
        lines: list[Row] = [
            {
                "ID": number + place,
                "SENDERID": guest if message.is_in else message.user_id or BOT,
                "DATE": Instant(message.at),
                "TEXT": words.COMMENTS[(first + place) % len(words.COMMENTS)],
            }
            for place, message in enumerate(messages, start=1)
        ]
        people = {line["SENDERID"] for line in lines}
        return {
            "ID": talk.id,
            "CHAT_ID": FIRST_CHAT + talk.id,
            "CONNECTOR_ID": CONNECTORS[talk.origin],
            "CONTACT_ID": talk.contact_id,
            "DEAL_ID": talk.deal_id or None,
            "DATE_CREATE": Instant(talk.created_at),
            "CLOSED": not talk.is_in_work,
            "MESSAGES": [opening, *lines],
            "USERS": [
                {"ID": who, "NAME": self._name(who), "CONNECTOR": who == guest, "BOT": who == BOT}
                for who in sorted(people)
            ],
        }

    def _name(self, number: int) -> str:
        known = next((user.name for user in self.company.users if user.id == number), None)
        return known or ("Бот" if number == BOT else "Гость")

    # --- tasks, comments, people

    def task(self, task: Task) -> Row:
        is_done = bool(task.completed_at)
        is_late = not is_done and task.due_at < self.company.now
        return {
            "ID": task.id,
            "TITLE": words.TASK_TEXTS[task.text],
            "DESCRIPTION": "",
            "PARENT_ID": None,
            "STATUS": 5 if is_done else 2,
            "SUB_STATUS": -1 if is_late else 5 if is_done else 2,
            "PRIORITY": 1,
            "MULTITASK": False,
            "GROUP_ID": 0,
            "GROUP": {},
            "STAGE_ID": 0,
            "CREATED_BY": task.created_by or task.user_id,
            "RESPONSIBLE_ID": task.user_id,
            "CHANGED_BY": task.user_id,
            "CLOSED_BY": task.user_id if is_done else None,
            "CREATED_DATE": Instant(task.created_at),
            "CHANGED_DATE": Instant(task.updated_at),
            "CLOSED_DATE": Instant(task.completed_at) if is_done else None,
            "DEADLINE": Instant(task.due_at),
            "DATE_START": None,
            "START_DATE_PLAN": None,
            "END_DATE_PLAN": None,
            "TIME_ESTIMATE": 0,
            "MARK": None,
            "AUDITORS": [],
            "ACCOMPLICES": [],
            "TAGS": [],
            "COMMENTS_COUNT": 0,
            "UF_CRM_TASK": [f"{TASK_PREFIXES[task.entity_kind]}_{task.entity_id}"] if task.entity_kind else [],
        }

    @staticmethod
    def comment(note: TextNote) -> Row:
        entity = {LEAD: "deal", CONTACT: "contact", COMPANY: "company"}[note.entity_kind]
        return {
            "ID": note.id,
            "ENTITY_ID": note.entity_id,
            "ENTITY_TYPE": entity,
            "CREATED": Instant(note.created_at),
            "COMMENT": note.params.get("text") or note.params.get("original_name") or "",
            "AUTHOR_ID": note.created_by or office.HEAD,
            "FILES": {},
        }

    def user(self, user: User) -> Row:
        first, _, last = user.name.partition(" ")
        return {
            "ID": user.id,
            "XML_ID": None,
            "ACTIVE": not user.left_at,
            "NAME": first,
            "LAST_NAME": last,
            "SECOND_NAME": None,
            "EMAIL": user.email,
            "WORK_POSITION": "Руководитель" if user.is_admin else "Менеджер",
            "WORK_PHONE": None,
            "PERSONAL_GENDER": "",
            "PERSONAL_BIRTHDAY": None,
            "PERSONAL_MOBILE": None,
            "TIME_ZONE": "",
            "DATE_REGISTER": local_day(self.company.started_at - DAY),
            "LAST_LOGIN": Instant(user.left_at or self.company.now - 3_600),
            "IS_ONLINE": False,
            "IS_ADMIN": user.is_admin,
            "UF_DEPARTMENT": [department(user.group_id)],
            "UF_PHONE_INNER": str(user.id % 1_000),
            "USER_TYPE": "employee",
        }


def somebody(user_id: int) -> int:
    """A user for what amoCRM's robot did: here robots act in the administrator's name."""
    return user_id or office.HEAD


def multi(kind: str, number: int, values: Sequence[str], *, shift: int = 0) -> list[Row]:
    """Values of a multi-field, each with an id of its own; `shift` keeps those of another kind of card apart."""
    offset = {"PHONE": 0, "EMAIL": 5, "WEB": 9}[kind]
    return [
        {
            "ID": 20 * number + shift + offset + place,
            "VALUE_TYPE": PHONE_KINDS[place % len(PHONE_KINDS)] if kind == "PHONE" else "WORK",
            "VALUE": value,
            "TYPE_ID": kind,
        }
        for place, value in enumerate(values)
    ]


def _origin(source: str | None, utm: dict[str, str]) -> Row:
    return {
        "SOURCE_ID": source,
        "SOURCE_DESCRIPTION": None,
        "ORIGINATOR_ID": None,
        "ORIGIN_ID": None,
        **{name: utm.get(name) for name in UTM},
    }


def _utm(deal: Deal) -> dict[str, str]:
    return {
        UTM[number - office.UTM_FIRST]: items[0]
        for number, items in deal.values
        if office.UTM_FIRST <= number < office.UTM_FIRST + len(UTM)
    }


def _activity(number: int, owners: Sequence[tuple[int, int]], *, user: int, created_at: int, updated_at: int) -> Row:
    """What all activities have. The first of `owners` (kind and id of a card) is the owner, all are bound."""
    bindings = [{"OWNER_TYPE_ID": OWNER_TYPES[kind], "OWNER_ID": card} for kind, card in owners]
    first: dict[str, Any] = bindings[0] if bindings else {"OWNER_TYPE_ID": 0, "OWNER_ID": 0}
    return {
        "ID": number,
        **first,
        "TYPE_ID": 0,
        "PROVIDER_ID": None,
        "PROVIDER_TYPE_ID": None,
        "PROVIDER_GROUP_ID": None,
        "ASSOCIATED_ENTITY_ID": 0,
        "SUBJECT": "",
        "CREATED": Instant(created_at),
        "LAST_UPDATED": Instant(updated_at),
        "START_TIME": Instant(created_at),
        "END_TIME": Instant(created_at),
        "DEADLINE": Never,
        "COMPLETED": False,
        "STATUS": 1,
        "RESPONSIBLE_ID": user,
        "PRIORITY": 2,
        "NOTIFY_TYPE": 0,
        "NOTIFY_VALUE": 0,
        "DESCRIPTION": None,
        "DESCRIPTION_TYPE": 1,
        "DIRECTION": 0,
        "LOCATION": "",
        "SETTINGS": {},
        "ORIGINATOR_ID": None,
        "ORIGIN_ID": None,
        "AUTHOR_ID": user,
        "EDITOR_ID": user,
        "PROVIDER_PARAMS": {},
        "PROVIDER_DATA": None,
        "RESULT_MARK": 0,
        "RESULT_STREAM": 0,
        "BINDINGS": bindings,
        "COMMUNICATIONS": [],
    }


# --- calls


def call_id(note: CallNote) -> str:
    return f"externalCall.{note.id:x}.{note.created_at}"


def talk_s(note: CallNote) -> int:
    """How long people talked: nobody does with a voice mail, and an unmeasured talk counts 0."""
    return 0 if note.status == VOICEMAIL else max(note.duration, 0)


def call_code(note: CallNote) -> str:
    """The SIP code a PBX reports: what cannot be reached has several."""
    if note.duration == UNMEASURED or talk_s(note):
        return "200"
    return (UNANSWERED_IN if note.is_in else UNANSWERED_OUT)[note.style % 8]


def call_type(note: CallNote) -> int:
    """1 outgoing, 2 incoming, 3 incoming and passed on."""
    if not note.is_in:
        return 1
    return 3 if note.role == PASSED_ON else 2


def number_called(note: CallNote) -> str:
    """With or without a plus, an extension as it is; what telephony writes of a hidden number, if anything."""
    if not note.phone:
        return HIDDEN_SPELLINGS[note.style % len(HIDDEN_SPELLINGS)] or ""
    return str(note.phone) if note.phone < 10**6 else spelled(note.phone, note.style & 1)


# --- bills


def invoice_turns(invoice: Invoice) -> list[Turn]:
    """The stages of a bill: new, and then sent or paid."""
    values = dict(invoice.values)
    turns = [Turn(invoice.created_at, INVOICE_NEW)]
    if catalogs.PAID_ON in values:
        turns.append(Turn(values[catalogs.PAID_ON][0], INVOICE_PAID))
    elif values[catalogs.BILL_STATUS][0] == catalogs.PARTLY:
        turns.append(Turn(invoice.created_at + 1, INVOICE_SENT))
    return turns


def invoice_sum(invoice: Invoice) -> Decimal:
    """What the bill says, else its lines together."""
    values = dict(invoice.values)
    if catalogs.BILL_PRICE in values:
        return Decimal(values[catalogs.BILL_PRICE][0])
    return Decimal(sum(line["total_sum"] for line in values.get(catalogs.ITEMS, ())))


def paid_invoices(invoices: Sequence[Invoice]) -> Iterator[Invoice]:
    """Bills with money on them."""
    for invoice in invoices:
        if dict(invoice.values)[catalogs.BILL_STATUS][0] != catalogs.CREATED:
            yield invoice
