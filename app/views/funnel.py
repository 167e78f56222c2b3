"""Funnel: where deals, money and time are lost, and which stage to fix first (E6)."""

from typing import Any

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, charts, filters, formats, states, tables, tiles
from app.ui.tables import Column

ALL_STAGES = "all"
SHORT_D = 60
"""Days told as days; more are told as months."""


def render(view: View) -> None:
    asked = {"drill": "all"}
    if view.filters.pipeline_id:
        asked["pipeline_id"] = view.filters.pipeline_id
    answer = view.run("E6", asked)
    tiles.about(answer, view.publication)
    _history(view)
    top = worst_pipeline(answer)
    if top is None:
        if answer.is_covered:
            st.info(_("No deals of this period are old enough to judge. Take a longer period."), icon=":material/info:")
        return
    stages = in_order(view, answer, top)
    _headline(view, answer, top)
    _tiles(view, top)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        _ladder(stages, top)
    with right.container(border=True, height="stretch"):
        _money(view, stages, top)
    with st.container(border=True):
        _dwell(stages)
    with st.container(border=True):
        _stage_table(view, stages, top)
    with st.container(border=True):
        _lost(view, answer, stages, top)


def worst_pipeline(answer: Answer) -> dict[str, Any] | None:
    """The row of the pipeline that loses most a month; with one pipeline asked, that one."""
    rows = answer.table("summary").filter(pl.col("n") > 0)
    rows = rows.sort("leak_month_minor", "n", "pipeline_id", descending=[True, True, False], nulls_last=True)
    return rows.row(0, named=True) if rows.height else None


def in_order(view: View, answer: Answer, pipeline: dict[str, Any]) -> pl.DataFrame:
    """Stages of one pipeline, the first stage of the CRM first."""
    order = view.dimension("stage").select("account_id", "pipeline_id", "stage_id", "sort")
    is_here = (pl.col("account_id") == pipeline["account_id"]) & (pl.col("pipeline_id") == pipeline["pipeline_id"])
    rows = answer.table("stages").filter(is_here)
    joined = rows.join(order, on=["account_id", "pipeline_id", "stage_id"], how="left")
    return joined.sort("sort", "stage_id", nulls_last=True)


def _history(view: View) -> None:
    """Since when stages are known: before that day nobody can say how long a deal stood where."""
    since = view.publication.complete_from("deal_stage_transition")
    if since is not None:
        st.caption(_("The history of stages is complete since {day}.").format(day=formats.day(since)))
    else:
        st.caption(_("It is not known since when the history of stages is complete."))


def _headline(view: View, answer: Answer, top: dict[str, Any]) -> None:
    pipeline = states.escaped(top["pipeline_name"] or top["pipeline_id"])
    if top["stage_name"] is None or top["leak_month_minor"] is None:
        sentence = _("Pipeline “{pipeline}”: too few deals or no won money to rank its stages.").format(
            pipeline=pipeline
        )
    else:
        sentence = _("Pipeline “{pipeline}”: stage “{stage}” loses ≈ {money} a month.").format(
            pipeline=pipeline,
            stage=states.escaped(top["stage_name"]),
            money=formats.short_money(top["leak_month_minor"], view.publication.currency),
        )
    if answer.table("summary").height > 1 and not view.filters.pipeline_id:
        sentence += " " + _("Other pipelines are in the filter above.")
    st.markdown(f"#### {sentence}", unsafe_allow_html=False)
    st.markdown(states.escaped(counted(answer, top)))


def counted(answer: Answer, top: dict[str, Any]) -> str:
    """Which deals the numbers are about and what became of them; of a flow also why not those of the period chosen."""
    n = {name: formats.number(top[name]) for name in ("n", "won", "lost", "n_open", "n_moved") if top[name] is not None}
    days = filters.said((top["since_on"], top["until_on"]))
    params: Any = answer.result.params
    if is_flow(top):
        return _(
            "Of the deals created on {period} fewer than {least} are {mature_d} days old, too few to judge. So what "
            "happened to all deals on {days} is counted: {n} were closed, {won} of them won and {lost} lost."
        ).format(
            period=filters.said((answer.result.period_from, answer.result.period_to)),
            least=params.min_cohort,
            mature_d=params.mature_d,
            days=days,
            **n,
        )
    text = _("Deals created on {days}: {n}. Won {won}, lost {lost}, still open {n_open}").format(days=days, **n)
    if top["n_moved"]:
        text += _(", moved to other pipelines {n_moved}").format(**n)
    if top["until_on"] < answer.result.period_to:
        text += ". " + _("Younger deals, of less than {n} days, are left out: it is too early to judge them").format(
            n=params.mature_d
        )
    return text + "."


def is_flow(top: dict[str, Any]) -> bool:
    """Whether what happened in some days is counted, as too few deals of the period are old enough."""
    return bool(top["semantics"] == "flow")


def _over(top: dict[str, Any]) -> str:
    """How long the days counted are."""
    days = (top["until_on"] - top["since_on"]).days
    if days < SHORT_D:
        return formats.count(days, "over {n} day", "over {n} days")
    return formats.count(round(top["months"]), "over {n} month", "over {n} months")


def _tiles(view: View, top: dict[str, Any]) -> None:
    currency = view.publication.currency
    won_rate, lost_rate = (top[name] / top["n"] if top["n"] else None for name in ("won", "lost"))
    low_n = top["n"] < 10
    shown = [
        _looked_at(top),
        tiles.Tile(
            _("Won"),
            formats.rate(won_rate, low_n=low_n, digits=1),
            note=formats.count(top["won"], "{n} deal", "{n} deals"),
        ),
        tiles.Tile(
            _("Lost deals"),
            formats.number(top["lost"]),
            note=formats.rate(lost_rate, low_n=low_n, digits=1)
            if is_flow(top)
            else _("still open: {n}").format(n=formats.number(top["n_open"])),
        ),
        tiles.Tile(_("Mean won deal"), formats.short_money(top["won_mean_minor"], currency), note=_over(top)),
        tiles.Tile(
            _("+5 points at the bottleneck"),
            formats.short_money(top["gain_pp_month_minor"], currency),
            note=_("a month"),
        ),
    ]
    tiles.row(shown, view.publication, key="funnel_tiles")


def _looked_at(top: dict[str, Any]) -> tiles.Tile:
    if is_flow(top):
        return tiles.Tile(_("Deals closed"), formats.number(top["n"]), note=_over(top))
    return tiles.Tile(
        _("Deals looked at"),
        formats.number(top["n"]),
        note=_("old enough: {share}").format(share=formats.rate(top["mature_share"])),
        help=_(
            "How many of the period's deals are old enough to judge. Younger ones may still be won or lost, so they "
            "are in no number here."
        ),
    )


def _ladder(stages: pl.DataFrame, top: dict[str, Any]) -> None:
    st.subheader(_("How far deals get"), anchor=False)
    rows = list(stages.iter_rows(named=True))
    names = [row["stage_name"] for row in rows] + [_("Won")]
    values = [row["n"] for row in rows] + [top["won"]]
    # The step into a stage is written on it: what share of the stage before came here.
    steps = [None] + [(row["conv"], row["low_n"]) for row in rows]
    texts = [
        formats.number(value) + ("" if step is None else " · " + formats.rate(step[0], low_n=step[1]))
        for value, step in zip(values, steps, strict=True)
    ]
    is_top = [row["stage_id"] == top["stage_id"] for row in rows] + [False]
    option = bars.ladder(names, values, texts, [colours.BAD if one else colours.CALM for one in is_top])
    alt = _("Of {n} deals {won} were won").format(
        n=formats.number(values[0] if values else 0), won=formats.number(top["won"])
    )
    charts.show(option, key="ladder", alt=alt, height=bars.height(len(names), bar_px=42, extra_px=16))
    caption = _("The percentage on a bar is the share that came from the stage before. Red: the bottleneck.")
    if is_flow(top):
        caption = _(
            "A bar is how many deals first came so far in these days, the percentage its ratio to the stage before: it "
            "may exceed 100%. Red: the bottleneck."
        )
    elif early := top["n"] - stages["n"].max():
        caption += " " + _("Ended before the first stage, in no bar: {n}.").format(n=formats.number(early))
    st.caption(caption)


def _money(view: View, stages: pl.DataFrame, top: dict[str, Any]) -> None:
    st.subheader(_("Money lost at each stage a month"), anchor=False)
    known = a_month(stages, top).drop_nulls("leak_minor")
    if known.is_empty():
        st.caption(_("No won deals with an amount yet, so losses cannot be put into money."))
        return
    currency = view.publication.currency
    names, leaks = known["stage_name"].to_list(), known["leak_minor"].to_list()
    texts = [formats.short_money(leak, currency) for leak in leaks]
    most = max(leaks)
    option = bars.ladder(
        names, [leak / 100 for leak in leaks], texts, [colours.BAD if leak == most else colours.WARN for leak in leaks]
    )
    worst = leaks.index(most)
    alt = _("Most money is lost at “{stage}”: {money}").format(stage=names[worst], money=texts[worst])
    charts.show(option, key="leak", alt=alt, height=bars.height(stages.height + 1, bar_px=42, extra_px=16))
    st.caption(
        _("Lost deals × chance to win from the next stage × mean won deal: {over}, per month.").format(over=_over(top))
    )


def a_month(stages: pl.DataFrame, top: dict[str, Any]) -> pl.DataFrame:
    """`stages` with their money for a month instead of for all days counted: as the headline has it."""
    money = pl.col("leak_minor", "gain_pp_minor", "delay_minor")
    return stages.with_columns((money / (top["months"] or None)).round(mode="half_to_even").cast(pl.Int64))


def _dwell(stages: pl.DataFrame) -> None:
    st.subheader(_("How many days deals stand on a stage"), anchor=False)
    known = stages.filter(pl.col("stays_n") > 0)
    if known.is_empty():
        st.caption(_("No stay in a stage is known for these deals."))
        return
    names = known["stage_name"].to_list()
    medians, naive = known["km_median_d"].to_list(), known["naive_median_d"].to_list()
    texts = [_("more than half still stand") if m is None else formats.days(m, 1) for m in medians]
    series = [
        bars.Series(_("Median, deals still standing counted"), medians, colours.CALM, texts),
        bars.Series(_("Median of those that left"), naive, colours.QUIET, [formats.days(v, 1) for v in naive]),
    ]
    alt = _("Median days on each stage")
    charts.show(bars.side_by_side(names, series), key="dwell", alt=alt, height=bars.height(len(names), bar_px=48))
    st.caption(
        _("A plain median of finished stays looks shorter where deals get stuck: those that never left are not in it.")
    )


def _stage_table(view: View, stages: pl.DataFrame, top: dict[str, Any]) -> None:
    st.subheader(_("Stages in numbers"), anchor=False)
    rows = a_month(stages, top).with_columns(
        conv_shown=pl.when(~pl.col("low_n")).then(pl.col("conv")),
        n_moved_shown=pl.when(pl.col("n_moved").sum() > 0).then("n_moved"),
        vs_text=_benchmark(),
    )
    columns = [
        Column("stage_name", _("Stage"), width=150),
        Column("rank", _("Rank"), "int", width=64, help=_("1 is the stage to fix first; empty: too few deals")),
        Column("n", _("Reached"), "int", width=64),
        Column("lost", _("Lost"), "int", width=80),
        Column("n_open", _("Still open"), "int", width=76, help=_("Still open on this stage")),
        Column("n_moved_shown", _("Moved"), "int", width=76, help=_("Moved to another pipeline from this stage")),
        Column("conv_shown", _("Went on"), "rate", width=92, help=_("Empty where fewer than ten deals got here")),
        Column(
            "vs_text",
            _("To past"),
            width=100,
            help=_("Difference to the four quarters before, in points; “≈”: may be chance"),
        ),
        Column("leak_minor", _("Loss"), "money", width=100, help=_("Money lost here, on average a month")),
        Column(
            "gain_pp_minor", _("+5 points"), "money", width=90, help=_("What five points more here would give a month")
        ),
        Column("delay_minor", _("Waiting"), "money", width=106, help=_("What the days on this stage cost a month")),
        Column("km_median_d", _("Days"), "days", width=58, help=_("Median days on this stage")),
    ]
    optional = {"n_open", "n_moved_shown", "vs_text"}  # a flow has no members, a young account no past
    columns = [one for one in columns if one.name not in optional or rows[one.name].is_not_null().any()]
    tables.show(rows, columns, key="stages", alt=_("Stages in numbers"), currency=view.publication.currency)
    st.caption(_("Money: {over}, per month.").format(over=_over(top)))


def _benchmark() -> pl.Expr:
    """`+3,1`, with ≈ where the interval holds zero."""
    is_chance = (pl.col("vs_lo") <= 0) & (pl.col("vs_hi") >= 0)
    number = pl.col("vs_benchmark").map_elements(formats.points, return_dtype=pl.String, skip_nulls=True)
    return (
        pl.when(pl.col("vs_benchmark").is_null())
        .then(None)
        .when(is_chance)
        .then(pl.format("≈ {}", number))
        .otherwise(number)
    )


def _lost(view: View, answer: Answer, stages: pl.DataFrame, top: dict[str, Any]) -> None:
    st.subheader(_("Lost deals"), anchor=False)
    names = dict(stages.select("group_key", "stage_name").iter_rows())
    lost = answer.result.drilldown.filter(pl.col("account_id") == top["account_id"])
    early = f"{top['pipeline_id']}|"
    if (lost["group_key"] == early).any():
        names = {early: _("Before the first stage"), **names}
    chosen = address.choice(
        st.selectbox,
        _("Lost at stage"),
        {ALL_STAGES: _("All stages"), **names},
        key="stage",
        default=top["group_key"] if top["group_key"] in names else ALL_STAGES,
        width=320,
    )
    wanted = list(names) if chosen == ALL_STAGES else [chosen]
    rows = lost.filter(pl.col("group_key").is_in(wanted))
    if rows.is_empty():
        states.nothing_found(_("No deals were lost here in this period."), answer)
        return
    show_lost(view, rows.with_columns(stage_name=pl.col("group_key").replace_strict(names, default=None)), key="lost")


def show_lost(view: View, rows: pl.DataFrame, *, key: str) -> None:
    """Lost deals, the most expensive first. rows: drill-down with `stage_name`."""
    told = tables.with_local(rows, str(view.publication.zone))
    facts = [
        Column("value", _("Amount"), "money"),
        Column("stage_name", _("Lost at stage")),
        Column("event_local", _("Lost on"), "moment"),
    ]
    ordered = told.sort("value", "entity_id", descending=[True, False], nulls_last=True)
    tables.show_cards(view, ordered, facts, key=key, alt=_("Lost deals"))


PAGE = Page(
    url="funnel",
    title=N_("Funnel"),
    lead=N_("Which stage to fix first: where deals, money and time are lost."),
    icon=":material/filter_alt:",
    section="Work",
    order=3,
    render=render,
    filters=("period", "manager", "pipeline"),
    metric_id="E6",
    roles=("owner", "head", "analyst"),
)
