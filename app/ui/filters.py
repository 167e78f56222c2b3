"""The row of filters, the same on every page and kept in the address, so that a link shows the same view."""

from datetime import date, timedelta

import polars as pl
import streamlit as st

from app import data
from app.i18n import _, plural
from app.page import Filters, Page
from app.rights import Viewer
from app.ui import address, formats
from metrics.metric import known_until

PRESETS = ("auto", "7d", "30d", "90d", "365d", "month", "last_month", "custom")
WIDTH_PX = 168
"""Two filters in a row on a phone of 390 px."""


def row(page: Page, publication: data.Publication, viewer: Viewer) -> Filters:
    """Draw the filters the page takes and return what is chosen."""
    if not page.filters:
        return Filters()
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        period = _period(page, publication) if "period" in page.filters else None
        managers = _managers(publication, viewer) if "manager" in page.filters else None
        pipeline = _pipeline(publication) if "pipeline" in page.filters else None
    return Filters(period, managers, pipeline)


def _period(page: Page, publication: data.Publication) -> tuple[date, date] | None:
    names = {preset: _preset_name(preset) for preset in PRESETS}
    if page.metric_id:
        names["auto"] = _default_name(*data.default_period(publication, data.metric(page.metric_id)), publication.today)
    chosen = address.choice(
        st.selectbox,
        _("Period"),
        names,
        key="period",
        default="auto",
        label_visibility="collapsed",
        width=WIDTH_PX,
        persist_state="session",
    )
    if chosen == "custom":
        return _custom(publication)
    return preset_days(chosen, publication.today)


def _default_name(first: date, end: date, today: date) -> str:
    """Says of a running day that it comes on top: `Last 30 days` beside it has none."""
    days = plural("{n} day", "{n} days", (today - first).days).format(n=(today - first).days)
    return (_("{days} and today") if end > today else _("Period: {days}")).format(days=days)


def _preset_name(preset: str) -> str:
    named = {
        "auto": _("Period"),
        "month": _("This month"),
        "last_month": _("Last month"),
        "custom": _("Other dates…"),
    }
    if preset in named:
        return named[preset]
    n = int(preset.removesuffix("d"))
    return plural("Last {n} day", "Last {n} days", n).format(n=n)


def preset_days(preset: str, today: date) -> tuple[date, date] | None:
    """Complete local days before `today`, the end exclusive; None: the metric's own default."""
    n = preset.removesuffix("d")
    if n.isdigit():
        return today - timedelta(days=int(n)), today
    first = today.replace(day=1)
    if preset == "month":
        return (first, today) if today > first else (first, first + timedelta(days=1))
    if preset == "last_month":
        return (first - timedelta(days=1)).replace(day=1), first
    return None


def _custom(publication: data.Publication) -> tuple[date, date] | None:
    today, last = publication.today, known_until(publication.now) - timedelta(days=1)

    def read(code: str) -> tuple[date, ...]:
        found = tuple(date.fromisoformat(day) for day in code.split(".."))
        if len(found) > 2 or not found[0] <= found[-1] <= last:
            raise ValueError(code)
        return found

    address.keep(
        "dates",
        _("From and to"),
        (today - timedelta(days=30), today - timedelta(days=1)),
        read=read,
        write=lambda days: "..".join(day.isoformat() for day in days),
        shown=lambda days: " – ".join(formats.day(day) for day in days),
    )
    days = st.date_input(
        _("From and to"),
        max_value=last,
        format="DD.MM.YYYY",
        key="dates",
        label_visibility="collapsed",
        width=230,
        persist_state="session",
    )
    if not isinstance(days, tuple) or len(days) != 2:  # the second day is not picked yet
        return None
    return days[0], days[1] + timedelta(days=1)


def _managers(publication: data.Publication, viewer: Viewer) -> frozenset[str] | None:
    names = data.people(publication)
    allowed = {user: name for user, name in names.items() if viewer.user_ids is None or user in viewer.user_ids}
    if len(allowed) < 2:  # nothing to choose; a link from somebody who has a choice is answered all the same
        own = ", ".join(allowed.values()) or _("nobody")
        codes = {user: user for user in allowed}
        address.keep("manager", _("Managers"), [], read=codes.__getitem__, shown=lambda _chosen: own)
        return None
    chosen = address.choice(
        st.multiselect,
        _("Managers"),
        allowed,
        key="manager",
        default=[],
        placeholder=_("All managers"),
        label_visibility="collapsed",
        width=WIDTH_PX,
        persist_state="session",
    )
    return frozenset(chosen) or None


ALL = ""


def _pipeline(publication: data.Publication) -> str | None:
    names = pipelines(publication)
    if not names:
        return None
    chosen = address.choice(
        st.selectbox,
        _("Pipeline"),
        {ALL: _("All pipelines"), **names},
        key="pipeline",
        default=ALL,
        label_visibility="collapsed",
        width=WIDTH_PX,
        persist_state="session",
    )
    return chosen or None


def pipelines(publication: data.Publication) -> dict[str, str]:
    """Pipelines of deals in use: id → name, in the CRM's order."""
    table = data.dimension(publication, "pipeline")
    if table.is_empty():
        return {}
    used = table.filter(
        (pl.col("entity_kind") == "deal") & pl.col("deleted_at").is_null() & ~pl.col("is_archived").fill_null(False)
    )
    return dict(used.sort("sort", "pipeline_id").select("pipeline_id", "name").iter_rows())


def said(period: tuple[date, date]) -> str:
    """`23.10.2026 – 21.11.2026`, both ends included."""
    return f"{formats.day(period[0])} – {formats.day(period[1] - timedelta(days=1))}"
