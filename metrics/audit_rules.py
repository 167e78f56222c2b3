"""The rules of the funnel audit as data: what is wrong, how bad it is, why, and what to do.

Source: the metric catalogue, E16, and the nineteen errors in building a funnel.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Rule:
    """One rule. ru, en: what is wrong; todo_ru, todo_en: what to do. The evidence comes with each finding."""

    code: str
    severity: Severity
    ru: str
    en: str
    todo_ru: str
    todo_en: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule(
            "TOO_MANY",
            "high",
            "В воронке больше 15 открытых этапов: никто не помнит, чем они отличаются.",
            "The pipeline has more than 15 open stages: nobody remembers how they differ.",
            "Оставьте этапы, на которых клиент делает шаг, остальное переведите в задачи и поля.",
            "Keep the stages where the client takes a step; turn the rest into tasks and fields.",
        ),
        Rule(
            "ONE_STAGE",
            "high",
            "В воронке один открытый этап: не видно, где теряются сделки.",
            "The pipeline has a single open stage: where deals are lost cannot be seen.",
            "Разбейте путь клиента хотя бы на три шага.",
            "Split the way of the client into three steps at least.",
        ),
        Rule(
            "TWO_STAGES",
            "medium",
            "В воронке всего два открытых этапа.",
            "The pipeline has only two open stages.",
            "Добавьте этап, на котором клиент подтверждает интерес делом: встречей, замером, расчётом.",
            "Add a stage where the client confirms his interest by deed: a meeting, a measurement, a quote.",
        ),
        Rule(
            "LEADS_TOO_LONG",
            "medium",
            "В воронке квалификации больше четырёх этапов: внутри лидов спрятана воронка продаж.",
            "The qualification pipeline has more than four stages: a sales funnel is hidden inside leads.",
            "Оставьте 2–4 этапа до решения «наш клиент или нет», продажу ведите в воронке продаж.",
            "Keep 2 to 4 stages up to the decision whether it is a client; sell in a sales pipeline.",
        ),
        Rule(
            "NO_KEV",
            "medium",
            "Ключевой этап (КЭВ) не отмечен.",
            "No key stage is marked.",
            "Отметьте этап, после которого сделки чаще всего выигрываются: встреча, замер, показ.",
            "Mark the stage after which deals are mostly won: a meeting, a measurement, a demo.",
        ),
        Rule(
            "NO_SLA",
            "medium",
            "У этапов не задан срок: застрявшие сделки не отличить от идущих.",
            "Stages have no deadline: deals that are stuck look like deals on their way.",
            "Задайте каждому открытому этапу срок; для начала возьмите медиану из отчёта о длительности (E5).",
            "Set a deadline for each open stage; begin with the median of the stage duration report (E5).",
        ),
        Rule(
            "PROCESS_NAME",
            "medium",
            "Этапы названы процессом, а не результатом: не понять, что уже достигнуто.",
            "Stages are named by a process, not by an outcome: what is achieved cannot be told.",
            "Назовите этап тем, что уже случилось: не «Готовим КП», а «КП отправлено».",
            "Name a stage by what has happened: not “preparing a quote” but “quote sent”.",
        ),
        Rule(
            "MIXED",
            "medium",
            "В одной воронке смешаны этапы-результаты и этапы-процессы: конверсии между ними ничего не значат.",
            "Outcome stages and process stages are mixed in one pipeline: conversions between them mean nothing.",
            "Переименуйте этапы-процессы в результаты или уберите их в задачи.",
            "Rename process stages to outcomes or turn them into tasks.",
        ),
        Rule(
            "PARKING",
            "high",
            "Есть этап-отстойник, где сделки ждут неизвестно чего.",
            "There is a parking stage where deals wait for nothing in particular.",
            "Замените его задачей с датой; кого надо греть долго — в воронку прогрева.",
            "Replace it by a task with a date; who needs long warming goes to a warming pipeline.",
        ),
        Rule(
            "DEAD_STAGE",
            "low",
            "На этапе никого не было 90 дней.",
            "Nobody has been on the stage for 90 days.",
            "Удалите этап или объясните, кому он нужен.",
            "Remove the stage or explain who needs it.",
        ),
        Rule(
            "BULGE",
            "medium",
            "Больше 30 % открытых сделок стоит на одном этапе.",
            "More than 30% of the open deals stand on one stage.",
            "Разберите затор: сделки без дела закройте, остальным назначьте следующий шаг.",
            "Clear the jam: close deals nobody works on, give the others a next step.",
        ),
        Rule(
            "WRONG_PROCESS",
            "high",
            "Вспомогательный процесс ведётся в сделках и портит конверсию и деньги.",
            "A support process is kept among deals and spoils conversion and money.",
            "Перенесите найм, закупки, производство и рекламации из сделок в отдельный список или смарт-процесс.",
            "Move hiring, purchase, production and complaints out of deals into a list or process of their own.",
        ),
        Rule(
            "FULFILMENT_AFTER_WON",
            "medium",
            "После оплаты в воронке продаж идут этапы исполнения: деньги получены, а сделка не выиграна.",
            "After payment the sales pipeline goes on with fulfilment: the money is in and the deal is not won.",
            "Выигрывайте сделку при оплате, исполнение ведите отдельно.",
            "Win the deal on payment, keep fulfilment apart.",
        ),
        Rule(
            "WON_DUPLICATED",
            "medium",
            "Успешный этап повторён: победы считаются не все.",
            "The won stage is duplicated: not all wins are counted.",
            "Оставьте один успешный этап — системный.",
            "Keep one won stage, the system's own.",
        ),
        Rule(
            "BACK_ALLOWED",
            "medium",
            "Больше 10 % сделок возвращают на прошлые этапы.",
            "More than 10% of deals are sent back to earlier stages.",
            "Запретите возвраты или разберите, с какого этапа возвращают (E9).",
            "Forbid returns or look from which stage deals are sent back (E9).",
        ),
        Rule(
            "NO_REASONS",
            "high",
            "Больше 20 % отказов без причины.",
            "More than 20% of lost deals have no reason.",
            "Сделайте причину отказа обязательной.",
            "Make the loss reason mandatory.",
        ),
        Rule(
            "NEW_REPEAT_MIXED",
            "medium",
            "Новые и повторные клиенты идут в одной воронке: их конверсии несравнимы.",
            "New and repeat clients share one pipeline: their conversions cannot be compared.",
            "Заведите для постоянных клиентов отдельную воронку.",
            "Give repeat clients a pipeline of their own.",
        ),
        Rule(
            "NO_REJECTS",
            "medium",
            "Нет воронки отказников: отказы никто не возвращает в работу.",
            "There is no pipeline for rejects: nobody takes lost deals up again.",
            "Заведите воронку «Отказники» и переносите туда отказы, к которым стоит вернуться.",
            "Start a pipeline of rejects and move there the lost deals worth another try.",
        ),
        Rule(
            "NO_WARMING",
            "low",
            "Нет воронки прогрева: кто не готов сейчас, теряется.",
            "There is no warming pipeline: who is not ready now is lost.",
            "Заведите воронку «Прогрев» с редкими касаниями.",
            "Start a warming pipeline with rare touches.",
        ),
        Rule(
            "NO_QUALIFICATION",
            "medium",
            "Нет квалификации: заявки попадают сразу в воронку продаж.",
            "There is no qualification: requests go straight into the sales pipeline.",
            "Заведите воронку «Лиды» на 2–4 этапа до решения «наш клиент или нет».",
            "Start a lead pipeline of 2 to 4 stages up to the decision whether it is a client.",
        ),
        Rule(
            "NO_REPEAT",
            "low",
            "Нет воронки повторных продаж.",
            "There is no pipeline of repeat sales.",
            "Заведите воронку для постоянных клиентов и ставьте в неё сделку после каждой покупки.",
            "Start a pipeline for repeat clients and put a deal there after each purchase.",
        ),
    )
}

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")
