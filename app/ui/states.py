"""What is said where there is nothing to show. Each is a sentence and what to do."""

from collections.abc import Iterable

import streamlit as st

from app.data import Answer
from app.i18n import _, language
from metrics.metric import Notice


def nothing_published() -> None:
    st.info(
        _("There are no data yet. Run `voronka sync`: it reads the CRM and publishes the first numbers. Then reload this page."),
        icon=":material/hourglass_empty:",
    )


def broken_publication() -> None:
    st.error(
        _("The published data cannot be read. Run `voronka publish` to make them anew; nothing in the CRM is touched."),
        icon=":material/error:",
    )


def bad_config(sentence: str) -> None:
    st.error(_("The configuration has a mistake:"), icon=":material/settings_alert:")
    st.text(sentence)


def missing_metric(metric_id: str) -> None:
    text = _("Metric {id} is not part of this installation, so this block cannot be shown. Update Voronka.")
    st.error(text.format(id=metric_id), icon=":material/extension_off:")


def no_rights(login: str) -> None:
    text = (
        _("You are signed in as {login}, but this login is not in the configuration. Ask the owner to add it to `viewers`.")
        if login
        else _("The proxy did not say who you are. Ask the administrator to turn on sign-in there.")
    )
    st.error(text.format(login=login), icon=":material/lock:")


def nothing_found(sentence: str) -> None:
    """An honest zero: everything was looked at, nothing was found."""
    st.success(sentence, icon=":material/check_circle:")


def notices(answers: Iterable[Answer]) -> None:
    """Warnings of the answers on a page, each once; those about the data as a whole are folded away."""
    unique: dict[str, Notice] = {}
    for answer in answers:
        for notice in answer.result.warnings:
            unique.setdefault(notice.ru, notice)
    loud = [n for n in unique.values() if n.code in LOUD]
    quiet = [n for n in unique.values() if n.code not in LOUD]
    for notice in loud:
        st.warning(text_of(notice), icon=":material/warning:")
    if quiet:
        with st.expander(_("Notes to these numbers") + f" ({len(quiet)})", icon=":material/info:"):
            for notice in quiet:
                st.markdown(f"- {escaped(text_of(notice))}")


LOUD = {"no_data", "stale_account"}
"""These change what a number means; the rest explain it."""


def text_of(notice: Notice) -> str:
    return notice.en if language() == "en" else notice.ru


def escaped(text: str) -> str:
    """Text from outside inside Markdown: nothing in it is markup."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]()#+-!|<>$~:&" else char for char in text)
