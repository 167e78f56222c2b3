"""Client base: who buys, who has gone quiet, who left and who came back (D6)."""

from collections.abc import Callable
from typing import Any

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, charts, formats, states, tables, tiles
from app.ui.tables import Column

STATES = {"active": N_("Active"), "at_risk": N_("At risk"), "churned": N_("Left to date")}
EVENTS = {"CHURNED": N_("Left in the period"), "REACTIVATED": N_("Came back"), "NEW": N_("First purchase")}
STATE_OF_ONE = {"active": N_("active"), "at_risk": N_("at risk"), "churned": N_("gone")}
LISTS = {**STATES, **EVENTS}
"""What can be listed: clients in a state at the end of the period, and those to whom something happened in a month."""

Month = dict[str, Any]


def render(view: View) -> None:
    answer = view.run("D6")
    tiles.about(answer, view.publication)
    months = by_month(answer)
    if months.is_empty() or not months["buyers"].sum():
        states.nothing_found(_("Nobody has bought anything yet, so there is nobody to lose."), answer)
        return
    _tiles(view, months)
    with st.container(border=True, key="opened"):  # right below the tiles: what they open has to be in sight
        _list(view, answer, months)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        _stocks(months)
    with right.container(border=True, height="stretch"):
        _flows(months)
    with st.container(border=True):
        _managers(view, answer)


def by_month(answer: Answer) -> pl.DataFrame:
    """The month table over all accounts, the oldest month first."""
    table = answer.table("months")
    counted = [n for n, kind in table.schema.items() if kind == pl.Int64]
    return (
        table.group_by("month")
        .agg(pl.col(counted).sum(), pl.col("complete").all(), pl.col("stock_on").max())
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


def stock_label(month: Month, now: str, at_the_end: str) -> str:
    """What a stock of `month` is called: `now` in the running one, else `at_the_end` with the month's name."""
    return at_the_end.format(month=formats.month(month["month"])) if month["complete"] else now


def _tiles(view: View, months: pl.DataFrame) -> None:
    running = months.row(-1, named=True)
    month, before = last_complete(months)
    name, was = formats.month(month["month"]), formats.month(before["month"]) if before else ""

    def standing(state: str, now: str, at_the_end: str, good: tiles.Good) -> tiles.Tile:
        return tiles.Tile(
            stock_label(running, now, at_the_end),
            formats.number(running[state]),
            tiles.difference(running[state], running[f"{state}_start"]),
            _("since the 1st"),
            good,
            open_label=_("List"),
            on_open=_opening(state),
        )

    def change(column: str) -> str | None:
        return tiles.difference(month[column], before[column]) if before else None

    note = _("to {month}").format(month=was) if before else None
    low = month["churn_low_n"]
    shown = [
        standing("active", _("Active clients now"), _("Active at the end of {month}"), "up"),
        standing("at_risk", _("At risk now"), _("At risk at the end of {month}"), "down"),
        tiles.Tile(
            _("Left in {month}").format(month=name),
            formats.number(month["churned_n"]),
            change("churned_n"),
            note,
            "down",
            open_label=_("List"),
            on_open=_opening("CHURNED", month["group_key"]),
        ),
        tiles.Tile(
            _("Came back in {month}").format(month=name),
            formats.number(month["reactivated_n"]),
            change("reactivated_n"),
            note,
            "up",
            open_label=_("List"),
            on_open=_opening("REACTIVATED", month["group_key"]),
        ),
        tiles.Tile(
            _("Churn in {month}").format(month=name),
            formats.rate(month["churn_rate"], low_n=low, digits=1),
            tiles.points_difference(month["churn_rate"], before["churn_rate"]) if before and not low else None,
            note,
            "down",
            open_label=_("List"),
            on_open=_opening("CHURNED", month["group_key"]),
        ),
    ]
    tiles.row(shown, view.publication, key="client_tiles")


def _opening(listed: str, month: str | None = None) -> Callable[[], None]:
    """What a tile does: the list shows `listed`, of events those of `month` (a group_key)."""

    def choose() -> None:
        st.session_state["clients"] = listed
        if month is not None:
            st.session_state["month"] = month

    return choose


def _month_names(months: pl.DataFrame) -> list[str]:
    return [
        formats.month(day) + ("" if is_over else "*") for day, is_over in months.select("month", "complete").iter_rows()
    ]


def _stocks(months: pl.DataFrame) -> None:
    st.subheader(_("Clients at the end of the month"), anchor=False)
    series = [
        bars.Series(_(STATES["active"]), months["active"].to_list(), colours.GOOD),
        bars.Series(_(STATES["at_risk"]), months["at_risk"].to_list(), colours.WARN),
        bars.Series(_(STATES["churned"]), months["churned"].to_list(), colours.QUIET),
    ]
    last = months.row(-1, named=True)
    alt = _("As of {day}: {active} active, {at_risk} at risk, {churned} left").format(
        day=formats.day(last["stock_on"]), active=last["active"], at_risk=last["at_risk"], churned=last["churned"]
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
    alt = _("Over these months the base changed by {n}").format(n=tiles.signed(net))
    charts.show(bars.up_and_down(_month_names(months), came, went), key="flows", alt=alt, height=330)
    st.caption(alt + ".")


def _managers(view: View, answer: Answer) -> None:
    st.subheader(_("By manager"), anchor=False)
    table = answer.table("managers")
    if table.is_empty():
        st.caption(_("No clients with a manager."))
        return
    now = table.filter(pl.col("month") == pl.col("month").max()).select("user_id", *STATES)
    events = table.group_by("user_id").agg(pl.col("new", "churned_n", "reactivated_n", "revenue_minor").sum())
    rows = now.group_by("user_id").agg(pl.col(*STATES).sum()).join(events, on="user_id", how="left", nulls_equal=True)
    named = tables.with_names(rows, view.users).sort(
        "at_risk", "churned_n", "user_name", descending=[True, True, False]
    )
    stocks = _as_of(table)
    columns = [
        Column("user_name", _("Manager"), width="medium"),
        *(Column(state, _(name), "int", help=stocks) for state, name in STATES.items()),
        Column("new", _("First purchase"), "int", help=_("In the period shown")),
        Column("churned_n", _("Left in the period"), "int"),
        Column("reactivated_n", _("Came back"), "int", help=_("In the period shown")),
        Column("revenue_minor", _("Revenue"), "money", help=_("In the period shown")),
    ]
    tables.show(named, columns, key="client_managers", alt=_("Clients by manager"), currency=view.publication.currency)


def _as_of(rows: pl.DataFrame) -> str:
    return _("As of {day}.").format(day=formats.day(max(rows["stock_on"].to_list())))


def _list(view: View, answer: Answer, months: pl.DataFrame) -> None:
    st.subheader(_("The clients behind the numbers"), anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        listed = address.choice(
            st.segmented_control,
            _("Which clients"),
            {code: _(name) for code, name in LISTS.items()},
            key="clients",
            default="CHURNED",
            required=True,
        )
        month = _month(months) if listed in EVENTS else ALL
    rows = in_state(answer, months, listed) if listed in STATES else happened(answer, listed, month)
    if rows.is_empty():
        st.caption(_("No such clients in this period."))
    elif listed in STATES:
        st.caption(_as_of(rows))
        show_states(view, rows, key="clients")
    else:
        show_clients(view, rows, key="clients")


ALL = ""


def _month(months: pl.DataFrame) -> str:
    """The month whose events are listed, by its group_key; `ALL` for every one."""
    rows = months.sort("month", descending=True).select("group_key", "month").iter_rows()
    names = {key: formats.month(day) for key, day in rows}
    chosen: str = address.choice(
        st.selectbox, _("Month"), {ALL: _("All months"), **names}, key="month", default=ALL, width=200
    )
    return chosen


def in_state(answer: Answer, months: pl.DataFrame, state: str) -> pl.DataFrame:
    """Clients behind a stock of the last month shown. An account that has not come so far is not in that number."""
    is_counted = pl.col("group_key") == months["group_key"][-1]
    return answer.table("clients").filter(is_counted, pl.col("state") == state)


def happened(answer: Answer, event: str, month: str = ALL) -> pl.DataFrame:
    """Clients behind an event, of all months or of one, with what they bought and their state since then."""
    rows = answer.result.drilldown.filter(pl.col("reason") == event)
    rows = rows if month == ALL else rows.filter(pl.col("group_key") == month)
    keys = ["account_id", "client_id"]
    known = answer.table("clients").select(*keys, "state", "stock_on", "days_since", "revenue_minor")
    return rows.join(known, on=keys, how="left")


def show_states(view: View, rows: pl.DataFrame, *, key: str) -> None:
    """Clients in a state, those who brought most first."""
    facts = [
        Column("days_since", _("Days without a purchase"), "int"),
        Column("last_sale_on", _("Last purchase"), "day"),
        Column(
            "usual_gap_d", _("Usually, days"), "days", help=_("His own median; before three purchases, everybody's")
        ),
        Column("overdue_ratio", _("Times the usual"), "times", help=_("2: silent twice as long as usual")),
        Column("n_sales", _("Purchases"), "int"),
        Column("revenue_minor", _("Bought in all"), "money"),
    ]
    tables.show_cards(view, rows, facts, key=key, alt=_("Clients by state"))


def show_clients(view: View, rows: pl.DataFrame, *, key: str) -> None:
    """Clients of events: those who are gone first, by their money times how long; then the others by their money."""
    at_stake = pl.when(pl.col("state") == "churned").then(pl.col("revenue_minor") * pl.col("days_since"))
    names = {state: _(name) for state, name in STATE_OF_ONE.items()}
    told = (
        tables.with_local(rows, str(view.publication.zone))
        .with_columns(state_name=pl.col("state").replace_strict(names, return_dtype=pl.String))
        .sort(
            at_stake,
            "revenue_minor",
            "event_at",
            "entity_id",
            descending=[True, True, True, False],
            nulls_last=True,
        )
    )
    facts = [
        Column("revenue_minor", _("Bought in all"), "money"),
        Column("value", _("Days without a purchase"), "int"),
        Column("event_local", _("When"), "day"),
        Column("state_name", _("State"), help=_as_of(rows)),
    ]
    tables.show_cards(view, told, facts, key=key, alt=_("Clients who left or came back"))


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
