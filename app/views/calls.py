"""Calls: who tried to reach us and never heard back (A3)."""

from datetime import date

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, charts, formats, states, tables, tiles
from app.ui.tables import Column
from app.ui.tiles import Good

STATES = {
    "never": (N_("Nobody called back"), colours.BAD),
    "attempted_only": (N_("Tried, not reached"), colours.WARN),
    "pending": (N_("Waiting, less than a day"), colours.QUIET),
    "called_back": (N_("Called back"), colours.GOOD),
    "client_recovered": (N_("Client got through himself"), colours.FINE),
    "messaged": (N_("Answered by message"), colours.CALM),
}
UNREACHED = ("never", "attempted_only")
MANAGERS_SHOWN = 15


def render(view: View) -> None:
    answer = view.run("A3")
    before = view.run("A3", period=earlier(view.period_of("A3")))
    tiles.about(answer, view.publication)
    threads = answer.table("threads")
    if threads.is_empty():
        if answer.is_covered:
            states.nothing_found(_("No missed calls in this period."))
        return
    _tiles(view, answer, before)
    left, right = st.columns([1, 1], gap="medium")
    with left.container(border=True, height="stretch"):
        _all_states(answer)
    with right.container(border=True, height="stretch"):
        _managers(view, answer)
    with st.container(border=True):
        _list(view, answer)


def earlier(period: tuple[date, date]) -> tuple[date, date]:
    """As many days right before."""
    first, end = period
    return first - (end - first), first


def counts(answer: Answer) -> dict[str, int]:
    """Totals of the `n_` columns over accounts; zero rows mean zero threads."""
    total = answer.table("total")
    names = [name for name in total.columns if name.startswith("n_")]
    return dict(total.select(pl.col(names).sum()).row(0, named=True))


def used_to_be(n: int) -> str:
    return _("it was {n}").format(n=formats.number(n))


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _tiles(view: View, answer: Answer, before: Answer) -> None:
    now, was = counts(answer), counts(before)
    is_comparable = before.is_covered and was["n_threads"] > 0

    def counted(label: str, name: str, good: Good) -> tiles.Tile:
        change = tiles.difference(now[name], was[name]) if is_comparable else None
        return tiles.Tile(label, formats.number(now[name]), change, used_to_be(was[name]) if change else None, good)

    rate, old = share(now["n_not_reached"], now["n_judged"]), share(was["n_not_reached"], was["n_judged"])
    is_low = now["n_judged"] < 10
    shown = [
        counted(_("Clients who missed us"), "n_threads", "neither"),
        counted(_("Nobody called back"), "n_never", "down"),
        counted(_("Tried, not reached"), "n_attempted_only", "down"),
        tiles.Tile(
            _("Not reached, share"),
            formats.rate(rate, low_n=is_low, digits=1),
            tiles.points_difference(rate, old) if is_comparable and not is_low else None,
            _("it was {n}").format(n=formats.rate(old, digits=1)) if old is not None else None,
            "down",
        ),
        tiles.Tile(_("Waiting, less than a day"), formats.number(now["n_pending"]), None, _("call them first")),
    ]
    tiles.row(shown, view.publication, key="call_tiles")


def _all_states(answer: Answer) -> None:
    n = counts(answer)
    st.subheader(_("How it ended"), anchor=False)
    found = [(state, n[f"n_{state}"]) for state in STATES if n[f"n_{state}"]]
    whole = n["n_threads"]
    option = bars.ladder(
        [_(STATES[state][0]) for state, _n in found],
        [number for _s, number in found],
        [f"{formats.number(number)} · {formats.rate(share(number, whole))}" for _s, number in found],
        colour=colours.CALM,
        marked=None,
        mark=colours.BAD,
    )
    for item, (state, _n) in zip(option["series"][0]["data"], found, strict=True):
        item["itemStyle"] = {"color": STATES[state][1]}
    unreached = formats.rate(share(n["n_not_reached"], n["n_judged"]), digits=1)
    alt = _("Not reached: {rate} of the clients who missed us").format(rate=unreached)
    charts.show(option, key="states", alt=alt, height=bars.height(len(found), bar_px=44, extra_px=20))
    hidden = answer.table("hidden").height
    if hidden:
        st.caption(
            _("Besides, missed calls from hidden numbers: {n}. Nobody can call them back.").format(
                n=formats.number(hidden)
            )
        )


def _managers(view: View, answer: Answer) -> None:
    st.subheader(_("By manager"), anchor=False)
    people = tables.with_names(answer.table("by_user"), view.users).filter(pl.col("n_not_reached") > 0)
    people = people.sort(["n_not_reached", "never_rate", "user_id"], descending=[True, True, False]).head(
        MANAGERS_SHOWN
    )
    if people.is_empty():
        states.nothing_found(_("Everybody who missed us was reached."))
        return
    parts = [bars.Series(_(STATES[state][0]), people[f"n_{state}"].to_list(), STATES[state][1]) for state in UNREACHED]
    names = people["user_name"].to_list()
    alt = _("Most clients not reached: {name}, {n}").format(name=names[0], n=people["n_not_reached"][0])
    charts.show(
        bars.stacked(names, parts), key="call_managers", alt=alt, height=bars.height(len(names), bar_px=26, extra_px=70)
    )


def _list(view: View, answer: Answer) -> None:
    threads = answer.table("threads")
    st.subheader(_("The calls behind the numbers"), anchor=False)
    chosen = address.choice(
        st.pills,
        _("How it ended"),
        {state: _(name) for state, (name, _colour) in STATES.items()},
        key="state",
        default=list(UNREACHED),
        selection_mode="multi",
        label_visibility="collapsed",
    )
    rows = threads.filter(pl.col("state").is_in(chosen or list(STATES)))
    if rows.is_empty():
        st.caption(_("Nobody in these states."))
        return
    show_threads(view, rows, key="calls")


def show_threads(view: View, rows: pl.DataFrame, *, key: str) -> None:
    """Clients who missed us, the most valuable first, with the card to open."""
    told = rows.with_columns(
        open_d=pl.col("open_h") / 24,
        state_name=pl.col("state").replace_strict(
            {s: _(name) for s, (name, _c) in STATES.items()}, return_dtype=pl.String
        ),
    )
    facts = [
        Column("state_name", _("What happened")),
        Column("revenue_12m_minor", _("Bought in 12 months"), "money"),
        Column("open_d", _("Waits, days"), "days", width="small"),
        Column("first_missed_local", _("First missed"), "moment"),
        Column("n_missed", _("Missed"), "int", width="small", help=_("Missed calls of this client in a row")),
    ]
    tables.show_cards(view, told, facts, key=key, alt=_("Clients who missed us"), client_width=170)


PAGE = Page(
    url="calls",
    title=N_("Calls"),
    lead=N_("Who called us, did not get through and never heard back."),
    icon=":material/phone_missed:",
    section="Work",
    order=1,
    render=render,
    filters=("period", "manager"),
    metric_id="A3",
)
