"""C7: which losses are doubtful, and by which rules."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from decided_deals import MOSCOW, answered, deal, moscow, stays
from engines import on_every_engine

from metrics.doubtful_losses import METRIC, RULES, DoubtfulLossesParams
from metrics.metric import Period

NOW = Period(moscow("2026-04-10 18:00"), date(2026, 4, 7), date(2026, 4, 11))


def working_day(day):
    opens = int(datetime(2026, 4, day, 9, tzinfo=MOSCOW).timestamp())
    hours = {"open_epoch": opens, "close_epoch": opens + 9 * 3600}
    rest = {"open2_epoch": opens + 9 * 3600, "close2_epoch": opens + 9 * 3600}
    before = (day - 1) * 9 * 3600
    return {"calendar_id": "default", "day": date(2026, 4, day), "is_working": True, "before_s": before} | hours | rest


DAYS = [working_day(day) for day in range(1, 13)]


def lost(number=1, reason="whim", at="2026-04-09 12:00", created="2026-04-01 12:00", **more):
    return deal(number, "lost", reason, created_at=moscow(created), outcome_at=moscow(at), **more)


def touch(at, client=1, **more):
    row = {"touch_id": f"{client}@{at}{sorted(more)}", "client_id": f"contact:{client}", "touched_at": moscow(at)}
    return row | {"kind": "call", "direction": "out", "is_meaningful": True} | more


def attempt(at, client=1):
    return touch(at, client, is_meaningful=False, is_attempt=True)


GOOD = [touch("2026-04-01 12:30")]
"""A first talk within half an hour: no rule about touches holds."""


def asked(engine, *rows, touches=GOOD, params=None, **tables):
    if "deal" not in tables:
        tables["deal"] = [{"deal_id": row["deal_id"], "comment_letters": 20} for row in rows]
    return answered(METRIC, engine, rows, period=NOW, touch=touches, calendar_day=DAYS, params=params, **tables)


def codes(result, deal_id="lead:1"):
    """Rules that hold for one deal, listed or not."""
    found = result.tables["review"].filter(deal_id=deal_id)["codes"].to_list()
    return found[0].split(", ") if found else []


def held(engine, *rows, **tables):
    """Rules that hold, however little they weigh."""
    params = {"min_score": 1} | tables.pop("params", {})
    return codes(asked(engine, *rows, params=params, **tables))


@on_every_engine
def test_c7_the_example_of_the_catalogue(engine):
    touches = [attempt("2026-04-01 12:30"), touch("2026-04-10 10:00", kind="message", direction="in")]
    result = asked(engine, lost(reason="silent"), touches=touches)
    row = result.tables["review"].row(0, named=True)
    assert (row["codes"], row["score"]) == ("FEW_TRIES, ACTIVE_CLIENT", 8)
    assert row["why_ru"].startswith("«недозвон»")
    assert result.drilldown.select("entity_id", "value", "group_key").rows() == [("lead:1", 8.0, "user:1")]


def test_nothing_is_doubtful_of_a_loss_that_was_worked_and_explained(polars_engine):
    assert held(polars_engine, lost()) == []


def test_no_touch_means_neither_touch_nor_attempt_ever(polars_engine):
    assert held(polars_engine, lost(), touches=[]) == ["NO_TOUCH"]
    assert held(polars_engine, lost(), touches=[touch("2026-04-08 12:00", direction="in")]) == [
        "NO_TOUCH",
        "ACTIVE_CLIENT",
    ]
    assert held(polars_engine, lost(), touches=[attempt("2025-01-01 12:00")]) == []


def test_fast_is_within_ten_working_minutes_and_without_a_call(polars_engine):
    at_once = lost(created="2026-04-08 17:55", at="2026-04-09 09:04")
    assert held(polars_engine, at_once, touches=[touch("2026-04-08 10:00")]) == ["FAST"]
    assert held(polars_engine, at_once, touches=[touch("2026-04-08 17:56")]) == []
    slower = lost(created="2026-04-08 17:55", at="2026-04-09 09:05")
    assert held(polars_engine, slower, touches=[touch("2026-04-08 10:00")]) == []


@pytest.mark.parametrize(
    ("days", "is_few"),
    [((2, 2), True), ((2, 3), True), ((2, 2, 2), True), ((2, 2, 3), False)],
)
def test_no_answer_needs_three_attempts_on_two_days(polars_engine, days, is_few):
    touches = [*GOOD, *(attempt(f"2026-04-0{day} 1{n}:00") for n, day in enumerate(days))]
    assert ("FEW_TRIES" in held(polars_engine, lost(reason="silent"), touches=touches)) is is_few


def test_a_client_who_called_and_was_missed_is_active_too(polars_engine):
    def call(at):
        return {"episode_id": at, "client_id": "contact:1", "direction": "in", "started_at": moscow(at)}

    assert held(polars_engine, lost(), call_episode=[call("2026-04-10 09:00")]) == ["ACTIVE_CLIENT"]
    assert held(polars_engine, lost(), call_episode=[call("2026-04-06 12:00")]) == ["ACTIVE_CLIENT"]
    assert held(polars_engine, lost(), call_episode=[call("2026-04-06 11:59")]) == []


def test_a_reason_is_stated_by_a_category_or_by_ten_letters(polars_engine):
    def with_letters(row, letters):
        return held(polars_engine, row, deal=[{"deal_id": "lead:1", "comment_letters": letters}])

    assert with_letters(lost(reason=None), 100) == ["NO_REASON"]
    assert with_letters(lost(reason="whim"), 9) == ["NO_REASON"]
    assert with_letters(lost(reason="whim"), 10) == []
    assert with_letters(lost(reason="price"), 0) == []


def test_too_expensive_needs_an_offer_where_a_stage_is_named_so(polars_engine):
    def stage(stage_id, name, sort):
        return {"pipeline_id": "pipeline:1", "stage_id": stage_id, "name": name, "kind": "open", "sort": sort}

    stages = [stage("new", "Новая", 10), stage("offer", "КП отправлено", 20)]
    early, late = stays(1, ("new", "open", 10)), stays(1, ("new", "open", 10), ("offer", "open", 20))
    row = lost(reason="price")
    assert held(polars_engine, row, stage=stages, stage_interval=early) == ["PRICE_NO_OFFER"]
    assert held(polars_engine, row, stage=stages, stage_interval=late) == []
    assert held(polars_engine, row, stage=stages[:1], stage_interval=early) == []


def test_high_is_the_top_tenth_of_what_was_won_in_a_year(polars_engine):
    won = [
        deal(10 + n, "won", client_id="contact:9", outcome_at=moscow("2025-12-01"), amount_minor=n * 100)
        for n in range(1, 12)
    ]
    assert held(polars_engine, lost(amount_minor=1000), *won) == ["HIGH_VALUE"]
    assert held(polars_engine, lost(amount_minor=999), *won) == []
    assert held(polars_engine, lost(amount_minor=None), *won) == []


def test_ten_losses_of_one_user_within_five_minutes_are_a_batch(polars_engine):
    def closed(n, seconds):
        rows = [
            lost(1 + i, client_id="contact:1") | {"outcome_at": moscow("2026-04-09 12:00") + timedelta(seconds=s)}
            for i, s in enumerate(seconds)
        ]
        return asked(polars_engine, *rows, params={"min_score": 1}).tables["review"]["deal_id"].len() == n

    assert closed(10, range(0, 300, 30))
    assert closed(10, [*range(0, 270, 30), 300])
    assert closed(0, [*range(0, 270, 30), 301])
    assert closed(0, range(0, 270, 30))
    assert closed(10, [*range(0, 300, 30), 700])


def test_a_late_first_answer_an_open_task_and_an_earlier_purchase_are_doubts_too(polars_engine):
    assert held(polars_engine, lost(), touches=[touch("2026-04-01 16:00")]) == []
    assert held(polars_engine, lost(), touches=[touch("2026-04-01 16:01")]) == ["SLOW_FIRST"]
    made = {"task_id": "task:1", "entity_id": "lead:1", "created_at": moscow("2026-04-01")}
    future, past = {"due_at": moscow("2026-04-12")}, {"due_at": moscow("2026-04-10")}
    assert held(polars_engine, lost(), task=[made | future]) == ["OPEN_TASK"]
    assert held(polars_engine, lost(), task=[made | past]) == []
    assert held(polars_engine, lost(), task=[made | future | {"is_completed": True}]) == []
    bought = deal(2, "won", client_id="contact:1", outcome_at=moscow("2026-01-10"))
    assert held(polars_engine, lost(), bought) == ["REPEAT_BUYER"]


def test_spam_and_what_a_robot_closed_are_doubtful_only_while_the_client_is_in_touch(polars_engine):
    people = [{"user_id": "user:1"}, {"user_id": "user:bot", "is_robot": True}]
    move = {"change_id": "1", "deal_id": "lead:1", "changed_at": moscow("2026-04-09 12:00"), "by_user_id": "user:bot"}
    back = touch("2026-04-10 10:00", direction="in")
    spam, robot = lost(reason="spam"), lost(reason=None)
    of_robot = {"deal_stage_transition": [move], "user": people}
    assert held(polars_engine, spam, touches=[]) == []
    assert held(polars_engine, spam, touches=[back]) == ["ACTIVE_CLIENT"]
    assert held(polars_engine, robot, touches=[], **of_robot) == []
    assert held(polars_engine, robot, touches=[back], **of_robot) == ["NO_TOUCH", "ACTIVE_CLIENT", "NO_REASON"]


def test_a_weight_of_nothing_switches_a_rule_off(polars_engine):
    assert held(polars_engine, lost(), touches=[], params={"no_touch": 0}) == []


def test_managers_have_a_share_of_doubtful_losses_and_rules_a_count(polars_engine):
    rows = [lost(1), lost(2, outcome_user_id="user:2"), lost(3)]
    result = asked(polars_engine, *rows, touches=[touch("2026-04-01 12:30", n) for n in (1, 3)])
    assert dict(result.tables["by_user"].select("user_id", "num").iter_rows()) == {"user:1": 0, "user:2": 1}
    assert result.tables["total"].select("num", "den").rows() == [(1, 3)]
    assert result.tables["rules"].select("code", "n_holds").rows() == [("NO_TOUCH", 1)]


def test_every_rule_says_why_in_both_languages():
    assert all(rule.ru and rule.en for rule in RULES)
    assert {rule.code.lower() for rule in RULES} < set(DoubtfulLossesParams.model_fields)
    assert len({rule.code for rule in RULES}) == len(RULES)


def test_dearest_of_equally_doubtful_first(polars_engine):
    rows = [lost(1, amount_minor=5), lost(2, amount_minor=None), lost(3, amount_minor=9)]
    listed = asked(polars_engine, *rows, touches=[]).tables["review"]
    assert listed["deal_id"].to_list() == ["lead:3", "lead:1", "lead:2"]
    assert listed.schema["codes"] == pl.String
