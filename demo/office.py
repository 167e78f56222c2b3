"""What the demo account is set up with: people, funnels, dictionaries, fields; and its calendar of working days."""

import math
from random import Random
from typing import NamedTuple

from demo import words
from demo.model import COMPANY, CONTACT, CUSTOMER, DAY, LEAD, Field, Group, Named, Pipeline, Product, Stage, User

ACCOUNT_ID = 31_004_410
MSK_S = 3 * 3600
"""Moscow has been UTC+3 all year round since 2014, so the generator need not ask a time-zone table."""

GROUPS = [Group(0, "Отдел продаж"), Group(512001, "Повторные продажи"), Group(512002, "Опт")]
SALES, REPEAT, WHOLESALE = 7_100_101, 7_100_102, 7_100_103
ARCHIVED = 7_100_104
WON, LOST = 142, 143
ROBOT = 0
HEAD = 9_101_001
LUNCH_NO, LEAVER_NO, BURNOUT_NO = 1, 4, 5
"""Places of the remarkable managers in the list of managers."""


class Step(NamedTuple):
    """How a stage behaves: mean dwell in days, and the chance that a visit ends in a loss."""

    name: str
    days: float
    lose: float


STEPS: dict[int, tuple[Step, ...]] = {
    SALES: (
        Step("Первичный контакт", 1.0, 0.10),
        Step("Квалификация", 2.0, 0.12),
        Step("Замер", 4.0, 0.11),
        Step("КП отправлено", 13.0, 0.46),  # the planted bottleneck: half of what is lost is lost here, and slowly
        Step("Договор", 4.0, 0.07),
    ),
    REPEAT: (
        Step("Дозаказ", 2.0, 0.07),
        Step("Согласование", 4.0, 0.18),
        Step("Счёт выставлен", 5.0, 0.08),
    ),
    WHOLESALE: (
        Step("Запрос", 2.0, 0.12),
        Step("Расчёт", 6.0, 0.16),
        Step("Тендер", 16.0, 0.38),
        Step("Договор поставки", 6.0, 0.08),
    ),
}
BOTTLENECK = (SALES, 60_200_005)
PIPELINE_NAMES = {SALES: "Продажи", REPEAT: "Повторные продажи", WHOLESALE: "Опт и тендеры", ARCHIVED: "Старая воронка"}
CLOSED_NAMES = {
    SALES: ("Успешно реализовано", "Закрыто и не реализовано"),
    REPEAT: ("Купил снова", "Отказ"),
    WHOLESALE: ("Отгружено", "Проиграно"),
    ARCHIVED: ("Успешно реализовано", "Закрыто и не реализовано"),
}
COLORS = ("#99ccff", "#fffeb2", "#ffdc7f", "#ffc8c8", "#deff81")


def _pipeline(number: int, pipeline_id: int) -> Pipeline:
    base = 60_200_001 + 10 * number
    steps = STEPS.get(pipeline_id, STEPS[REPEAT])
    won, lost = CLOSED_NAMES[pipeline_id]
    stages = (
        Stage(base, pipeline_id, "Неразобранное", 10, "#c1c1c1", "unsorted"),
        *(Stage(base + 1 + i, pipeline_id, step.name, 20 + 10 * i, COLORS[i], "open") for i, step in enumerate(steps)),
        Stage(WON, pipeline_id, won, 10_000, "#CCFF66", "won"),
        Stage(LOST, pipeline_id, lost, 11_000, "#D5D8DB", "lost"),
    )
    name, is_archived = PIPELINE_NAMES[pipeline_id], pipeline_id == ARCHIVED
    return Pipeline(pipeline_id, name, number + 1, pipeline_id == SALES, is_archived, stages)


PIPELINES = [_pipeline(number, pipeline_id) for number, pipeline_id in enumerate(PIPELINE_NAMES)]
OPEN_STAGES = {p.id: tuple(s.id for s in p.stages if s.kind == "open") for p in PIPELINES}
UNSORTED_STAGE = {p.id: p.stages[0].id for p in PIPELINES}

LOSS_REASONS = [
    Named(4_203_741, "Пропала потребность"),
    Named(4_203_742, "Не устроили условия"),
    Named(4_203_743, "Выбрали других"),
    Named(4_203_744, "Дорого"),
    Named(4_203_745, "Не дозвонились"),
    Named(4_203_746, "Дубль"),
    Named(4_203_747, "Спам"),
]
NOT_REACHED = 4_203_745
REMOVED_REASON = 4_203_740
"""A reason some old deals still name although it is no longer listed."""

SOURCES = [
    Named(15_500_901, "Форма на сайте"),
    Named(15_500_902, "Звонок с сайта"),
    Named(15_500_903, "Авито"),
    Named(15_500_904, "ВКонтакте"),
    Named(15_500_905, "Telegram"),
    Named(15_500_906, "Рекомендация"),
    Named(15_500_907, "Выставка"),
]
TASK_TYPES = [
    Named(1, "Связаться", "FOLLOW_UP"),
    Named(2, "Встреча", "MEETING"),
    Named(2_740_010, "Замер"),
    Named(2_740_011, "Отправить КП"),
]
TAGS = {
    LEAD: [Named(300_101 + i, n) for i, n in enumerate(("сайт", "Сайт", "горячий", "vip", "тендер", "акция"))],
    CONTACT: [Named(310_101 + i, n) for i, n in enumerate(("лпр", "спам?", "постоянный"))],
    COMPANY: [Named(320_101 + i, n) for i, n in enumerate(("дилер", "застройщик"))],
    CUSTOMER: [Named(330_101 + i, n) for i, n in enumerate(("постоянный", "по договору"))],
}

SOURCE_FIELD, COMMENT, AREA, DELIVERY, MOUNT_ON, PARTS, BRIEF, TWIN = range(780_101, 780_109)
UTM_FIRST = 780_110
PHONE, EMAIL, POSITION, BIRTHDAY, ROLE = range(770_001, 770_006)
FIRM_PHONE, FIRM_EMAIL, WEB, ADDRESS, INN = range(775_001, 775_006)
LEVEL, WISHES = 779_001, 779_002
GARBAGE_FIELDS = (COMMENT, POSITION)

_PHONE_ENUMS = tuple(
    (880_001 + i, code, code) for i, code in enumerate(("WORK", "WORKDD", "MOB", "FAX", "HOME", "OTHER"))
)
_EMAIL_ENUMS = tuple((880_011 + i, code, code) for i, code in enumerate(("WORK", "PRIV", "OTHER")))
_UTM_CODES = ("UTM_SOURCE", "UTM_MEDIUM", "UTM_CAMPAIGN", "UTM_CONTENT", "UTM_TERM")


def _options(first: int, *names: str) -> tuple[tuple[int, str, str], ...]:
    return tuple((first + i, name, "") for i, name in enumerate(names))


FIELDS = [
    Field(
        SOURCE_FIELD,
        "leads",
        "Источник рекламы",
        "select",
        enums=_options(990_011, "Яндекс", "VK", "Авито", "Сарафан"),
        required=((SALES, 60_200_003), (SALES, WON)),
    ),
    Field(COMMENT, "leads", "Комментарий менеджера", "text"),
    Field(AREA, "leads", "Площадь, м²", "numeric"),
    Field(DELIVERY, "leads", "Нужна доставка", "checkbox"),
    Field(MOUNT_ON, "leads", "Дата монтажа", "date"),
    Field(PARTS, "leads", "Состав заказа", "multiselect", enums=_options(990_021, "Окна", "Двери", "Балкон", "Сетки")),
    Field(BRIEF, "leads", "Техническое задание", "textarea"),
    Field(TWIN, "leads", "Площадь, м²", "text"),  # two fields of one name: only ids tell them apart
    *(
        Field(UTM_FIRST + i, "leads", code.lower(), "tracking_data", code, is_api_only=True)
        for i, code in enumerate(_UTM_CODES)
    ),
    Field(PHONE, "contacts", "Телефон", "multitext", "PHONE", _PHONE_ENUMS),
    Field(EMAIL, "contacts", "Email", "multitext", "EMAIL", _EMAIL_ENUMS),
    Field(POSITION, "contacts", "Должность", "text", "POSITION"),
    Field(BIRTHDAY, "contacts", "День рождения", "birthday"),
    Field(ROLE, "contacts", "Роль", "radiobutton", enums=_options(991_001, "ЛПР", "Снабжение", "Бухгалтерия")),
    Field(
        FIRM_PHONE,
        "companies",
        "Телефон",
        "multitext",
        "PHONE",
        tuple((number + 100, value, code) for number, value, code in _PHONE_ENUMS),
    ),
    Field(
        FIRM_EMAIL,
        "companies",
        "Email",
        "multitext",
        "EMAIL",
        tuple((number + 100, value, code) for number, value, code in _EMAIL_ENUMS),
    ),
    Field(WEB, "companies", "Web", "url", "WEB"),
    Field(ADDRESS, "companies", "Адрес", "textarea", "ADDRESS"),
    Field(INN, "companies", "ИНН", "numeric"),
    Field(LEVEL, "customers", "Уровень", "select", enums=_options(992_001, "Серебро", "Золото")),
    Field(WISHES, "customers", "Пожелания", "text"),
]
SEGMENTS = [Named(501, "Розница"), Named(502, "Дилеры")]
CUSTOMER_STATUSES = [
    Named(15_810_001, "Недавно купил", "4"),
    Named(15_810_002, "Ожидается покупка", "1"),
    Named(15_810_003, "Не купил", "2"),
    Named(15_810_004, "Закрыт", "3"),
]
"""From the last purchase on, one a period; `code` is amoCRM's type of the status."""
CATALOG_ID = 5601
PRODUCTS = [
    Product(5_500_001 + i, name, f"W-{1200 + i}", price, group) for i, (name, price, group) in enumerate(words.GOODS)
]


def managers_at(scale: float) -> int:
    """How many managers a company of that size has: twelve, fewer for toy ones, slowly more for big ones."""
    if scale < 0.1:
        return 6
    return 12 if scale <= 1 else round(12 * math.sqrt(scale))


def hire(rng: Random, *, scale: float, left_at: int) -> list[User]:
    """The head of sales and the managers, one of whom left at `left_at`."""
    users = [User(HEAD, "Анна Орлова", "user1@example.org", 0, True, 0)]
    names: set[str] = {"Анна Орлова"}
    while len(users) <= managers_at(scale):
        number = len(users) - 1
        first, last = person(rng)
        if f"{first} {last}" in names:
            continue
        names.add(f"{first} {last}")
        group = GROUPS[number % len(GROUPS)].id
        gone = left_at if number == LEAVER_NO else 0
        users.append(User(HEAD + 1 + number, f"{first} {last}", f"user{number + 2}@example.org", group, False, gone))
    return users


def person(rng: Random) -> tuple[str, str]:
    """First and last name of an invented person."""
    surname = rng.choice(words.SURNAMES)
    if rng.random() < 0.5:
        return rng.choice(words.MALE), surname
    return rng.choice(words.FEMALE), surname[:-2] + "ая" if surname.endswith("ий") else surname + "а"


HOLIDAYS = {(1, day) for day in range(1, 9)} | {(2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4)}
HOURS = (9, 9, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 13, 13, 14, 14, 14, 15, 15, 15, 16, 16, 16, 16, 17, 17)
"""Hours of a working day as often as people talk in them."""


class Calendar:
    """Working days of Moscow, roughly: Monday to Friday without the fixed holidays. A day is days since 1970, local."""

    def __init__(self, first_day: int, last_day: int) -> None:
        from datetime import date, timedelta

        epoch = date(1970, 1, 1)
        self._first = first_day
        self._works = bytes(
            (day := epoch + timedelta(number)).weekday() < 5 and (day.month, day.day) not in HOLIDAYS
            for number in range(first_day, last_day + 30)
        )

    def works(self, day: int) -> bool:
        index = day - self._first
        return 0 <= index < len(self._works) and bool(self._works[index])

    def moment(self, rng: Random, at: int) -> int:
        """An instant people work at, on the day of `at` or the next working one; now and then an evening or weekend."""
        day = (at + MSK_S) // DAY
        chance = rng.random()
        if chance > 0.015:
            while not self.works(day) and (day - self._first) < len(self._works):
                day += 1
        hour = HOURS[int(rng.random() * len(HOURS))] if chance < 0.96 else 18 + int(rng.random() * 3)
        return day * DAY + hour * 3600 + int(rng.random() * 3600) - MSK_S

    def not_before(self, rng: Random, at: int) -> int:
        """`at` itself if people work then, else the start of the next working day (plus up to two hours)."""
        day, second = divmod(at + MSK_S, DAY)
        if self.works(day) and 9 * 3600 <= second < 18 * 3600:
            return at
        if second >= 9 * 3600 or not self.works(day):
            day += 1
        while not self.works(day) and (day - self._first) < len(self._works):
            day += 1
        return day * DAY + 9 * 3600 + int(rng.random() * 7200) - MSK_S
