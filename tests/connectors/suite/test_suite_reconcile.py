"""The check names what differs from the source, and nothing else."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from amo_demo import rows
from sources import Source
from suite_words import DAY, a_day_later, run, synced

from connectors.errors import PayloadError
from sync import SyncAccount
from sync.reconcile import reconcile
from warehouse.database import PHONE_KEY
from warehouse.status import read_status
from warehouse.suppression import card_hash

OVERLAP = timedelta(minutes=10)
DEALS = "SELECT deal_id FROM deal WHERE deleted_at IS NULL AND starts_with(deal_id, '{prefix}') ORDER BY created_at"
Json = dict[str, Any]


def check(source: Source, folder: Path, account: SyncAccount | None = None, **how: Any) -> Json:
    chosen = account or source.as_account()
    return reconcile(folder, [chosen], overlap=OVERLAP, now=lambda: source.now, **how)["main"]


def found(result: Json) -> dict[str, dict[str, list[Json]]]:
    """Differing rows by list and kind."""
    kinds: dict[str, dict[str, list[Json]]] = {}
    for one in result["lists"]:
        for row in one["sample"]:
            kinds.setdefault(one["resource"], {}).setdefault(row["kind"], []).append(row)
    return kinds


def n_newer(result: Json) -> int:
    return sum(one["n_newer"] for one in result["lists"])


def deals_of(source: Source, folder: Path) -> list[str]:
    prefix = source.as_account().connector.comparables[0].prefix
    return [row[0] for row in rows(folder, DEALS.format(prefix=prefix))]


def test_a_healthy_account_has_no_differences(name: str, folder: Path):
    source = synced(name, folder)
    result = check(source, folder)
    assert (result["state"], result["error"], found(result), n_newer(result)) == ("equal", None, {}, 0)
    assert all(one["is_whole"] and one["n_read"] == one["n_here"] for one in result["lists"])
    assert any(one["n_here"] for one in result["lists"])


@pytest.mark.slow
def test_what_people_did_since_the_last_sync_is_no_difference(name: str, folder: Path):
    source = a_day_later(name, folder)
    result = check(source, folder)
    assert result["state"] == "equal"
    assert n_newer(result) > 0
    assert run(source, folder).is_well
    again = check(source, folder)
    assert (again["state"], found(again)) == ("equal", {})


@pytest.mark.parametrize("part", [0.3, *(pytest.param(part, marks=pytest.mark.slow) for part in (0.1, 0.6, 0.9))])
def test_what_people_do_during_the_check_is_no_difference(name: str, folder: Path, part: float):
    source = synced(name, folder)
    source.passes(DAY)
    before = len(source.asked)
    check(source, folder)
    at = len(source.asked) + max(1, int((len(source.asked) - before) * part))

    def live(n: int, _asked: Any) -> None:
        if n == at:
            source.a_day()

    source.before = live
    result = check(source, folder)
    assert len(source.asked) > at
    assert result["state"] == "equal"


def plant(source: Source, folder: Path) -> dict[str, str]:
    """Make the warehouse another one than its source; ids by kind of difference."""
    some = deals_of(source, folder)
    ids = dict(zip(("missing_here", "stage", "amount", "owner", "created"), some[10:15], strict=True))
    rows(folder, f"DELETE FROM deal WHERE deal_id = '{ids['missing_here']}'")
    for kind, change in {
        "stage": "stage_id = 'stage:elsewhere'",
        "amount": "amount_minor = coalesce(amount_minor, 0) + 12345",
        "owner": "responsible_user_id = 'user:1'",
        "created": "created_at = created_at - INTERVAL 70 DAYS",
    }.items():
        rows(folder, f"UPDATE deal SET {change} WHERE deal_id = '{ids[kind]}'")
    return ids


def test_planted_differences_are_found_with_links_and_both_values(name: str, folder: Path):
    source = synced(name, folder)
    ids = plant(source, folder)
    result = check(source, folder)
    assert result["state"] == "differs"
    (of_deals,) = found(result).values()
    assert {kind: [row["id"] for row in some] for kind, some in of_deals.items()} == {k: [v] for k, v in ids.items()}
    for kind, (row,) in of_deals.items():
        assert row["url"].startswith("https://testserver/")
        assert row["there"]
        assert row["here"] != row["there"]
        assert (row["here"] is None) == (kind == "missing_here")


@pytest.mark.slow
def test_what_differs_is_read_again_by_the_next_sync(name: str, folder: Path):
    source = synced(name, folder)
    plant(source, folder)
    assert check(source, folder)["n_asked"] == 5
    source.passes(DAY)
    assert run(source, folder).is_well
    assert check(source, folder)["state"] == "equal"


def test_what_only_the_warehouse_has_is_named_and_gone_after_the_next_sync(name: str, folder: Path):
    """A source that does not say when something was deleted may have lost it since: then it is no difference."""
    source = synced(name, folder)
    first = deals_of(source, folder)[20]
    prefix = first.partition(":")[0]
    rows(
        folder,
        f"INSERT INTO deal BY NAME SELECT * REPLACE ('{prefix}:999' AS deal_id) FROM deal WHERE deal_id = '{first}'",
    )
    result = check(source, folder)
    (of_deals,) = found(result).values()
    says_when = bool(source.as_account().connector.traces)
    assert {kind: [row["id"] for row in some] for kind, some in of_deals.items()} == {
        "missing_there" if says_when else "gone": [f"{prefix}:999"]
    }
    assert result["state"] == ("differs" if says_when else "equal")
    source.passes(DAY)
    assert run(source, folder).is_well
    assert found(check(source, folder)) == {}


@pytest.mark.slow
def test_who_was_forgotten_is_not_missing(name: str, folder: Path):
    """The CRM has the card still; here something else stands for it."""
    source = synced(name, folder)
    ((contact,),) = rows(folder, "SELECT min(contact_id) FROM contact WHERE deleted_at IS NULL")
    hashed = card_hash(("main", contact), bytes.fromhex((folder / PHONE_KEY).read_text()))
    rows(folder, f"UPDATE contact SET contact_id = 'contact:forgotten-5e' WHERE contact_id = '{contact}'")
    assert [*found(check(source, folder))["contacts"]] == ["missing_here"]
    rows(folder, f"INSERT INTO forgotten VALUES ('card', '{hashed}', 'p', now(), 0)")
    result = check(source, folder)
    assert (result["state"], found(result)) == ("equal", {})


@pytest.mark.slow
def test_what_changed_there_without_its_change_time_is_found(name: str, folder: Path):
    source = synced(name, folder)
    source.passes(DAY)
    changed = source.quietly()
    result = check(source, folder)
    assert result["state"] == "differs"
    (of_deals,) = found(result).values()
    assert {kind: [row["id"] for row in some] for kind, some in of_deals.items()} == {"amount": [changed]}


@pytest.mark.slow
def test_few_requests_compare_the_newest_and_count_the_rest(name: str, folder: Path):
    """What differs in number is looked for among the counted rows."""
    source = synced(name, folder)
    account = source.as_account()
    small = [replace(one, page=lambda api: 2, counts=1) for one in account.connector.comparables[:1]]
    cut = replace(account, connector=replace(account.connector, comparables=tuple(small)))
    (of_deals,) = check(source, folder, cut, most_requests=38)["lists"]
    assert not of_deals["is_whole"]
    assert of_deals["n_read"] + of_deals["n_counted"] == of_deals["n_here"]
    assert of_deals["differences"] == {}
    ids = plant(source, folder)
    (of_deals,) = check(source, folder, cut, most_requests=38)["lists"]
    assert {"missing_here", "stage"} <= {*of_deals["differences"]} <= {*ids}


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [True, False])
def test_a_viewer_who_sees_less_makes_nothing_missing(name: str, folder: Path, is_known: bool):
    """Whose rights they are may be told or not: rows out of sight are not deleted."""
    source = synced(name, folder)
    if not is_known:
        rows(folder, "UPDATE sync_account SET viewer = NULL")
    source.passes(DAY)
    source.sight = "part"
    result = check(source, folder)
    assert result["state"] == "failed"
    assert {kind for kinds in found(result).values() for kind in kinds} <= {"gone"}
    told = [result["error"], *(one["error"] for one in result["lists"])]
    assert any("somebody else" in text or "want of rights" in text or "No right" in text for text in told if text)


@pytest.mark.slow
def test_a_list_that_fails_does_not_stop_the_others(name: str, folder: Path):
    source = synced(name, folder)
    account = source.as_account()
    first, *others = account.connector.comparables
    broken = replace(first, listed=raising, newest=raising)
    odd = replace(account, connector=replace(account.connector, comparables=(broken, *others)))
    result = check(source, folder, odd)
    assert result["state"] == "failed"
    assert [bool(one["error"]) for one in result["lists"]] == [True] + [False] * len(others)
    assert all(one["n_read"] == one["n_here"] for one in result["lists"][1:])


def raising(*_: object) -> Any:
    raise PayloadError("{list}: the answer is not an object.", list="deals")


@pytest.mark.slow
def test_the_check_stands_in_the_status_until_the_next(name: str, folder: Path):
    source = synced(name, folder)
    check(source, folder)
    source.passes(DAY)
    assert run(source, folder).is_well
    (kept,) = [account["check"] for account in (read_status(folder) or {})["accounts"]]
    assert kept["state"] == "equal"
    assert kept["lists"][0]["n_read"] > 0
