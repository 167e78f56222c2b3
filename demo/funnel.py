"""Deals of the demo company: when clients want something, and the way of each deal through the stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from demo import office, words
from demo.model import DAY, DELETED, LEAD, RESTORED, CardEvent, Change, Columns, Deal, Move, Values
from demo.office import LOST, MSK_S, OPEN_STAGES, ROBOT, WON, Calendar
from demo.people import Draft

Step = tuple[int, int, int, int, int, int, int]
"""A move without its deal: at, from pipeline and stage, to pipeline and stage, by, is_logged."""

BASE_PRICE = {office.SALES: 60_000, office.REPEAT: 35_000, office.WHOLESALE: 240_000}
NO_WIN_DAYS = (90, 91, 92, 180, 181, 182)
"""Days before as_of on which nothing is won: a client's state must not turn within the running day (D6)."""


def deal_times(rng: Random, draft: Draft, *, started_at: int, now: int) -> list[int]:
    """When the client asks for something, by the way he lives."""
    first = max(draft.created_at, started_at)
    gap = rng.uniform(32, 88) * DAY
    if draft.life in {"once", "fresh"}:
        n = rng.choices((1, 2, 3), (70, 20, 10))[0]
        return sorted(first + int(rng.random() ** 2 * (now - first)) for _ in range(n))
    stop = now
    if draft.life == "churner":
        stop = first + int(rng.uniform(0.2, 0.75) * max(now - 200 * DAY - first, 0))
    times, at = [], first + rng.random() * gap * 0.5
    pause_at = first + rng.uniform(0.2, 0.5) * (now - first) if draft.life == "returned" else 0.0
    while at < stop:
        times.append(int(at))
        step = gap * rng.uniform(0.6, 1.5)
        if pause_at and at >= pause_at:
            step, pause_at = rng.uniform(200, 290) * DAY, 0.0
        at += step
    return times or [first + int(rng.random() * DAY)]


def plan_deals(rng: Random, drafts: Sequence[Draft], *, n: int, started_at: int, now: int) -> list[tuple[int, Draft]]:
    """`n` wishes to buy: (instant, whose), in order of time."""
    plan = [(at, d) for d in drafts for at in deal_times(rng, d, started_at=started_at, now=now) if at < now - DAY]
    while len(plan) < n:
        draft = rng.choice(drafts)
        if draft.life != "churner" and draft.created_at < now - 2 * DAY:
            first = max(draft.created_at, started_at)
            plan.append((first + int(rng.random() * (now - DAY - first)), draft))
    if len(plan) > n:
        plan = rng.sample(plan, n)
    return sorted(plan, key=lambda item: (item[0], item[1].no))


@dataclass
class Path:
    """The way of one deal so far."""

    pipeline_id: int
    first_stage_id: int
    stage_id: int
    steps: list[Step]
    first_pipeline_id: int


class Walker:
    """Walks deals through their pipelines up to `now`."""

    def __init__(self, rng: Random, calendar: Calendar, *, now: int, left_at: int, leaver_id: int) -> None:
        self._rng, self._calendar, self._now = rng, calendar, now
        self._left_at, self._leaver_id = left_at, leaver_id
        self._no_wins = {(now + MSK_S) // DAY - days for days in NO_WIN_DAYS}

    def walk(self, draft: Draft, pipeline_id: int, created_at: int, *, is_stuck: bool) -> Path:
        """From creation until the deal is closed, or today."""
        rng = self._rng
        stages = OPEN_STAGES[pipeline_id]
        place = 0
        first = stages[0]
        entry = rng.random()
        path = Path(pipeline_id, first, first, [], pipeline_id)
        at = created_at
        if entry < 0.15:  # an incoming request somebody accepted
            path.first_stage_id = path.stage_id = office.UNSORTED_STAGE[pipeline_id]
            accepted_at = self._next(at + 60 + int(rng.expovariate(1 / 3600)))
            if not accepted_at or not self._step(path, draft, accepted_at, pipeline_id, first):
                path.first_stage_id = path.stage_id = first  # what nobody accepted is a request, not a deal
                return path
            at = accepted_at
        elif entry < 0.19:  # born in a later stage
            place = rng.randrange(1, len(stages))
            path.first_stage_id = path.stage_id = stages[place]
        stop_place = rng.randrange(len(stages)) if is_stuck else -1
        self._go(path, draft, place, at, stop_place)
        return path

    def _go(self, path: Path, draft: Draft, place: int, at: int, stop_place: int) -> None:  # noqa: PLR0912 - one branch for each way a visit can end
        rng = self._rng
        while place != stop_place:
            steps, stages = office.STEPS[path.pipeline_id], OPEN_STAGES[path.pipeline_id]
            step = steps[place]
            at = self._next(at + 600 + int(rng.expovariate(1 / (step.days * DAY))))
            if not at:
                return
            chance = rng.random()
            if chance < step.lose:
                if not self._step(path, draft, at, path.pipeline_id, LOST) or rng.random() > 0.03:
                    return
                at = self._next(at + int(rng.uniform(3, 45) * DAY))  # reopened
                if not at or not self._step(path, draft, at, path.pipeline_id, stages[place]):
                    return
                continue
            chance = rng.random()
            if chance < 0.05 and place:
                target = place - 1  # sent back
            elif chance < 0.06 and path.pipeline_id == office.SALES and draft.kind == "company" and place:
                if not self._step(path, draft, at, office.WHOLESALE, OPEN_STAGES[office.WHOLESALE][0]):
                    return
                place = 0
                continue
            elif chance < 0.065 and place + 2 < len(stages):
                self._misdrag(path, draft, at, stages=stages, place=place)
                continue
            else:
                target = place + (2 if chance > 0.9 else 1)
            if target >= len(stages):
                self._win(path, draft, at)
                return
            if chance > 0.98 and target == place + 2:  # a robot hurries the deal through in one second
                self._step(path, draft, at, path.pipeline_id, stages[place + 1], by=ROBOT)
            if not self._step(path, draft, at, path.pipeline_id, stages[target], by=ROBOT if chance > 0.98 else None):
                return
            place = target

    def _misdrag(self, path: Path, draft: Draft, at: int, *, stages: tuple[int, ...], place: int) -> None:
        """Dropped on the wrong stage and back within the minute."""
        if self._step(path, draft, at, path.pipeline_id, stages[place + 2]):
            self._step(path, draft, at + self._rng.randrange(15, 50), path.pipeline_id, stages[place])

    def _win(self, path: Path, draft: Draft, at: int) -> None:
        while (at + MSK_S) // DAY in self._no_wins:
            at += DAY
        if not self._step(path, draft, at, path.pipeline_id, WON) or self._rng.random() > 0.01:
            return
        again = self._next(at + int(self._rng.uniform(1, 4) * DAY))  # won, taken back, won for good
        stage = OPEN_STAGES[path.pipeline_id][-1]
        final = self._next(again + int(self._rng.uniform(1, 4) * DAY)) if again else 0
        while final and (final + MSK_S) // DAY in self._no_wins:
            final += DAY
        if final and final < self._now - 600:
            self._step(path, draft, again, path.pipeline_id, stage)
            self._step(path, draft, final, path.pipeline_id, WON)

    def _next(self, at: int) -> int:
        """When work goes on after `at`; 0 if that is not before today."""
        moment = self._calendar.not_before(self._rng, at)
        return moment if moment < self._now - 600 else 0

    def _step(
        self, path: Path, draft: Draft, at: int, pipeline_id: int, stage_id: int, *, by: int | None = None
    ) -> bool:
        user = draft.user_at(at)
        if at >= self._now - 600 or (user == self._leaver_id and at >= self._left_at):
            return False  # what a leaver left behind stands still
        who = user if by is None else by
        path.steps.append((at, path.pipeline_id, path.stage_id, pipeline_id, stage_id, who, 1))
        path.pipeline_id, path.stage_id = pipeline_id, stage_id
        return True


class Deals:
    """Everything about deals as it grows: the cards, their moves, and what else was logged about them."""

    def __init__(self) -> None:
        self.deals: list[Deal] = []
        self.moves: Columns[Move] = Columns(Move, "iiiiiiib")
        self.owner_changes: Columns[Change] = Columns(Change, "biiqqi")
        self.price_changes: Columns[Change] = Columns(Change, "biiqqi")
        self.events: Columns[CardEvent] = Columns(CardEvent, "bqqbq")


def make_deals(
    rng: Random,
    plan: Sequence[tuple[int, Draft]],
    calendar: Calendar,
    *,
    now: int,
    started_at: int,
    leaver: tuple[int, int],
) -> Deals:
    """Deals with their histories. `leaver`: (user_id, left_at)."""
    result = Deals()
    walker = Walker(rng, calendar, now=now, left_at=leaver[1], leaver_id=leaver[0])
    n_before: dict[int, int] = {}
    for wished_at, draft in plan:
        number = n_before.get(draft.no, 0)
        n_before[draft.no] = number + 1
        created_at = calendar.moment(rng, wished_at)
        if created_at >= now - 3600:
            created_at = wished_at
        created_at = max(created_at, draft.created_at)
        if draft.user_at(created_at) == leaver[0] and created_at >= leaver[1] - DAY:
            created_at = leaver[1] - DAY - int(rng.uniform(5, 60) * DAY)
            created_at = max(created_at, draft.created_at)
        if draft.kind == "company":
            pipeline_id = office.WHOLESALE if rng.random() < 0.3 else office.SALES
        else:
            pipeline_id = office.SALES
        if number and rng.random() < 0.65:
            pipeline_id = office.REPEAT
        is_imported = created_at < started_at + 200 * DAY and rng.random() < 0.04
        if is_imported:
            _import(rng, result, draft, pipeline_id=pipeline_id, created_at=created_at, now=now)
            continue
        path = walker.walk(draft, pipeline_id, created_at, is_stuck=rng.random() < 0.05)
        _write(rng, result, draft, path, created_at=created_at, now=now)
    return result


def _import(rng: Random, result: Deals, draft: Draft, *, pipeline_id: int, created_at: int, now: int) -> None:
    """A deal that came from an older system: past dates, its end, and not one event."""
    stage_id = rng.choices((WON, LOST, OPEN_STAGES[pipeline_id][1]), (5, 4, 1))[0]
    day = (created_at + MSK_S) // DAY
    if day in {(now + MSK_S) // DAY - days for days in NO_WIN_DAYS}:
        stage_id = LOST
    created_at = max(day * DAY - MSK_S + 10 * 3600 + rng.randrange(3600), draft.created_at)
    path = Path(pipeline_id, stage_id, stage_id, [], pipeline_id)
    _write(rng, result, draft, path, created_at=created_at, now=now, is_imported=True)


def _write(
    rng: Random, result: Deals, draft: Draft, path: Path, *, created_at: int, now: int, is_imported: bool = False
) -> None:
    number = 18_800_001 + len(result.deals)
    steps = path.steps
    is_won, is_lost = path.stage_id == WON, path.stage_id == LOST
    closed_at = 0
    if is_won or is_lost:
        closed_at = steps[-1][0] if steps else created_at + rng.randrange(1, 900)
    updated_at = max(created_at, closed_at, steps[-1][0] if steps else 0)
    price = _prices(rng, result, path, number, draft, is_won=is_won)
    user_id = draft.user_at(closed_at or now)
    if draft.previous_user_id and user_id == draft.user_id and created_at < draft.handed_at:
        result.owner_changes.append((LEAD, number, draft.handed_at, draft.previous_user_id, draft.user_id, office.HEAD))
        updated_at = max(updated_at, draft.handed_at)
    elif not is_imported and rng.random() < 0.04:  # came in with nobody in charge
        result.owner_changes.append(
            (LEAD, number, created_at + rng.randrange(1, 50), 0, draft.user_at(created_at), ROBOT)
        )
    contact_ids, main_id = _linked(rng, draft)
    deleted_at, restored_at, purged = 0, 0, False
    chance = rng.random()
    if chance < 0.023 and draft.kind != "lead":
        at = updated_at + int(rng.uniform(3600, 20 * DAY))
        if at < now - DAY:
            result.events.append((LEAD, number, at, DELETED, office.HEAD))
            if chance < 0.003:
                restored_at = at + rng.randrange(60, 7200)
                result.events.append((LEAD, number, restored_at, RESTORED, office.HEAD))
            else:
                deleted_at, purged = at, chance < 0.008
                updated_at = at
    if draft.kind == "lead":
        draft.lead_id = number
    result.deals.append(
        Deal(
            number,
            draft.no,
            rng.choice(words.DEAL_NAMES).format(n=rng.randrange(2, 400)),
            price,
            user_id,
            path.first_pipeline_id,
            path.first_stage_id,
            path.pipeline_id,
            path.stage_id,
            _reason(rng) if is_lost else 0,
            rng.choice(office.SOURCES).id if rng.random() < 0.85 else 0,
            ROBOT if rng.random() < 0.5 else draft.user_at(created_at),
            created_at,
            updated_at,
            closed_at,
            draft.company_id,
            contact_ids,
            main_id,
            is_imported,
            _values(rng, created_at),
            _tags(rng),
            _items(rng),
            deleted_at,
            restored_at,
            purged,
        )
    )
    for step in steps:
        result.moves.append((number, *step))


def _prices(rng: Random, result: Deals, path: Path, number: int, draft: Draft, *, is_won: bool) -> int | None:
    """The present price, with its changes written down. All happen before the last stage: the price of an outcome is
    then the same by history and by card."""
    base = BASE_PRICE[path.pipeline_id] * (1.6 if draft.kind == "company" else 1.0)
    wanted = max(round(base * rng.lognormvariate(0, 0.6) / 100) * 100, 900)
    if path.stage_id == LOST and rng.random() < 0.01:
        wanted = rng.choice((1, 123, 111_111))
    middle = [step for step in path.steps[:-1] if step[4] not in {WON, LOST}]
    if not middle:
        if is_won or rng.random() < 0.5:
            return wanted
        return None if rng.random() < 0.3 else 0
    if rng.random() < 0.4:
        before = round(wanted * rng.uniform(0.7, 1.3) / 100) * 100
    else:
        before = -1 if rng.random() < 0.3 else 0
    at = middle[len(middle) // 2][0]
    if before == wanted or rng.random() < 0.3:
        return wanted
    result.price_changes.append((LEAD, number, at, before, wanted, draft.user_at(at)))
    return wanted


def _linked(rng: Random, draft: Draft) -> tuple[tuple[int, ...], int]:
    """The contacts of a deal; the main one is not always the first."""
    if not draft.contact_ids:
        return (), 0
    if draft.kind == "contact":
        return tuple(draft.contact_ids), draft.contact_ids[0]
    n = 1 if rng.random() < 0.7 else len(draft.contact_ids)
    chosen = rng.sample(draft.contact_ids, n)
    return tuple(chosen), rng.choice(chosen)


def _reason(rng: Random) -> int:
    chance = rng.random()
    if chance < 0.12:
        return 0
    if chance < 0.13:
        return office.REMOVED_REASON
    return rng.choices([reason.id for reason in office.LOSS_REASONS], (20, 14, 16, 24, 18, 4, 4))[0]


def _values(rng: Random, created_at: int) -> Values:
    values: list[tuple[int, tuple[object, ...]]] = []
    if rng.random() < 0.7:
        values.append((office.SOURCE_FIELD, (990_011 + rng.randrange(4),)))
    if rng.random() < 0.5:
        is_garbage = rng.random() < 0.45
        values.append((office.COMMENT, (rng.choice(words.GARBAGE if is_garbage else words.COMMENTS),)))
    if rng.random() < 0.3:
        area = rng.randrange(3, 900) / 10
        values.append((office.AREA, (f"{area}".replace(".", ",") if rng.random() < 0.1 else f"{area}",)))
    if rng.random() < 0.25:
        values.append((office.DELIVERY, (rng.random() < 0.6,)))
    if rng.random() < 0.15:
        day = (created_at + MSK_S) // DAY + rng.randrange(5, 60)
        values.append((office.MOUNT_ON, (day * DAY - MSK_S,)))
    if rng.random() < 0.2:
        values.append((office.PARTS, tuple(sorted(990_021 + n for n in rng.sample(range(4), rng.randrange(1, 4))))))
    if rng.random() < 0.1:
        values.append((office.BRIEF, (f"{rng.choice(words.COMMENTS)}; {rng.choice(words.STREETS)}",)))
    if rng.random() < 0.35:
        utm = rng.choice(words.UTM)
        values += [(office.UTM_FIRST + i, (value,)) for i, value in enumerate(utm)]
    return tuple(values)


def _tags(rng: Random) -> tuple[int, ...]:
    if rng.random() > 0.2:
        return ()
    return tuple(sorted({rng.choice(office.TAGS[LEAD]).id for _ in range(rng.randrange(1, 3))}))


def _items(rng: Random) -> tuple[tuple[int, int], ...]:
    if rng.random() > 0.3:
        return ()
    return tuple((product.id, rng.randrange(1, 6)) for product in rng.sample(office.PRODUCTS, rng.randrange(1, 4)))
