"""A5: which time a call falls into, when a client is lost, who called for the first time, and what that is worth."""

from datetime import date

import pytest
from calls import AS_OF, answer, got_in, got_out, missed, moscow, working_days
from engines import on_every_engine

from metrics.metric import Period
from metrics.out_of_hours import METRIC

PERIOD = Period(AS_OF, date(2026, 3, 1), date(2026, 4, 9))
SATURDAY = "2026-03-28"


def deal(number, outcome, *, amount=None, created="2026-02-01 10:00", ended="2026-02-10 10:00"):
    return {
        "deal_id": f"lead:{number}",
        "entity_kind": "deal",
        "pipeline_id": "p",
        "outcome": outcome,
        "created_at": moscow(created),
        "outcome_at": None if outcome == "open" else moscow(ended),
        "amount_minor": amount,
        "is_sales": True,
    }


TEN = [deal(0, "won", amount=50_000_00), *(deal(n, "lost") for n in range(1, 10))]


def ask(engine, calls, **more):
    return answer(METRIC, engine, calls, period=PERIOD, **more)


def row(result, hours):
    (found,) = result.tables["classes"].filter(hours=hours).rows(named=True)
    return found


def reasons(result):
    return dict(result.drilldown.select("client_id", "reason").iter_rows())


@on_every_engine
def test_the_example_of_the_catalogue(engine):
    """12 calls of 9 clients on a day off; 5 are reached on Monday, of the 4 others 3 had never called before."""
    calls = [missed(f"m{n}", f"{SATURDAY} 1{n % 10}:00", client=f"contact:{n % 9}") for n in range(12)]
    calls += [got_out(f"o{n}", "2026-03-30 10:00", client=f"contact:{n}") for n in range(5)]
    calls.append(got_in("i8", "2026-03-02 10:00", client="contact:8"))
    found = row(ask(engine, calls, deal_state=TEN), "day_off")
    assert (found["den"], found["num"], found["n_clients"]) == (12, 12, 9)
    assert (found["lost_clients"], found["new_callers"]) == (4, 3)
    assert found["money_at_risk_minor"] == 15_000_00


def test_money_is_unknown_with_few_deals_not_zero(polars_engine):
    result = ask(polars_engine, [missed("m", f"{SATURDAY} 10:00")], deal_state=TEN[:9])
    assert row(result, "day_off")["money_at_risk_minor"] is None
    assert "money_unknown" in {notice.code for notice in result.warnings}
    result = ask(polars_engine, [missed("m", f"{SATURDAY} 10:00")], deal_state=TEN)
    assert row(result, "day_off")["money_at_risk_minor"] == 5_000_00
    assert "money_unknown" not in {notice.code for notice in result.warnings}


def test_a_win_after_the_horizon_is_no_part_of_the_conversion(polars_engine):
    late = deal(0, "won", amount=50_000_00, created="2025-09-01 10:00", ended="2026-02-10 10:00")
    result = ask(polars_engine, [missed("m", f"{SATURDAY} 10:00")], deal_state=[late, *TEN[1:]])
    assert result.tables["conversion"].select("n", "conversion", "n_won").rows() == [(10, 0.0, 1)]


def test_deals_of_other_pipelines_and_leads_do_not_count(polars_engine):
    others = [{**deal(20, "won", amount=1), "is_sales": False}, {**deal(21, "won", amount=1), "entity_kind": "lead"}]
    result = ask(polars_engine, [missed("m", f"{SATURDAY} 10:00")], deal_state=[*TEN, *others])
    assert result.tables["conversion"].select("n", "n_won").rows() == [(10, 1)]


@pytest.mark.parametrize(
    ("at", "hours"),
    [
        ("2026-03-27 17:59", "in_hours"),
        ("2026-03-27 18:00", "evening_night"),
        ("2026-03-28 12:00", "day_off"),
        ("2026-03-09 12:00", "day_off"),  # Monday, transferred
    ],
)
def test_the_kind_of_time_is_by_the_calendar(polars_engine, at, hours):
    assert ask(polars_engine, [missed("m", at)]).tables["classes"]["hours"].to_list() == [hours]


def test_a_worked_saturday_is_no_day_off(polars_engine):
    days = working_days(exceptions={date(2026, 3, 28): "09:00-15:00"})
    result = ask(polars_engine, [missed("m", f"{SATURDAY} 12:00")], calendar_day=days)
    assert result.tables["classes"]["hours"].to_list() == ["in_hours"]


@pytest.mark.parametrize(
    ("back", "reason"),
    [("2026-03-31 17:00", "REACHED"), ("2026-03-31 23:00", "REACHED"), ("2026-04-01 09:00", "LOST_NEW_CALLER")],
)
def test_a_contact_by_the_end_of_the_second_working_day_is_in_time(polars_engine, back, reason):
    calls = [missed("m", f"{SATURDAY} 10:00"), got_out("o", back)]
    assert reasons(ask(polars_engine, calls)) == {"contact:1": reason}


def test_it_is_too_early_to_tell_before_two_working_days_have_passed(polars_engine):
    calls = [missed("m1", "2026-04-06 20:00", client="contact:1"), missed("m2", "2026-04-03 20:00", client="contact:2")]
    result = ask(polars_engine, calls)
    assert reasons(result) == {"contact:1": "PENDING", "contact:2": "LOST_NEW_CALLER"}
    found = row(result, "evening_night")
    assert (found["n_pending"], found["lost_clients"]) == (1, 1)


def test_who_bought_or_wrote_before_does_not_call_for_the_first_time(polars_engine):
    calls = [missed(f"m{n}", f"{SATURDAY} 10:00", client=f"contact:{n}") for n in range(3)]
    before, after = moscow("2026-01-01 10:00"), moscow("2026-04-01 10:00")
    clients = [
        {"client_id": "contact:0", "first_touch_at": before},
        {"client_id": "contact:1", "first_won_at": before},
        {"client_id": "contact:2", "first_touch_at": after},
    ]
    found = reasons(ask(polars_engine, calls, client=clients))
    assert found == {"contact:0": "LOST_CLIENT", "contact:1": "LOST_CLIENT", "contact:2": "LOST_NEW_CALLER"}


def test_calls_in_hours_are_counted_beside_but_not_listed(polars_engine):
    calls = [
        missed("m1", "2026-03-27 10:00", client="contact:1"),
        missed("m2", f"{SATURDAY} 10:00", client="contact:2"),
    ]
    result = ask(polars_engine, calls)
    assert result.tables["classes"].select("hours", "num", "n_listed").rows() == [("in_hours", 1, 0), ("day_off", 1, 1)]
    assert result.tables["out_of_hours"].select("num", "den", "lost_clients").rows() == [(1, 1, 1)]
    assert result.drilldown["client_id"].to_list() == ["contact:2"]


def test_a_hidden_number_is_a_missed_call_but_no_client(polars_engine):
    found = row(ask(polars_engine, [missed("m", f"{SATURDAY} 10:00", client=None)]), "day_off")
    assert (found["num"], found["n_clients"], found["lost_clients"]) == (1, 0, 0)


def test_nothing_known_of_chats_is_said(polars_engine):
    result = ask(polars_engine, [missed("m", f"{SATURDAY} 10:00")])
    assert "messages_not_synced" in {notice.code for notice in result.warnings}
