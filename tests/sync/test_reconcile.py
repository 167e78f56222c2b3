"""Which rows are compared how, and what counts as a difference."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from connectors.connector import Comparable, Connector, Count, Resource, Row, Settings, Slice, Window
from connectors.records import Account, Deal, Tombstone, Yield
from sync import slices
from sync.comparison import Budget, Compared, Comparison, Side, touched
from warehouse.on_hand import SCHEMA

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2026, 3, 1, tzinfo=UTC)
MAIN = Account(
    account_id="main",
    connector="fake",
    name="m",
    base_url="https://crm.test",
    external_id="1",
    tz="UTC",
    base_currency="RUB",
    default_region="RU",
)
WON, OPEN = ("pipeline:1", "status:142"), ("pipeline:1", "status:1")


def deal(number: int, **changes: Any) -> Deal:
    """One of each day."""
    at = BEGAN + timedelta(days=number)
    fields: dict[str, Any] = {
        "account_id": "main",
        "deal_id": f"lead:{number}",
        "entity_kind": "deal",
        "pipeline_id": OPEN[0],
        "stage_id": OPEN[1],
        "amount_minor": 100,
        "currency": "RUB",
        "responsible_user_id": "user:1",
        "created_at": at,
        "source_updated_at": at,
    }
    return Deal(**fields | changes)


def deals(n: int = 400) -> dict[int, Deal]:
    return {number: deal(number) for number in range(n)}


@dataclass
class FakeList:
    """A list of deals that says how many rows a slice holds. hidden: not shown in slices, though they are there.
    has_happened: ids the source's log names. traces: whether it has a log."""

    there: dict[int, Deal]
    hidden: set[int] = field(default_factory=set)
    has_happened: set[str] = field(default_factory=set)
    traces: bool = True
    page: int = 10
    n_requests: int = 0
    asked: list[Any] = field(default_factory=list)

    def of(self, part: Slice | None) -> list[Row]:
        return [
            (str(number), row)
            for number, row in self.there.items()
            if number not in self.hidden
            and (part is None or part.start <= row.created_at < part.end)
            and (part is None or part.stage in (None, (row.pipeline_id, row.stage_id)))
        ]

    def listed(self, _api: Any, _account: Account, part: Slice | None) -> Iterator[Row]:
        rows = self.of(part)
        self.n_requests += len(rows) // self.page + 1
        self.asked.append(part)
        yield from rows

    def newest(self, _api: Any, _account: Account) -> Iterator[Row]:
        self.n_requests += 1
        yield from self.of(None)[-self.page :]

    def named(self, _api: Any, _account: Account, ids: Iterable[str]) -> Iterator[Row]:
        self.n_requests += 1
        yield from ((one, self.there[int(one)]) for one in ids if int(one) in self.there)

    def counted(self, _api: Any, _account: Account, expected: Mapping[Slice, int]) -> dict[Slice, Count]:
        self.n_requests += len(expected)
        return {part: Count(len(self.of(part)) == n) for part, n in expected.items()}

    def read(self, _api: Any, _account: Account, window: Window) -> Iterator[Yield]:
        if window.kind == "changed":
            yield from (Tombstone(Deal, "main", one, END) for one in self.has_happened)
        for one in window.ids:
            if int(one) not in self.there:
                yield Tombstone(Deal, "main", f"lead:{one}", END, is_vague=True)

    def comparable(self, **changes: Any) -> Comparable:
        one = Comparable(
            "leads", Deal, "lead:", page=lambda _: self.page, listed=self.listed, newest=self.newest, named=self.named,
            counted=self.counted,
        )  # fmt: skip
        return replace(one, **changes)

    def compared(self, here: Iterable[Deal], *, pages: int = 1_000, **changes: Any) -> Compared:
        resource = Resource("leads", self.read, ("changed", "probe"), (Deal,))
        unopened: Any = None
        traces = ("leads",) if self.traces else ()
        connector = Connector(Settings, unopened, unopened, (resource,), traces=traces)
        budget = Budget(200, lambda: self.n_requests)
        side = Side(None, MAIN, connector, budget, ZoneInfo("UTC"), 0.02, lambda: touched(None, MAIN, connector, END))
        of = self.comparable(**changes)
        return Comparison(side, of, on_hand(here), END, pages, 0, [OPEN, WON]).run()


def on_hand(rows: Iterable[Deal]) -> pl.DataFrame:
    columns = {"owner": "responsible_user_id", "changed_at": "source_updated_at"}
    return pl.DataFrame(
        [
            {"id": row.deal_id, **{name: getattr(row, columns.get(name, name)) for name in SCHEMA}}
            | {"is_alive": row.deleted_at is None, "is_listed": row.deleted_at is None}
            for row in rows
        ],
        schema={"id": pl.String, **SCHEMA, "is_alive": pl.Boolean, "is_listed": pl.Boolean},
    )


def found(result: Compared) -> set[tuple[str, str]]:
    return {(one.kind, one.id) for one in result.found}


def test_equal_sides_have_no_differences():
    source = FakeList(deals())
    result = source.compared(deals().values())
    assert (found(result), result.n_read, result.is_whole, result.n_newer) == (set(), 400, True, 0)


def test_what_cannot_all_be_read_is_counted():
    source = FakeList(deals())
    result = source.compared(deals().values(), pages=15)
    assert not result.is_whole
    assert result.n_read + result.n_counted == 400
    assert source.n_requests < 40  # all rows would be 41
    assert found(result) == set()


@pytest.mark.parametrize("number", [3, 77, 150, 222])
def test_a_row_missing_in_an_old_month_is_found_by_counting(number: int):
    source, here = FakeList(deals()), deals()
    del here[number]
    assert found(source.compared(here.values(), pages=15)) == {("missing_here", f"lead:{number}")}


def test_an_old_deal_of_another_stage_is_found_by_counting_stages():
    source, here = FakeList(deals()), deals()
    here[42] = deal(42, pipeline_id=WON[0], stage_id=WON[1])
    assert found(source.compared(here.values(), pages=15)) == {("stage", "lead:42")}


def test_what_has_changed_since_the_last_sync_is_newer():
    there = deals() | {
        1: deal(1, amount_minor=5, source_updated_at=END),
        900: deal(900, created_at=END, source_updated_at=END),
    }
    result = FakeList(there).compared(deals().values())
    assert (found(result), result.n_newer) == (set(), 2)


def test_a_row_that_has_left_the_lists_since_the_last_sync_is_newer():
    """Only its id finds it: lists by change time or stage do not show it where it was."""
    there = deals() | {42: deal(42, amount_minor=5, source_updated_at=END)}
    result = FakeList(there, hidden={42}).compared(deals().values())
    assert (found(result), result.n_newer) == (set(), 1)


def test_a_change_without_a_change_time_is_a_difference_unless_the_log_names_it():
    there = deals() | {1: deal(1, responsible_user_id="user:2")}
    assert found(FakeList(there).compared(deals().values())) == {("owner", "lead:1")}
    result = FakeList(there, has_happened={"lead:1"}).compared(deals().values())
    assert (found(result), result.n_newer) == (set(), 1)


def test_a_row_that_the_pages_of_a_list_hide_is_no_difference():
    assert found(FakeList(deals(), hidden={7}).compared(deals().values())) == set()


def test_a_row_the_source_does_not_have_is_a_difference_where_its_log_would_say_when_it_went():
    there = {number: row for number, row in deals().items() if number != 9}
    assert found(FakeList(there).compared(deals().values())) == {("missing_there", "lead:9")}
    assert found(FakeList(there, has_happened={"lead:9"}).compared(deals().values())) == set()
    assert found(FakeList(there, traces=False).compared(deals().values())) == {("gone", "lead:9")}


def test_more_missing_rows_than_can_be_believed_are_out_of_sight():
    there = {number: row for number, row in deals().items() if number > 50}
    result = FakeList(there).compared(deals().values())
    assert found(result) == set()
    assert "for want of rights" in str(result.error)


def test_rows_that_may_come_from_elsewhere_are_not_missed():
    there = {number: row for number, row in deals().items() if number != 9}
    assert found(FakeList(there).compared(deals().values(), has_others=True)) == set()


def test_a_row_held_to_be_deleted_that_is_there_is_a_difference():
    here = deals() | {5: deal(5, deleted_at=END)}
    assert found(FakeList(deals()).compared(here.values())) == {("missing_here", "lead:5")}


def test_a_list_without_filters_is_read_whole_or_only_where_it_is_newest():
    no_slices: Callable[[Any], bool] = lambda _: False  # noqa: E731
    source = FakeList(deals() | {1: deal(1, amount_minor=7)})
    assert found(source.compared(deals().values(), can_slice=no_slices)) == {("amount", "lead:1")}
    result = source.compared(deals().values(), can_slice=no_slices, pages=15)
    assert (found(result), result.n_read) == (set(), 10)
    assert "no filters" in str(result.notes[0])


def test_months_follow_the_calendar_of_the_account():
    moscow = ZoneInfo("Europe/Moscow")
    bounds = slices.months(datetime(2026, 1, 31, 22, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC), moscow)
    assert [f"{bound.astimezone(moscow):%m-%d}" for bound in bounds[1:]] == ["02-01", "03-01", "03-05"]
    assert bounds[0] == slices.BEGINNING


def test_every_older_month_has_its_turn():
    counts = [100] * 12
    taken = [slices.chosen(counts, page=100, pages=5, turn=turn) for turn in range(9)]
    assert all((9, 12) in runs or runs[-1][1] == 12 for runs in taken)
    seen = {month for runs in taken for start, end in runs for month in range(start, end)}
    assert seen == {*range(12)}


def test_who_needs_few_requests_leaves_them_to_the_others():
    assert slices.shares([2, 500, 30, 300], 100) == [2, 34, 30, 34]


def test_months_that_are_not_read_are_counted_in_pieces_of_like_size():
    runs = slices.rest([(3, 4), (9, 12)], 12)
    assert runs == [(0, 3), (4, 9)]
    assert [*slices.groups(runs, [10] * 12, most=4)] == [(0, 2), (2, 3), (4, 6), (6, 8), (8, 9)]
