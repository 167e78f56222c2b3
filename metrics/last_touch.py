"""B1: the last time anybody was in touch with a client.

A touch is a talk of at least ten seconds, a message a person wrote (in either direction), or a completed meeting: the
meaningful rows of the mart `touch`. Mailings and bots are none; unanswered calls to the client are attempts.

Source: the metric catalogue, B1.
"""

from typing import Any, Literal

import narwhals.stable.v2 as nw
import polars as pl

from metrics.channels import calls_only_notices, message_coverage
from metrics.client_base import BASE_INPUTS, NEEDS_OWNER, Base, client_base
from metrics.metric import Frames, Metric, MetricResult, Params, Period, Text, drilldown_rows
from metrics.people import group_key, of_population
from metrics.rows import latest

Lazy = nw.LazyFrame[Any]
TouchDirection = Literal["any", "out"]


class LastTouchParams(Params):
    """Whose last touch is looked for and which touches count."""

    base: Base = "all"
    """existing: at least one won or open deal; buyers: a won one; open: an open one; all: every client."""
    direction: TouchDirection = "any"
    """any: the client's own calls and messages count too; out: only what came from us."""
    population: tuple[str, ...] | None = None
    """Users whose clients are listed; None: everybody's. Touches by others count all the same."""


def last_touch(frames: Frames, *, direction: TouchDirection = "any") -> Lazy:
    """One row per client that has touches or attempts by `as_of`.

    Args:
        direction: any = the client's own call or message counts too; out = only what came from us (meetings included).

    Returns:
        account_id, client_id, `last_touch_*`, last_touch_kind, last_touch_direction, last_touch_user_id,
        last_outbound_at (last outbound touch), last_attempt_at (last unanswered call to the client). Null: never.
    """
    col = nw.col
    seen = (
        frames["touch"]
        .join(frames["clock"].select("account_id", "as_of_epoch"), on="account_id")
        .filter(~col("client_id").is_null(), col("touched_epoch") <= col("as_of_epoch"))
    )
    is_touch = col("is_meaningful").fill_null(False)
    outbound = is_touch & (col("direction") == "out").fill_null(False)
    summary = (
        seen.with_columns(
            outbound_at=nw.when(outbound).then(col("touched_at")),
            attempt_at=nw.when(col("is_attempt").fill_null(False)).then(col("touched_at")),
        )
        .group_by("account_id", "client_id")
        .agg(last_outbound_at=col("outbound_at").max(), last_attempt_at=col("attempt_at").max())
    )
    counts = is_touch if direction == "any" else is_touch & (col("direction") != "in").fill_null(True)
    return summary.join(_latest(seen.filter(counts)), on=["account_id", "client_id"], how="left")


def _latest(touches: Lazy) -> Lazy:
    """The last touch of each client; of two in one second the one with the smaller id."""
    col = nw.col
    return latest(touches, ["account_id", "client_id"], by="touched_epoch", row_id="touch_id").select(
        "account_id",
        "client_id",
        last_touch_at=col("touched_at"),
        last_touch_local=col("touched_local"),
        last_touch_epoch=col("touched_epoch"),
        last_touch_kind=col("kind"),
        last_touch_direction=col("direction"),
        last_touch_user_id=col("user_id"),
    )


# --- the metric ------------------------------------------------------------------------------------------------------


def reduce(frames: Frames, params: LastTouchParams, period: Period) -> dict[str, Lazy]:
    """Clients of the base with their last touch; and whether messages were synced."""
    touched = last_touch(frames, direction=params.direction)
    clients = client_base(frames, base=params.base).join(touched, on=["account_id", "client_id"], how="left")
    return {
        "clients": clients.with_columns(last_touch_on=nw.col("last_touch_local").dt.date()).drop(
            "last_touch_local", "last_touch_epoch"
        ),
        "coverage": message_coverage(frames),
    }


def days_since() -> pl.Expr:
    """Local days since the last touch; of who was never touched since the card was made."""
    return (pl.col("as_of_on") - pl.coalesce("last_touch_on", "created_on")).dt.total_days()


def finish(collected: dict[str, pl.DataFrame], params: LastTouchParams, period: Period) -> MetricResult:
    """The clients, longest silence first; how long it is per manager; and those who wait for a new owner."""
    clients = (
        of_population(collected["clients"], params.population)
        .with_columns(group_key(), days_since=days_since(), never=pl.col("last_touch_at").is_null())
        .sort("days_since", "account_id", "client_id", descending=[True, False, False], nulls_last=True)
    )
    return METRIC.result(
        params,
        period,
        tables={
            "clients": clients.select(*CLIENT_TABLE),
            "by_user": _counted(clients.filter(~NEEDS_OWNER)),
            "reassign": _counted(clients.filter(NEEDS_OWNER)),
        },
        drilldown=drilldown_rows(
            clients,
            entity_kind=pl.col("client_id").str.extract(r"^([a-z]+):"),
            entity_id="client_id",
            event_at="last_touch_at",
            value="days_since",
            value_unit=pl.lit("d"),
            reason=pl.when("never").then(pl.lit("NEVER")).otherwise(pl.lit("LAST_TOUCH")),
        ),
        warnings=calls_only_notices(
            collected["coverage"],
            ru="Последним общением с клиентом, которому пишут, покажется более ранний звонок.",
            en="Of a client who is written to, an earlier call will look like the last touch.",
        ),
    )


CLIENT_TABLE = (
    "account_id",
    "client_id",
    "kind",
    "user_id",
    "user_active",
    "days_since",
    "never",
    "last_touch_at",
    "last_touch_kind",
    "last_touch_direction",
    "last_touch_user_id",
    "last_outbound_at",
    "last_attempt_at",
    "group_key",
)


def _counted(clients: pl.DataFrame) -> pl.DataFrame:
    """Per responsible: how many clients, how many of them never touched, days since the touch of the median one."""
    counted = clients.group_by("account_id", "user_id", "user_active", "group_key").agg(
        n=pl.len().cast(pl.Int64),
        n_never=pl.col("never").sum().cast(pl.Int64),
        median_days_since=pl.col("days_since").median(),
    )
    return counted.sort(["n", "account_id", "user_id"], descending=[True, False, False])


RU = Text(
    name="Последнее касание",
    definition=(
        "Когда с каждым клиентом общались в последний раз, кто и как. Касание — разговор от 10 секунд, сообщение от "
        "человека в любую сторону или состоявшаяся встреча. Рядом — последнее касание по нашей инициативе и последняя "
        "попытка дозвониться. С кем не общались ни разу, у того дни идут с создания карточки."
    ),
    formula="Дней с касания = сегодняшняя дата − дата последнего касания, в часовом поясе аккаунта.",
    pitfalls=(
        "Рассылки, боты, внутренние заметки и звонки без ответа — не касания. Компания с пятью контактами — один "
        "клиент: касание любого из них — касание клиента. Клиенты уволенных стоят отдельно, в списке «передать»."
    ),
)
EN = Text(
    name="Last touch",
    definition=(
        "When somebody was last in touch with each client, who and how. A touch is a talk of 10 seconds or more, a "
        "message by a person in either direction, or a meeting that took place. Beside it stand the last touch that "
        "came from us and the last attempt to call. For who was never touched, days are counted from the creation of "
        "the card."
    ),
    formula="Days since = today's date − the date of the last touch, in the time zone of the account.",
    pitfalls=(
        "Mailings, bots, internal notes and unanswered calls are no touches. A company with five contacts is one "
        "client: a touch of any of them is a touch of the client. Clients of people who have left stand apart, in "
        "“reassign”."
    ),
)

METRIC = Metric(
    id="B1",
    text={"ru": RU, "en": EN},
    params=LastTouchParams,
    inputs=(*BASE_INPUTS, "touch", "coverage"),
    resources=("call", "deal", "user"),
    subject={"clients": "user_id", "by_user": "user_id", "reassign": "user_id", "drilldown": "user_id"},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
    default_period_d=30,
    reads_period=False,
    counted={"by_user": ("n",), "reassign": ("n",)},
)
