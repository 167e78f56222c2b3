"""From a summary to the page behind it, with the filters the summary stands on."""

import streamlit as st

from app.i18n import _

PAGES = "pages"


def remember(pages: dict[str, st.Page]) -> None:
    """The pages this viewer has, by address; the default one has an empty address."""
    st.session_state[PAGES] = pages


def to(url: str, **chosen: str) -> None:
    """A link to a page, if the viewer has it. chosen: what its address says, by key; all else stays as it was."""
    page = st.session_state.get(PAGES, {}).get(url)
    if page is not None:
        st.page_link(page, label=_("Details"), icon=":material/arrow_forward:", query_params=chosen or None)
