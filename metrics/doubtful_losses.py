"""C7: losses to look at again while the client is warm — the deal, how doubtful its loss is, and by which rules.

Every rule that holds adds its weight; deals of `min_score` and more are listed, most doubtful first, then dearest.
What was lost as spam or a duplicate is listed only if the client is still in touch. A deal a robot closed likewise.

Source: the metric catalogue, C7. What a loss is: `metrics.losses`. What a touch is: `metrics.last_touch`.
"""

from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.calendar import with_worked
from metrics.channels import calls_only_notices, message_coverage
from metrics.client_value import YEAR_S
from metrics.funnel import DAY_S
from metrics.loss_categories import DISQUALIFIED
from metrics.losses import DEAL, DECIDED_INPUTS, NO_REASON, LossParams, decided
from metrics.metric import Frames, Metric, MetricResult, Period, Text, drilldown_rows
from metrics.people import group_key, of_population, people
from metrics.rates import MIN_N, low_n, rate_columns

Lazy = nw.LazyFrame[Any]

CLIENT = ["account_id", "client_id"]


@dataclass(frozen=True)
class Rule:
    """Why a loss is doubtful. How much that weighs is the parameter of the same name."""

    code: str
    ru: str
    en: str


RULES = (
    Rule("NO_TOUCH", "не было ни касаний, ни попыток", "nobody ever touched the client or tried to"),
    Rule("FAST", "закрыта раньше 10 рабочих минут без звонка", "closed within 10 working minutes without a call"),
    Rule("FEW_TRIES", "«недозвон», а попыток меньше трёх или в один день", "“no answer” after too few attempts"),
    Rule("ACTIVE_CLIENT", "клиент писал или звонил около отказа или после", "the client is still in touch"),
    Rule("NO_REASON", "нет причины или «другое» без пояснения", "no reason, or “other” without a word"),
    Rule("PRICE_NO_OFFER", "«дорого», а предложения не было", "“too expensive” without an offer"),
    Rule("HIGH_VALUE", "крупная: не меньше 10 % самых дорогих выигранных", "as dear as the top tenth of wins"),
    Rule("BATCH", "одна из десяти и больше, закрытых разом", "one of ten or more closed at once"),
    Rule("SLOW_FIRST", "первый ответ позже 4 рабочих часов", "first response after more than 4 working hours"),
    Rule("OPEN_TASK", "осталась задача на будущее", "a task for the future is still open"),
    Rule("REPEAT_BUYER", "клиент уже покупал", "the client has bought before"),
)
FAST_S = 600
SLOW_FIRST_S = 4 * 3600
MIN_ATTEMPTS, MIN_ATTEMPT_DAYS = 3, 2
MIN_COMMENT_LETTERS = 10
ACTIVE_BEFORE_S = 3 * DAY_S
BATCH_N, BATCH_S = 10, 300


class DoubtfulLossesParams(LossParams):
    """What each doubt weighs (0: nothing, the rule is off), and from where on a loss is listed."""

    no_touch: int = Field(default=5, ge=0)
    fast: int = Field(default=4, ge=0)
    few_tries: int = Field(default=4, ge=0)
    active_client: int = Field(default=4, ge=0)
    no_reason: int = Field(default=3, ge=0)
    price_no_offer: int = Field(default=3, ge=0)
    high_value: int = Field(default=3, ge=0)
    batch: int = Field(default=3, ge=0)
    slow_first: int = Field(default=2, ge=0)
    open_task: int = Field(default=2, ge=0)
    repeat_buyer: int = Field(default=2, ge=0)
    min_score: int = Field(default=4, ge=1)
    """Losses of so much and more are listed."""
    offer_stems: str = Field(default="кп|предложен|смет|счет|счёт|договор|offer|quote|proposal")
    """A stage whose name holds one of these means that an offer was made. Where no stage does, the rule is silent."""
    min_n: int = Field(default=MIN_N, ge=0)
    """Below so many losses a manager's share is marked low_n."""


# --- reduce: one row per loss, with what each rule asks about --------------------------------------------------------


def reduce(frames: Frames, params: DoubtfulLossesParams, period: Period) -> dict[str, Lazy]:
    """Deals lost in the period with touches, calls, tasks, comments and stages around them; and what was won."""
    col = nw.col
    deals = decided(frames, period.period_from, period.period_to, pipeline_id=params.pipeline_id)
    lost = deals.filter(col("outcome") == "lost").join(
        frames["clock"].select("account_id", "as_of_epoch", "calendar_id"), on="account_id"
    )
    comments = frames["deal"].select(*DEAL, "comment_letters")
    facts = (
        lost.join(comments, on=DEAL, how="left")
        .join(_contacts(lost, frames), on=DEAL, how="left")
        .join(_calls_of_client(lost, frames), on=DEAL, how="left")
        .join(_open_tasks(frames), on=DEAL, how="left")
        .join(_offers(frames, params), on=DEAL, how="left")
        .join(_earlier_wins(lost, frames), on=DEAL, how="left")
        .join(_closed_by(frames), on=[*DEAL, "outcome_epoch"], how="left")
    )
    return {
        "losses": _worked(facts, frames).drop("created_local", "outcome_local", "calendar_id"),
        "won_amounts": _won_amounts(frames),
        "offer_stages": _offer_stages(frames, params).select("account_id", "pipeline_id").unique(),
        "coverage": message_coverage(frames),
    }


def _worked(losses: Lazy, frames: Frames) -> Lazy:
    """`losses` with working seconds from creation to the loss (`life_work_s`) and to our first try (`first_work_s`)."""
    for stem, into in (("created", "w_created"), ("outcome", "w_lost"), ("first_try", "w_first")):
        losses = with_worked(losses, frames["calendar_day"], epoch=f"{stem}_epoch", local=f"{stem}_local", into=into)
    return losses.with_columns(
        life_work_s=nw.col("w_lost") - nw.col("w_created"), first_work_s=nw.col("w_first") - nw.col("w_created")
    ).drop("w_created", "w_lost", "w_first", "first_try_local", "first_try_epoch")


def _count(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0)).sum().cast(nw.Int64)


def _contacts(lost: Lazy, frames: Frames) -> Lazy:
    """Per loss whose client was ever touched: n_tries (ours, ever), n_attempts and n_attempt_days while it was open,
    n_calls (any call while it was open), n_inbound (by him, shortly before the loss or since), `first_try_*`."""
    col = nw.col
    touches = frames["touch"].select(
        *CLIENT, "touched_epoch", "touched_local", "kind", "direction", "is_meaningful", "is_attempt"
    )
    is_attempt = col("is_attempt").fill_null(False)
    is_touch = col("is_meaningful").fill_null(False)
    is_ours = is_attempt | (is_touch & (col("direction") != "in").fill_null(True))
    while_open = (col("touched_epoch") >= col("created_epoch")) & (col("touched_epoch") <= col("outcome_epoch"))
    is_his = is_touch & (col("direction") == "in").fill_null(False)
    is_recent = col("touched_epoch") >= col("outcome_epoch") - ACTIVE_BEFORE_S
    around = (
        lost.select(*DEAL, "client_id", "created_epoch", "outcome_epoch", "as_of_epoch")
        .filter(~col("client_id").is_null())
        .join(touches, on=CLIENT)
        .filter(col("touched_epoch") <= col("as_of_epoch"))
    )
    days = (
        around.filter(is_attempt, while_open)
        .select(*DEAL, day=col("touched_local").dt.date())
        .unique([*DEAL, "day"])
        .group_by(*DEAL)
        .agg(n_attempt_days=nw.len().cast(nw.Int64))
    )
    counted = around.with_columns(
        first_epoch=nw.when(is_ours & while_open).then(col("touched_epoch")),
        first_local=nw.when(is_ours & while_open).then(col("touched_local")),
        ours=is_ours,
        attempts=is_attempt & while_open,
        calls=(col("kind") == "call") & while_open,
        inbound=is_his & is_recent,
    )
    return (
        counted.group_by(*DEAL)
        .agg(
            n_tries=_count(col("ours")),
            n_attempts=_count(col("attempts")),
            n_calls=_count(col("calls")),
            n_inbound=_count(col("inbound")),
            first_try_epoch=col("first_epoch").min(),
            first_try_local=col("first_local").min(),
        )
        .join(days, on=DEAL, how="left")
    )


def _calls_of_client(lost: Lazy, frames: Frames) -> Lazy:
    """Calls of the client that nobody answered, shortly before the loss or since: DEAL, n_missed. They are no touches,
    but he did call."""
    col = nw.col
    missed = frames["call_episode"].filter(
        col("direction") == "in",
        ~col("is_answered").fill_null(False),
        ~col("is_internal").fill_null(False),
        ~col("client_id").is_null(),
    )
    return (
        lost.select(*DEAL, "client_id", "outcome_epoch", "as_of_epoch")
        .join(missed.select(*CLIENT, "started_epoch"), on=CLIENT)
        .filter(
            col("started_epoch") >= col("outcome_epoch") - ACTIVE_BEFORE_S, col("started_epoch") <= col("as_of_epoch")
        )
        .group_by(*DEAL)
        .agg(n_missed=nw.len().cast(nw.Int64))
    )


def _open_tasks(frames: Frames) -> Lazy:
    """Deals with a task that is still to be done: DEAL, n_open_tasks."""
    col = nw.col
    now = frames["clock"].select("account_id", "as_of_epoch")
    return (
        frames["task"]
        .join(now, on="account_id")
        .filter(
            (col("created_epoch") <= col("as_of_epoch")).fill_null(True),
            (col("deleted_epoch") > col("as_of_epoch")).fill_null(True),
            ~col("is_completed").fill_null(False) | (col("completed_epoch") > col("as_of_epoch")).fill_null(False),
            col("due_epoch") > col("as_of_epoch"),
        )
        .select("account_id", deal_id="entity_id")
        .group_by(*DEAL)
        .agg(n_open_tasks=nw.len().cast(nw.Int64))
    )


def _offer_stages(frames: Frames, params: DoubtfulLossesParams) -> Lazy:
    is_offer = nw.col("name").str.to_lowercase().str.contains(params.offer_stems)
    return frames["stage"].filter(nw.col("kind") == "open", is_offer).select("account_id", "pipeline_id", "stage_id")


def _offers(frames: Frames, params: DoubtfulLossesParams) -> Lazy:
    """Deals that were on a stage where an offer is made: DEAL, n_offers."""
    stages = _offer_stages(frames, params)
    stays = frames["stage_interval"].join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
    seen = stays.filter((nw.col("entered_epoch") <= nw.col("as_of_epoch")).fill_null(True))
    return (
        seen.select(*DEAL, "pipeline_id", "stage_id")
        .join(stages, on=["account_id", "pipeline_id", "stage_id"])
        .group_by(*DEAL)
        .agg(n_offers=nw.len().cast(nw.Int64))
    )


def _earlier_wins(lost: Lazy, frames: Frames) -> Lazy:
    """Losses of clients who had bought before: DEAL, n_won."""
    won = frames["deal_state"].filter(
        (nw.col("entity_kind") == "deal").fill_null(True), nw.col("outcome") == "won", ~nw.col("client_id").is_null()
    )
    return (
        lost.select(*DEAL, "client_id", "outcome_epoch")
        .join(won.select(*CLIENT, won_epoch="outcome_epoch"), on=CLIENT)
        .filter(nw.col("won_epoch") < nw.col("outcome_epoch"))
        .group_by(*DEAL)
        .agg(n_won=nw.len().cast(nw.Int64))
    )


def _won_amounts(frames: Frames) -> Lazy:
    """Amounts of the deals won in the year before `as_of`: account_id, amount_minor."""
    col = nw.col
    return (
        frames["deal_state"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(
            col("outcome") == "won",
            (col("entity_kind") == "deal").fill_null(True),
            col("outcome_epoch") <= col("as_of_epoch"),
            col("outcome_epoch") > col("as_of_epoch") - YEAR_S,
            ~col("amount_minor").is_null(),
        )
        .select("account_id", "amount_minor")
    )


def _closed_by(frames: Frames) -> Lazy:
    """Who moved the deal where it went: DEAL, outcome_epoch, closed_by, closed_by_robot."""
    moves = frames["deal_stage_transition"].filter(~nw.col("by_user_id").is_null())
    robots = people(frames).select("account_id", closed_by="user_id", closed_by_robot="user_is_robot")
    by = moves.group_by(*DEAL, "changed_epoch").agg(closed_by=nw.col("by_user_id").max())
    return by.join(robots, on=["account_id", "closed_by"], how="left").rename({"changed_epoch": "outcome_epoch"})


# --- finish ----------------------------------------------------------------------------------------------------------


def finish(collected: dict[str, pl.DataFrame], params: DoubtfulLossesParams, period: Period) -> MetricResult:
    """The list to look at, how often each rule held, and the share of doubtful losses per manager."""
    losses = _judged(of_population(collected["losses"], params.population), collected, params)
    listed = losses.filter("is_listed").sort(
        ["score", "amount_minor", "account_id", "deal_id"], descending=[True, True, False, False], nulls_last=True
    )
    return METRIC.result(
        params,
        period,
        tables={
            "review": listed.select(*REVIEW),
            "by_user": _counted(losses, ["user_id", "user_active", "group_key"], params),
            "total": _counted(losses, [], params),
            "rules": _by_rule(losses),
        },
        drilldown=drilldown_rows(
            listed,
            entity_kind=pl.lit("deal"),
            entity_id="deal_id",
            event_at="outcome_at",
            value="score",
            value_unit=pl.lit("n"),
            reason="codes",
        ),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Отказ, до которого клиенту писали, покажется отказом без касаний.",
            en="A loss before which the client was written to will look like one without a touch.",
        ),
    )


REVIEW = (
    *DEAL,
    "client_id",
    "user_id",
    "user_active",
    "score",
    "codes",
    "why_ru",
    "why_en",
    "outcome_at",
    "reason",
    "category",
    "amount_minor",
    "n_tries",
    "n_attempts",
    "closed_by",
    "group_key",
)


def _judged(losses: pl.DataFrame, collected: dict[str, pl.DataFrame], params: DoubtfulLossesParams) -> pl.DataFrame:
    """`losses` with a flag per rule, score, codes and whether it is listed."""
    dear = (
        collected["won_amounts"].group_by("account_id").agg(dear_minor=pl.col("amount_minor").quantile(0.9, "linear"))
    )
    offers = collected["offer_stages"].with_columns(has_offers=pl.lit(True))
    known = (
        _with_batches(losses)
        .join(dear, on="account_id", how="left")
        .join(offers, on=["account_id", "pipeline_id"], how="left")
        .with_columns(pl.col(*COUNTS).fill_null(0), group_key())
        .with_columns(RULE_FLAGS)
    )
    # Spam and duplicates are doubtful only while the client is in touch; what a robot closed is judged whole then.
    is_of_robot = pl.col("closed_by_robot").fill_null(False)
    in_full = ~pl.col("category").is_in(DISQUALIFIED) & (~is_of_robot | pl.col("ACTIVE_CLIENT"))
    asked = [rule for rule in RULES if _weight(rule, params)]
    held = {rule.code: pl.col(rule.code) & (in_full | pl.lit(rule.code == "ACTIVE_CLIENT")) for rule in asked}
    return (
        known.with_columns(**held)
        .with_columns(
            score=pl.sum_horizontal([pl.lit(0), *(pl.col(rule.code) * _weight(rule, params) for rule in asked)]).cast(
                pl.Int64
            ),
            **{
                name: pl.concat_str(
                    [pl.when(rule.code).then(pl.lit(getattr(rule, of))) for rule in asked] or [pl.lit("")],
                    separator=between,
                    ignore_nulls=True,
                )
                for name, of, between in (("codes", "code", ", "), ("why_ru", "ru", "; "), ("why_en", "en", "; "))
            },
        )
        .with_columns(is_listed=pl.col("score") >= params.min_score)
    )


def _weight(rule: Rule, params: DoubtfulLossesParams) -> int:
    weight: int = getattr(params, rule.code.lower())
    return weight


COUNTS = (
    "n_tries",
    "n_attempts",
    "n_attempt_days",
    "n_calls",
    "n_inbound",
    "n_missed",
    "n_open_tasks",
    "n_offers",
    "n_won",
)

IS_UNSTATED = (pl.col("category") == NO_REASON) | (
    (pl.col("category") == "other") & (pl.col("comment_letters").fill_null(0) < MIN_COMMENT_LETTERS)
)
RULE_FLAGS = [
    (pl.col("n_tries") == 0).alias("NO_TOUCH"),
    ((pl.col("life_work_s") < FAST_S) & (pl.col("n_calls") == 0)).fill_null(False).alias("FAST"),
    (
        (pl.col("category") == "no_contact")
        & ((pl.col("n_attempts") < MIN_ATTEMPTS) | (pl.col("n_attempt_days") < MIN_ATTEMPT_DAYS))
    ).alias("FEW_TRIES"),
    (pl.col("n_inbound") + pl.col("n_missed") > 0).alias("ACTIVE_CLIENT"),
    IS_UNSTATED.alias("NO_REASON"),
    ((pl.col("category") == "price") & pl.col("has_offers").fill_null(False) & (pl.col("n_offers") == 0)).alias(
        "PRICE_NO_OFFER"
    ),
    (pl.col("amount_minor") >= pl.col("dear_minor")).fill_null(False).alias("HIGH_VALUE"),
    pl.col("is_batch").alias("BATCH"),
    (pl.col("first_work_s") > SLOW_FIRST_S).fill_null(False).alias("SLOW_FIRST"),
    (pl.col("n_open_tasks") > 0).alias("OPEN_TASK"),
    (pl.col("n_won") > 0).alias("REPEAT_BUYER"),
]


def _with_batches(losses: pl.DataFrame) -> pl.DataFrame:
    """`losses` with `is_batch`: one of `BATCH_N` or more that one user closed within `BATCH_S` seconds."""
    by = ["account_id", "who"]
    closed = losses.with_columns(who=pl.coalesce("closed_by", "user_id"), at="outcome_epoch").sort("at")
    ends = (
        closed.filter(pl.col("who").is_not_null())
        .rolling("at", period=f"{BATCH_S}i", closed="both", group_by=by)
        .agg(n=pl.len())
        .filter(pl.col("n") >= BATCH_N)
        .select(*by, "at", batch_end="at")
        .unique()
        .sort("at")
    )
    found = closed.join_asof(ends, on="at", by=by, strategy="forward", tolerance=BATCH_S, check_sortedness=False)
    return found.with_columns(is_batch=pl.col("batch_end").is_not_null()).drop("who", "at", "batch_end")


def _counted(losses: pl.DataFrame, by: list[str], params: DoubtfulLossesParams) -> pl.DataFrame:
    """Per account and group: losses (den), listed ones (num) and their money."""
    keys = ["account_id", *by]
    counted = losses.group_by(keys).agg(
        num=pl.col("is_listed").sum().cast(pl.Int64),
        den=pl.len().cast(pl.Int64),
        amount_minor=pl.col("amount_minor").filter("is_listed").sum(),
    )
    return counted.with_columns(*rate_columns(), low_n("den", min_n=params.min_n)).sort(
        ["num", "den", *keys], descending=[True, True, *(False for _ in keys)], nulls_last=True
    )


def _by_rule(losses: pl.DataFrame) -> pl.DataFrame:
    """Per account and rule: of how many losses it holds, listed or not."""
    texts = pl.DataFrame(
        [(rule.code, rule.ru, rule.en) for rule in RULES], schema=["code", "why_ru", "why_en"], orient="row"
    )
    counted = (
        losses.unpivot([rule.code for rule in RULES], index="account_id", variable_name="code", value_name="holds")
        .filter("holds")
        .group_by("account_id", "code")
        .agg(n_holds=pl.len().cast(pl.Int64))
    )
    return counted.join(texts, on="code", how="left").sort(
        ["n_holds", "account_id", "code"], descending=[True, False, False]
    )


RU = Text(
    name="Отказы на проверку",
    definition=(
        "Какие проигранные сделки стоит открыть и перепроверить, пока клиент не остыл. Каждый признак сомнительного "
        "отказа даёт баллы: ни одного касания, закрыта за минуты, «недозвон» после одной попытки, клиент сам писал "
        "после отказа, нет причины, «дорого» без предложения, крупная сумма, закрыто пачкой. В списке — от 4 баллов."
    ),
    formula=(
        "Баллы = сумма весов признаков. Порядок — по баллам, затем по сумме сделки. Доля = сомнительные отказы / все "
        "отказы менеджера."
    ),
    pitfalls=(
        "Список — повод посмотреть сделку, а не приговор: звонок с личного телефона CRM не видит. Спам и дубли "
        "попадают в список, только если клиент ещё на связи; сделки, закрытые роботом, — тоже. Признак «дорого без "
        "предложения» работает, где есть этап с предложением в названии."
    ),
)
EN = Text(
    name="Losses to review",
    definition=(
        "Which lost deals are worth opening again while the client is warm. Every sign of a doubtful loss adds points: "
        "no touch at all, closed within minutes, “no answer” after one attempt, the client wrote after the loss, no "
        "reason, “too expensive” without an offer, a large amount, closed in a batch. Listed from 4 points on."
    ),
    formula=(
        "Score = sum of the weights of the signs. In the order of score, then of amount. Share = doubtful losses / all "
        "losses of the manager."
    ),
    pitfalls=(
        "The list is a reason to look at a deal, no verdict: the CRM does not see a call from a private phone. Spam "
        "and duplicates are listed only if the client is still in touch, and so are deals a robot closed. “Too "
        "expensive without an offer” works where a stage has an offer in its name."
    ),
)

METRIC = Metric(
    id="C7",
    text={"ru": RU, "en": EN},
    params=DoubtfulLossesParams,
    inputs=(
        *DECIDED_INPUTS,
        "deal",
        "deal_stage_transition",
        "stage",
        "stage_interval",
        "touch",
        "call_episode",
        "task",
        "calendar_day",
        "coverage",
    ),
    resources=("deal", "user", "loss_reason", "call", "task"),
    subject={"review": "user_id", "by_user": "user_id", "total": None, "rules": None, "drilldown": "user_id"},
    semantics="flow",
    reduce=reduce,
    finish=finish,
    default_period_d=3,
    includes_today=True,
    counted={"by_user": ("num",)},
    adds_up={"by_user": "total"},
)
