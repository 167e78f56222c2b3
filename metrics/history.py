"""What of the tables has no history: at an earlier `as_of` it is as it is now, and a result has to say so (R-ASOF).

Every row has the instant since which it is known (`frames.EVENT`) and, where it was deleted, that of its deletion. Of
what is edited in between only the change logs below tell what was before. All the rest is in `NOW_ONLY`, by table, so
that a metric's tables say what it takes as now.
"""

from collections.abc import Collection

Said = tuple[str, str]
"""Russian and English."""

LOGGED: dict[str, Said] = {
    # change log: what it keeps of the past; without the log that is of now as well
    "deal_stage_transition": ("этапы сделок", "stages of deals"),
    "deal_owner_change": ("ответственные за сделки", "responsible users of deals"),
    "deal_amount_change": ("суммы сделок", "amounts of deals"),
}

NOW_ONLY: dict[str, Said | None] = {
    # table: what of it is edited without a trace; None: nothing is, its rows tell when
    "account": None,
    "activity": ("правки встреч и заметок", "edits of meetings and notes"),
    "calendar_exception": ("рабочее время", "working hours"),
    "calendar_hours": ("рабочее время", "working hours"),
    "call": ("правки звонков и их привязки к карточкам", "edits of calls and the cards they are on"),
    "client_phone": ("телефоны клиентов", "clients' phones"),
    "company": ("ответственные за клиентов", "clients' responsible users"),
    "contact": ("ответственные за клиентов и компании контактов", "clients' responsible users, companies of contacts"),
    "coverage": None,
    "customer": ("контакты и компании покупателей", "contacts and companies of customers"),
    "deal": ("источники, причины отказа и клиенты сделок", "sources, loss reasons and clients of deals"),
    "deal_amount_change": None,
    "deal_contact": ("контакты сделок", "contacts of deals"),
    "deal_invoice": ("сделки счетов", "deals of invoices"),
    "deal_item": ("товары сделок", "items of deals"),
    "deal_owner_change": None,
    "deal_stage_transition": None,
    "fx_rate": None,
    "invoice": ("суммы и состояния счетов", "amounts and states of invoices"),
    "loss_reason": ("названия причин отказа", "names of loss reasons"),
    "merge_link": None,
    "message": ("правки сообщений и их карточки", "edits of messages and the cards they are on"),
    "payment": ("правки платежей", "edits of payments"),
    "pipeline": ("названия и порядок воронок", "names and order of pipelines"),
    "request": ("правки заявок", "edits of requests"),
    "sales_doc": ("правки отгрузок", "edits of shipments"),
    "source": ("названия источников", "names of sources"),
    "stage": ("виды и порядок этапов", "kinds and order of stages"),
    "task": ("сроки, виды и ответственные задач", "deadlines, kinds and responsible users of tasks"),
    "task_link": ("карточки задач", "cards of tasks"),
    "user": ("кто из сотрудников работает", "which users are active"),
    "user_absence": ("отпуска и больничные", "absences"),
}

SETTINGS: Said = ("настройки", "settings")


def facts_of_now(tables: Collection[str], logs: Collection[str]) -> list[Said]:
    """What a result made of `tables` takes as it is now, each once; `logs`: change logs that are read throughout."""
    unlogged = [said for log, said in LOGGED.items() if log in tables and log not in logs]
    edited = [said for table, said in NOW_ONLY.items() if table in tables and said is not None]
    return list(dict.fromkeys([*unlogged, *edited, SETTINGS]))
