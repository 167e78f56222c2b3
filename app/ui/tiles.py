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


COLOURS: dict[Good, Literal["normal", "inverse", "off"]] = {"up": "normal", "down": "inverse", "neither": "off"}


def row(tiles: list[Tile], publication: Publication, *, key: str, width_px: int = TILE_PX) -> None:
    """Tiles side by side. Each has a value and a note, so that all are equally tall."""
    grid = st.grid(len(tiles), min_column_width=width_px, gap="small", key=key)
    for number, tile in enumerate(tiles):
        with grid.cell(), st.container(border=True, height="stretch", key=f"{key}_{number}", gap="xsmall"):
            _draw(tile, publication, key=f"{key}_{number}")


def _draw(tile: Tile, publication: Publication, *, key: str) -> None:
    st.metric(
        tile.label,
        tile.value,
        tile.delta or tile.note,  # a note alone is drawn like a change, but grey and without an arrow
        delta_color=COLOURS[tile.good] if tile.delta else "off",
        delta_arrow="auto" if tile.delta else "off",
        delta_description=tile.note if tile.delta else None,
        help=tile.help,
    )
    if tile.on_open is None and tile.answer is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="xsmall"):
        if tile.on_open is not None and tile.open_label:
            st.button(
                tile.open_label, key=f"{key}_open", on_click=tile.on_open, type="tertiary", icon=":material/list:"
            )
        if tile.answer is not None:
            passport(tile.answer, publication, key=key)


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
    """`+5` or `−3`; None where there is nothing to compare with."""
    if now is None or before is None:
        return None
    change = now - before
    return f"{'+' if change >= 0 else '-'}{formats.number(abs(change))}"


def points_difference(now: float | None, before: float | None) -> str | None:
    if now is None or before is None:
        return None
    change = (now - before) * 100
    return f"{'+' if change >= 0 else '-'}{formats.number(abs(change), 1)} {_('pp')}"
