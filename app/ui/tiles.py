"""Tiles: a number, what it is compared with, what it means, and the way to its rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from app.data import Answer, Publication
from app.i18n import _, language
from app.ui import filters, formats, states

TILE_PX = 160
"""Two tiles in a row on a phone of 390 px."""


Good = Literal["up", "down", "neither"]


@dataclass(frozen=True)
class Tile:
    """One number. delta: signed text of the change; note: the norm or what it is compared with.

    good: whether more is better (`up`), worse (`down`), or neither. on_open: what shows the rows behind the number.
    """

    label: str
    value: str
    delta: str | None = None
    note: str | None = None
    good: Good = "neither"
    help: str | None = None
    open_label: str | None = None
    on_open: Callable[[], None] | None = None
    answer: Answer | None = None


def row(tiles: list[Tile], publication: Publication, *, key: str, width_px: int = TILE_PX) -> None:
    """Tiles side by side, all equally tall."""
    grid = st.grid(len(tiles), min_column_width=width_px, gap="small", border=True, key=key)
    has_two_lines = any(tile.delta and tile.note for tile in tiles)
    for number, tile in enumerate(tiles):
        with grid.cell(), st.container(key=f"{key}_{number}", gap="xsmall"):
            _draw(tile, publication, key=f"{key}_{number}", has_two_lines=has_two_lines)


def _draw(tile: Tile, publication: Publication, *, key: str, has_two_lines: bool) -> None:
    """has_two_lines: below the change is a line for the note, so that the buttons of a row stand side by side."""
    st.metric(
        tile.label,
        tile.value,
        tile.delta or tile.note,  # a note alone is drawn like a change, but grey
        delta_color=colour_of(tile),
        delta_arrow="off",  # the sign says it
        help=tile.help,
    )
    if has_two_lines:  # on one line the note would be cut on a phone
        st.caption(states.escaped(tile.note) if tile.delta and tile.note else "&nbsp;")
    if tile.on_open is None and tile.answer is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="xsmall"):
        if tile.on_open is not None and tile.open_label:
            st.button(
                tile.open_label, key=f"{key}_open", on_click=tile.on_open, type="tertiary", icon=":material/list:"
            )
        if tile.answer is not None:
            passport(tile.answer, publication, key=key)


def colour_of(tile: Tile) -> Literal["green", "red", "gray"]:
    """Green for the better, red for the worse. Streamlit takes no real minus for one, so it cannot tell."""
    sign = (tile.delta or " ")[0]
    if tile.good == "neither" or sign not in ("+", MINUS):
        return "gray"
    return "green" if (sign == "+") == (tile.good == "up") else "red"


def about(answer: Answer, publication: Publication) -> None:
    """Under the filters of a metric's page: what its numbers mean and what to know about them."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        passport(answer, publication, key="page", label=_("How it is counted"))
        states.notes([answer])
    states.alarms([answer])


def passport(answer: Answer, publication: Publication, *, key: str, label: str = "") -> None:
    """What the number means, from the metric itself, one click away."""
    text = answer.metric.text[language()]
    help_text = None if label else _("What this number means")
    with st.popover(label, icon=":material/info:", type="tertiary", help=help_text, key=f"{key}_passport"):
        st.markdown(f"**{states.escaped(text.name)}** · {answer.metric.id}")
        st.markdown(states.escaped(text.definition))
        st.markdown(f"**{_('Formula.')}** {states.escaped(text.formula)}")
        st.markdown(f"**{_('Mind.')}** {states.escaped(text.pitfalls)}")
        period = filters.said((answer.result.period_from, answer.result.period_to))
        st.caption(_("Period {period}; data as of {at}.").format(period=period, at=_at(publication)))
        _coverage(answer, publication)


def _at(publication: Publication) -> str:
    return formats.moment(publication.as_of.astimezone(publication.zone))


def _coverage(answer: Answer, publication: Publication) -> None:
    known = answer.result.coverage.drop_nulls("complete_from")["complete_from"]
    if known.len():
        latest = max(known.to_list()).astimezone(publication.zone).date()
        st.caption(_("Everything it needs is complete since {day}.").format(day=formats.day(latest)))


def difference(now: float | None, before: float | None) -> str | None:
    """`+5`, `−3` or `no change`; None where there is nothing to compare with."""
    return None if now is None or before is None else _change(signed(now - before))


def points_difference(now: float | None, before: float | None) -> str | None:
    """The same of two rates, in percentage points."""
    return None if now is None or before is None else _change(signed((now - before) * 100, 1), f" {_('pp')}")


def signed(change: float, digits: int = 0) -> str:
    """`+5`, `−3`; `0` has no sign."""
    text = formats.number(abs(change), digits)
    if not any(digit in text for digit in "123456789"):
        return formats.number(0)
    return ("+" if change > 0 else MINUS) + text


MINUS = "\N{MINUS SIGN}"


def _change(text: str, unit: str = "") -> str:
    return text + unit if text[0] in ("+", MINUS) else _("no change")
