"""A source may say anything: one absurd value costs its row at most, never a list, never a run."""

import json
from pathlib import Path

import httpx
import pytest
from amo_demo import Crm, rows
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.answers import Asked, json_of
from connectors.bitrix24.answers import BitrixAnswers
from connectors.http import SourceAuth
from connectors.records import Notice, RawRecord, Stage
from connectors.walk import Walk, mapped

N_TASKS = "SELECT count(*) FROM task"


@pytest.mark.parametrize("sort", [2**63, -(2**63) - 1, 10**30])
def test_a_record_refuses_an_integer_no_column_can_hold(sort):
    with pytest.raises(ValidationError):
        Stage(
            account_id="main",
            pipeline_id="p",
            stage_id="s",
            name="New",
            kind="open",
            sort=sort,
            raw_hash="",
            is_active=True,
        )


def late(item, walk, raw_hash):
    raise OverflowError("date value out of range")


def test_an_object_whose_numbers_overflow_is_kept_raw_and_told():
    walk = Walk(account_id="main")
    assert [type(one) for one in mapped({"id": 1}, "tasks", late, walk)] == [RawRecord]
    (notice,) = walk.conclusions()
    assert (type(notice), notice.is_unknown) == (Notice, True)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/tasks", lambda item: item | {"complete_till": 253402300799}),
        ("/notes", lambda item: item | {"params": {**(item.get("params") or {}), "duration": "99999999999999999999"}}),
        ("/pipelines", lambda item: item | {"sort": 10**25}),
    ],
    ids=["a deadline at the end of time", "a call of many ages", "a place beyond all places"],
)
def test_a_run_survives_an_absurd_value_and_counts_it(tmp_path: Path, path, change):
    odd = set()

    def repaint(url, body):
        if url.path.endswith(path):
            for items in body["_embedded"].values():
                odd.add(items[0]["id"])
                items[0] = change(items[0])
        return body

    crm = Crm()
    crm.synced(tmp_path / "plain")
    ((expected,),) = rows(tmp_path / "plain", N_TASKS)
    crm.repaint = repaint
    assert crm.synced(tmp_path / "absurd").is_well
    ((found,),) = rows(tmp_path / "absurd", N_TASKS)
    assert odd
    assert found >= expected - len(odd)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"name": "half \\ud83d of it"}', {"name": "half ? of it"}),
        (b'{"name": "\xff"}', {"name": "�"}),
        (b'{"price": 1e400, "n": 1.5}', {"price": None, "n": 1.5}),
        (b'{"price": NaN}', {"price": None}),
    ],
)
def test_what_is_not_quite_json_is_read_but_for_what_cannot_be(body, read):
    assert json_of(body) == read


def test_an_answer_of_bitrix24_that_is_not_quite_json_is_read_too():
    body = b'{"result": [{"ID": "1", "TITLE": "half \\ud83d of it", "OPPORTUNITY": 1e400}]}'
    asked = Asked("volga", "crm.deal.list")
    found = BitrixAnswers(SourceAuth()).read(httpx.Response(200, content=body), asked)
    assert found["result"] == [{"ID": "1", "TITLE": "half ? of it", "OPPORTUNITY": None}]


@pytest.mark.parametrize("body", [b"<html>", b"{", b"[" * 100_000])
def test_what_is_no_json_is_none(body):
    with pytest.raises(ValueError, match=r".*"):
        json_of(body)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(), st.lists, max_leaves=5))
def test_json_is_read_as_it_is(value):
    assert json_of(json.dumps(value).encode("utf-8", "replace")) == json.loads(json.dumps(value))
