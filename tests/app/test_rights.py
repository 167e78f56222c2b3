"""Who sees which rows."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
import pytest

from app.rights import LOCAL_OWNER, NoRights, departments, is_vouched_for, scoped, viewer_of
from metrics.metric import DRILLDOWN, MetricResult, Params


@dataclass(frozen=True)
class Entry:
    login: str
    role: str
    user_id: str | None = None
    departments: tuple[str, ...] = ()


class Asked(Params):
    population: tuple[str, ...] | None = None


def result(population=None):
    rows = pl.DataFrame({"user_id": ["user:1", "user:2", None], "n": [1, 2, 3]})
    drilldown = pl.DataFrame({"user_id": ["user:1", "user:2", None]}).with_columns(
        pl.lit(None, kind).alias(name) for name, kind in DRILLDOWN.items() if name != "user_id"
    )
    return MetricResult(
        metric_id="A3",
        params=Asked(population=population),
        as_of=datetime(2026, 4, 8, tzinfo=UTC),
        period_from=date(2026, 4, 1),
        period_to=date(2026, 4, 8),
        semantics="cohort",
        tables={"by_user": rows, "total": pl.DataFrame({"n": [6]})},
        drilldown=drilldown,
        subject={"by_user": "user_id", "total": None, "drilldown": "user_id"},
    )


def test_an_owner_sees_everything():
    everything = result()
    assert scoped(everything, None) is everything


def test_others_rows_and_unassigned_ones_are_cut():
    seen = scoped(result(), {"user:1"})
    assert seen.tables["by_user"]["user_id"].to_list() == ["user:1"]
    assert seen.drilldown["user_id"].to_list() == ["user:1"]


def test_a_total_over_everybody_is_not_shown_to_somebody():
    assert scoped(result(), {"user:1"}).tables["total"].is_empty()


def test_a_total_over_ones_own_is_shown():
    assert scoped(result(population=("user:1",)), {"user:1"}).tables["total"]["n"].to_list() == [6]


def test_without_a_proxy_the_local_person_is_the_owner():
    assert viewer_of(None, (), {}, is_forwarded=False) == LOCAL_OWNER


def test_a_proxy_that_names_nobody_opens_nothing():
    with pytest.raises(NoRights):
        viewer_of(None, (), {}, is_forwarded=True)


def test_where_people_are_listed_nobody_comes_in_without_a_login():
    with pytest.raises(NoRights):
        viewer_of(None, [Entry("boris", "manager", "user:2")], {}, is_forwarded=False)


@pytest.mark.parametrize(
    ("given", "secret", "believed"),
    [(None, None, True), (None, "", True), ("s3cret", "s3cret", True), (None, "s3cret", False), ("пароль", "x", False)],
)
def test_headers_are_believed_from_a_proxy_that_knows_the_secret(given, secret, believed):
    assert is_vouched_for(given, secret) is believed


def test_a_login_that_is_not_configured_opens_nothing():
    with pytest.raises(NoRights):
        viewer_of("eve", [Entry("anna", "owner")], {}, is_forwarded=True)


def test_a_manager_sees_himself_and_a_head_his_departments():
    members = {"department:1": {"user:1", "user:2"}}
    people = [Entry("boris", "manager", "user:2"), Entry("anna", "head", "user:9", ("department:1",))]
    assert viewer_of("Boris", people, members, is_forwarded=True).user_ids == {"user:2"}
    assert viewer_of("anna", people, members, is_forwarded=True).user_ids == {"user:1", "user:2", "user:9"}


def test_a_manager_whom_nobody_tied_to_a_user_sees_nothing():
    assert viewer_of("boris", [Entry("boris", "manager")], {}, is_forwarded=True).user_ids == frozenset()


def test_departments_hold_the_people_of_their_parts():
    tree = pl.DataFrame({"department_id": ["d:1", "d:2"], "parent_id": [None, "d:1"]})
    rows = pl.DataFrame({"user_id": ["user:1", "user:2"], "department_id": ["d:1", "d:2"]})
    assert departments(rows, tree) == {"d:1": {"user:1", "user:2"}, "d:2": {"user:2"}}


def test_a_loop_of_departments_does_not_hang():
    tree = pl.DataFrame({"department_id": ["d:1", "d:2"], "parent_id": ["d:2", "d:1"]})
    rows = pl.DataFrame({"user_id": ["user:1"], "department_id": ["d:1"]})
    assert departments(rows, tree) == {"d:1": {"user:1"}, "d:2": {"user:1"}}
