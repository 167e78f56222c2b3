"""Calls: who tried to reach us and never heard back (A3)."""

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, charts, filters, formats, states, tables, tiles
from app.ui.tables import DAYS_PX, Column
from app.ui.tiles import Good

STATES = {
    "pending": (N_("Waiting, less than a day"), colours.QUIET),
    "never": (N_("Nobody called back"), colours.BAD),
    "attempted_only": (N_("Tried, not reached"), colours.WARN),
    "called_back": (N_("Called back"), colours.GOOD),
    "client_recovered": (N_("Client got through himself"), colours.FINE),
    "messaged": (N_("Answered by message"), colours.CALM),
}
UNREACHED = ("never", "attempted_only")
TO_CALL = ("pending", *UNREACHED)
"""Whom to call back: first those whose day is not over yet."""
MANAGERS_SHOWN = 15


def render(view: View) -> None:
    answer = view.run("A3")
    before = view.run_before("A3")
    tiles.about(answer, view.publication)
    threads = answer.table("threads")
    if threads.is_empty():
        states.nothing_found(_("No missed calls in this period."), answer)
        return
    _tiles(view, answer, before)
    left, right = st.columns([1, 1], gap="medium")
    with left.container(border=True, height="stretch"):
        _all_states(answer)
    with right.container(border=True, height="stretch"):
        _managers(view, answer)
    with st.container(border=True):
        _list(view, answer)


def counts(answer: Answer) -> dict[str, int]:
    """Totals of the `n_` columns over accounts; zero rows mean zero threads."""
    total = answer.table("total")
    names = [name for name in total.columns if name.startswith("n_")]
    return dict(total.select(pl.col(names).sum()).row(0, named=True))


def comparable(before: Answer) -> dict[str, int] | None:
    """`counts` of the days before; None where not all of them are known, or nobody called."""
    was = counts(before) if before.is_complete else {}
    return was if was.get("n_threads") else None


def used_to_be(n: int) -> str:
    return _("it was {n}").format(n=formats.number(n))


def compared_with(view: View, before: Answer) -> str:
    period = filters.said((before.result.period_from, before.result.period_to))
    seen = formats.day(before.result.as_of.astimezone(view.publication.zone).date())
    return _("It was: {period}, as known on {day}, so that both had equally long to be called back.").format(
        period=period, day=seen
    )


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _tiles(view: View, answer: Answer, before: Answer) -> None:
    now, was = counts(answer), comparable(before)
    then = compared_with(view, before) if was else None

    def counted(label: str, name: str, good: Good, help_text: str | None = then) -> tiles.Tile:
        change = tiles.difference(now[name], was[name]) if was else None
        return tiles.Tile(
            label, formats.number(now[name]), change, used_to_be(was[name]) if was else None, good, help=help_text
        )

    thread = _("A client's missed call together with his further ones, until he is answered.")
    shown = [
        counted(_("Missed threads"), "n_threads", "neither", " ".join(filter(None, (thread, then)))),
        counted(_("Never reached"), "n_not_reached", "down"),
        _share(now, was, then),
        counted(_("Nobody called back"), "n_never", "down"),
        tiles.Tile(_("Waiting, less than a day"), formats.number(now["n_pending"]), None, _("call them first")),
    ]
    tiles.row(shown, view.publication, key="call_tiles")


def _share(now: dict[str, int], was: dict[str, int] | None, help_text: str | None) -> tiles.Tile:
    rate = share(now["n_not_reached"], now["n_judged"])
    old = share(was["n_not_reached"], was["n_judged"]) if was else None
    is_low = now["n_judged"] < 10 or (was is not None and was["n_judged"] < 10)
    return tiles.Tile(
        _("Not reached, share"),
        formats.rate(rate, low_n=now["n_judged"] < 10, digits=1),
        None if is_low else tiles.points_difference(rate, old),
        _("it was {n}").format(n=formats.rate(old, digits=1)) if old is not None and not is_low else None,
        "down",
        help=help_text,
    )


def _all_states(answer: Answer) -> None:
    n = counts(answer)
    st.subheader(_("How it ended"), anchor=False)
    found = [(state, n[f"n_{state}"]) for state in STATES if n[f"n_{state}"]]
    whole = n["n_threads"]
    option = bars.ladder(
        [_(STATES[state][0]) for state, _n in found],
        [number for _s, number in found],
        [f"{formats.number(number)} · {formats.rate(share(number, whole))}" for _s, number in found],
        [STATES[state][1] for state, _n in found],
    )
    unreached = formats.rate(share(n["n_not_reached"], n["n_judged"]), digits=1)
    alt = _("Not reached: {rate} of the missed threads").format(rate=unreached)
    height = max(bars.height(len(found), bar_px=44, extra_px=20), _managers_px(_unreached(answer)))
    charts.show(option, key="states", alt=alt, height=height)
    hidden = answer.table("hidden").height
    if hidden:
        st.caption(
            _("Besides, missed calls from hidden numbers: {n}. Nobody can call them back.").format(
                n=formats.number(hidden)
            )
        )


def _managers(view: View, answer: Answer) -> None:
    st.subheader(_("By manager"), anchor=False)
    people = tables.with_names(_unreached(answer), view.users)
    if people.is_empty():
        states.nothing_found(_("Everybody who missed us was reached."), answer)
        return
    parts = [bars.Series(_(STATES[state][0]), people[f"n_{state}"].to_list(), STATES[state][1]) for state in UNREACHED]
    names = people["user_name"].to_list()
    alt = _("Most clients not reached: {name}, {n}").format(name=names[0], n=people["n_not_reached"][0])
    charts.show(bars.stacked(names, parts), key="call_managers", alt=alt, height=_managers_px(people))


def _unreached(answer: Answer) -> pl.DataFrame:
    """Managers with clients nobody reached, those with most first."""
    people = answer.table("by_user").filter(pl.col("n_not_reached") > 0)
    return people.sort(["n_not_reached", "never_rate", "user_id"], descending=[True, True, False]).head(MANAGERS_SHOWN)


def _managers_px(people: pl.DataFrame) -> int:
    """Height of their chart; the one beside it is as high."""
    return bars.height(people.height, bar_px=26, extra_px=70)


def _list(view: View, answer: Answer) -> None:
    threads = answer.table("threads")
    st.subheader(_("The calls behind the numbers"), anchor=False)
    chosen = address.choice(
        st.pills,
        _("How it ended"),
        {state: _(name) for state, (name, _colour) in STATES.items()},
        key="state",
        default=list(TO_CALL),
        selection_mode="multi",
        label_visibility="collapsed",
    )
    rows = threads.filter(pl.col("state").is_in(chosen or list(STATES)))
    if rows.is_empty():
        st.caption(_("Nobody in these states."))
        return
    show_threads(view, rows, key="calls")


def show_threads(view: View, rows: pl.DataFrame, *, key: str) -> None:
    """Threads with the card to open: who can still be called in time, then the most valuable clients."""
    is_pending = pl.col("state") == "pending"
    if waiting := rows.filter(is_pending).height:
        text = _("First those who have been waiting for less than a day: {n}. Then the clients who bought most.")
        st.caption(text.format(n=formats.number(waiting)))
    told = rows.sort(is_pending, descending=True, maintain_order=True).with_columns(
        open_d=pl.col("open_h") / 24,
        state_name=pl.col("state").replace_strict(
            {s: _(name) for s, (name, _c) in STATES.items()}, return_dtype=pl.String
        ),
    )
    facts = [
        Column("open_d", _("Waits, days"), "days", width=DAYS_PX),
        Column("state_name", _("What happened")),
        Column("revenue_12m_minor", _("Bought in 12 months"), "money"),
        Column("first_missed_local", _("First missed"), "moment"),
        Column("n_missed", _("Missed"), "int", width=88, help=_("Missed calls of this client in a row")),
    ]
    tables.show_cards(view, told, facts, key=key, alt=_("Missed threads"), is_to_call=True)


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
    is_compared=True,
)
