"""What is chosen, kept in the address, so that a link shows the same view: codes and ids, alike in every language.

Streamlit's own `bind` writes the label a person sees. Such a link breaks with the language or a renamed pipeline, mixes
namesakes up, and carries people's names into the logs of proxies.

The address speaks when a page is opened and when the browser goes back or forward; afterwards the widgets do, and
`write` puts what they say into the address at the end of the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app import i18n
from app.i18n import _
from app.ui import states

RUN = "address"
SHOWN_CHARACTERS = 60
"""Of a value nobody knows: an address may hold anything."""


@dataclass(frozen=True)
class Kept:
    """A choice of this run: what the address gives for it, what that means, and what nobody knows in it."""

    label: str
    default: Any
    given: list[str]
    asked: Any
    unknown: list[str]
    write: Callable[[Any], str]
    shown: Callable[[Any], str]


@dataclass
class Run:
    """What a run of the script keeps in the address, and what the run before it kept."""

    page: str
    is_opened: bool
    is_back: bool
    was_language: str | None
    was_default: Mapping[str, Any]
    kept: dict[str, Kept] = field(default_factory=dict)
    language: str = ""


def begin() -> None:
    """At the start of a run, before anything is drawn."""
    context = get_script_run_ctx()
    page = context.page_script_hash if context else ""
    before: Run | None = st.session_state.get(RUN)
    st.session_state[RUN] = Run(
        page,
        is_opened=before is None or before.page != page,
        is_back=is_back(),
        was_language=before.language if before else None,
        was_default={key: kept.default for key, kept in before.kept.items()} if before else {},
    )


def is_back() -> bool:
    """Whether the browser went back or forward to come here."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def choice(
    widget: Callable[..., Any], label: str, names: Mapping[Any, str], *, key: str, default: Any, **look: Any
) -> Any:
    """`widget` over `names` (option → what a person sees), kept in the address under `key`.

    Args:
        default: an option; of a widget with several a list of them, whose `placeholder` says what none means.
    """
    chosen = st.session_state.get(key)
    if isinstance(chosen, list):
        st.session_state[key] = [option for option in chosen if option in names]
    elif chosen not in names:
        st.session_state.pop(key, None)  # no longer offered
    options = {str(option): option for option in names}

    def shown(value: Any) -> str:
        found = [names[option] for option in value] if isinstance(value, list) else [names[value]]
        return ", ".join(found) or str(look.get("placeholder", ""))

    keep(key, label, default, read=options.__getitem__, shown=shown)
    return widget(label, list(names), format_func=names.__getitem__, key=key, **look)


def keep(
    key: str,
    label: str,
    default: Any,
    *,
    read: Callable[[str], Any],
    write: Callable[[Any], str] = str,
    shown: Callable[[Any], str] = str,
) -> None:
    """Keep the widget `key`, drawn after this without a default of its own, in the address.

    Args:
        label: what is chosen, for the sentence about a value nobody knows.
        read: the value behind a code of the address; raises KeyError or ValueError where there is none.
        write: the code of a value. shown: the whole choice as a person sees it.
    """
    run: Run = st.session_state[RUN]
    given = st.query_params.get_all(key)
    known, unknown = _understood(given, read, is_list=isinstance(default, list))
    is_asked = bool(known) or (given != [] and not unknown)
    asked: Any = default
    if is_asked:
        asked = known if isinstance(default, list) else known[-1]
    state = st.session_state
    is_new = key not in state
    if is_new or run.is_back or (run.is_opened and is_asked):
        value = asked
    elif state[key] == run.was_default.get(key):
        value = default  # nobody chose: the default may have moved with the data
    else:
        value = state[key]
    if is_new or state[key] != value or run.was_language not in (None, i18n.language()):
        state[key] = value  # with the language the browser's labels change: what they meant has to be said again
    run.kept[key] = Kept(label, default, given, asked, unknown, write, shown)


def _understood(given: list[str], read: Callable[[str], Any], *, is_list: bool) -> tuple[list[Any], list[str]]:
    """Values of the codes we know, and the codes we do not."""
    known, unknown = [], []
    for code in given:
        if is_list and not code:  # «none of them», as a list writes it
            continue
        try:
            known.append(read(code))
        except (KeyError, ValueError):
            unknown.append(code)
    return known, unknown


def write(notes: Any) -> None:
    """At the end of a run: what was chosen goes into the address, what nobody knew in it is said in `notes`."""
    run: Run = st.session_state[RUN]
    run.language = i18n.language()
    codes: dict[str, list[str]] = {}
    for key, kept in run.kept.items():
        value = st.session_state.get(key, kept.default)
        if kept.given and value == kept.asked:
            codes[key] = kept.given  # as it came: what nobody knew stays, and is said, until something else is chosen
            for code in kept.unknown:
                notes.warning(_unknown(kept, code, value), icon=":material/link_off:")
        elif value != kept.default:
            codes[key] = [kept.write(one) for one in value] or [""] if isinstance(value, list) else [kept.write(value)]
    if codes != {key: st.query_params.get_all(key) for key in st.query_params}:
        st.query_params.from_dict(codes)


def _unknown(kept: Kept, code: str, value: Any) -> str:
    text = _("{what}: there is no “{code}” here; shown: {shown}.")
    cut = code if len(code) <= SHOWN_CHARACTERS else code[:SHOWN_CHARACTERS] + "…"
    return states.escaped(text.format(what=kept.label, code=cut, shown=kept.shown(value)))
