"""From one page to another, filters kept."""

import streamlit as st

from app.i18n import _

PAGES = "pages"
SHARED = ("period", "dates", "manager", "pipeline", "lang")


def remember(pages: dict[str, st.Page]) -> None:
    """The pages this viewer has, by address; the default one has an empty address."""
    st.session_state[PAGES] = pages


def to(url: str, label: str | None = None, **params: str) -> None:
    """A link to a page, if the viewer has it."""
    page = st.session_state.get(PAGES, {}).get(url)
    if page is not None:
        st.page_link(page, label=label or _("Details"), icon=":material/arrow_forward:", query_params=params or None)
