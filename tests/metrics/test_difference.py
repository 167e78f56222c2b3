"""Why a number changed: every part planted alone, all at once, and the sum of the parts for whatever happens."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from demo_tables import demo_tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import canonical

from demo.company import build
from demo.earlier import company_then
from metrics import marts
from metrics.difference import FACTS, NUMBERS, OF_CARDS, ROWS, Asked, differences
from metrics.evaluate import evaluate, made_from
from metrics.frames import frames_from
from metrics.metric import Period, find_metrics
from metrics.row_changes import KEYS, PARTS
from warehouse.models import key_of, metadata

DAY = timedelta(days=1)
AS_OF = datetime(2026, 4, 8, 9, tzinfo=UTC)
MARCH = (date(2026, 3, 1), date(2026, 4, 1))
ACCOUNT = {"account_id": "main", "connector": "amocrm", "base_url": "https://x.amocrm.ru", "tz": "Europe/Moscow"}
METRICS = find_metrics()


def generation(tables, *, as_of=AS_OF, params=None, user_set=None, name="g1", version=9):
    """A publication in memory; marts built as `publish_all` does."""
    wanted = params or marts.MartParams()
    rows = {table: frame.collect() for table, frame in canonical(tables).items()}
    return sealed(rows, as_of, wanted, user_set=user_set, name=name, version=version)


def sealed(rows, as_of, params, *, user_set=None, name="g1", version=9):
    built = marts.build({table: frame.lazy() for table, frame in rows.items()}, as_of, params)
    account = {**ACCOUNT, "base_currency": "RUB", "calendar_id": "default", "as_of": as_of.isoformat()}
    frames = frames_from({**rows, **built}, "polars", [account], user_set=user_set)
    frames.manifest.update(
        as_of=as_of.isoformat(), generation=name, mart_params=params.model_dump(mode="json"), schema_version=version
    )
    return frames


def explain(older, newer, folder, metric="D6", days=MARCH, **params):
    found = METRICS[metric]
    (difference,) = differences([Asked(found, found.params(**params), *days)], older, newer, folder)
    return difference


def parts(difference, number, *, table="months", row=""):
    """The parts of one number that are not 0."""
    found = difference.numbers.filter(table=table, number=number).filter(pl.col("row").str.contains(row))
    if found.is_empty():
        return {}
    (told,) = found.rows(named=True)
    assert sum(told[part] for part in PARTS) == told["change"] == (told["after"] or 0) - (told["before"] or 0)
    return {part: int(told[part]) for part in PARTS if told[part]}


def march(day, hour=12):
    return datetime(2026, 3, day, hour, tzinfo=UTC)


STAGES = [
    {"pipeline_id": "p", "stage_id": stage, "kind": kind, "sort": n}
    for n, (stage, kind) in enumerate([("new", "open"), ("won", "won"), ("lost", "lost")])
]


def won(number, day, amount=100_00, client=None, **changes):
    """A deal won on a day of March."""
    return {
        "deal_id": f"lead:{number}",
        "entity_kind": "deal",
        "created_at": march(1),
        "closed_at": march(day),
        "pipeline_id": "p",
        "stage_id": "won",
        "currency": "RUB",
        "amount_minor": amount,
        "main_contact_id": f"contact:{client or number}",
        "responsible_user_id": "user:1",
        **changes,
    }


def contact(number, user="user:1", **changes):
    return {"contact_id": f"contact:{number}", "created_at": march(1), "responsible_user_id": user, **changes}


def tables(deals, contacts=None, **others):
    known = contacts or [contact(n) for n in (1, 2, 3)]
    users = [{"user_id": "user:1"}, {"user_id": "user:2"}]
    pipeline = [{"pipeline_id": "p", "entity_kind": "deal", "sort": 1}]
    return {"stage": STAGES, "pipeline": pipeline, "user": users, "deal": deals, "contact": known, **others}


BASE = tables([won(1, 10), won(2, 11)])
REVENUE = "revenue_minor"


def test_nothing_changed_nothing_to_tell(tmp_path):
    found = explain(generation(BASE), generation(BASE, name="g2"), tmp_path)
    assert found.numbers.is_empty()
    assert found.rows.is_empty()
    assert found.facts.is_empty()
    assert [dict(frame.schema) for frame in (found.numbers, found.rows, found.facts)] == [NUMBERS, ROWS, FACTS]
    assert found.warnings == ()


def test_a_deal_that_came_late_is_new(tmp_path):
    found = explain(generation(BASE), generation(tables([*BASE["deal"], won(3, 12)])), tmp_path)
    assert parts(found, REVENUE) == {"new": 100_00}
    assert found.facts.rows() == [("new", "deal", 1)]
    assert found.rows.filter(reason="NEW").select("part", "how", "entity_id").rows() == [
        ("new", "entered", "contact:3")
    ]
    assert found.rows["url"].to_list()[0] == "https://x.amocrm.ru/contacts/detail/3"


def test_another_amount_is_edited(tmp_path):
    found = explain(generation(BASE), generation(tables([won(1, 10, 130_00), won(2, 11)])), tmp_path)
    assert parts(found, REVENUE) == {"edited": 30_00}
    assert found.facts.rows() == [("edited", "deal", 1)]


@pytest.mark.parametrize(
    "deals", [[won(1, 10)], [won(1, 10), won(2, 11, deleted_at=march(20))]], ids=["gone", "marked"]
)
def test_a_deal_that_was_deleted_is_deleted(deals, tmp_path):
    found = explain(generation(BASE), generation(tables(deals)), tmp_path)
    assert parts(found, REVENUE) == {"deleted": -100_00}
    assert parts(found, "buyers") == {"deleted": -1}


def test_a_merge_takes_its_deals_its_loser_and_its_link_along(tmp_path):
    link = {"kind": "contact", "from_id": "contact:2", "into_id": "contact:1", "merged_at": march(15)}
    after = tables(
        [won(1, 10), won(2, 11, client=1)],
        [contact(1), contact(2, deleted_at=march(15)), contact(3)],
        merge_link=[link],
    )
    found = explain(generation(BASE), generation(after), tmp_path)
    assert parts(found, "buyers") == {"merged": -1}
    assert set(found.facts["part"]) == {"merged"}
    assert set(found.numbers.filter(pl.col("merged") != 0)["table"]) == {"months", "managers"}


def test_a_client_handed_over_is_reassigned(tmp_path):
    after = tables(BASE["deal"], [contact(1), contact(2, user="user:2"), contact(3)])
    found = explain(generation(BASE), generation(after), tmp_path)
    assert parts(found, "buyers", table="managers", row="user:1") == {"reassigned": -1}
    assert parts(found, "buyers", table="managers", row="user:2") == {"reassigned": 1}
    assert parts(found, "buyers") == {}


def test_a_mart_parameter_is_a_definition(tmp_path):
    before = tables([won(1, 10, company_id="company:1"), won(2, 11, company_id="company:1")])
    older = generation(before, params=marts.MartParams(client_grain="contact"))
    found = explain(older, generation(before), tmp_path)
    assert parts(found, "buyers") == {"redefined": -1}
    assert found.facts.is_empty()


def test_what_people_set_is_a_definition(tmp_path):
    said = {"pipeline": pl.DataFrame({"account_id": "main", "pipeline_id": "p", "purpose": "warming"})}
    found = explain(generation(BASE), generation(BASE, user_set=said), tmp_path)
    assert parts(found, REVENUE) == {"redefined": -200_00}


def test_what_the_clock_does_alone_is_time_and_said(tmp_path):
    calls = [{"call_id": "note:1", "direction": "in", "status": "missed", "started_at": AS_OF - timedelta(hours=2)}]
    calls[0] |= {"phone_key": "7", "phone_digits": 11, "user_id": "user:1"}
    before = tables([], call=calls)
    days = (date(2026, 4, 1), date(2026, 4, 9))
    older, newer = generation(before), generation(before, as_of=AS_OF + 2 * DAY)
    found = explain(older, newer, tmp_path, metric="A3", days=days)
    assert parts(found, "n_never", table="total") == {"time": 1}
    assert parts(found, "n_pending", table="total") == {"time": -1}
    assert [notice.code for notice in found.warnings] == ["as_of_differs"]
    assert found.rows.select("part", "how").rows() == [("time", "entered")]


def test_a_late_call_is_new_and_its_thread_is_shown(tmp_path):
    call = {"direction": "in", "status": "missed", "phone_key": "7", "phone_digits": 11, "user_id": "user:1"}
    calls = [{**call, "call_id": "note:1", "started_at": march(9)}]
    back = {
        **call,
        "call_id": "note:2",
        "direction": "out",
        "status": "answered",
        "talk_s": 60,
        "started_at": march(9, 13),
    }
    older, newer = (generation(tables([], call=some)) for some in (calls, [*calls, back]))
    found = explain(older, newer, tmp_path, metric="A3")
    assert parts(found, "n_never", table="total") == {"new": -1}
    assert parts(found, "n_called_back", table="total") == {"new": 1}
    assert found.rows.select("part", "how").rows() == [("new", "left")]


def test_a_move_takes_the_place_of_its_deal_along(tmp_path):
    open_deal = won(3, 12, stage_id="new", closed_at=None)
    move = {"change_id": "e1", "deal_id": "lead:3", "changed_at": march(12), "origin": "event"}
    move |= {"from_pipeline_id": "p", "from_stage_id": "new", "to_pipeline_id": "p", "to_stage_id": "won"}
    older = generation(tables([*BASE["deal"], open_deal]))
    newer = generation(tables([*BASE["deal"], won(3, 12)], deal_stage_transition=[move]))
    assert parts(explain(older, newer, tmp_path), REVENUE) == {"new": 100_00}
    unlogged = explain(older, generation(tables([*BASE["deal"], won(3, 12)])), tmp_path)
    assert parts(unlogged, REVENUE) == {"edited": 100_00}


def test_all_at_once_each_has_its_part(tmp_path):
    before = tables([won(n, 10 + n) for n in (1, 2, 3, 4, 5)], [contact(n) for n in range(1, 8)])
    link = {"kind": "contact", "from_id": "contact:4", "into_id": "contact:3", "merged_at": march(20)}
    deals = [won(1, 11, 150_00), won(2, 12, deleted_at=march(20)), won(3, 13), won(4, 14, client=3), won(5, 15)]
    contacts = [*(contact(n) for n in (1, 2, 3)), contact(4, deleted_at=march(20)), contact(5, user="user:2")]
    after = tables([*deals, won(6, 16, 10_00)], [*contacts, contact(6), contact(7)], merge_link=[link])
    said = {"client": pl.DataFrame({"account_id": "main", "client_id": "contact:1", "is_stop_listed": True})}
    found = explain(generation(before), generation(after, user_set=said), tmp_path)
    assert parts(found, REVENUE) == {"deleted": -100_00, "edited": 50_00, "new": 10_00}
    assert parts(found, "buyers") == {"deleted": -1, "merged": -1, "new": 1}
    assert parts(found, "buyers", table="managers", row="user:2")["reassigned"] == 1


def test_a_column_and_a_table_that_the_older_generation_had_not_are_redefined(tmp_path):
    older, newer = generation(BASE, version=8), generation(BASE)
    sources = {name: frame for name, frame in older.sources.items() if name != "activity"}
    sources["deal"] = sources["deal"].drop("main_contact_id")
    lacking = type(older)(older.manifest, older.on, sources)
    found = explain(lacking, newer, tmp_path)
    assert [notice.code for notice in found.warnings] == ["other_version"]
    assert found.facts.rows() == [("redefined", "deal", 2)]
    assert set(found.numbers.columns) == set(NUMBERS)
    sums = found.numbers.select(sum=pl.sum_horizontal(PARTS), change="change")
    assert sums["sum"].to_list() == sums["change"].to_list()


def test_marts_of_an_older_program_are_made_anew(tmp_path):
    older = generation(BASE)
    sources = {**older.sources, "sale": older.sources["sale"].drop("user_id")}
    found = explain(type(older)(older.manifest, older.on, sources), generation(BASE), tmp_path)
    assert found.numbers.is_empty()
    assert [notice.code for notice in found.warnings] == ["other_version"]


def test_every_table_a_metric_is_made_of_has_its_key():
    read = {table for metric in METRICS.values() for table in made_from(metric)} - set(marts.MARTS)
    assert read <= set(KEYS)
    assert {table: ("account_id", *key) for table, key in KEYS.items()} == {
        table: tuple(key_of(metadata.tables[table])) for table in KEYS
    }


# --- the demo company ------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 20, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def company():
    return build(scale=0.02, as_of=NOW)


def of_company(company, as_of):
    rows = {name: frame.collect() for name, frame in demo_tables(company).items()}
    return sealed(rows, as_of, marts.MartParams())


def test_a_month_of_the_demo_company_is_explained_for_every_metric(company, tmp_path):
    then = NOW - 30 * DAY
    older, newer = of_company(company_then(company, then), then), of_company(company, NOW)
    # A forecast is drawn, no sum of rows: voronka diff does not take its means apart (E18).
    told_by_rows = [one for one in METRICS.values() if one.id != "E18"]
    asked = [Asked(one, one.params(), *one.default_period(then)) for one in told_by_rows]
    for one, found in zip(asked, differences(asked, older, newer, tmp_path), strict=True):
        before, after = (
            evaluate(one.metric, frames, None, Period(at, one.period_from, one.period_to))
            for frames, at in ((older, then), (newer, NOW))
        )
        for name, table in before.tables.items():
            counts = [column for column, kind in table.schema.items() if kind == pl.Int64 and column != "segment"]
            for column in [] if OF_CARDS & set(table.columns) else counts:
                told = found.numbers.filter(table=name, number=column)["change"].sum()
                assert told == after.tables[name][column].sum() - table[column].sum(), (name, column)
        sums = found.numbers.select(sum=pl.sum_horizontal(PARTS))["sum"].to_list()
        assert sums == found.numbers["change"].to_list()
        entered, left = (found.rows.filter(how=how).height for how in ("entered", "left"))
        assert before.drilldown.height + entered - left == after.drilldown.height


# --- whatever happens ------------------------------------------------------------------------------------------------


@st.composite
def companies(draw):
    """A few deals and contacts, edited, handed over, deleted, merged and added at random between two generations."""
    n = draw(st.integers(1, 4))
    day, amount, user = (
        st.integers(2, 28),
        st.sampled_from([None, 0, 5_00, 77_77]),
        st.sampled_from(["user:1", "user:2"]),
    )
    versions = []
    for _ in range(2):
        numbers = draw(st.sets(st.integers(1, n)))
        gone = st.sampled_from([None, None, march(25)])
        deals = [
            won(
                number,
                draw(day),
                draw(amount),
                client=draw(st.integers(1, n)),
                responsible_user_id=draw(user),
                stage_id=draw(st.sampled_from(["won", "lost", "new"])),
                deleted_at=draw(gone),
            )
            for number in sorted(numbers)
        ]
        contacts = [contact(number, user=draw(user), deleted_at=draw(gone)) for number in range(1, n + 1)]
        pairs = draw(
            st.lists(st.tuples(st.integers(1, n), st.integers(1, n)), max_size=2, unique_by=lambda two: two[0])
        )
        links = [
            {"kind": "contact", "from_id": f"contact:{a}", "into_id": f"contact:{b}", "merged_at": march(20)}
            for a, b in pairs
        ]
        grain = draw(st.sampled_from(["contact", "company_else_contact"]))
        as_of = AS_OF + draw(st.integers(0, 40)) * DAY
        made = tables(deals, contacts, merge_link=links)
        versions.append(generation(made, as_of=as_of, params=marts.MartParams(client_grain=grain)))
    return versions


few = settings(max_examples=max(2, (settings.default or settings()).max_examples // 6))  # an example takes seconds


@settings(few, deadline=None, suppress_health_check=list(HealthCheck))
@given(versions=companies())
def test_the_parts_always_sum_to_the_change(versions, tmp_path_factory):
    asked = [Asked(METRICS[name], METRICS[name].params(), *MARCH) for name in ("D6", "B2", "E6")]
    for found in differences(asked, *versions, tmp_path_factory.mktemp("between")):
        numbers = found.numbers.with_columns(
            sum=pl.sum_horizontal(PARTS), ends=pl.col("after").fill_null(0) - pl.col("before").fill_null(0)
        )
        assert numbers["sum"].to_list() == numbers["change"].to_list() == numbers["ends"].to_list()
