"""The morning page: four answers, and the list behind each."""

from collections.abc import Callable
from typing import Any

import polars as pl
import streamlit as st

from app.data import Answer
from app.i18n import N_, _
from app.page import Page, View
from app.ui import address, filters, formats, links, states, tiles
from app.views import calls, clients, forgotten, funnel

LISTS = {
    "calls": N_("Call back"),
    "forgotten": N_("Forgotten clients"),
    "lost": N_("Lost at the bottleneck"),
    "left": N_("Clients who left"),
}


def render(view: View) -> None:
    missed, silent, leaks, flows = (view.run(metric_id) for metric_id in ("A3", "B2", "E6", "D6"))
    top = funnel.worst_pipeline(leaks)
    _periods(view, missed, leaks)
    shown = [
        _missed(view, missed),
        _forgotten(view, silent),
        _bottleneck(view, leaks, top),
        _left(view, flows),
    ]
    tiles.row(shown, view.publication, key="brief_tiles", width_px=160)
    answers = {"calls": missed, "forgotten": silent, "lost": leaks, "left": flows}
    states.alarms(answers.values())
    with st.container(border=True, key="opened"):
        _list(view, answers)
    with st.container(horizontal=True):
        states.notes(answers.values())


def _periods(view: View, missed: Answer, leaks: Answer) -> None:
    """Which days the tiles are about: each question has its own, so the page has no filter for them."""
    text = _(
        "Calls: {calls}. Forgotten clients: as of {day}. Bottleneck: deals of {deals}. "
        "Clients who left: the last whole month."
    )
    called, sold = (filters.said((one.result.period_from, one.result.period_to)) for one in (missed, leaks))
    st.caption(text.format(calls=called, day=formats.day(view.publication.today), deals=sold))


def _opening(name: str) -> Callable[[], None]:
    def choose() -> None:
        st.session_state["list"] = name

    return choose


def _missed(view: View, answer: Answer) -> tiles.Tile:
    label = _("Never reached")
    if not answer.is_covered:
        return tiles.Tile(label, formats.no_data(), note=_("calls have not been synced"), answer=answer)
    before = view.run_before("A3")
    now, was = calls.counts(answer), calls.comparable(before)
    whole = formats.count(now["n_threads"], "of {n} thread", "of {n} threads")
    return tiles.Tile(
        label,
        formats.number(now["n_not_reached"]),
        tiles.difference(now["n_not_reached"], was["n_not_reached"]) if was else None,
        calls.used_to_be(was["n_not_reached"]) if was else whole,
        "down",
        help=f"{whole}. {calls.compared_with(view, before)}" if was else None,
        open_label=_("List"),
        on_open=_opening("calls"),
        answer=answer,
    )


def _forgotten(view: View, answer: Answer) -> tiles.Tile:
    label = _("Forgotten clients")
    if not answer.is_covered:
        return tiles.Tile(label, formats.no_data(), note=_("calls or deals have not been synced"), answer=answer)
    total = forgotten.totals(answer)
    if not total["den"]:
        return _to_hand_over(answer)
    part = formats.rate(calls.share(total["num"], total["den"]), low_n=total["den"] < 10)
    return tiles.Tile(
        label,
        formats.number(total["num"]),
        note=f"{part} " + formats.count(total["den"], "of {n} client", "of {n} clients"),
        help=formats.count(
            getattr(answer.result.params, "n_days", 60),
            "No contact for more than {n} day",
            "No contact for more than {n} days",
        ),
        open_label=_("List"),
        on_open=_opening("forgotten"),
        answer=answer,
    )


def _to_hand_over(answer: Answer) -> tiles.Tile:
    """The same tile where nobody who works here has clients."""
    waiting = forgotten.listed(answer, to_hand_over=True).height
    return tiles.Tile(
        _("Forgotten clients"),
        formats.number(waiting),
        note=_("to hand over: the manager has left") if waiting else _("no clients with deals"),
        open_label=_("List"),
        on_open=_opening("forgotten"),
        answer=answer,
    )


def _bottleneck(view: View, answer: Answer, top: dict[str, Any] | None) -> tiles.Tile:
    label = _("Bottleneck, a month")
    if not answer.is_covered or top is None or top["stage_name"] is None:
        note = _("too few deals to judge") if answer.is_covered else _("deals have not been synced")
        return tiles.Tile(label, formats.no_data(), note=note, answer=answer)
    money = formats.short_money(top["leak_month_minor"], view.publication.currency)
    return tiles.Tile(
        _("Bottleneck, a month"),
        f"≈ {money}" if top["leak_month_minor"] is not None else formats.no_data(),
        note=top["stage_name"],
        help=_where(answer, top),
        open_label=_("List"),
        on_open=_opening("lost"),
        answer=answer,
    )


def _where(answer: Answer, top: dict[str, Any]) -> str:
    """Pipeline and stage in full, and how the stage's conversion differs from the four quarters before."""
    said = [_("Pipeline “{pipeline}”").format(pipeline=top["pipeline_name"] or ""), top["stage_name"]]
    row = answer.table("stages").filter(pl.col("group_key") == top["group_key"])
    change = row["vs_benchmark"].item() if row.height == 1 else None
    if change is not None:
        said.append(_("conversion to past quarters: {points}").format(points=formats.points(change)))
    return states.escaped("; ".join(said))


def _left(view: View, answer: Answer) -> tiles.Tile:
    label = _("Clients who left")
    months = clients.by_month(answer)
    if not answer.is_covered or months.is_empty():
        note = _("deals have not been synced") if not answer.is_covered else _("nobody has bought anything yet")
        return tiles.Tile(label, formats.no_data(), note=note, answer=answer)
    month, before = clients.last_complete(months)
    return tiles.Tile(
        _("Left in {month}").format(month=formats.month(month["month"])),
        formats.number(month["churned_n"]),
        tiles.difference(month["churned_n"], before["churned_n"]) if before else None,
        _("to {month}").format(month=formats.month(before["month"])) if before else None,
        "down",
        help=f"{_at_risk(months)}: {formats.number(months['at_risk'][-1])}",
        open_label=_("List"),
        on_open=_opening("left"),
        answer=answer,
    )


def _at_risk(months: pl.DataFrame) -> str:
    return clients.stock_label(months.row(-1, named=True), _("At risk now"), _("At risk at the end of {month}"))


def _list(view: View, answers: dict[str, Answer]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        chosen = address.choice(
            st.segmented_control,
            _("List"),
            {code: _(name) for code, name in LISTS.items()},
            key="list",
            default="calls",
            required=True,
            label_visibility="collapsed",
        )
        _details(chosen, answers)
    {"calls": _call_list, "forgotten": _forgotten_list, "lost": _lost_list, "left": _left_list}[chosen](
        view, answers[chosen]
    )


def _details(chosen: str, answers: dict[str, Answer]) -> None:
    """The way to the page behind a list, showing the same number there, whatever was chosen on that page before."""
    if chosen == "calls":
        links.to("calls", period="auto")
    elif chosen == "forgotten":
        links.to("forgotten")
    elif chosen == "lost":
        links.to("funnel", period="auto", pipeline=filters.ALL)
    else:
        links.to("clients", period="auto", clients="CHURNED", month=_month_left(answers["left"]))


def _month_left(answer: Answer) -> str:
    """The month whose leavers the tile counts, by its group_key."""
    months = clients.by_month(answer)
    return str(clients.last_complete(months)[0]["group_key"]) if months.height else clients.ALL


def _call_list(view: View, answer: Answer) -> None:
    rows = answer.table("threads").filter(pl.col("state").is_in(calls.TO_CALL))
    if rows.is_empty():
        states.nothing_found(_("Everybody who missed us was reached."), answer)
        return
    calls.show_threads(view, rows, key="brief_calls")


def _forgotten_list(view: View, answer: Answer) -> None:
    rows = forgotten.listed(answer, to_hand_over=not forgotten.totals(answer)["den"])
    if rows.is_empty():
        states.nothing_found(_("Nobody is forgotten."), answer)
        return
    forgotten.show_clients(view, rows, key="brief_forgotten")


def _lost_list(view: View, answer: Answer) -> None:
    top = funnel.worst_pipeline(answer)
    rows = answer.result.drilldown
    rows = rows.filter(pl.col("group_key") == top["group_key"]) if top and top["group_key"] else rows.clear()
    if rows.is_empty():
        states.nothing_found(_("No deals were lost here in this period."), answer)
        return
    name = top["stage_name"] if top else None
    funnel.show_lost(view, rows.with_columns(stage_name=pl.lit(name)), key="brief_lost")


def _left_list(view: View, answer: Answer) -> None:
    rows = clients.happened(answer, "CHURNED", _month_left(answer))
    if rows.is_empty():
        states.nothing_found(_("Nobody left in this month."), answer)
        return
    clients.show_clients(view, rows, key="brief_left")


PAGE = Page(
    url="brief",
    title=N_("Brief"),
    lead=N_("What was lost, whom to call, and where the money goes."),
    icon=":material/wb_sunny:",
    section="Morning",
    order=1,
    render=render,
    filters=("manager",),
    is_default=True,
)
