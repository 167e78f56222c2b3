"""A3 and B2 against the demo company's answer key, along the whole straight line: REST → warehouse → marts → metric."""

from datetime import date, timedelta

import polars as pl
import pytest

from metrics.forgotten_clients import METRIC as FORGOTTEN
from metrics.missed_calls import METRIC as MISSED
from metrics.missed_threads import STATES

TODAY = date(2026, 11, 21)


def test_missed_threads_are_those_that_were_planted(frames, key, answer):
    planted = key["A3"]
    assert planted["period"] == [str(TODAY - timedelta(days=30)), str(TODAY)]
    result = answer(MISSED, frames, days=30)
    total = result.tables["total"].row(0, named=True)
    assert {state: total[f"n_{state}"] for state in STATES} == planted["states"]
    assert total["never_rate"] == pytest.approx(planted["never_rate"])
    assert total["not_reached_rate"] == pytest.approx(planted["not_reached_rate"])
    by_user = {
        row["user_id"]: {state: row[f"n_{state}"] for state in STATES}
        for row in result.tables["by_user"].iter_rows(named=True)
    }
    assert by_user == planted["by_user"]


def test_the_list_to_call_back_names_the_planted_clients(frames, key, answer):
    result = answer(MISSED, frames, days=30)
    open_threads = result.tables["threads"].filter(pl.col("state").is_in(["never", "attempted_only", "pending"]))
    planted = sorted((row["client_id"], row["state"]) for row in key["A3"]["unresolved"])
    assert sorted(open_threads.select("client_id", "state").rows()) == planted
    judged = sorted(client for client, state in planted if state != "pending")
    assert sorted(result.drilldown["client_id"]) == judged
    assert result.drilldown["url"].str.contains("^https://testserver/(companies|contacts|leads)/detail/[0-9]+$").all()


def test_forgotten_clients_are_those_that_were_planted(frames, key, answer):
    planted = key["B2"]
    result = answer(FORGOTTEN, frames, days=60)
    total = result.tables["total"].row(0, named=True)
    assert (total["num"], total["den"]) == (planted["num"], planted["den"])
    reassign = {"num": total["reassign_num"], "den": total["reassign_den"]}
    assert reassign == planted["reassign"]
    by_user = {
        row["user_id"]: {"num": row["num"], "den": row["den"]} for row in result.tables["by_user"].iter_rows(named=True)
    }
    assert by_user == planted["by_user"]
    assert result.tables["reassign"]["user_id"].to_list() == [key["leaver_user_id"]]
    listed = sorted(result.tables["clients"]["client_id"])
    assert listed == sorted([*planted["forgotten"], *planted["reassign_forgotten"]])


def test_messages_close_threads_and_no_answer_says_that_chats_are_not_seen(frames, key, answer):
    assert key["A3"]["states"]["messaged"]
    for metric, days in ((MISSED, 30), (FORGOTTEN, 60)):
        assert "messages_not_synced" not in {notice.code for notice in answer(metric, frames, days).warnings}
