"""Who answers to an account, and with whose rights: what must not be mixed."""

from typing import Literal

from connectors.errors import Phrase

Sight = Literal["same", "more", "less"]


def sight(before: str | None, now: str | None) -> Sight:
    """What who reads now may see beside who has read so far. Who is not known, or cannot be found out, says nothing."""
    if not before or not now or before == now:
        return "same"
    if sees_all(now):
        return "same" if sees_all(before) else "more"
    return "less"


def sees_all(viewer: str) -> bool:
    """Whether a connector's words for who reads are those for an administrator."""
    return viewer.endswith(" admin") and not viewer.endswith(" not admin")


def other_viewer(account_id: str) -> Phrase:
    return Phrase(
        "The token of {account} belongs to somebody else than before, who is no administrator and may see less: "
        "nothing was read, for what they do not see would count as unchanged. Connect with an administrator's token; "
        "to go on with what they see, run voronka sync --full.",
        account=account_id,
    )


def read_twice(account_id: str, number: str, other: str) -> Phrase:
    return Phrase(
        "{account}: number {number} of the CRM is already read as {other}, and everything would count twice. Leave one "
        "entry for it in the configuration, with the id {other}.",
        account=account_id,
        number=number,
        other=other,
    )
