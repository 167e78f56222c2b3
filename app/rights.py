"""Who may see which rows. The one place where results are cut: pages, exports and the command line use it alike.

Metrics always compute on whole accounts; what is cut is the result, by the owner column each table declares.
"""

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import polars as pl

from metrics.metric import MetricResult

Role = Literal["owner", "head", "analyst", "manager"]
SEES_ALL: frozenset[str] = frozenset({"owner", "analyst"})


class KnownViewer(Protocol):
    """An entry of `viewers` in the configuration."""

    login: str
    role: Role
    user_id: str | None
    departments: tuple[str, ...]


@dataclass(frozen=True)
class Viewer:
    """Who looks. `user_ids`: whose rows may be seen; None: everyone's, unassigned rows included."""

    login: str
    role: Role
    user_ids: frozenset[str] | None = None


class NoRights(Exception):  # noqa: N818 — an answer, not a fault
    """Somebody we do not know, or who may see nothing. `login` is empty where nobody signed in."""

    def __init__(self, login: str) -> None:
        super().__init__(login)
        self.login = login


LOCAL_OWNER = Viewer("local", "owner")
"""Whoever opens the app on the machine it runs on, while nobody else is configured: the person who installed it."""


def viewer_of(
    login: str | None,
    known: Sequence[KnownViewer],
    members: Mapping[str, Collection[str]],
    *,
    is_forwarded: bool,
) -> Viewer:
    """The viewer behind a login.

    Args:
        login: from the proxy that signed the person in; None without one.
        known: people of the configuration; the role comes from there, never from the request.
        members: department id → ids of its users, sub-departments included.
        is_forwarded: the request came, or ought to have come, through a proxy. One without a login has forgotten to
            sign people in.

    Raises NoRights.
    """
    if not login:
        if is_forwarded or known:  # a plain proxy leaves no trace, so where people are listed all sign in
            raise NoRights("")
        return LOCAL_OWNER
    entry = next((viewer for viewer in known if viewer.login.casefold() == login.casefold()), None)
    if entry is None:
        raise NoRights(login)
    return Viewer(login, entry.role, _user_ids(entry, members))


def is_vouched_for(given: str | None, secret: str | None) -> bool:
    """Whether a request's headers may be believed: its proxy knows the secret, or no secret was agreed on."""
    return not secret or hmac.compare_digest((given or "").encode(), secret.encode())


def _user_ids(entry: KnownViewer, members: Mapping[str, Collection[str]]) -> frozenset[str] | None:
    if entry.role in SEES_ALL:
        return None
    own = {entry.user_id} if entry.user_id else set()
    led = {user for department in entry.departments for user in members.get(department, ())}
    return frozenset(own | led if entry.role == "head" else own)


def scoped(result: MetricResult, user_ids: Collection[str] | None) -> MetricResult:
    """`result` with the rows of these users only; None keeps everything.

    A table that names no owner is about everyone together: it stays only where the metric itself was asked about these
    people alone (parameter `population`).
    """
    if user_ids is None:
        return result
    asked = getattr(result.params, "population", None)
    is_own = asked is not None and set(asked) <= set(user_ids)
    tables = {name: _cut(table, result.subject.get(name), user_ids, is_own) for name, table in result.tables.items()}
    rows = _cut(result.drilldown, result.subject.get("drilldown", "user_id"), user_ids, is_own)
    return replace(result, tables=tables, drilldown=rows)


def _cut(table: pl.DataFrame, owner: str | None, user_ids: Collection[str], is_own: bool) -> pl.DataFrame:
    if owner is not None:
        return table.filter(pl.col(owner).is_in(list(user_ids)))
    return table if is_own else table.clear()


def departments(rows: pl.DataFrame, tree: pl.DataFrame) -> dict[str, set[str]]:
    """Department id → ids of its present users, those of sub-departments included.

    Args:
        rows: user_id, department_id of present memberships.
        tree: department_id, parent_id.
    """
    parents: dict[str, str | None] = dict(tree.select("department_id", "parent_id").iter_rows())
    members: dict[str, set[str]] = {department: set() for department in parents}
    for user_id, own in rows.select("user_id", "department_id").iter_rows():
        for department in _upwards(own, parents):
            members.setdefault(department, set()).add(user_id)
    return members


def _upwards(department: str | None, parents: Mapping[str, str | None]) -> list[str]:
    """A department and all it is part of. A loop in the CRM's tree must not hang us."""
    path: list[str] = []
    while department is not None and department not in path:
        path.append(department)
        department = parents.get(department)
    return path
