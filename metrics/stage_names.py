"""What the name of a stage tells: an outcome («КП отправлено»), a process («Готовим КП»), or a place to park deals.

A funnel is a ladder of outcomes: a deal stands on the last thing achieved. Russian names only; the lists are editable.

Source: the metric catalogue, E16, style classifier.
"""

import re
from typing import Literal

Style = Literal["outcome", "process", "unclear"]

NO_VERBS = frozenset(
    (
        "контакт", "акт", "клиент", "документ", "документы", "договор", "ремонт", "монтаж", "визит", "план", "чат",
        "возврат", "результат", "цена", "смена", "замена", "страна", "заявка", "скидка", "карта", "дата", "адрес",
        "формат", "вариант", "проект", "объект",
    )
)  # fmt: skip
"""Nouns that end like participles or verbs."""
PAYMENT = re.compile(r"плат(а|ы|у|ой|е)?$|затрат")
PHRASES = ("вышли на лпр", "контакт состоялся")
DONE = re.compile(r"(ен|ён|ан|ян|ат|ят|ут|ыт)(о|а|ы)?$|(лся|лась|лось|лись)$")
DOING = re.compile(r"(ем|им|ют|ят|ает|яет|ует|ит)$")
DOING_NOUN = re.compile(r"(ние|вка|тка|зка)$")
WAITING = re.compile(r"^(ожида|в работе|на согласован)|дума|обработ|завис|переговор")
PARKED = re.compile(r"дума|завис|на завтра|через месяц|жд[её]м|отлож")
WORD = re.compile(r"[а-яё]+")


def style(name: str) -> Style:
    """Whether a stage is named by what was achieved or by what is being done."""
    text = name.lower()
    words = [word for word in WORD.findall(text) if word not in NO_VERBS and not PAYMENT.search(word)]
    if any(phrase in text for phrase in PHRASES) or any(len(word) >= 4 and DONE.search(word) for word in words):
        return "outcome"
    stems = [word.removesuffix("ся") for word in words]
    is_doing = any(len(word) >= 5 and DOING.search(word) for word in stems)
    is_doing = is_doing or any(len(word) >= 6 and DOING_NOUN.search(word) for word in stems)
    return "process" if is_doing or WAITING.search(text.strip()) else "unclear"


def is_parking(name: str) -> bool:
    """Whether the name is a bucket where deals wait for nothing in particular."""
    return PARKED.search(name.lower()) is not None


PURPOSES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("rejects", re.compile(r"отказ")),
    ("warming", re.compile(r"прогрев|утеплени")),
    ("qualification", re.compile(r"^лиды?\b|квалифик|телемаркет")),
    ("repeat", re.compile(r"постоянн|активная база|повторн|обслуживан|запчаст|сервис")),
)
"""What a pipeline is for by its name, first match; people may say otherwise (`pipeline.purpose`)."""
SUPPORT = re.compile(r"найм|подбор персонала|закуп|производств|рекламац|логистик")
"""Processes that sell nothing."""
PAID = re.compile(r"оплат|оплач")
FULFILS = re.compile(r"отгру|достав|монтаж|производств|сборк|рекламац")
SOLD = re.compile(r"успешно реализ|сделка выиграна|продано|успешная сделка")


def purpose(name: str) -> str:
    """One of the catalogue's purposes, `sales` where the name says nothing else."""
    text = name.lower()
    return next((purpose for purpose, pattern in PURPOSES if pattern.search(text)), "sales")
