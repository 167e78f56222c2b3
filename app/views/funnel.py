"""Funnel: where deals, money and time are lost, and which stage to fix first (E6)."""

from typing import Any

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, charts, formats, states, tables, tiles
from app.ui.tables import Column

ALL_STAGES = "all"


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
    _tiles(view, answer, top)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        _ladder(stages, top)
    with right.container(border=True, height="stretch"):
        _money(view, stages)
    with st.container(border=True):
        _dwell(stages)
    with st.container(border=True):
        _stage_table(view, stages)
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
        sentence = _("Pipeline “{pipeline}”: stage “{stage}” costs ≈ {money} a month.").format(
            pipeline=pipeline,
            stage=states.escaped(top["stage_name"]),
            money=formats.short_money(top["leak_month_minor"], view.publication.currency),
        )
    if answer.table("summary").height > 1 and not view.filters.pipeline_id:
        sentence += " " + _("Other pipelines are in the filter above.")
    st.markdown(f"#### {sentence}", unsafe_allow_html=False)


def _tiles(view: View, answer: Answer, top: dict[str, Any]) -> None:
    currency = view.publication.currency
    won_rate = top["won"] / top["n"] if top["n"] else None
    shown = [
        tiles.Tile(_("Deals looked at"), formats.number(top["n"]), note=_maturity(top)),
        tiles.Tile(
            _("Won"),
            formats.rate(won_rate, low_n=top["n"] < 10, digits=1),
            note=formats.count(top["won"], "{n} deal", "{n} deals"),
        ),
        tiles.Tile(
            _("Lost deals"),
            formats.number(top["lost"]),
            note=_("still open: {n}").format(n=formats.number(top["n_open"])),
        ),
        tiles.Tile(_("Mean won deal"), formats.short_money(top["won_mean_minor"], currency), note=_("of this period")),
        tiles.Tile(
            _("+5 points at the bottleneck"),
            formats.short_money(top["gain_pp_minor"], currency),
            note=_("for the whole period"),
        ),
    ]
    tiles.row(shown, view.publication, key="funnel_tiles")


def _maturity(top: dict[str, Any]) -> str:
    if top["semantics"] == "flow":
        return _("events of the last 90 days")
    return _("old enough: {share}").format(share=formats.rate(top["mature_share"]))


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
    marked = next((n for n, row in enumerate(rows) if row["stage_id"] == top["stage_id"]), None)
    option = bars.ladder(names, values, texts, colour=colours.CALM, marked=marked, mark=colours.BAD)
    alt = _("Of {n} deals {won} were won").format(
        n=formats.number(values[0] if values else 0), won=formats.number(top["won"])
    )
    charts.show(option, key="ladder", alt=alt, height=bars.height(len(names), bar_px=42, extra_px=16))
    st.caption(_("The percentage on a bar is the share that came from the stage before. Red: the bottleneck."))


def _money(view: View, stages: pl.DataFrame) -> None:
    st.subheader(_("Money lost at each stage"), anchor=False)
    known = stages.drop_nulls("leak_minor")
    if known.is_empty():
        st.caption(_("No won deals with an amount yet, so losses cannot be put into money."))
        return
    currency = view.publication.currency
    names, leaks = known["stage_name"].to_list(), known["leak_minor"].to_list()
    texts = [formats.short_money(leak, currency) for leak in leaks]
    worst = max(range(len(leaks)), key=lambda n: leaks[n])
    option = bars.ladder(
        names, [leak / 100 for leak in leaks], texts, colour=colours.WARN, marked=worst, mark=colours.BAD
    )
    alt = _("Most money is lost at “{stage}”: {money}").format(stage=names[worst], money=texts[worst])
    charts.show(option, key="leak", alt=alt, height=bars.height(len(names), bar_px=42, extra_px=16))
    st.caption(_("Lost deals × chance to win from the next stage × mean won deal, for the whole period."))


def _dwell(stages: pl.DataFrame) -> None:
    st.subheader(_("How long deals stand"), anchor=False)
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


def _stage_table(view: View, stages: pl.DataFrame) -> None:
    st.subheader(_("Stages in numbers"), anchor=False)
    rows = stages.with_columns(
        conv_shown=pl.when(~pl.col("low_n")).then(pl.col("conv")),
        vs_text=_benchmark(),
    )
    columns = [
        Column("stage_name", _("Stage"), width="medium"),
        Column("rank", _("Rank"), "int", width="small", help=_("1 is the stage to fix first; empty: too few deals")),
        Column("n", _("Reached"), "int"),
        Column("lost", _("Lost"), "int"),
        Column("n_open", _("Still open"), "int"),
        Column("conv_shown", _("Went on"), "rate", help=_("Empty where fewer than ten deals got here")),
        Column(
            "vs_text",
            _("To past quarters"),
            help=_("Difference to the four quarters before, in points; “≈”: may be chance"),
        ),
        Column("leak_minor", _("Lost money"), "money"),
        Column("gain_pp_minor", _("+5 points give"), "money"),
        Column("delay_minor", _("Price of waiting"), "money"),
        Column("km_median_d", _("Median, days"), "days"),
    ]
    if rows["vs_text"].is_null().all():  # no stage has a past to be compared with
        columns = [column for column in columns if column.name != "vs_text"]
    tables.show(rows, columns, key="stages", alt=_("Stages in numbers"), currency=view.publication.currency)


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
    chosen = address.choice(
        st.selectbox,
        _("Lost at stage"),
        {ALL_STAGES: _("All stages"), **names},
        key="stage",
        default=top["group_key"] if top["group_key"] in names else ALL_STAGES,
        width=320,
    )
    wanted = list(names) if chosen == ALL_STAGES else [chosen]
    rows = answer.result.drilldown.filter(pl.col("group_key").is_in(wanted))
    if rows.is_empty():
        states.nothing_found(_("No deals were lost here in this period."))
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
