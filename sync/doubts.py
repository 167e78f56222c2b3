"""What is not taken as deleted though a sweep did not see it: losing sight of a row is not losing the row."""

from connectors.connector import Settings
from connectors.errors import Phrase
from sync.identity import sight
from warehouse.state import Swept
from warehouse.sweeps import Difference

FEW = 5  # rows that may always vanish: one is more than 2 % of a short list


def is_doubtful(
    found: Difference, before: Swept, *, viewer: str | None, settings: Settings, trusts_viewer: bool
) -> bool:
    """Whether what a sweep missed may only be out of sight.

    trusts_viewer: a person asks for everything, who has been told that somebody else reads now, or reads as ever.
    """
    if not found.missing:
        return False
    is_known = viewer is not None and sight(before.viewer, viewer) != "less"
    if trusts_viewer:
        return not (is_known or (viewer is not None and before.met == viewer))
    return not is_known or len(found.missing) > max(FEW, settings.vanish_share * found.n_known)


def doubt(swept: Swept, settings: Settings) -> Phrase:
    """The sentence about a sweep that concluded nothing."""
    day = f"{swept.swept_at:%Y-%m-%d}"
    if swept.met is None or sight(swept.viewer, swept.met) == "less":
        return Phrase(
            "On {day} {n} rows could not be seen, and the token's owner or rights are others than before: none was "
            "taken as deleted. Connect with an administrator's token; if they are gone, run voronka sync --full.",
            day=day,
            n=swept.n_missing,
        )
    return Phrase(
        "On {day} {n} rows could not be seen, more than {share} % of all: none was taken as deleted. Check the rights "
        "of the token's owner; if they are gone, run voronka sync --full.",
        day=day,
        n=swept.n_missing,
        share=f"{100 * settings.vanish_share:g}",
    )
