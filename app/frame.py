"""What every page has around it: menu, language, title with the age of the data, filters, and states without data."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from app import data, i18n, rights
from app.i18n import N_, _
from app.page import Page, View, find_pages
from app.ui import address, exports, filters, formats, links, states
from config import ConfigError

log = logging.getLogger("voronka.app")
SIDEBAR_PX = 230
STATIC = Path(__file__).parent / "static"


def run() -> None:
    """One run of the app."""
    address.begin()
    languages: dict[str, str] = {code: code for code in i18n.LANGUAGES}
    address.keep("lang", _("Language"), "ru", read=languages.__getitem__)
    i18n.use(st.session_state["lang"])
    st.set_page_config(
        page_title=_("Voronka"), page_icon=str(STATIC / "icon.svg"), layout="wide", initial_sidebar_state=SIDEBAR_PX
    )
    st.logo(str(STATIC / "logo.svg"), size="large", icon_image=str(STATIC / "icon.svg"))
    _language_switch()
    try:
        publication, is_broken = _current()
        viewer = _who(publication)
        st.session_state[exports.WHO] = viewer.login
    except rights.NoRights as error:
        states.no_rights(error.login)
    except ConfigError as error:
        states.bad_config(str(error))
    else:
        _menu(publication, viewer, is_broken=is_broken)


def _current() -> tuple[data.Publication | None, bool]:
    try:
        return data.current(), False
    except data.BrokenPublication:
        log.warning("the publication cannot be read", exc_info=True)
        return None, True


def _who(publication: data.Publication | None) -> rights.Viewer:
    """The viewer of this session; the proxy's headers name him, the configuration says what he may see."""
    headers = st.context.headers
    secret = os.environ.get(PROXY_SECRET)
    is_forwarded = bool(secret) or any(headers.get(name) for name in FORWARDED)
    login = st.user.get("login") if rights.is_vouched_for(headers.get(SECRET_HEADER), secret) else None
    members = data.department_members(publication) if publication else {}
    return rights.viewer_of(str(login) if login else None, data.config().viewers, members, is_forwarded=is_forwarded)


PROXY_SECRET, SECRET_HEADER = "VORONKA_PROXY_SECRET", "X-Voronka-Secret"
"""Environment variable with what only the proxy knows, and the header it says it in."""

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "Via")


def _menu(publication: data.Publication | None, viewer: rights.Viewer, *, is_broken: bool) -> None:
    """Menu, heading and filters; then the chosen page.

    Heading and filters are drawn here, not by the page: Streamlit forgets what a page drew when the page is left.
    """
    menu: dict[str, list[st.Page]] = {}
    pages: dict[st.Page, Page] = {}
    drawn: list[Callable[[], None]] = []  # what the page shows, known only after the filters
    for page in find_pages():
        if viewer.role in page.roles:
            entry = st.Page(
                _later(page.url, drawn),
                title=_(page.title),
                icon=page.icon,
                url_path=page.url,
                default=page.is_default,
            )
            menu.setdefault(_(page.section), []).append(entry)
            pages[entry] = page
    chosen = st.navigation(menu, expanded=True)
    links.remember({page.url: entry for entry, page in pages.items()})
    with st.sidebar:
        _foot(publication, viewer)
    drawn.append(_body(pages[chosen], publication, viewer, is_broken=is_broken))
    notes = st.container()
    chosen.run()
    address.write(notes)


def _later(name: str, drawn: list[Callable[[], None]]) -> Callable[[], None]:
    def draw() -> None:
        drawn[0]()

    draw.__name__ = name  # Streamlit tells pages apart by name
    return draw


def _body(
    page: Page, publication: data.Publication | None, viewer: rights.Viewer, *, is_broken: bool
) -> Callable[[], None]:
    """Draws heading and filters; returns what draws the rest."""
    _heading(page, publication)
    if page.render_bare is not None:
        return partial(page.render_bare, publication, viewer)
    if is_broken:
        return states.broken_publication
    if publication is None or page.render is None:
        return states.nothing_published
    try:
        view = View(publication, viewer, filters.row(page, publication, viewer))
    except data.MissingMetric as error:
        return partial(states.missing_metric, str(error))
    return partial(_render, page.render, view)


def _render(render: Callable[[View], None], view: View) -> None:
    try:
        render(view)
    except data.MissingMetric as error:
        states.missing_metric(str(error))
    except data.BrokenPublication:
        log.warning("the publication cannot be read", exc_info=True)
        states.broken_publication()


def _heading(page: Page, publication: data.Publication | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="heading"):
        st.title(_(page.title), anchor=False, width="content")
        if publication is not None:
            _age_badge(publication)
    st.caption(_(page.lead))


def _age_badge(publication: data.Publication) -> None:
    """How old the data are, always in sight; red, with a word, when they are too old to act on."""
    age = data.age(publication)
    at = formats.moment(publication.as_of.astimezone(publication.zone))
    text = _("data as of {at} ({age} ago)").format(at=at, age=formats.hours(age.total_seconds() / 3600))
    if age > data.STALE_AFTER:
        st.badge(_("Stale:") + " " + text, icon=":material/warning:", color="red")
    else:
        st.badge(text, icon=":material/schedule:", color="green")


def _foot(publication: data.Publication | None, viewer: rights.Viewer) -> None:
    with st.container(key="foot"):
        accounts = data.account_names(publication).values() if publication else []
        people = [] if viewer is rights.LOCAL_OWNER else [viewer.login]
        st.caption("  \n".join(states.escaped(line) for line in [*accounts, *people, _(ROLE_NAMES[viewer.role])]))


ROLE_NAMES = {
    "owner": N_("Owner"),
    "head": N_("Head of sales"),
    "analyst": N_("Analyst"),
    "manager": N_("Manager"),
}


def _language_switch() -> None:
    with st.sidebar:
        st.segmented_control(
            _("Language"),
            i18n.LANGUAGES,
            required=True,
            key="lang",
            label_visibility="collapsed",
            persist_state="session",
        )
