"""The cards of the demo CRM as pages, so that links of the dashboard lead somewhere: who it is, what was said last."""

from collections.abc import Iterator
from html import escape

from demo.amocrm_account import Account
from demo.amocrm_store import Query
from demo.model import COMPANY, CONTACT, LEAD, CallNote, Contact, Deal, Firm, Task, TextNote
from demo.pages import Line, block, missing, moment, page
from demo.words import TASK_TEXTS

KIND_OF = {"leads": LEAD, "contacts": CONTACT, "companies": COMPANY}
WORDS = {LEAD: "Сделка", CONTACT: "Контакт", COMPANY: "Компания"}
PATHS = {kind: path for path, kind in KIND_OF.items()}
MOST_ROWS = 10
TALKED = 4  # call_status of amoCRM

CRM = "amoCRM"

Card = Deal | Contact | Firm


def card_page(account: Account, entity: str, number: int) -> str | None:
    """The page of a lead, contact or company; None where there is no such card, or no more."""
    table = account.card_table(entity) if entity in KIND_OF else None
    card: Card | None = table.get(number) if table else None
    if card is None or card.deleted_at:
        return None
    kind = KIND_OF[entity]
    blocks = [
        block("", _facts(account, card)),
        block("Связано", _linked(account, card)),
        block("Открытые задачи", _tasks(account, kind, number)),
        block("Последние события", _notes(account, card)),
    ]
    return page(f"{WORDS[kind]}: {_name(card)}", "".join(blocks), crm=CRM)


def missing_page() -> str:
    return missing(crm=CRM)


def _name(card: Card) -> str:
    name = f"{card.first_name} {card.last_name}".strip() if isinstance(card, Contact) else card.name
    return name or f"без названия, №\u00a0{card.id}"


def _facts(account: Account, card: Card) -> Iterator[Line]:
    if isinstance(card, Deal):
        yield from _facts_of_deal(account, card)
    else:
        yield "Телефоны", escape(", ".join(card.phones)) or "нет"
        yield "Почта", escape(", ".join(card.emails)) or "нет"
    people = {user.id: user for user in account.company.users}
    owner = people.get(card.user_id)
    left = " (больше не работает)" if owner and owner.left_at else ""
    yield "Ответственный", escape(owner.name if owner else "не назначен") + left
    yield "Создана" if not isinstance(card, Contact) else "Создан", moment(card.created_at)


def _facts_of_deal(account: Account, deal: Deal) -> Iterator[Line]:
    pipeline = next((one for one in account.company.pipelines if one.id == deal.pipeline_id), None)
    stage = next((one for one in pipeline.stages if one.id == deal.stage_id), None) if pipeline else None
    yield "Воронка", escape(pipeline.name if pipeline else "—")
    yield "Этап", escape(stage.name if stage else "—")
    yield "Бюджет", "не заполнен" if deal.price is None else f"{deal.price:,} ₽".replace(",", "\u00a0")
    reason = next((one.name for one in account.company.loss_reasons if one.id == deal.loss_reason_id), None)
    if reason:
        yield "Причина отказа", escape(reason)
    if deal.closed_at:
        yield "Закрыта", moment(deal.closed_at)


def _linked(account: Account, card: Card) -> Iterator[Line]:
    """Links to the other cards of the same client."""
    found: list[tuple[int, int]] = []
    if isinstance(card, Deal):
        found = [*((CONTACT, number) for number in card.contact_ids), (COMPANY, card.company_id)]
    elif isinstance(card, Contact):
        found = [(COMPANY, card.company_id), *((LEAD, number) for number in account.linked(CONTACT, card.id))]
    else:
        found = [(CONTACT, number) for number in account.linked(-COMPANY, card.id)]
        found += [(LEAD, number) for number in account.linked(COMPANY, card.id)]
    for kind, number in found[:MOST_ROWS]:
        table = account.card_table(PATHS[kind])
        other: Card | None = table.get(number) if table and number else None
        if other is not None and not other.deleted_at:
            yield WORDS[kind], f'<a href="/{PATHS[kind]}/detail/{number}">{escape(_name(other))}</a>'


def _tasks(account: Account, kind: int, number: int) -> Iterator[Line]:
    query = Query("tasks")
    query.tests.append(lambda row: row.entity_id == number and row.entity_kind == kind and not row.completed_at)
    for task_id in query.run(account.tasks)[:MOST_ROWS]:
        task: Task | None = account.tasks.get(task_id)
        if task is not None:
            yield f"до {moment(task.due_at)}", escape(TASK_TEXTS[task.text])


def _notes(account: Account, card: Card) -> Iterator[Line]:
    """The newest calls and notes of the card; of a lead also those of its contacts and its company."""
    places = {(_kind(card), card.id)}
    if isinstance(card, Deal):
        places |= {(CONTACT, number) for number in card.contact_ids} | {(COMPANY, card.company_id)}
    notes = [note for kind, number in places for note in _notes_of(account, kind, number)]
    names = {user.id: user.name for user in account.company.users}
    for note in sorted(notes, key=lambda note: (note.created_at, note.id), reverse=True)[:MOST_ROWS]:
        told = str(note.params.get("text") or note.note_type) if isinstance(note, TextNote) else _call(note)
        who = names.get(note.responsible_id, "")
        yield moment(note.created_at), escape(f"{told} · {who}" if who else told)


def _notes_of(account: Account, kind: int, number: int) -> Iterator[CallNote | TextNote]:
    table = account.notes[kind]
    query = Query("notes")
    query.tests.append(lambda row: row.entity_id == number)
    key = f"page of {kind}:{number}"  # a hundred thousand rows are walked once
    return (table.get(i) for i in account.cache.ids(key, table.version, lambda: query.run(table)))  # type: ignore[misc]


def _kind(card: Card) -> int:
    return LEAD if isinstance(card, Deal) else CONTACT if isinstance(card, Contact) else COMPANY


def _call(note: CallNote) -> str:
    way = "Входящий звонок" if note.is_in else "Исходящий звонок"
    if note.duration > 0:
        return f"{way}, разговор {note.duration // 60}:{note.duration % 60:02}"
    return f"{way}, {'разговор' if note.status == TALKED else 'без ответа'}"
