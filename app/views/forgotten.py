"""Forgotten clients: nobody has been in touch with them for too long (B2)."""

from typing import Any, Literal

import polars as pl
import streamlit as st

from app.charts import bars, colours
from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, charts, formats, states, tables, tiles
from app.ui.tables import DAYS_PX, Column

DAYS = (30, 60, 90, 180)
MANAGERS_SHOWN = 15
SEGMENT_COLOURS = (colours.WARN, "#e07b45", colours.BAD)
TOUCHES = {
    "call": N_("call"),
    "message": N_("message"),
    "meeting": N_("meeting"),
    "visit": N_("visit"),
}


def render(view: View) -> None:
    days = address.choice(
        st.segmented_control,
        _("Silent for more than, days"),
        {days: str(days) for days in DAYS},
        key="days",
        default=60,
        required=True,
    )
    answer = view.run("B2", {"n_days": days})
    tiles.about(answer, view.publication)
    total, of_leavers = totals(answer), listed(answer, to_hand_over=True)
    if total["den"]:
        _of_managers(view, answer, total, of_leavers)
    elif answer.table("reassign").is_empty():
        states.nothing_found(_("There are no clients with a deal yet, so nobody can be forgotten."), answer)
    elif of_leavers.is_empty():
        states.nothing_found(_("Nobody is forgotten."), answer)
    if of_leavers.height:
        _hand_over(view, of_leavers, total)


def _of_managers(view: View, answer: Answer, total: dict[str, Any], of_leavers: pl.DataFrame) -> None:
    _tiles(view, total, of_leavers)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        _managers(view, answer, total)
    with right.container(border=True, height="stretch"):
        _segments(view, answer)
    with st.container(border=True):
        st.subheader(_("Whom to call"), anchor=False)
        rows = listed(answer)
        if rows.is_empty():
            states.nothing_found(_("Nobody is forgotten."), answer)
        else:
            show_clients(view, rows, key="forgotten")


def totals(answer: Answer) -> dict[str, Any]:
    """Counts over all accounts; zero rows mean that there is nobody to forget."""
    names = ("num", "den", "n_never", "n_segment_1", "n_segment_2", "n_segment_3", "n_next_task", "revenue_12m_minor")
    return dict(answer.table("total").select(pl.col(names).sum()).row(0, named=True))


def share(total: dict[str, Any]) -> str:
    rate = total["num"] / total["den"] if total["den"] else None
    return formats.rate(rate, low_n=total["den"] < 10, digits=1)


def _tiles(view: View, total: dict[str, Any], of_leavers: pl.DataFrame) -> None:
    shown = [
        tiles.Tile(
            _("Forgotten clients"),
            formats.number(total["num"]),
            note=formats.count(total["den"], "of {n} client", "of {n} clients"),
        ),
        tiles.Tile(_("Share of forgotten"), share(total), note=_("of clients with deals")),
        tiles.Tile(
            _("They bought in 12 months"),
            formats.short_money(total["revenue_12m_minor"], view.publication.currency),
            note=_("money at risk"),
        ),
        tiles.Tile(_("Never talked to"), formats.number(total["n_never"]), note=_("since the card was made")),
        tiles.Tile(
            _("To hand over"),
            formats.number(len(of_leavers)),
            note=_("besides these {n}").format(n=formats.number(total["num"])),
            help=_("Clients of managers who have left; the other numbers are without them"),
        ),
    ]
    tiles.row(shown, view.publication, key="forgotten_tiles")


def _managers(view: View, answer: Answer, total: dict[str, Any]) -> None:
    st.subheader(_("By manager"), anchor=False)
    people = _people(view, answer)
    if people.is_empty():
        states.nothing_found(_("Nobody is forgotten."), answer)
        return
    names = people["user_name"].to_list()
    texts = [
        f"{formats.number(row['num'])} · {formats.rate(row['rate'], low_n=row['low_n'])}"
        for row in people.iter_rows(named=True)
    ]
    is_worse = worse_than_all(people, total)
    option = bars.ladder(
        names, people["num"].to_list(), texts, [colours.BAD if worse else colours.WARN for worse in is_worse]
    )
    alt = _("Most forgotten clients: {name}, {n}").format(name=names[0], n=people["num"][0])
    charts.show(option, key="forgotten_managers", alt=alt, height=_managers_px(people))
    st.caption(_("Forgotten clients and their share of the manager's clients."))
    if any(is_worse):
        text = _("Red: a share above the {share} of all, and too far above for chance.")
        st.caption(text.format(share=share(total)))


def worse_than_all(people: pl.DataFrame, total: dict[str, Any]) -> list[bool]:
    """Per manager: whether all of the interval of his share lies above the share of all.

    The most clients, or the highest share by a point, say nothing: somebody always has them.
    """
    rate = total["num"] / total["den"]
    return people.select((pl.col("ci_lo") > rate) & ~pl.col("low_n")).to_series().to_list()


def _people(view: View, answer: Answer) -> pl.DataFrame:
    """Managers with forgotten clients, those with most first."""
    people = tables.with_names(answer.table("by_user"), view.users).filter(pl.col("num") > 0)
    return people.sort("num", "den", "user_name", descending=[True, True, False]).head(MANAGERS_SHOWN)


def _managers_px(people: pl.DataFrame) -> int:
    """Height of their chart; the one beside it is as high."""
    return bars.height(people.height, bar_px=32, extra_px=20)


def _segments(view: View, answer: Answer) -> None:
    st.subheader(_("How long they have been silent"), anchor=False)
    rows = (
        answer.table("segments")
        .group_by("segment", "days_from", "days_to")
        .agg(pl.col("num", "revenue_12m_minor").sum())
    )
    rows = rows.sort("segment")
    names = [_span(*days) for days in rows.select("days_from", "days_to").iter_rows()]
    currency = view.publication.currency
    texts = [
        f"{formats.number(n)} · {formats.short_money(money, currency)}"
        for n, money in rows.select("num", "revenue_12m_minor").iter_rows()
    ]
    option = bars.ladder(names, rows["num"].to_list(), texts, SEGMENT_COLOURS[: len(names)])
    alt = "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))
    height = max(bars.height(len(names), bar_px=50, extra_px=20), _managers_px(_people(view, answer)))
    charts.show(option, key="segments", alt=alt, height=height)
    st.caption(_("Clients, and what they bought in the last 12 months."))


def _span(days_from: int, days_to: int | None) -> str:
    if days_to is None:
        return _("over {n} days").format(n=days_from - 1)
    return _("{a}–{b} days").format(a=days_from, b=days_to)


def listed(answer: Answer, *, to_hand_over: bool = False) -> pl.DataFrame:
    """The forgotten clients that the number counts; or those whose manager has left, whom it does not count."""
    owners = answer.table("reassign").select("account_id", "user_id").unique()
    how: Literal["semi", "anti"] = "semi" if to_hand_over else "anti"
    keys = ["account_id", "user_id"]
    return answer.table("clients").join(owners, on=keys, how=how, nulls_equal=True, maintain_order="left")


def show_clients(view: View, clients: pl.DataFrame, *, key: str) -> None:
    """Forgotten clients, the most valuable and the longest silent first."""
    kinds = {kind: _(name) for kind, name in TOUCHES.items()}
    told = tables.with_local(clients, str(view.publication.zone), of="last_touch_at", into="last_local").with_columns(
        kind_name=pl.when("never")
        .then(pl.lit(_("never")))
        .otherwise(pl.col("last_touch_kind").replace_strict(kinds, default=None))
    )
    facts = [
        Column("days_since", _("Silent, days"), "int", width=DAYS_PX),
        Column("revenue_12m_minor", _("Bought in 12 months"), "money"),
        Column("last_local", _("Last contact"), "day"),
        Column("kind_name", _("How")),
        Column("next_task_on", _("Next task"), "day"),
    ]
    tables.show_cards(view, told, facts, key=key, alt=_("Forgotten clients"), is_to_call=True)


def _hand_over(view: View, rows: pl.DataFrame, total: dict[str, Any]) -> None:
    with st.container(border=True):
        st.subheader(_("Hand over: the manager has left"), anchor=False)
        if total["den"]:
            text = _("{n} more: they are not among the {forgotten} above.")
            st.caption(text.format(n=formats.number(rows.height), forgotten=formats.number(total["num"])))
        show_clients(view, rows, key="reassign")


PAGE = Page(
    url="forgotten",
    title=N_("Forgotten clients"),
    lead=N_("Clients with deals whom nobody has talked to for too long."),
    icon=":material/person_off:",
    section="Work",
    order=2,
    render=render,
    filters=("manager",),
    metric_id="B2",
)
