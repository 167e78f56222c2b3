"""The demo company: made again it is the same, and what was planted can be found in what was written down."""

import itertools
import pickle
from collections import Counter, defaultdict
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from demo import office
from demo.answer_key import answer_key, forgotten_clients, local_day, moves_by_deal, of_clients, threads
from demo.company import Company, build
from demo.model import COMPANY, CONTACT, DAY, LEAD, CallNote, Conversation
from demo.office import LOST, OPEN_STAGES, WON

TINY = 0.01


@pytest.fixture(scope="session")
def big_company() -> Company:
    """Large enough for rare things to happen."""
    return build(scale=0.3)


def test_equal_seeds_give_equal_companies():
    first, second = build(scale=TINY), build(scale=TINY)
    assert first == second
    assert pickle.dumps(answer_key(first)) == pickle.dumps(answer_key(second))


def test_another_seed_gives_another_company():
    assert build(seed=1, scale=TINY).deals != build(seed=2, scale=TINY).deals


def test_a_naive_as_of_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        build(scale=TINY, as_of=datetime(2026, 11, 21))  # noqa: DTZ001


def test_a_later_as_of_only_shifts_the_company_in_time():
    early, late = (build(scale=TINY, as_of=datetime(2026, month, 21, tzinfo=UTC)) for month in (5, 11))
    assert len(early.clients) >= 60 <= len(late.clients)
    assert late.as_of - early.as_of == timedelta(days=184)


def test_nothing_happens_from_as_of_on_and_yesterday_something_did(company: Company):
    instants = [
        *(deal.updated_at for deal in company.deals),
        *(contact.updated_at for contact in company.contacts),
        *(firm.updated_at for firm in company.firms),
        *company.moves.column("at"),
        *company.owner_changes.column("at"),
        *company.price_changes.column("at"),
        *company.card_events.column("at"),
        *company.calls.column("created_at"),
        *company.calls.column("updated_at"),
        *company.conversations.column("at"),
        *company.tasks.column("created_at"),
        *company.tasks.column("updated_at"),
        *company.tasks.column("deleted_at"),
        *company.messages.column("at"),
        *(note.updated_at for note in company.notes),
        *company.talks.column("updated_at"),
        *(request.created_at for request in company.requests),
    ]
    assert max(instants) < company.now
    assert max(company.calls.column("created_at")) >= company.now - 3 * DAY


def test_sizes_follow_the_scale(company: Company):
    assert len(company.deals) == 1000
    assert len([client for client in company.clients if client.kind != "lead"]) == 300
    assert 0.9 < len(company.calls) / 6000 < 1.1
    assert len(company.tasks) == 2000


def test_numbers_of_phones_belong_to_one_client_only(company: Company):
    owners = Counter(phone for client in company.clients for phone in client.phones)
    assert set(owners.values()) == {1}


def test_conversations_of_one_client_are_minutes_apart(company: Company):
    for talks in of_clients(company).values():
        gaps = [after.at - (before.at + max(before.talk_s, 0)) for before, after in itertools.pairwise(talks)]
        assert min(gaps, default=60) >= 60


def test_moves_of_a_deal_are_a_chain_from_its_first_stage_to_its_present_one(company: Company):
    moves = moves_by_deal(company)
    for deal in company.deals:
        stage = (deal.first_pipeline_id, deal.first_stage_id)
        last = deal.created_at
        for move in moves.get(deal.id, ()):
            assert (move.from_pipeline_id, move.from_stage_id) == stage
            assert move.at >= last
            stage, last = (move.to_pipeline_id, move.to_stage_id), move.at
        assert stage == (deal.pipeline_id, deal.stage_id)


def test_every_awkward_history_occurs(big_company):
    company = big_company
    moves = moves_by_deal(company)
    sort = {stage: i for stages in OPEN_STAGES.values() for i, stage in enumerate(stages)}
    seen = Counter[str]()
    for deal in company.deals:
        path = moves.get(deal.id, [])
        seen["imported"] += deal.is_imported
        seen["deleted"] += bool(deal.deleted_at)
        seen["restored"] += bool(deal.restored_at)
        seen["no reason"] += deal.stage_id == LOST and not deal.loss_reason_id
        seen["born later"] += sort.get(deal.first_stage_id, 0) > 0
        seen["born closed"] += deal.first_stage_id in {WON, LOST}
        seen["no cards"] += not deal.contact_ids and not deal.company_id
        for move in path:
            steps = sort.get(move.to_stage_id, 0) - sort.get(move.from_stage_id, 0)
            both_open = move.to_stage_id in sort and move.from_stage_id in sort
            same = move.from_pipeline_id == move.to_pipeline_id
            seen["skipped"] += both_open and same and steps > 1
            seen["back"] += both_open and same and steps < 0
            seen["reopened"] += move.from_stage_id in {WON, LOST}
            seen["other pipeline"] += not same
        pairs = itertools.pairwise(path)
        seen["two in a second"] += any(a.at == b.at and a.by_user_id == b.by_user_id == 0 for a, b in pairs)
    missing = [name for name, n in seen.items() if not n]
    assert not missing


def test_what_was_won_has_a_price_that_nobody_changed_afterwards(company: Company):
    moves = moves_by_deal(company)
    last_change: dict[int, int] = {}
    for change in company.price_changes:
        last_change[change.entity_id] = change.at
    for deal in company.deals:
        if deal.stage_id == WON:
            assert deal.price
            if deal.id in last_change:
                assert last_change[deal.id] < moves[deal.id][-1].at


def heard(notes: list[CallNote]) -> list[tuple[int, int, int, int]]:
    """R-DEDUP over the notes of one client, as simply as can be: (first instant, is_in, is_answered, talk_s)."""
    kept: list[CallNote] = []
    for note in sorted(notes, key=lambda note: (note.created_at, note.id)):
        if not any(is_double(note, other) for other in kept):
            kept.append(note)
    groups: list[list[CallNote]] = []
    for note in kept:
        last = groups[-1] if groups else []
        ends = max((leg.created_at + max(leg.duration, 0) for leg in last), default=-(10**9))
        same = last and note.is_in and last[0].is_in and last[0].phone == note.phone
        if same and note.created_at <= ends + 5:
            last.append(note)
        else:
            groups.append([note])
    return [
        (
            min(leg.created_at for leg in legs),
            legs[0].is_in,
            int(any(is_answered(leg) for leg in legs)),
            sum(leg.duration for leg in legs if is_answered(leg)),
        )
        for legs in groups
    ]


def is_answered(note: CallNote) -> bool:
    if note.duration < 0:
        return note.status == 4
    return note.duration > 0 and not (note.is_in and note.status == 1)


def is_double(note: CallNote, other: CallNote) -> bool:
    user = note.call_responsible_id if note.call_responsible_id > 0 else note.created_by or note.responsible_id
    their = other.call_responsible_id if other.call_responsible_id > 0 else other.created_by or other.responsible_id
    if note.is_in != other.is_in or note.phone != other.phone or user != their:
        return False
    apart = abs(note.created_at - other.created_at)
    if note.uniq > 0 and other.uniq > 0:
        return note.uniq == other.uniq and note.provider == other.provider and apart <= 300
    return apart <= 5 and abs(note.duration - other.duration) <= 2


def clients_by_card(company: Company) -> dict[tuple[int, int], int]:
    cards = {(LEAD, deal.id): deal.client_no for deal in company.deals}
    for client in company.clients:
        cards |= {(CONTACT, number): client.no for number in client.contact_ids}
        cards[COMPANY, client.company_id] = client.no
    return cards


def test_the_conversations_can_be_found_from_the_notes(big_company):
    """The dirt of the telephony is removable by the catalogue's rule, and leaves exactly what really happened."""
    company = big_company
    cards = clients_by_card(company)
    notes: dict[int, list[CallNote]] = defaultdict(list)
    for note in company.calls:
        if note.phone > 10**6:
            notes[cards[note.entity_kind, note.entity_id]].append(note)
    for client_no, talks in of_clients(company).items():
        planted = [(talk.at, talk.is_in, talk.is_answered, max(talk.talk_s, -1)) for talk in talks]
        found = heard(notes[client_no])
        assert [row[:3] for row in found] == [row[:3] for row in planted]
        for (_, _, was_answered, said), (_, _, _, meant) in zip(found, planted, strict=True):
            if was_answered:
                assert abs(said - meant) <= 1


def test_every_kind_of_dirt_occurs(big_company):
    company = big_company
    notes = list(company.calls)
    assert any(note.duration < 0 for note in notes)
    assert any(note.phone == 0 for note in notes)
    assert any(0 < note.phone < 1000 for note in notes)
    assert any(note.uniq == 0 for note in notes)
    assert any(note.uniq < 0 for note in notes)
    assert any(note.call_responsible_id == -1 for note in notes)
    assert any(note.status == 1 and note.duration > 0 for note in notes)
    used: dict[tuple[int, int], list[CallNote]] = defaultdict(list)
    for note in notes:
        if note.uniq > 0:
            used[note.uniq, note.provider].append(note)
    assert any(len({n.entity_kind for n in same}) > 1 for same in used.values())
    assert any(len({n.responsible_id for n in same}) > 1 for same in used.values())
    assert any(abs(same[0].created_at - same[-1].created_at) > DAY for same in used.values())


def test_a_thread_swallows_later_missed_calls_until_somebody_talks():
    def call(at: int, is_in: int, is_answered: int) -> Conversation:
        return Conversation(0, at, is_in, is_answered, 60 * is_answered, 1, 1, 0)

    talks = [
        call(0, 1, 0),
        call(10, 1, 0),
        call(20, 0, 0),
        call(30, 0, 1),
        call(40, 1, 0),
        call(50, 1, 1),
        call(60, 1, 0),
    ]
    found = [(first.at, state) for first, state in threads(talks, 70)]
    assert found == [(0, "called_back"), (40, "client_recovered"), (60, "pending")]
    assert [state for _, state in threads([call(0, 1, 0), call(5, 0, 0)], 86_400)] == ["attempted_only"]
    found = [(first.at, state) for first, state in threads(talks, 70, [5, 30, 62])]
    assert found == [(0, "messaged"), (10, "called_back"), (40, "client_recovered"), (60, "messaged")]


def test_the_key_adds_up(company: Company):
    key = answer_key(company)
    calls, forgotten = key["A3"], key["B2"]
    assert sum(calls["states"].values()) == sum(sum(found.values()) for found in calls["by_user"].values())
    assert forgotten["num"] == len(forgotten["forgotten"]) == sum(row["num"] for row in forgotten["by_user"].values())
    assert forgotten["den"] == sum(row["den"] for row in forgotten["by_user"].values())
    assert forgotten["reassign"]["num"] == len(forgotten["reassign_forgotten"]) > 0
    assert key["leaver_user_id"] not in forgotten["by_user"]
    months = key["D6"]["months"]
    assert len(months) == 13
    for before, after in itertools.pairwise(months):
        assert after["churned"] == before["churned"] + after["churned_n"] - after["reactivated_n"]
        buyers = [sum(month[name] for name in ("active", "at_risk", "churned")) for month in (before, after)]
        assert buyers[1] == buyers[0] + after["new"]


def test_the_bottleneck_is_where_it_was_planted(big_company):
    key = answer_key(big_company)
    assert key["E6"]["bottleneck_stage_id"] == key["bottleneck_stage_id"] == "status:60200005"
    leaks = sorted(row["leak_minor"] for row in key["E6"]["stages"])
    assert leaks[-1] > 2 * leaks[-2]


def test_one_manager_misses_calls_at_lunch_time(big_company):
    company = big_company
    missed, rung = Counter[int](), Counter[int]()
    for talk in company.conversations:
        if talk.is_in and not talk.kind and talk.user_id and (talk.at + office.MSK_S) % DAY // 3600 == 13:
            rung[talk.user_id] += 1
            missed[talk.user_id] += not talk.is_answered
    share = {user: missed[user] / rung[user] for user in rung if rung[user] >= 20}
    worst = max(share, key=lambda user: share[user])
    assert worst == company.planted.lunch_user_id
    assert share[worst] > 0.6
    assert sorted(share.values())[-2] < 0.3


def test_who_left_calls_nobody_any_more_and_still_owns_clients(company: Company):
    planted = company.planted
    last = max(talk.at for talk in company.conversations if talk.user_id == planted.leaver_user_id)
    assert last < planted.left_at
    assert any(client.user_id == planted.leaver_user_id for client in company.clients)
    assert any(client.previous_user_id == planted.leaver_user_id for client in company.clients)


def test_the_burnt_out_manager_does_less_than_before(big_company):
    company = big_company
    planted = company.planted

    def calls_a_day(first: int, last: int) -> float:
        made = sum(
            first <= talk.at < last and talk.user_id == planted.burnout_user_id for talk in company.conversations
        )
        return made / ((last - first) / DAY)

    before = calls_a_day(planted.burnout_from - 56 * DAY, planted.burnout_from)
    assert calls_a_day(planted.burnout_from, company.now) < 0.75 * before


def test_borders_of_forgetting_are_hit_from_both_sides(big_company):
    company = big_company
    today = local_day(company.now)
    touched = [
        max((local_day(t.at) for t in talks if t.is_answered and t.talk_s >= 10), default=0)
        for talks in of_clients(company).values()
    ]
    days = Counter(today - day for day in touched)
    assert days[60]
    assert days[61]


def test_sixty_days_are_not_forgotten_and_sixty_one_are(company: Company):
    client = next(c for c in company.clients if c.kind == "contact" and c.user_id != company.planted.leaver_user_id)
    deal = company.deals[0]._replace(client_no=client.no, stage_id=WON, deleted_at=0)
    silent = {"messages": company.messages.reordered([]), "tasks": company.tasks.reordered([]), "notes": []}
    alone = replace(company, deals=[deal], **silent)
    for days, expected in ((60, []), (61, [client.root])):
        talk = Conversation(client.no, company.now - days * DAY + 40_000, 0, 1, 10, client.user_id, 1, 0)
        assert forgotten_clients(alone, {client.no: [talk]})["forgotten"] == expected
    short = talk._replace(at=company.now - DAY, talk_s=9)
    assert forgotten_clients(alone, {client.no: [talk, short]})["num"] == 1


def test_the_company_is_plain_data(company: Company):
    assert all(field.init for field in fields(company))
    with pytest.raises(AttributeError):
        company.seed = 2  # type: ignore[misc]
