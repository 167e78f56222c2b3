"""The list of what SQL over the publication answers and what it refuses."""

import json
from pathlib import Path

import duckdb
import polars as pl
import pytest

from explorer import Limits, QueryError, explore


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    tables = {
        "deal": pl.DataFrame({"account_id": ["main", "main"], "deal_id": ["lead:1", "lead:2"], "n": [1, 2]}),
        "deal_pii": pl.DataFrame({"account_id": ["main"], "deal_id": ["lead:1"], "name": ["ИП Секретов"]}),
    }
    for name, frame in tables.items():
        frame.write_parquet(tmp_path / f"{name}.parquet")
    listed = {name: {"files": [{"name": f"{name}.parquet", "rows": frame.height}]} for name, frame in tables.items()}
    (tmp_path / "manifest.json").write_text(json.dumps({"tables": listed}))
    return tmp_path


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sum(n) FROM deal",
        "FROM deal",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x;",
        "VALUES (1)",
        "DESCRIBE deal",
        "SHOW TABLES",
        "SUMMARIZE deal",
        "EXPLAIN SELECT * FROM deal",
        "EXPLAIN ANALYZE SELECT * FROM deal",
        "-- что оно сделает\nEXPLAIN /* и сколько */ SELECT 'ы' AS ы",
        "explain analyze\rFROM deal -- a",
        "\ufeffEXPLAIN SELECT 1",
        "\ufeffSELECT 1",
        "EXPLAIN WITH x AS (SELECT 1 AS a) SELECT * FROM x;",
    ],
)
def test_reading_is_answered(generation, query):
    assert explore(generation, query).height > 0


def test_two_columns_of_one_name_stay_two(generation):
    assert explore(generation, "SELECT a.n, b.n FROM deal a JOIN deal b USING (deal_id)").columns == ["n", "n_2"]


def test_an_empty_answer_keeps_its_columns(generation):
    assert explore(generation, "SELECT deal_id FROM deal WHERE n > 9").columns == ["deal_id"]


WRITES = [
    "CREATE TABLE x (a INT)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "INSERT INTO deal VALUES ('a', 'b', 1)",
    "UPDATE deal SET n = 0",
    "DELETE FROM deal",
    "DROP VIEW deal",
    "COPY deal TO '{folder}/deal.parquet'",
    "COPY (SELECT 1) TO '{folder}/new.csv'",
    "EXPORT DATABASE '{folder}/all'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/x.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '64GB'",
    "RESET memory_limit",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "PREPARE x AS SELECT 1",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "EXPLAIN COPY deal TO '{folder}/new.csv'",
    "EXPLAIN ANALYZE COPY deal TO '{folder}/deal.parquet'",
    "/* a */ EXPLAIN -- b\n ANALYZE /* c */ COPY deal TO '{folder}/new.csv'",
    "--x\rEXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/deal.parquet' "
    "(FORMAT parquet, USE_TMP_FILE false, KV_METADATA {{a: '\nEXPLAIN SELECT 1 --'}})",
    "\ufeffEXPLAIN ANALYZE COPY deal TO '{folder}/deal.parquet'",
    "EXPLAIN (ANALYZE) COPY deal TO '{folder}/deal.parquet'",
    "EXPLAIN (ANALYZE, FORMAT json) COPY deal TO '{folder}/deal.parquet'",
    "EXPLAIN ANALYZE SELECT 1; COPY deal TO '{folder}/deal.parquet'",
    "SELECT 1 --\r; COPY deal TO '{folder}/deal.parquet'",
    "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
    "EXPLAIN (FORMAT json) SELECT 1",
]
READS = [
    "SELECT * FROM deal_pii",
    "SELECT * FROM '{folder}/deal_pii.parquet'",
    "SELECT * FROM read_parquet('{folder}/deal_pii.parquet')",
    "SELECT * FROM read_parquet('{folder}/*.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/deal_pii.parquet')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('{folder}/manifest.json')",
    "SELECT * FROM read_json('{folder}/manifest.json')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM 'https://example.org/x.parquet'",
    "SELECT getenv('HOME')",
    "SELECT * FROM a_frame_of_ours",
    "SELECT * FROM duckdb_settings()",
    'SELECT * FROM system.main."Duckdb_Settings" /* a */ ()',
    "EXPLAIN ANALYZE SELECT * FROM duckdb_settings()",
    "SELECT * FROM pg_catalog.pg_settings",
    "SELECT current_setting('allowed_paths')",
    "FROM query('FROM duckdb_' || 'settings()')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM duckdb_settings()'))",
]
OTHER = ["", "SELECT 1; SELECT 2", "SELEC 1", "SELECT * FROM nosuch", "EXPLAIN"]


@pytest.mark.parametrize("query", [*WRITES, *READS, *OTHER])
def test_everything_else_is_refused(generation, query):
    a_frame_of_ours = pl.DataFrame({"secret": [1]})
    before = {file.name: file.read_bytes() for file in generation.iterdir()}
    with pytest.raises(QueryError):
        explore(generation, query.format(folder=generation))
    assert {file.name: file.read_bytes() for file in generation.iterdir()} == before
    assert a_frame_of_ours.height == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sql FROM duckdb_views()",
        "SELECT view_definition FROM information_schema.views",
        "SELECT sql FROM sqlite_master",
        "EXPLAIN ANALYZE SELECT * FROM deal",
        "SELECT d.*, f.* FROM deal d, duckdb_external_file_cache() f",
        "SELECT 'duckdb_settings()' AS query, \"n\" FROM deal -- current_setting('allowed_paths')",
    ],
)
def test_where_the_data_lie_is_told_to_nobody(generation, query):
    assert str(generation) not in str(explore(generation, query).rows())


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("SELECT n\nFROM deal\nWHER n > 1 AND", 'at or near "n"\nLINE 3: WHER n > 1 AND\n             ^'),
        ("SELECT\n  deal_idd\nFROM deal", "LINE 2:   deal_idd\n          ^"),
        ("SELECT n::DATE FROM deal", "LINE 1: SELECT n::DATE FROM deal\n                ^"),
    ],
)
def test_a_mistake_in_a_query_is_shown_at_its_place(generation, query, place):
    with pytest.raises(QueryError) as refused:
        explore(generation, query)
    assert str(refused.value).endswith(place)


def test_an_error_of_a_file_does_not_tell_where_it_lies(generation, monkeypatch):
    def broken(*_: object) -> None:
        raise duckdb.IOException(f'Cannot read "{generation}/deal.parquet"!\n\nLINE 1: {generation}/deal.parquet\n  ^')

    monkeypatch.setattr("explorer._answer", broken)
    with pytest.raises(QueryError) as refused:
        explore(generation, "SELECT * FROM deal")
    assert str(refused.value).endswith('Cannot read "…"!')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("INTERVAL 3 DAY", "3 days"),
        ("{'a': [INTERVAL 1 MONTH]}", "{'a': [1 month]}"),
        ("union_value(a := 1)", "1"),
        ("'101'::BIT", "101"),
        ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
    ],
)
def test_kinds_that_only_duckdb_has_come_as_text(generation, query_of, value, text):
    found = explore(generation, query_of(value))
    assert found.columns == ["n", "n_2", "value"]
    assert found.rows() == [(2, 2, text), (1, 1, text)]


@pytest.fixture
def query_of():
    return lambda value: f'SELECT n, n, {value} AS "value" FROM deal ORDER BY n DESC'


@pytest.mark.parametrize("seconds", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_time_that_is_no_time_is_refused(generation, seconds):
    with pytest.raises(QueryError, match="--timeout"):
        explore(generation, "SELECT 1", limits=Limits(timeout_s=seconds))


def test_a_query_that_never_ends_is_stopped(generation):
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000000) b"
    with pytest.raises(QueryError, match=r"longer than 0\.2 s"):
        explore(generation, endless, limits=Limits(timeout_s=0.2))


def test_an_answer_without_end_is_refused_before_it_fills_the_memory(generation):
    with pytest.raises(QueryError, match="more than 10 rows"):
        explore(generation, "SELECT * FROM range(1000000000)", limits=Limits(rows=10))
