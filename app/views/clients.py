"""Client base: who buys, who has gone quiet, who left and who came back (D6)."""

from typing import Any

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import charts, formats, states, tables, tiles
from app.ui.tables import Column

EVENTS = {"CHURNED": N_("Left"), "REACTIVATED": N_("Came back"), "NEW": N_("First purchase")}
STOCKS = ("active", "at_risk", "churned")
Month = dict[str, Any]


def render(view: View) -> None:
    answer = view.run("D6")
    tiles.about(answer, view.publication)
    months = by_month(answer)
    if months.is_empty() or not months["buyers"].sum():
        if answer.is_covered:
            states.nothing_found(_("Nobody has bought anything yet, so there is nobody to lose."))
        return
    _tiles(view, answer, months)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        _stocks(months)
    with right.container(border=True, height="stretch"):
        _flows(months)
    with st.container(border=True):
        _managers(view, answer)
    with st.container(border=True):
        _list(view, answer, months)


def by_month(answer: Answer) -> pl.DataFrame:
    """The month table over all accounts, the oldest month first."""
    table = answer.table("months")
    counted = [n for n, kind in table.schema.items() if kind == pl.Int64]
    return (
        table.group_by("month")
        .agg(pl.col(counted).sum(), pl.col("complete").all())
        .with_columns(
            churn_rate=pl.col("churn_num") / pl.when(pl.col("churn_den") > 0).then("churn_den"),
            churn_low_n=pl.col("churn_den") < 10,
            group_key=pl.col("month").dt.strftime("%Y-%m"),
        )
        .sort("month")
    )


def last_complete(months: pl.DataFrame) -> tuple[Month, Month | None]:
    """The last month that is over, and the one before it; the running one where no other is known."""
    over = months.filter("complete")
    rows = (over if over.height else months).tail(2).rows(named=True)
    return rows[-1], rows[0] if len(rows) > 1 else None


def _tiles(view: View, answer: Answer, months: pl.DataFrame) -> None:
    running = months.row(-1, named=True)
    month, before = last_complete(months)
    name, was = formats.month(month["month"]), formats.month(before["month"]) if before else ""

    def change(column: str) -> str | None:
        return tiles.difference(month[column], before[column]) if before else None

    note = _("to {month}").format(month=was) if before else None
    low = month["churn_low_n"]
    shown = [
        tiles.Tile(
            _("Active clients now"),
            formats.number(running["active"]),
            _since_start(running, "active"),
            _("since the 1st"),
            "up",
        ),
        tiles.Tile(
            _("At risk now"),
            formats.number(running["at_risk"]),
            _since_start(running, "at_risk"),
            _("since the 1st"),
            "down",
        ),
        tiles.Tile(
            _("Left in {month}").format(month=name),
            formats.number(month["churned_n"]),
            change("churned_n"),
            note,
            "down",
        ),
        tiles.Tile(
            _("Came back in {month}").format(month=name),
            formats.number(month["reactivated_n"]),
            change("reactivated_n"),
            note,
            "up",
        ),
        tiles.Tile(
            _("Churn in {month}").format(month=name),
            formats.rate(month["churn_rate"], low_n=low, digits=1),
            tiles.points_difference(month["churn_rate"], before["churn_rate"]) if before and not low else None,
            note,
            "down",
        ),
    ]
    tiles.row(shown, view.publication, key="client_tiles")


def _since_start(row: Month, name: str) -> str | None:
    return tiles.difference(row[name], row[f"{name}_start"])


def _month_names(months: pl.DataFrame) -> list[str]:
    return [
        formats.month(day) + ("" if is_over else "*") for day, is_over in months.select("month", "complete").iter_rows()
    ]


def _stocks(months: pl.DataFrame) -> None:
    st.subheader(_("Clients at the end of the month"), anchor=False)
    series = [
        bars.Series(_("Active"), months["active"].to_list(), colours.GOOD),
        bars.Series(_("At risk"), months["at_risk"].to_list(), colours.WARN),
        bars.Series(_("Left"), months["churned"].to_list(), colours.QUIET),
    ]
    last = months.row(-1, named=True)
    alt = _("Now {active} active, {at_risk} at risk, {churned} left").format(
        active=last["active"], at_risk=last["at_risk"], churned=last["churned"]
    )
    charts.show(bars.stacked(_month_names(months), series, vertical=True), key="stocks", alt=alt, height=330)
    st.caption(
        _("Active: bought within 90 days; at risk: 91 to 180 days ago; left: longer ago. * the month is not over.")
    )


def _flows(months: pl.DataFrame) -> None:
    st.subheader(_("Came and went"), anchor=False)
    came = [
        bars.Series(_("First purchase"), months["new"].to_list(), colours.CALM),
        bars.Series(_("Came back"), months["reactivated_n"].to_list(), colours.GOOD),
    ]
    went = [bars.Series(_("Left"), months["churned_n"].to_list(), colours.BAD)]
    net = int(months.select(pl.col("new").sum() + pl.col("reactivated_n").sum() - pl.col("churned_n").sum()).item())
    alt = _("Over these months the base changed by {n}").format(n=tiles.difference(net, 0))
    charts.show(bars.up_and_down(_month_names(months), came, went), key="flows", alt=alt, height=330)
    st.caption(alt + ".")


def _managers(view: View, answer: Answer) -> None:
    st.subheader(_("By manager"), anchor=False)
    table = answer.table("managers")
    if table.is_empty():
        st.caption(_("No clients with a manager."))
        return
    now = table.filter(pl.col("month") == pl.col("month").max()).select("user_id", *STOCKS)
    events = table.group_by("user_id").agg(pl.col("new", "churned_n", "reactivated_n", "revenue_minor").sum())
    rows = now.group_by("user_id").agg(pl.col(*STOCKS).sum()).join(events, on="user_id", how="left", nulls_equal=True)
    named = tables.with_names(rows, view.users).sort(
        "at_risk", "churned_n", "user_name", descending=[True, True, False]
    )
    columns = [
        Column("user_name", _("Manager"), width="medium"),
        Column("active", _("Active"), "int"),
        Column("at_risk", _("At risk"), "int"),
        Column("churned", _("Left earlier"), "int"),
        Column("new", _("First purchase"), "int", help=_("In the period shown")),
        Column("churned_n", _("Left"), "int", help=_("In the period shown")),
        Column("reactivated_n", _("Came back"), "int", help=_("In the period shown")),
        Column("revenue_minor", _("Revenue"), "money", help=_("In the period shown")),
    ]
    tables.show(named, columns, key="client_managers", alt=_("Clients by manager"), currency=view.publication.currency)


def _list(view: View, answer: Answer, months: pl.DataFrame) -> None:
    st.subheader(_("The clients behind the numbers"), anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        event = st.segmented_control(
            _("What happened"),
            list(EVENTS),
            format_func=lambda code: _(EVENTS[code]),
            default="CHURNED",
            required=True,
            key="event",
            bind="query-params",
        )
        keys = months.sort("month", descending=True)["group_key"].to_list()
        names = {key: formats.month(day) for key, day in months.select("group_key", "month").iter_rows()}
        month = st.selectbox(
            _("Month"),
            [ALL, *keys],
            format_func=lambda key: names.get(key, _("All months")),
            key="month",
            width=200,
            bind="query-params",
        )
    rows = answer.result.drilldown.filter(pl.col("reason") == event)
    rows = rows if month == ALL else rows.filter(pl.col("group_key") == month)
    if rows.is_empty():
        st.caption(_("No such clients in this period."))
        return
    show_clients(view, rows, key="clients")


ALL = ""


def show_clients(view: View, rows: pl.DataFrame, *, key: str) -> None:
    """Clients of events, the latest first."""
    told = tables.with_local(rows, str(view.publication.zone)).with_columns(
        what=pl.col("reason").replace_strict({code: _(name) for code, name in EVENTS.items()}, return_dtype=pl.String)
    )
    facts = [
        Column("what", _("What happened")),
        Column("event_local", _("When"), "day"),
        Column("value", _("Days without a purchase"), "int"),
    ]
    ordered = told.sort("event_at", "entity_id", descending=[True, False])
    tables.show_cards(view, ordered, facts, key=key, alt=_("Clients who left or came back"))


PAGE = Page(
    url="clients",
    title=N_("Client base"),
    lead=N_("Who buys, who has gone quiet, who left and who came back."),
    icon=":material/groups:",
    section="Overview",
    order=1,
    render=render,
    filters=("period", "manager"),
    metric_id="D6",
)
