"""Metrics of calls against what was planted in the demo company: conversations, not the notes written of them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from demo.answer_key import spam_clients
from metrics.call_durations import METRIC as DURATIONS
from metrics.call_heatmap import METRIC as HEATMAP
from metrics.call_totals import METRIC as TOTALS
from metrics.missed_rate import METRIC as MISSED
from metrics.workload_change import METRIC as WORKLOAD

MOSCOW = ZoneInfo("Europe/Moscow")
BETWEEN_COLLEAGUES = 2


def local(talk):
    return datetime.fromtimestamp(talk.at, UTC).astimezone(MOSCOW)


@pytest.fixture(scope="session")
def planted(company):
    """Conversations with people outside in the last `days` complete days."""

    def found(days):
        begin = company.as_of - timedelta(days=days)
        outside = [talk for talk in company.conversations if talk.kind != BETWEEN_COLLEAGUES]
        return [talk for talk in outside if begin.timestamp() <= talk.at < company.now]

    return found


def test_every_conversation_is_counted_once(frames, planted, answer):
    talks = planted(30)
    row = answer(TOTALS, frames, 30).tables["total"].row(0, named=True)
    assert row["n_in"] == sum(bool(talk.is_in) for talk in talks)
    assert row["n_in_answered"] == sum(bool(talk.is_in and talk.is_answered) for talk in talks)
    assert row["n_out"] == sum(not talk.is_in for talk in talks)
    assert row["n_out_answered"] == sum(bool(talk.is_answered and not talk.is_in) for talk in talks)
    assert row["n_dup_removed"] > 0, "the notes had doubles"
    # Of two notes of one call the lengths may differ by two seconds.
    talked_s = sum(max(talk.talk_s, 0) for talk in talks if talk.is_answered)
    assert row["talk_s_total"] == pytest.approx(talked_s, abs=2 * row["n_dup_removed"])


def test_every_missed_call_is_missed(frames, planted, company, answer):
    spam = spam_clients(company)
    inbound = [talk for talk in planted(90) if talk.is_in and talk.client_no not in spam]
    row = answer(MISSED, frames, 90).tables["total"].row(0, named=True)
    assert (row["num"], row["den"]) == (sum(not talk.is_answered for talk in inbound), len(inbound))


def test_every_call_is_in_its_weekday_and_hour(frames, planted, company, answer):
    spam = spam_clients(company)
    when = [local(talk) for talk in planted(56) if talk.is_in and talk.client_no not in spam]
    cells = answer(HEATMAP, frames, 56).tables["cells"].filter(pl.col("n") > 0)
    found = {(weekday, hour): n for weekday, hour, n in cells.select("weekday", "hour", "n").iter_rows()}
    assert found == Counter((at.isoweekday(), at.hour) for at in when)
    assert set(cells["days"]) == {8}


def test_every_length_is_in_its_bucket(frames, planted, company, answer):
    spam = spam_clients(company)
    lengths = [
        talk.talk_s
        for talk in planted(90)
        if talk.is_answered and not talk.is_in and talk.talk_s >= 0 and talk.client_no not in spam
    ]
    buckets = answer(DURATIONS, frames, 90).tables["buckets"]
    for begin, end, n in buckets.select("bucket_from_s", "bucket_to_s", "n").iter_rows():
        assert n == sum(begin <= length and (end is None or length < end) for length in lengths)


def test_nobody_but_the_planted_one_has_worsened(frames, key, answer):
    series = answer(WORKLOAD, frames, 91).tables["series"].filter("degraded")
    assert set(series["user_id"]) <= {key["burnout_user_id"]}
