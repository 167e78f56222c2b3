"""Metrics need no personal data, and there is none outside the files made for it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deadlines import with_deadlines

from connectors.phones import to_e164
from metrics.frames import open_frames
from metrics.metric import Metric, MetricResult, find_metrics
from warehouse.suppression import EMAILS, PHONES

TABLE = re.compile(r"^[a-z_]+")


def table_of(file: Path) -> str:
    return TABLE.match(file.name).group()  # type: ignore[union-attr]


@pytest.fixture(scope="session")
def unreadable(publication: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The publication with personal files nobody can read: whatever opens one fails."""
    return without(publication, tmp_path_factory.mktemp("unreadable"), lambda file: file.write_bytes(b"no right"))


@pytest.fixture(scope="session")
def absent(publication: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without(publication, tmp_path_factory.mktemp("absent"), lambda file: None)


def without(publication: Path, folder: Path, instead: Any) -> Path:
    copy = folder / "publication"
    shutil.copytree(publication, copy)
    personal = [file for file in copy.rglob("*.parquet") if table_of(file).endswith("_pii")]
    assert personal
    for file in personal:
        file.unlink()
        instead(file)
    return copy


def said(metric: Metric, publication: Path, answer: Any) -> MetricResult:
    return answer(metric, with_deadlines(open_frames(publication)), 180)


METRICS = find_metrics()
LAST_OF_FAMILIES = {metric_id[0]: metric_id for metric_id in METRICS}.values()


def without_files(metric: Metric) -> Any:
    """That no personal file is opened shows where none can be read; where none is there, a few metrics are enough."""
    is_sampled = metric.needs_pii or metric.id in LAST_OF_FAMILIES
    return pytest.param(metric, "absent", id=f"absent-{metric.id}", marks=[] if is_sampled else pytest.mark.slow)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        *(pytest.param(metric, "unreadable", id=f"unreadable-{metric.id}") for metric in METRICS.values()),
        *map(without_files, METRICS.values()),
    ],
)
def test_a_metric_says_the_same_without_personal_files(
    metric: Metric, kind: str, publication: Path, request: pytest.FixtureRequest, answer: Any
):
    bare = said(metric, request.getfixturevalue(kind), answer)
    if metric.needs_pii:
        assert all(table.is_empty() for table in bare.tables.values())
        assert bare.warnings
        return
    whole = said(metric, publication, answer)
    assert {name: table.to_dicts() for name, table in bare.tables.items()} == {
        name: table.to_dicts() for name, table in whole.tables.items()
    }
    assert bare.drilldown.equals(whole.drilldown)
    assert (bare.warnings, bare.coverage.to_dicts()) == (whole.warnings, whole.coverage.to_dicts())
    assert any(not table.is_empty() for table in whole.tables.values())


def texts(publication: Path, *, personal: bool) -> Iterator[tuple[str, list[str]]]:
    """Distinct values of every text column: `table.column`, values."""
    for file in sorted(publication.rglob("*.parquet")):
        if table_of(file).endswith("_pii") != personal:
            continue
        frame = pl.read_parquet(file)
        for name, kind in frame.schema.items():
            if kind == pl.String:
                yield f"{table_of(file)}.{name}", frame[name].drop_nulls().unique().to_list()


def people(company: Any) -> tuple[set[str], set[str], set[str]]:
    """Phones in E.164, e-mails and full names of the clients."""
    cards = [*company.contacts, *company.firms]
    phones = {number for card in cards for raw in card.phones if (number := to_e164(raw, "RU"))}
    emails = {email.strip().lower() for card in cards for email in card.emails}
    names = {f"{card.first_name} {card.last_name}".strip() for card in company.contacts}
    names = {name for name in names if len(name.split()) == 2} - {user.name for user in company.users}
    return phones, emails, names


def found_in(values: list[str], company: Any) -> set[str]:
    """Which of the people's phones, e-mails and names stand in texts."""
    phones, emails, names = people(company)
    found = {to_e164(token, "RU") for text in values for token in re.findall(PHONES, text)} & phones
    found |= {token.lower() for text in values for token in re.findall(EMAILS, text)} & emails
    hits = pl.Series(values, dtype=pl.String).str.extract_many(sorted(names), ascii_case_insensitive=True)
    return {str(one) for one in found} | set(hits.explode().drop_nulls().to_list())


def test_no_column_outside_personal_files_holds_a_phone_an_email_or_a_name(publication: Path, company: Any):
    leaking = {
        column: sorted(found)[:3]
        for column, values in texts(publication, personal=False)
        if (found := found_in(values, company))
    }
    assert leaking == {}


def test_the_search_finds_the_people_where_they_are(publication: Path, company: Any):
    holding = {column for column, values in texts(publication, personal=True) if found_in(values, company)}
    assert holding >= {
        "client_phone_pii.phone_e164",
        "client_email_pii.email_norm",
        "contact_pii.name",
        "call_pii.phone_raw",
    }


def test_no_manifest_holds_a_phone_an_email_or_a_name(publication: Path, company: Any):
    said = [file.read_text("utf-8") for file in publication.rglob("manifest.json")]
    assert found_in(said, company) == set()
