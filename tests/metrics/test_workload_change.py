"""A10: what is compared with what, which weeks count, and when it is a signal."""

from datetime import date, datetime, time, timedelta

import pytest
from calls import MOSCOW, answer, got_in, got_out, missed, moscow, tried
from engines import on_every_engine

from metrics.metric import Period
from metrics.workload_change import METRIC, WorkloadChangeParams, _change, whole_weeks

AS_OF = moscow("2026-06-29 12:00")  # a Monday
PERIOD = Period(AS_OF, date(2026, 3, 30), date(2026, 6, 29))
MONDAYS = [date(2026, 4, 6) + timedelta(weeks=n) for n in range(12)]
TEAM = [{"user_id": f"user:{n}"} for n in range(1, 6)]
TIRED = (42, 45, 40, 44, 43, 41, 46, 44, 38, 31, 27, 24)


def dialled(user, by_week, *, make=tried, talk_s=None):
    """So many calls on the Wednesday of each week."""
    return [
        make(
            f"{user}-{make.__name__}-{n}-{k}",
            f"{monday + timedelta(days=2)} 11:00",
            client=f"contact:{k}",
            user_id=f"user:{user}",
            talk_s=talk_s,
        )
        for n, (monday, count) in enumerate(zip(MONDAYS, by_week, strict=True))
        for k in range(count)
    ]


def steady(*users, n=40):
    return [call for user in users for call in dialled(user, [n] * 12)]


def ask(engine, calls, **more):
    return answer(METRIC, engine, calls, **{"period": PERIOD, "user": TEAM, **more})


def series(result, user, name):
    (row,) = result.tables["series"].filter(user_id=f"user:{user}", series=name).rows(named=True)
    return row


def signal(result, user):
    (row,) = result.tables["signals"].filter(user_id=f"user:{user}").rows(named=True)
    return row["n_degraded"], row["signal"]


def test_the_example_of_the_catalogue():
    found = _change(MONDAYS, TIRED, -1, WorkloadChangeParams())
    assert (found["median_base"], found["median_recent"], found["sen_slope"]) == (43.5, 29.0, -1.5)
    assert (found["ratio"], found["rz"]) == pytest.approx((-0.333333, -6.520077), abs=1e-6)
    assert (found["mk_z"], found["mk_p"]) == pytest.approx((-2.199499, 0.027842), abs=1e-6)
    assert (found["break_week"], found["break_p"]) == (MONDAYS[8], pytest.approx(0.0751, abs=1e-4))
    assert found["degraded"]


def test_a_change_for_the_better_a_small_one_and_a_chance_one_are_none():
    params = WorkloadChangeParams()
    assert not _change(MONDAYS, TIRED, 1, params)["degraded"]
    assert not _change(MONDAYS, TIRED, -1, WorkloadChangeParams(drop=0.34))["degraded"]
    jump = [10, 1, 10, 1, 10, 9, 10, 9, 7, 7, 7, 7]
    found = _change(MONDAYS, jump, -1, params)
    assert (found["mk_p"] < 0.05, found["degraded"]) == (False, False)


@pytest.mark.parametrize(("n_unknown", "is_known"), [(2, True), (3, False)])
def test_ten_of_twelve_weeks_have_to_be_known(n_unknown, is_known):
    values = [None] * n_unknown + list(TIRED[n_unknown:])
    assert (_change(MONDAYS, values, -1, WorkloadChangeParams())["ratio"] is not None) == is_known


@on_every_engine
def test_a_person_is_measured_against_the_team(engine):
    """Calls per day at work; the others make 40 a week. Weeks short by holidays are so for all."""
    result = ask(engine, dialled(1, TIRED) + steady(2, 3, 4, 5))
    row = series(result, 1, "attempts_per_day")
    assert (row["n_weeks"], row["median_base"], row["median_recent"]) == (
        12,
        pytest.approx(43.5 / 40),
        pytest.approx(29 / 40),
    )
    assert row["degraded"]
    assert series(result, 2, "attempts_per_day")["degraded"] is False
    assert signal(result, 1) == (1, None), "one series is no signal"


def test_what_falls_for_everybody_is_no_change(polars_engine):
    result = ask(polars_engine, [call for user in range(1, 6) for call in dialled(user, TIRED)])
    assert series(result, 1, "attempts_per_day")["ratio"] == 0


def test_two_fallen_series_are_amber_and_three_red(polars_engine):
    calls = dialled(1, TIRED) + dialled(1, TIRED, make=got_out, talk_s=60)
    calls += [call for user in (2, 3, 4, 5) for call in dialled(user, [40] * 12, make=got_out, talk_s=60)]
    assert signal(ask(polars_engine, calls), 1) == (2, "amber")
    rising = range(12)
    calls += [
        missed(f"m{n}-{k}", f"{MONDAYS[n]} 12:00", rung_user_id="user:1") for n in rising for k in range(1 + n)
    ] + [got_in(f"i{n}-{k}", f"{MONDAYS[n]} 12:00", user_id="user:1") for n in rising for k in range(12 - n)]
    calls += [
        make(f"{make.__name__}{user}-{n}", f"{MONDAYS[n]} 12:00", user_id=f"user:{user}", rung_user_id=f"user:{user}")
        for user in (2, 3, 4, 5)
        for n in rising
        for make in (missed, got_in)
    ]
    result = ask(polars_engine, calls)
    assert series(result, 1, "missed_rate")["degraded"]
    assert signal(result, 1) == (3, "red")


def test_weeks_of_a_holiday_are_left_out(polars_engine):
    away = [{"user_id": "user:1", "first_day": date(2026, 6, 1), "end_day": date(2026, 6, 12), "kind": "vacation"}]
    calls = [
        call for call in dialled(1, TIRED) if not moscow("2026-06-01") <= call["started_at"] < moscow("2026-06-12")
    ]
    row = series(ask(polars_engine, calls + steady(2, 3, 4, 5), user_absence=away), 1, "attempts_per_day")
    assert row["n_weeks"] == 10


def test_three_colleagues_are_needed_and_who_does_not_call_is_none(polars_engine):
    calls = dialled(1, TIRED) + steady(2, 3)
    assert series(ask(polars_engine, calls), 1, "attempts_per_day")["n_weeks"] == 0
    assert series(ask(polars_engine, calls + steady(4)), 1, "attempts_per_day")["n_weeks"] == 12


def test_the_weeks_compared_are_named(polars_engine):
    table = ask(polars_engine, steady(1)).tables["compared"].drop("account_id")
    assert table.rows() == [(12, MONDAYS[0], MONDAYS[8], MONDAYS[11])]


def test_only_whole_weeks_of_the_period_that_are_over_count():
    monday = date(2026, 6, 29)
    assert whole_weeks(date(2026, 1, 1), monday, monday, 2) == [date(2026, 6, 15), date(2026, 6, 22)]
    assert whole_weeks(date(2026, 1, 1), date(2026, 7, 5), date(2026, 6, 28), 1) == [date(2026, 6, 15)]
    assert whole_weeks(date(2026, 6, 16), monday, monday, 12) == [date(2026, 6, 22)]


def test_a_period_of_too_few_weeks_says_so(polars_engine):
    period = Period(AS_OF, date(2026, 6, 1), date(2026, 6, 29))
    result = ask(polars_engine, steady(1, 2, 3, 4), period=period)
    assert "few_weeks" in {notice.code for notice in result.warnings}
    assert result.tables["series"]["degraded"].null_count() == result.tables["series"].height


def test_tasks_are_on_time_by_their_instant_or_their_day(polars_engine):
    due = moscow("2026-06-23 12:00")
    tasks = [
        {"due_at": due, "completed_at": due},
        {"due_at": due, "completed_at": due + timedelta(seconds=1)},
        {"due_at": due, "completed_at": due + timedelta(hours=5), "due_is_allday": True},
        {"due_at": due},
        {"due_at": due, "deleted_at": due},
        {"due_at": due, "completed_at": due, "deleted_at": AS_OF + timedelta(days=1)},
        {"due_at": due, "completed_at": due, "created_at": AS_OF + timedelta(days=1)},
    ]
    rows = [{"task_id": f"task:{n}", "responsible_user_id": "user:1", **task} for n, task in enumerate(tasks)]
    weeks = ask(polars_engine, [], task=rows).tables["weeks"]
    raw = weeks.filter(user_id="user:1", series="tasks_on_time_share", week=date(2026, 6, 22))["raw"]
    assert raw.to_list() == [3 / 5]


@pytest.mark.parametrize("where", [{"chat_id": "c"}, {"contact_id": "contact:1"}])
@on_every_engine
def test_a_reply_counts_from_the_first_message_of_the_clients_turn_in_working_time(engine, where):
    """J2: a bot and a second message of the client change nothing; what is said to nobody is no reply.

    Where messages do not say of which chat they are, the client's are one chat.
    """
    day = date(2026, 6, 23)

    def said(n, at, author, **more):
        instant = datetime.combine(day, time.fromisoformat(at), MOSCOW)
        user = {"user_id": "user:1"} if author == "user" else {}
        return {
            "message_id": f"m{n}",
            "author": author,
            "sent_at": instant,
            "channel": "whatsapp",
            **where,
            **user,
            **more,
        }

    spoken = ["08:00 client", "10:01 client", "10:06 user", "10:10 client", "10:10 bot", "10:40 user", "10:50 user"]
    messages = [said(n, *one.split()) for n, one in enumerate(spoken)]
    messages.append(said(99, "11:00", "client", channel="email"))
    weeks = ask(engine, [], message=messages).tables["weeks"]
    raw = weeks.filter(user_id="user:1", series="reply_s", week=date(2026, 6, 22))["raw"]
    assert raw.to_list() == [(66 * 60 + 30 * 60) / 2]


def test_the_weeks_behind_a_series_are_listed(polars_engine):
    result = ask(polars_engine, dialled(1, TIRED) + steady(2, 3, 4, 5), params={"population": ("user:1",)})
    rows = result.drilldown.filter(group_key="user:1 attempts_per_day")
    assert rows.height == 12
    assert (rows["entity_id"][0], rows["reason"][0]) == ("week:2026-04-06", "ATTEMPTS_PER_DAY")
    assert set(result.tables["signals"]["user_id"]) == {"user:1"}
