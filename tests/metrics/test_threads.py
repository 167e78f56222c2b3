"""Who is one caller (`thread_key`), and that A3 counts a call back whichever card it was written on."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from engines import on_every_engine
from hypothesis import given
from hypothesis import strategies as st
from published import canonical

from metrics.evaluate import evaluate
from metrics.marts import MartParams, build
from metrics.marts.threads import CLIENTS_PER_PHONE, threads, ties, with_thread_key
from metrics.metric import Period
from metrics.missed_calls import METRIC

NOON = datetime(2026, 4, 6, 9, 0, tzinfo=UTC)
AS_OF = NOON + timedelta(days=3)
PERIOD = Period(AS_OF, date(2026, 4, 1), date(2026, 4, 10))
CONTACTS = [{"contact_id": f"contact:{n}", "created_at": NOON - timedelta(days=90)} for n in (1, 2, 3)]
COLUMNS = {
    "client_id": pl.String,
    "phone_key": pl.String,
    "phone_digits": pl.Int64,
    "is_internal": pl.Boolean,
}


def keys(*pairs, **more):
    """thread_key of calls given as (client, phone)."""
    rows = [{"client_id": c, "phone_key": p, "phone_digits": 11, "is_internal": False, **more} for c, p in pairs]
    calls = pl.DataFrame(rows, schema=COLUMNS)
    return with_thread_key(calls, threads(ties(calls.lazy())))["thread_key"].to_list()


def call(number, contact, phone, hours, **changes):
    """A missed call of `phone` written on the card of `contact`, so many hours after noon."""
    return {
        "call_id": f"note:{number}",
        "direction": "in",
        "subtype": "normal",
        "status": "missed",
        "started_at": NOON + timedelta(hours=hours),
        "talk_s": 0,
        "user_id": "user:1",
        "phone_key": phone,
        "phone_digits": 11,
        "contact_id": contact,
        **changes,
    }


def called_back(number, contact, phone, hours):
    return call(number, contact, phone, hours, direction="out", status="answered", talk_s=60)


def states(engine, *calls, **tables):
    """State by client of the thread, along the whole way from call records."""
    given = {"contact": CONTACTS, "call": list(calls), **tables}
    made = build(canonical(given), AS_OF, MartParams())
    frames = engine.frames({"call_episode": made["call_episode"], "touch": made["touch"]}, as_of=AS_OF)
    return evaluate(METRIC, frames, None, PERIOD).tables["threads"].select("client_id", "state").rows()


@on_every_engine
def test_a_call_back_to_the_number_counts_on_another_card(engine):
    calls = call(1, "contact:1", "P", 0), called_back(2, "contact:2", "P", 1)
    assert states(engine, *calls) == [("contact:1", "called_back")]


@on_every_engine
def test_a_call_back_counts_on_the_card_made_after_the_first_call(engine):
    calls = call(1, None, "P", 0), called_back(2, "contact:2", "P", 1)
    assert states(engine, *calls) == [(None, "called_back")]


@on_every_engine
def test_a_call_back_to_another_number_of_the_other_card_counts(engine):
    earlier = called_back(1, "contact:2", "P", -50), called_back(2, "contact:2", "Q", -40)
    calls = call(3, "contact:1", "P", 0), called_back(4, "contact:2", "Q", 1)
    assert states(engine, *earlier, *calls) == [("contact:1", "called_back")]


@on_every_engine
def test_a_message_to_the_other_card_counts(engine):
    message = {
        "message_id": "1",
        "sent_at": NOON + timedelta(hours=2),
        "direction": "out",
        "author": "user",
        "user_id": "user:1",
        "contact_id": "contact:2",
    }
    calls = called_back(1, "contact:2", "P", -50), call(2, "contact:1", "P", 0)
    assert states(engine, *calls, message=[message]) == [("contact:1", "messaged")]


@on_every_engine
def test_a_call_back_to_somebody_else_does_not_count(engine):
    calls = call(1, "contact:1", "P", 0), called_back(2, "contact:2", "Q", 1)
    assert states(engine, *calls) == [("contact:1", "never")]


def test_a_number_of_too_many_clients_ties_none_of_them():
    many = [(f"contact:{n:02}", "switchboard") for n in range(CLIENTS_PER_PHONE + 1)]
    assert keys(*many, (None, "switchboard")) == [*(client for client, _ in many), "switchboard"]
    assert set(keys(*many[1:], (None, "switchboard"))) == {"contact:01"}


def test_extensions_and_hidden_numbers_tie_nobody():
    pair = ("contact:1", "P"), ("contact:2", "P")
    assert keys(*pair, is_internal=True) == keys(*pair, phone_digits=0) == ["contact:1", "contact:2"]
    assert keys((None, None)) == [None]


pairs = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.sampled_from(["P", "Q", "R", "S", None])), max_size=12
)


@given(calls=pairs, shuffled=st.randoms(use_true_random=False))
def test_calls_have_one_key_just_if_a_chain_of_calls_leads_from_one_to_the_other(calls, shuffled):
    found = dict(zip(calls, keys(*calls), strict=True))
    reach = {one: {one} for one in calls}
    for _ in calls:
        for one in calls:
            for other in calls:
                shares = any(x is not None and x == y for x, y in zip(one, other, strict=True))
                if shares:
                    reach[one] |= reach[other]
    for one in calls:
        for other in calls:
            if one != (None, None) != other:
                assert (found[one] == found[other]) == (other in reach[one])
    mixed = list(calls)
    shuffled.shuffle(mixed)
    assert dict(zip(mixed, keys(*mixed), strict=True)) == found
