"""From a publication to a result: links, coverage, what is said about missing data, other instants, lost files."""

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime

import narwhals.stable.v2 as nw
import polars as pl
import pytest
from engines import on_every_engine
from published import SCHEMAS, canonical

from metrics.evaluate import RESOURCES, evaluate
from metrics.frames import CACHES_KEPT, MISSING_FILE, DamagedPublication, NoPublication, open_frames
from metrics.links import card_url, with_urls
from metrics.marts import MARTS, MartParams, build
from metrics.metric import DRILLDOWN, Metric, MetricResult, Params, Period, find_metrics
from metrics.people import people

AS_OF = datetime(2026, 4, 8, 9, 0, tzinfo=UTC)
PAST = datetime(2026, 4, 1, 12, tzinfo=UTC)
PERIOD = Period(AS_OF, date(2026, 3, 9), date(2026, 4, 8))
ACCOUNT = {
    "account_id": "main",
    "connector": "amocrm",
    "base_url": "https://example.amocrm.ru/",
    "tz": "Europe/Moscow",
    "base_currency": "RUB",
}


def reduce(frames, params, period):
    deals = frames["deal_state"].join(frames["clock"], on="account_id")
    return {"deals": deals.select("account_id", "deal_id", "as_of_epoch", "responsible_user_id")}


def finish(collected, params, period):
    deals = collected["deals"].sort("deal_id")
    missing = {name: pl.lit(None, kind) for name, kind in DRILLDOWN.items() if name not in {"account_id", "entity_id"}}
    rows = deals.select("account_id", entity_id="deal_id").with_columns(**missing)
    return MetricResult(
        "X1", params, period.as_of, period.period_from, period.period_to, "snapshot", {"deals": deals}, rows
    )


METRIC = Metric(
    id="X1",
    text={},
    params=Params,
    inputs=("deal_state",),
    resources=("deal", "deal_owner_change"),
    subject={"deals": None},
    semantics="snapshot",
    reduce=reduce,
    finish=finish,
)


def publish(data_dir, generation, *, deals=1, coverage=None, checks=(), **said):
    """A generation as the warehouse writes it."""
    folder = data_dir / "publication" / generation
    folder.mkdir(parents=True)
    known = {"created_at": datetime(2026, 4, 1, tzinfo=UTC), "entity_kind": "deal", "currency": "RUB"}
    known |= {"pipeline_id": "p", "stage_id": "s"}
    tables = canonical({"account": [ACCOUNT], "deal": [{**known, "deal_id": f"lead:{n + 1}"} for n in range(deals)]})
    frames = {name: frame.collect() for name, frame in tables.items()} | build(tables, AS_OF, MartParams())
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    synced = [{"account_id": "main", "resource": name, "watermark": AS_OF.isoformat()} for name in METRIC.resources]
    manifest = {
        "generation": generation,
        "as_of": AS_OF.isoformat(),
        "accounts": [{**ACCOUNT, "as_of": AS_OF.isoformat(), "is_stale": False}],
        "coverage": synced if coverage is None else coverage,
        "mart_params": MartParams().model_dump(mode="json"),
        "tables": {
            name: {"files": [{"name": f"{name}.parquet", "rows": frame.height}]} for name, frame in frames.items()
        },
        "checks": list(checks),
        **said,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (data_dir / "publication" / "current").write_text(generation)
    return data_dir / "publication"


def codes(result):
    return [notice.code for notice in result.warnings]


@on_every_engine
def test_a_number_leads_to_its_card_on_every_engine(engine, data_dir):
    frames = open_frames(publish(data_dir, "g1"), engine.on)
    result = evaluate(METRIC, frames, None, PERIOD)
    assert result.drilldown["url"].to_list() == ["https://example.amocrm.ru/leads/detail/1"]
    assert result.tables["deals"]["as_of_epoch"].to_list() == [int(AS_OF.timestamp())]
    assert dict(result.drilldown.schema) == DRILLDOWN
    assert codes(result) == []


@pytest.mark.parametrize(
    ("connector", "entity_id", "url"),
    [
        ("amocrm", "contact:2", "https://crm.example/contacts/detail/2"),
        ("amocrm", "company:3", "https://crm.example/companies/detail/3"),
        ("bitrix24", "deal:4", "https://crm.example/crm/deal/details/4/"),
        ("bitrix24", "lead:5", "https://crm.example/crm/lead/details/5/"),
        ("amocrm", "deal:4", None),
        ("amocrm", "phone:4", None),
        ("amocrm", "lead:x", None),
        ("files", "lead:1", None),
        ("amocrm", None, None),
    ],
)
def test_a_link_is_never_guessed(connector, entity_id, url):
    account = {"account_id": "main", "connector": connector, "base_url": "https://crm.example/"}
    assert card_url(account, entity_id) == url
    rows = pl.DataFrame({"account_id": ["main"], "entity_id": [entity_id]}, schema_overrides={"entity_id": pl.String})
    assert with_urls(rows, [account])["url"].to_list() == [url]


def test_before_the_first_publication_a_sentence_says_what_to_do(data_dir):
    with pytest.raises(NoPublication, match="voronka sync"):
        open_frames(data_dir / "publication")


def test_what_was_never_synced_is_no_data_not_zero(data_dir):
    result = evaluate(METRIC, open_frames(publish(data_dir, "g1", coverage=[])), None, PERIOD)
    assert codes(result) == ["no_data", "no_data", "owner_source_current"]
    assert result.coverage.select("resource", "watermark").rows() == [("deal", None), ("deal_owner_change", None)]
    assert "сделки" in result.warnings[0].ru


@pytest.mark.parametrize("metric", find_metrics().values(), ids=lambda metric: metric.id)
def test_what_a_metric_needs_has_a_name_for_people_and_is_a_table(metric):
    assert set(metric.resources) <= set(RESOURCES) & set(SCHEMAS)


def test_an_account_of_which_nothing_was_read_is_named_and_not_taken_for_zeros(data_dir):
    frames = open_frames(publish(data_dir, "g1", unread_accounts=["shop"]))
    result = evaluate(METRIC, frames, None, PERIOD)
    assert codes(result) == ["unread_account"]
    assert "shop" in result.warnings[0].ru
    assert result.coverage.filter(account_id="shop")["watermark"].to_list() == [None, None]
    assert codes(evaluate(METRIC, frames.accounts(["main"]), None, PERIOD)) == []
    assert set(codes(evaluate(METRIC, frames.accounts(["shop"]), None, PERIOD))) >= {"no_data"}


def test_a_publication_without_accounts_is_no_data_whatever_it_covers(data_dir):
    frames = open_frames(publish(data_dir, "g1", accounts=[], coverage=[]))
    assert codes(evaluate(METRIC, frames, None, PERIOD)) == ["no_data"]


@pytest.mark.parametrize(
    ("watermark", "word"),
    [("2026-04-01T00:00:00Z", "давно"), ("2026-04-09T00:00:00Z", "часы"), (None, "ни разу")],
)
def test_a_stale_account_says_why(data_dir, watermark, word):
    account = {**ACCOUNT, "as_of": AS_OF.isoformat(), "is_stale": True, "watermark": watermark}
    frames = open_frames(publish(data_dir, "g1", accounts=[account], created_at=AS_OF.isoformat()))
    (notice,) = evaluate(METRIC, frames, None, PERIOD).warnings
    assert notice.code == "stale_account"
    assert word in notice.ru


def test_a_period_that_begins_before_the_data_says_since_when_they_are_whole(data_dir):
    covered = [{"account_id": "main", "resource": name, "watermark": AS_OF.isoformat()} for name in METRIC.resources]
    covered[0]["complete_from"] = "2026-03-20T21:00:00+00:00"
    result = evaluate(METRIC, open_frames(publish(data_dir, "g1", coverage=covered)), None, PERIOD)
    assert codes(result) == ["before_complete"]
    assert "21.03.2026" in result.warnings[0].ru


def test_a_period_wholly_before_the_data_is_no_data_not_zero(data_dir):
    covered = [{"account_id": "main", "resource": name, "watermark": AS_OF.isoformat()} for name in METRIC.resources]
    covered[0]["complete_from"] = "2026-03-20T21:00:00+00:00"
    frames = open_frames(publish(data_dir, "g1", coverage=covered))
    before, cut = (Period(AS_OF, date(2026, 3, 1), date(2026, 3, end)) for end in (21, 22))
    assert codes(evaluate(METRIC, frames, None, before)) == ["no_data"]
    assert "21.03.2026" in evaluate(METRIC, frames, None, before).warnings[0].ru
    assert codes(evaluate(METRIC, frames, None, cut)) == ["before_complete"]


@pytest.mark.parametrize(
    ("first", "end", "said"),
    [
        (date(2026, 4, 1), date(2026, 4, 8), []),
        (date(2026, 4, 1), date(2026, 4, 9), []),
        (date(2026, 4, 8), date(2026, 4, 9), []),
        (date(2026, 4, 1), date(2026, 4, 10), ["ends_after_data"]),
        (date(2026, 4, 9), date(2026, 4, 10), ["after_data"]),
    ],
)
def test_days_after_the_data_are_said_to_be_so_but_for_the_running_one(data_dir, first, end, said):
    frames = open_frames(publish(data_dir, "g1"))
    result = evaluate(METRIC, frames, None, Period(AS_OF, first, end))
    assert codes(result) == said
    assert all("08.04.2026" in notice.ru for notice in result.warnings)


def test_at_midnight_the_new_day_lies_after_the_data(data_dir):
    midnight = datetime(2026, 4, 7, 21, tzinfo=UTC)
    frames = open_frames(publish(data_dir, "g1", as_of=midnight.isoformat()))
    assert codes(evaluate(METRIC, frames, None, Period(midnight, date(2026, 4, 1), date(2026, 4, 8)))) == []
    result = evaluate(METRIC, frames, None, Period(midnight, date(2026, 4, 8), date(2026, 4, 9)))
    assert codes(result) == ["after_data"]
    assert "07.04.2026" in result.warnings[0].ru


def test_a_metric_that_reads_no_period_says_nothing_of_days_after_the_data(data_dir):
    frames = open_frames(publish(data_dir, "g1"))
    at_once = replace(METRIC, reads_period=False)
    assert codes(evaluate(at_once, frames, None, Period(AS_OF, date(2027, 4, 1), date(2027, 4, 10)))) == []


def test_failed_checks_of_the_data_are_told_and_passed_ones_are_not(data_dir):
    checks = [
        {"code": code, "ru": code, "en": code, "count": n, "sample": []} for code, n in (("orphan", 2), ("future", 0))
    ]
    assert codes(evaluate(METRIC, open_frames(publish(data_dir, "g1", checks=checks)), None, PERIOD)) == [
        "check_orphan"
    ]


def test_checks_of_other_accounts_and_of_tables_the_metric_is_not_made_from_are_not_told(data_dir):
    known = {"ru": "", "en": "", "count": 1, "sample": []}
    checks = [
        {"code": "ours", "account_id": "main", "tables": ["deal_stage_transition"], **known},
        {"code": "theirs", "account_id": "shop", "tables": ["deal_stage_transition"], **known},
        {"code": "of_calls", "account_id": "main", "tables": ["call", "message"], **known},
    ]
    frames = open_frames(publish(data_dir, "g1", checks=checks))
    assert codes(evaluate(METRIC, frames, None, PERIOD)) == ["check_ours"]


def test_what_is_computed_for_the_past_says_what_it_takes_as_now(data_dir):
    frames = open_frames(publish(data_dir, "g1"))
    before = Period(datetime(2026, 4, 7, tzinfo=UTC), date(2026, 3, 8), date(2026, 4, 7))
    assert codes(evaluate(METRIC, frames, None, before)) == ["facts_of_now"]
    assert codes(evaluate(METRIC, frames.at(before.as_of), None, before)) == ["facts_of_now"]
    assert codes(evaluate(METRIC, frames, None, PERIOD)) == []


@on_every_engine
def test_who_left_since_still_worked_here_then(engine):
    deleted, before = {"deleted_at": AS_OF, "is_active": False}, {"deleted_at": PAST, "is_active": False}
    users = [{"user_id": "user:1", **deleted}, {"user_id": "user:2", **before}]
    users += [{"user_id": f"user:{n}", "is_active": False} for n in (3, 4, 5)]
    left = pl.DataFrame(
        {"account_id": "main", "user_id": ["user:3", "user:4"], "left_on": [date(2026, 4, 8), date(2026, 3, 1)]}
    )
    then = Period(PAST, date(2026, 3, 1), date(2026, 4, 1))
    frames = engine.frames({"user": users}, period=then, user_set={"user": left})
    found = people(frames).collect("polars").to_native().sort("user_id")
    assert found["user_active"].to_list() == [True, False, True, False, False]


@on_every_engine
def test_an_earlier_instant_has_the_marts_rebuilt_once_beside_the_publication(engine, data_dir):
    frames = open_frames(publish(data_dir, "g1"), engine.on)
    before = Period(datetime(2026, 3, 31, tzinfo=UTC), date(2026, 3, 1), date(2026, 3, 31))
    assert evaluate(METRIC, frames, None, before).tables["deals"].is_empty()
    cached = list((data_dir / "cache" / "g1").iterdir())
    assert len(cached) == 1
    assert {file.stem for file in cached[0].iterdir()} == set(MARTS)
    assert evaluate(METRIC, frames, None, before).tables["deals"].is_empty()
    assert list((data_dir / "cache" / "g1").iterdir()) == cached


def test_caches_of_generations_that_are_gone_go_too(data_dir):
    publish(data_dir, "g1")
    early = datetime(2026, 3, 31, tzinfo=UTC)
    open_frames(data_dir / "publication").at(early)
    shutil.rmtree(data_dir / "publication" / "g1")
    publish(data_dir, "g2")
    open_frames(data_dir / "publication").at(early)
    assert [folder.name for folder in (data_dir / "cache").iterdir()] == ["g2"]


@pytest.mark.parametrize("engine_name", ["polars", "duckdb"])
def test_a_reader_whose_files_were_cleared_away_starts_again_on_the_newest_generation(data_dir, engine_name):
    frames = open_frames(publish(data_dir, "g1"), engine_name)
    publish(data_dir, "g2", deals=2)
    shutil.rmtree(data_dir / "publication" / "g1")
    assert evaluate(METRIC, frames, None, PERIOD).tables["deals"].height == 2


def test_files_lost_while_opening_are_looked_for_under_the_new_pointer(data_dir):
    publish(data_dir, "g1")
    (data_dir / "publication" / "g1" / "deal.parquet").unlink()
    with pytest.raises(DamagedPublication, match="voronka publish"):
        open_frames(data_dir / "publication")
    assert FileNotFoundError in MISSING_FILE


def test_other_mart_parameters_make_another_cache(data_dir):
    frames = open_frames(publish(data_dir, "g1"))
    frames.at(AS_OF, MartParams(leg_gap_s=9))
    frames.at(AS_OF, MartParams(leg_gap_s=8))
    assert len(list((data_dir / "cache" / "g1").iterdir())) == 2


@on_every_engine
def test_marts_of_the_past_are_kept_for_all_accounts_whoever_asked_first(engine, data_dir):
    frames = open_frames(publish(data_dir, "g1"), engine.on)
    late = Period(datetime(2026, 4, 7, tzinfo=UTC), date(2026, 3, 8), date(2026, 4, 7))
    assert evaluate(METRIC, frames.accounts(["another"]), None, late).tables["deals"].is_empty()
    assert evaluate(METRIC, frames, None, late).tables["deals"].height == 1
    assert evaluate(METRIC, frames.accounts(["main"]), None, late).tables["deals"].height == 1


def test_instants_within_one_second_are_told_apart(data_dir):
    frames = open_frames(publish(data_dir, "g1"))
    frames.at(AS_OF.replace(microsecond=1))
    frames.at(AS_OF.replace(microsecond=2))
    assert len(list((data_dir / "cache" / "g1").iterdir())) == 2


def test_only_the_newest_caches_stay_and_a_killed_build_leaves_nothing(data_dir):
    frames = open_frames(publish(data_dir, "g1"))
    cache = data_dir / "cache" / "g1"
    for name in (".building-killed", ".building-now", *(f"old-{n}" for n in range(CACHES_KEPT))):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (0, 0) if name != ".building-now" else None)
    frames.at(AS_OF)
    left = {folder.name for folder in cache.iterdir()}
    assert ".building-now" in left
    assert ".building-killed" not in left
    assert len(left - {".building-now"}) == CACHES_KEPT
    assert any(name.startswith("2026") for name in left)


def test_caches_are_for_their_owner_only(data_dir):
    open_frames(publish(data_dir, "g1")).at(AS_OF)
    within = list((data_dir / "cache").rglob("*"))
    folders = [data_dir / "cache", *(path for path in within if path.is_dir())]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in within if path.is_file()} == {0o600}


def test_names_of_published_tables_are_those_of_the_manifest(data_dir):
    frames = open_frames(publish(data_dir, "g1"))
    assert set(MARTS) <= set(frames)
    assert isinstance(frames["deal"], nw.LazyFrame)
    with pytest.raises(KeyError):
        frames["nothing"]


def test_metrics_stand_in_the_order_of_the_catalogue():
    ids = list(find_metrics())
    assert ids.index("A2") < ids.index("A10") < ids.index("B1")
