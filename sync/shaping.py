"""Settings that shape rows. What was read before one of them changed is not what would be read now, and stays until
everything is read again: until then both are on hand, and nobody may take the one for a change of the other."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.connector import Settings
from connectors.errors import Phrase

MIXED = "?"
"""Stands for a value where rows of several values are on hand: also when the first of them comes back."""


@dataclass(frozen=True)
class Compared:
    """shape: to be remembered of what is on hand. changed: keys that are others now, or were meanwhile."""

    shape: str
    changed: Sequence[str]


def shape(settings: Settings) -> str:
    return json.dumps(settings.model_dump(mode="json", include={*settings.SHAPING}), sort_keys=True)


def compared(before: str | None, settings: Settings) -> Compared:
    """before: what was remembered; None: nothing yet. Keys it does not have are new to the program and say nothing."""
    now = json.loads(shape(settings))
    known = now | json.loads(before or "{}")
    changed = [name for name in now if known[name] != now[name]]
    return Compared(json.dumps(known | dict.fromkeys(changed, MIXED), sort_keys=True), changed)


def remapped(before: str | None, settings: Settings) -> Compared:
    """What is to be remembered when everything on hand was mapped again. changed: keys of which that was not enough,
    for with another value other things would have been asked for."""
    known, now = json.loads(compared(before, settings).shape), json.loads(shape(settings))
    changed = [name for name in settings.ASKING if known[name] != now[name]]
    return Compared(json.dumps(now | {name: known[name] for name in changed}, sort_keys=True), changed)


def mixed(names: Sequence[str]) -> Phrase:
    return Phrase(
        "Settings have changed: {names}. What was read before stays as it was until voronka sync --full; changes of "
        "stages, owners and amounts that no log tells of are not written meanwhile.",
        names=", ".join(names),
    )
