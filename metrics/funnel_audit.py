"""E16: what is wrong with how the funnels are built, and what to do about it. Advice, not a verdict.

The rules are data (`metrics.audit_rules`); here is when each of them fires and the evidence for it.

Source: the metric catalogue, E16.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
from pydantic import Field

from metrics.audit_rules import RULES, SEVERITIES
from metrics.back_moves import moves_back
from metrics.funnel import DAY_S, DEAL, MEMBER, PIPELINE, STAGE
from metrics.funnel_scope import (
    FUNNEL_INPUTS,
    FUNNEL_RESOURCES,
    INT,
    REAL,
    TEXT,
    FunnelParams,
    Lazy,
    cohort,
    scope,
    shaped,
)
from metrics.metric import Frames, Metric, MetricResult, Notice, Period, Text, drilldown_rows
from metrics.stage_names import FULFILS, PAID, SOLD, SUPPORT, is_parking, purpose, style


class FunnelAuditParams(FunnelParams):
    """Where each rule draws its line."""

    max_stages: int = Field(default=15, ge=1)
    max_lead_stages: int = Field(default=4, ge=1)
    mixed_share: float = Field(default=0.2, ge=0, le=1)
    """A pipeline is mixed where outcomes and processes are at least this share of its classified stages each."""
    dead_d: int = Field(default=90, ge=1)
    bulge_share: float = Field(default=0.3, gt=0, le=1)
    back_share: float = Field(default=0.1, ge=0, le=1)
    no_reason_share: float = Field(default=0.2, ge=0, le=1)
    repeat_share: float = Field(default=0.2, ge=0, le=0.5)
    min_n: int = Field(default=20, ge=1)
    """Shares of fewer deals are not judged."""


def reduce(frames: Frames, params: FunnelAuditParams, period: Period) -> dict[str, Lazy]:
    """Pipelines and stages as they are, and what the deals of the period tell of each."""
    col, one, none = nw.col, nw.lit(1), nw.lit(0)
    seen = scope(frames, params)
    alive = col("deleted_at").is_null() | (col("deleted_at") > col("as_of_at"))
    now = seen.clock.select("account_id", "as_of_at")
    known = seen.deals.select("account_id").unique("account_id")
    is_funnel = col("entity_kind").is_in(["deal", "lead"]) | col("entity_kind").is_null()  # not of invoices, processes
    pipelines = (
        frames["pipeline"]
        .join(now, on="account_id", how="inner")
        .filter(alive, is_funnel, ~col("is_archived").fill_null(False))
    )
    pipelines = pipelines.join(known, on="account_id", how="semi")
    stages = frames["stage"].join(now, on="account_id", how="inner").filter(alive)
    rows = cohort(seen, period)
    own = rows.select(*MEMBER)
    since = seen.clock.select("account_id", since_epoch=col("as_of_epoch") - params.dead_d * DAY_S)
    is_used = (col("left_epoch") >= col("since_epoch")) | col("left_epoch").is_null()
    used = seen.visits.join(since, on="account_id", how="inner").filter(is_used)
    backs = moves_back(seen, frames).filter(col("kind") == "back").join(own, on=MEMBER, how="semi")
    firsts = frames["client"].select("account_id", "client_id", "first_won_epoch")
    facts = rows.join(seen.deals.select(*DEAL, "loss_reason_id"), on=DEAL, how="left").join(
        firsts, on=["account_id", "client_id"], how="left"
    )
    is_lost = col("outcome") == "lost"
    is_repeat = (col("first_won_epoch") < col("start_epoch")).fill_null(False)
    return {
        "pipelines": pipelines.select(*PIPELINE, "name", "sort", "purpose", "entity_kind"),
        "stages": stages.select(*STAGE, "name", "sort", "kind", "is_kev", "sla_s", "funnel_style", "is_technical"),
        "stock": seen.deals.filter(col("outcome") == "open").group_by(*STAGE).agg(n=nw.len().cast(nw.Int64)),
        "used": used.select(*STAGE).unique(STAGE),
        "back": backs.select(*MEMBER).unique(MEMBER).group_by(*PIPELINE).agg(n_back=nw.len().cast(nw.Int64)),
        "deals": facts.with_columns(
            lost=nw.when(is_lost).then(one).otherwise(none),
            bare=nw.when(is_lost & col("loss_reason_id").is_null()).then(one).otherwise(none),
            again=nw.when(is_repeat).then(one).otherwise(none),
        )
        .group_by(*PIPELINE)
        .agg(
            n=nw.len().cast(nw.Int64),
            n_lost=col("lost").sum().cast(nw.Int64),
            n_bare=col("bare").sum().cast(nw.Int64),
            n_repeat=col("again").sum().cast(nw.Int64),
        ),
    }


# --- facts and rules ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """An open stage: `style` as people said, else by its name; stock: open deals on it now; is_used: lately."""

    stage_id: str
    name: str
    style: str
    is_kev: bool
    has_deadline: bool
    stock: int
    is_used: bool


@dataclass(frozen=True)
class Funnel:
    """What the rules look at: one pipeline, its open stages in order, and counts of the period's deals."""

    account_id: str
    pipeline_id: str
    name: str
    purpose: str
    stages: tuple[Stage, ...]
    n_won_stages: int
    n: int = 0
    n_back: int = 0
    n_lost: int = 0
    n_bare: int = 0
    n_repeat: int = 0

    @property
    def sells(self) -> bool:
        return self.purpose in ("sales", "repeat")


@dataclass(frozen=True)
class Found:
    """Evidence of one finding: the stages it is about, or a share num of den."""

    stages: tuple[Stage, ...] = ()
    num: int | None = None
    den: int | None = None
    names: tuple[str, ...] = field(default=())


Judge = Callable[[Funnel, FunnelAuditParams], Found | None]


def _of_stages(stages: Sequence[Stage]) -> Found | None:
    return Found(tuple(stages)) if stages else None


def _share(num: int, den: int, limit: float, params: FunnelAuditParams) -> Found | None:
    return Found(num=num, den=den) if den >= params.min_n and num / den > limit else None


def _too_many(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    return Found(num=len(funnel.stages)) if len(funnel.stages) > params.max_stages else None


def _so_few(n: int) -> Judge:
    return lambda funnel, _: Found(funnel.stages, num=n) if funnel.sells and len(funnel.stages) == n else None


def _leads_too_long(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    is_long = funnel.purpose == "qualification" and len(funnel.stages) > params.max_lead_stages
    return Found(num=len(funnel.stages)) if is_long else None


def _no_kev(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    is_missing = funnel.sells and funnel.stages and not any(stage.is_kev for stage in funnel.stages)
    return Found() if is_missing else None


def _no_sla(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    is_worked = funnel.sells or funnel.purpose == "qualification"
    return _of_stages([stage for stage in funnel.stages if not stage.has_deadline]) if is_worked else None


def _is_mixed(funnel: Funnel, params: FunnelAuditParams) -> bool:
    styles = [stage.style for stage in funnel.stages if stage.style != "unclear"]
    shares = [styles.count(kind) / len(styles) for kind in ("outcome", "process")] if styles else [0.0]
    return min(shares) >= params.mixed_share and min(shares) > 0


def _process_name(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    """Processes that are no parking place; where outcomes stand among them the finding is MIXED."""
    named = [stage for stage in funnel.stages if stage.style == "process" and not is_parking(stage.name)]
    return None if _is_mixed(funnel, params) else _of_stages(named)


def _mixed(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    is_process = [stage for stage in funnel.stages if stage.style == "process"]
    return _of_stages(is_process) if _is_mixed(funnel, params) else None


def _parking(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    return _of_stages([stage for stage in funnel.stages if is_parking(stage.name)])


def _dead_stage(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    """Where the pipeline itself is in use."""
    is_alive = any(stage.is_used for stage in funnel.stages)
    return _of_stages([stage for stage in funnel.stages if not stage.is_used]) if is_alive else None


BULGE_STAGES = 4
"""On fewer stages an even spread is already over the limit."""


def _bulge(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    total = sum(stage.stock for stage in funnel.stages)
    full = [stage for stage in funnel.stages if total and stage.stock / total > params.bulge_share]
    is_judged = funnel.sells and total >= params.min_n and len(funnel.stages) >= BULGE_STAGES
    return Found(tuple(full), num=sum(stage.stock for stage in full), den=total) if is_judged and full else None


def _wrong_process(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    return Found(names=(funnel.name,)) if SUPPORT.search(funnel.name.lower()) else None


def _after_payment(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    paid = [place for place, stage in enumerate(funnel.stages) if PAID.search(stage.name.lower())]
    later = funnel.stages[paid[0] + 1 :] if paid and funnel.sells else ()
    return _of_stages([stage for stage in later if FULFILS.search(stage.name.lower())])


def _won_duplicated(funnel: Funnel, _: FunnelAuditParams) -> Found | None:
    twins = [stage for stage in funnel.stages if SOLD.search(stage.name.lower())]
    return Found(tuple(twins), num=funnel.n_won_stages) if twins or funnel.n_won_stages > 1 else None


def _back_allowed(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    return _share(funnel.n_back, funnel.n, params.back_share, params) if funnel.sells else None


def _no_reasons(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    return _share(funnel.n_bare, funnel.n_lost, params.no_reason_share, params)


def _new_repeat_mixed(funnel: Funnel, params: FunnelAuditParams) -> Found | None:
    rarer = min(funnel.n_repeat, funnel.n - funnel.n_repeat)
    is_mixed = funnel.sells and funnel.n >= params.min_n and rarer / funnel.n >= params.repeat_share
    return Found(num=funnel.n_repeat, den=funnel.n) if is_mixed else None


JUDGES: Mapping[str, Judge] = {
    "TOO_MANY": _too_many,
    "ONE_STAGE": _so_few(1),
    "TWO_STAGES": _so_few(2),
    "LEADS_TOO_LONG": _leads_too_long,
    "NO_KEV": _no_kev,
    "NO_SLA": _no_sla,
    "PROCESS_NAME": _process_name,
    "MIXED": _mixed,
    "PARKING": _parking,
    "DEAD_STAGE": _dead_stage,
    "BULGE": _bulge,
    "WRONG_PROCESS": _wrong_process,
    "FULFILMENT_AFTER_WON": _after_payment,
    "WON_DUPLICATED": _won_duplicated,
    "BACK_ALLOWED": _back_allowed,
    "NO_REASONS": _no_reasons,
    "NEW_REPEAT_MIXED": _new_repeat_mixed,
}
MISSING = {"NO_REJECTS": "rejects", "NO_WARMING": "warming", "NO_QUALIFICATION": "qualification", "NO_REPEAT": "repeat"}
"""Rules about an account: it has no pipeline of this purpose."""


def findings(funnels: Sequence[Funnel], params: FunnelAuditParams) -> Iterator[tuple[str, str, Funnel | None, Found]]:
    """(account_id, code, pipeline or None for the account, evidence) of every rule that fires."""
    for funnel in funnels:
        for code, judge in JUDGES.items():
            found = judge(funnel, params)
            if found is not None:
                yield funnel.account_id, code, funnel, found
    for account_id in dict.fromkeys(funnel.account_id for funnel in funnels):
        own = [funnel for funnel in funnels if funnel.account_id == account_id]
        for code, kind in MISSING.items():
            if params.pipeline_id is None and all(funnel.purpose != kind for funnel in own):
                yield account_id, code, None, Found(names=tuple(funnel.name for funnel in own))


def finish(collected: dict[str, pl.DataFrame], params: FunnelAuditParams, period: Period) -> MetricResult:
    """What fires, the worst first, and the stages each finding is about."""
    pipelines = collected["pipelines"]
    if params.pipeline_id is not None:
        pipelines = pipelines.filter(pipeline_id=params.pipeline_id)
    funnels = [
        _funnel(row, collected) for row in pipelines.sort("account_id", "sort", "pipeline_id").iter_rows(named=True)
    ]
    found = list(findings(funnels, params))
    place = pl.col("severity").replace_strict({name: n for n, name in enumerate(SEVERITIES)}, return_dtype=INT)
    codes = pl.col("code").replace_strict({code: n for n, code in enumerate(RULES)}, return_dtype=INT)
    table = pl.DataFrame([_row(*one) for one in found], schema=FINDINGS)
    drill = pl.DataFrame([row for one in found for row in _stage_rows(*one)], schema=STAGE_ROWS)
    return METRIC.result(
        params,
        period,
        tables={
            "findings": table.sort("account_id", place, "pipeline_id", codes, nulls_last=True).pipe(shaped, FINDINGS)
        },
        drilldown=drilldown_rows(
            drill,
            entity_kind=pl.lit("stage"),
            user_id=pl.lit(None, TEXT),
            client_id=pl.lit(None, TEXT),
            event_at=pl.lit(None, pl.Datetime("us", "UTC")),
            value_unit=pl.lit("n"),
        ),
        warnings=_notices(collected),
    )


FINDINGS: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "pipeline_id": TEXT,
    "pipeline_name": TEXT,
    "code": TEXT,
    "severity": TEXT,
    "ru": TEXT,
    "en": TEXT,
    "todo_ru": TEXT,
    "todo_en": TEXT,
    "names": TEXT,
    "n_stages": INT,
    "num": INT,
    "den": INT,
    "share": REAL,
    "group_key": TEXT,
}
"""One row per rule that fires; pipeline_id null where it is about the account. Evidence: names of stages (n_stages of
them), or a count num, of den."""
STAGE_ROWS: dict[str, pl.DataType] = {
    "account_id": TEXT,
    "entity_id": TEXT,
    "value": REAL,
    "reason": TEXT,
    "group_key": TEXT,
}


def _key(code: str, funnel: Funnel | None) -> str:
    return f"{funnel.pipeline_id}|{code}" if funnel else code


def _row(account_id: str, code: str, funnel: Funnel | None, found: Found) -> dict[str, Any]:
    rule, names = RULES[code], [stage.name for stage in found.stages] or list(found.names)
    return {
        "account_id": account_id,
        "pipeline_id": funnel.pipeline_id if funnel else None,
        "pipeline_name": funnel.name if funnel else None,
        "code": code,
        "severity": rule.severity,
        "ru": rule.ru,
        "en": rule.en,
        "todo_ru": rule.todo_ru,
        "todo_en": rule.todo_en,
        "names": ", ".join(names) or None,
        "n_stages": len(found.stages),
        "num": found.num,
        "den": found.den,
        "share": found.num / found.den if found.num is not None and found.den else None,
        "group_key": _key(code, funnel),
    }


def _stage_rows(account_id: str, code: str, funnel: Funnel | None, found: Found) -> list[dict[str, Any]]:
    return [
        {
            "account_id": account_id,
            "entity_id": stage.stage_id,
            "value": float(stage.stock),
            "reason": code,
            "group_key": _key(code, funnel),
        }
        for stage in found.stages
    ]


def _funnel(row: dict[str, Any], collected: dict[str, pl.DataFrame]) -> Funnel:
    key = {"account_id": row["account_id"], "pipeline_id": row["pipeline_id"]}

    def own(name: str) -> pl.DataFrame:
        return collected[name].filter(**key)

    stages, stock = own("stages"), dict(own("stock").select("stage_id", "n").iter_rows())
    used = set(own("used")["stage_id"])
    counts = next(own("deals").drop(PIPELINE).iter_rows(named=True), {})
    back = own("back")["n_back"]
    rungs = stages.filter((pl.col("kind") == "open") & ~pl.col("is_technical").fill_null(value=False))
    return Funnel(
        **key,
        name=row["name"] or "",
        purpose=row["purpose"] or purpose(row["name"] or ""),
        stages=tuple(
            Stage(
                stage_id=stage["stage_id"],
                name=stage["name"] or "",
                style=stage["funnel_style"] or style(stage["name"] or ""),
                is_kev=bool(stage["is_kev"]),
                has_deadline=stage["sla_s"] is not None,
                stock=stock.get(stage["stage_id"], 0),
                is_used=stage["stage_id"] in used,
            )
            for stage in rungs.sort("sort", "stage_id").iter_rows(named=True)
        ),
        n_won_stages=stages.filter(kind="won").height,
        n_back=back[0] if len(back) else 0,
        **counts,
    )


def _notices(collected: dict[str, pl.DataFrame]) -> tuple[Notice, ...]:
    guessed = collected["pipelines"].filter(pl.col("purpose").is_null())
    if guessed.is_empty():
        return ()
    n = guessed.height
    return (
        Notice(
            "purpose_by_name",
            f"Назначение воронок не задано, взято по названию: {n}. Задайте его в настройках, если угадано неверно.",
            f"The purpose of pipelines is not set and taken from their names: {n}. Set it where the guess is wrong.",
        ),
    )


RU = Text(
    name="Аудит воронки",
    definition=(
        "Что не так с устройством воронок: слишком много или мало этапов, этапы-процессы вместо результатов, "
        "отстойники, мёртвые этапы, не отмеченный ключевой этап, нет сроков, возвраты, отказы без причин, чужие "
        "процессы в сделках."
    ),
    formula=(
        "Каждое правило — порог и доказательство: названия этапов или доля сделок. Стиль этапа определяется по "
        "названию: «КП отправлено» — результат, «Готовим КП» — процесс; его можно задать и самому."
    ),
    pitfalls=(
        "Это советы, а не приговор: классификатор судит по названиям и ошибается. Доли считаются по сделкам, созданным "
        "за период, и только если их достаточно."
    ),
)
EN = Text(
    name="Funnel audit",
    definition=(
        "What is wrong with how the funnels are built: too many or too few stages, processes instead of outcomes, "
        "parking places, dead stages, no key stage, no deadlines, returns, losses without reasons, other processes "
        "among deals."
    ),
    formula=(
        "Each rule is a limit and its evidence: names of stages or a share of deals. The style of a stage is told by "
        "its name: “quote sent” is an outcome, “preparing a quote” a process; people may set it."
    ),
    pitfalls=(
        "Advice, not a verdict: the classifier judges Russian names and errs. Shares are of deals created in the "
        "period, and only where there are enough of them."
    ),
)

METRIC = Metric(
    id="E16",
    text={"ru": RU, "en": EN},
    params=FunnelAuditParams,
    inputs=(*FUNNEL_INPUTS, "deal_stage_transition", "client"),
    resources=FUNNEL_RESOURCES,
    subject={"findings": None, "drilldown": None},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=180,
    counted={"findings": ("n_stages",)},
)
