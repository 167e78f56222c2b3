"""What is said where there is nothing to show. Each is a sentence and what to do."""

from collections.abc import Iterable

import streamlit as st

from app.data import Answer
from app.i18n import _, language, plural
from app.ui import formats
from metrics.metric import Notice


def nothing_published() -> None:
    st.info(
        _(
            "There are no data yet. Run `voronka sync` to read the CRM, then `voronka publish` to show what was read. "
            "Then reload this page."
        ),
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
        _(
            "You are signed in as {login}, but this login is not in the configuration. "
            "Ask the owner to add it to `viewers`."
        )
        if login
        else _("The proxy did not say who you are. Ask the administrator to turn on sign-in there.")
    )
    st.error(text.format(login=login), icon=":material/lock:")


def nothing_found(sentence: str, answer: Answer) -> None:
    """An honest zero: everything was looked at, nothing was found. Where not everything was, it is not as good."""
    if answer.is_complete:
        st.success(sentence, icon=":material/check_circle:")
    elif answer.is_covered:
        st.info(_("In what was read: {sentence}").format(sentence=sentence), icon=":material/info:")
    else:
        st.caption(formats.no_data())


def alarms(answers: Iterable[Answer]) -> None:
    """What changes what a number means: where something is broken a warning each, else one quiet line."""
    found = _unique(answers)
    for notice in found:
        if notice.code in BROKEN:
            st.warning(escaped(text_of(notice)), icon=":material/warning:")
    if caveats := [text_of(notice) for notice in found if notice.code in CAVEATS]:
        st.caption(f":material/info: {escaped(' '.join(caveats))}")


def notes(answers: Iterable[Answer]) -> None:
    """Warnings that explain a number, one click away."""
    found = [notice for notice in _unique(answers) if notice.code not in BROKEN | CAVEATS]
    if found:
        label = plural("{n} note", "{n} notes", len(found)).format(n=len(found))
        with st.popover(label, icon=":material/sticky_note_2:", type="tertiary", key="notes"):
            for notice in found:
                st.markdown(f"- {escaped(text_of(notice))}")


def _unique(answers: Iterable[Answer]) -> list[Notice]:
    return list({notice.ru: notice for answer in answers for notice in answer.result.warnings}.values())


BROKEN = {"no_data", "unread_account", "stale_account", "client_flows_do_not_add_up"}
"""Numbers are missing, old or contradict themselves: somebody has to do something."""
CAVEATS = {"messages_not_synced", "before_complete", "after_data", "ends_after_data", "churn_threshold_short"}
"""All is well, and yet the headline may be far from the truth. What is in neither explains a number."""


def text_of(notice: Notice) -> str:
    return notice.en if language() == "en" else notice.ru


def escaped(text: str) -> str:
    """Text from outside inside Markdown: nothing in it is markup."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]()#+-!|<>$~:&" else char for char in text)
