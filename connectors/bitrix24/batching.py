"""Calls of a portal, alone or up to fifty in one request, within what it grants each method.

A command is `method?query`, cut by PHP: values are percent-encoded once. Keys are never numbers, for then a map of
results becomes a list. An empty map comes as `[]`. Reference, 2.4.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import quote

from connectors.answers import Asked, PassingError
from connectors.bitrix24.answers import BitrixAnswers, BusyError, instant, refusal_of
from connectors.bitrix24.budget import BATCH, Budget
from connectors.errors import ConnectorError, CredentialsError, PayloadError, RetriableError, SlowError
from connectors.http import MAX_TRIES, RETRY_AFTER_S, ApiClient, Pace
from connectors.paging import Json, as_object

MOST_IN_HAND = 16
"""Batches whose rows are in memory at once, whatever the number of threads."""
MAX_REFUSALS = 100
"""Of one call because of its server time: at ten minutes each most of a day."""
TARGET_S = 30.0
"""A request is cut at 60 s: so many commands are sent that half of it will do."""


class Reference(str):
    """A value that the portal takes from the result of an earlier command: `$result[p0][49][ID]`."""


@dataclass(frozen=True)
class Command:
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method}?{'&'.join(pairs(self.params))}"


@dataclass(frozen=True)
class Outcome:
    """What became of one command: its result, or the error it was refused with. total: of a list that was counted."""

    result: Any = None
    error: ConnectorError | None = None
    total: Any = None


def pairs(value: Any, name: str = "") -> Iterator[str]:
    """`a[b]=c` as PHP writes it; keys and values percent-encoded once, references left as they are."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            part = quote(str(key), safe="")
            yield from pairs(inner, f"{name}[{part}]" if name else part)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from pairs(inner, f"{name}[{position}]")
    elif isinstance(value, Reference):
        yield f"{name}={value}"
    else:
        yield f"{name}={quote(str(value), safe='')}"


class Batching:
    """The calls of one run, shared by its threads. methods: those that may be called, alone or in a batch."""

    def __init__(
        self,
        client: ApiClient,
        answers: BitrixAnswers,
        *,
        methods: frozenset[str],
        pace: Pace,
        budget: Budget,
        commands_per_batch: int,
    ) -> None:
        self._client = client
        self._answers = answers
        self._methods = methods
        self._pace = pace
        self._budget = budget
        self._most = commands_per_batch
        self._sizes: dict[str, int] = {}
        self._portal_at: tuple[float, float] | None = None
        self._slots = threading.BoundedSemaphore(MOST_IN_HAND)
        self._mine = threading.local()

    def tells_operating(self) -> bool:
        """Whether an answer has said so far how much server time was used."""
        return self._budget.is_told

    def portal_now(self) -> float | None:
        """Unix seconds by the portal's clock as of its last answer; None where it never told."""
        return None if self._portal_at is None else self._portal_at[0]

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The `result` of one method. Raises what its error means (`answers`)."""
        self._allow(method)
        for _ in range(MAX_REFUSALS):
            taken = self._take({method: 1})
            seen: dict[str, Json] = {}
            try:
                envelope = self._client.post(method, params or {})
                seen[method] = self._time_of(envelope)
                self._resize((method,))
                return envelope.get("result")
            except BusyError as error:
                busy = error
                self._budget.refused(method, self._reset_in_s(error))
            finally:
                self._budget.settle(taken, seen)
        raise busy

    def batch(self, commands: Mapping[str, Command], *, halt: bool = False) -> dict[str, Outcome]:
        """Outcomes by key, in the order of the commands, however many there are.

        Commands that failed for a reason that may pass, or were not reached (`halt`), are sent again; all others are
        settled by what they were refused with. Raises only what concerns the account or the whole request.
        """
        waiting, outcomes, tried = dict(commands), dict[str, Outcome](), Counter[str]()
        while waiting:
            chunk, taken = self._chunk(waiting)
            answered = self._exchange(chunk, taken, halt=halt)
            is_cut = halt and any(outcome.error for outcome in answered.values())
            for key, command in chunk.items():
                outcome = answered.get(key)
                if outcome is None and is_cut:
                    continue  # not reached
                if outcome is None or isinstance(outcome.error, RetriableError):
                    tried[key] += 1
                    outcome = self._given_up(command, outcome, tried[key])
                if outcome is not None:
                    outcomes[key] = outcome
                    del waiting[key]
            if again := max((tried[key] for key in chunk if key in waiting), default=0):
                self._rest(again)
        return {key: outcomes[key] for key in commands}

    def chain(self, method: str, wanted: int, commands: Callable[[int], Sequence[Command]]) -> list[Outcome]:
        """Outcomes of commands each of which refers to the one before, up to the first that failed.

        wanted: how many would be of use; commands: makes as many as may be sent at once, at least one. A chain that
        was cut short for a reason that may pass ends before it: its caller goes on from there.
        """
        for tried in range(MAX_TRIES):
            outcomes = self._chained(method, wanted, commands)
            settled = [outcome for outcome in outcomes if not isinstance(outcome.error, RetriableError)]
            if settled:
                return settled
            self._rest(tried + 1)
        if not outcomes:
            raise PayloadError("{where}: passed over without a word.", where=f"{self._client.account}, {method}")
        return outcomes

    def _rest(self, tried: int) -> None:
        """A while before a command is sent again that failed so many times."""
        self._pace.sleep(RETRY_AFTER_S[min(tried, len(RETRY_AFTER_S)) - 1])

    def _chained(self, method: str, wanted: int, commands: Callable[[int], Sequence[Command]]) -> list[Outcome]:
        for _ in range(MAX_REFUSALS):
            if wanted == 1 or self._size(method) == 1:
                (command,) = commands(1)
                return [Outcome(self.call(method, command.params))]
            taken = self._take({method: wanted}, most=self._size(method), in_batch=True)
            chunk = {f"p{n}": command for n, command in enumerate(commands(taken[method]))}
            answered = self._exchange(chunk, taken, halt=True)
            outcomes = [outcome for key in chunk if (outcome := answered.get(key))]
            if not (outcomes and isinstance(outcomes[0].error, BusyError | SlowError)):
                return outcomes
        return outcomes

    def _chunk(self, waiting: Mapping[str, Command]) -> tuple[dict[str, Command], Counter[str]]:
        """The first of the waiting commands that may be sent now."""
        wanted = Counter(command.method for command in waiting.values())
        most = min(self._size(method) for method in wanted)
        taken = self._take(wanted, most=most, in_batch=True)
        left, chunk = Counter(taken), {}
        for key, command in waiting.items():
            if left[command.method]:
                left[command.method] -= 1
                chunk[key] = command
        return chunk, taken

    def _exchange(self, chunk: Mapping[str, Command], taken: Counter[str], *, halt: bool) -> dict[str, Outcome]:
        """One request: the outcomes of those of its commands that were reached. After one that took too long half as
        many are sent at once."""
        for key, command in chunk.items():
            assert not key.isdigit(), "numeric keys make a list of the results"
            self._allow(command.method)
        seen: dict[str, Json] = {}
        first: dict[str, Json] = {}
        cmd = {key: str(command) for key, command in chunk.items()}
        try:
            envelope = self._client.post(BATCH, {"halt": int(halt), "cmd": cmd}, is_divisible=len(chunk) > 1)
            seen[BATCH] = self._time_of(envelope)
            parts = as_object(envelope.get("result"))
            times = as_object(parts.get("result_time"))
            of_methods = [(command.method, as_object(times[key])) for key, command in chunk.items() if key in times]
            seen |= dict(of_methods)
            first |= dict(reversed(of_methods))
        except BusyError as error:
            self._budget.refused(BATCH, self._reset_in_s(error))
            return {key: Outcome(error=error) for key in chunk}
        except SlowError as error:
            if len(chunk) == 1:
                raise
            self._halve(chunk)
            return {key: Outcome(error=error) for key in chunk}
        finally:
            self._budget.settle(taken, seen, first)
        self._resize([command.method for command in chunk.values()])
        results, errors = as_object(parts.get("result")), as_object(parts.get("result_error"))
        totals = as_object(parts.get("result_total"))
        return {
            key: self._refused(command, errors[key]) if key in errors else Outcome(results[key], total=totals.get(key))
            for key, command in chunk.items()
            if key in errors or key in results
        }

    def _refused(self, command: Command, error: Any) -> Outcome:
        """What the error of one command means; a lost account is raised."""
        asked = Asked(self._client.account, command.method)
        refusal = refusal_of(error if isinstance(error, dict) else {"error": error}, 200)
        assert refusal is not None
        try:
            self._answers.refuse_call(refusal, asked, error)
        except PassingError as passing:
            return Outcome(error=RetriableError("{where}: {failure}.", where=asked.where, failure=passing.said))
        except BusyError as busy:
            self._budget.refused(command.method, self._reset_in_s(busy))
            return Outcome(error=busy)
        except CredentialsError as lost:
            self._client.stop(lost)
        except ConnectorError as final:
            return Outcome(error=final)

    def _given_up(self, command: Command, outcome: Outcome | None, tried: int) -> Outcome | None:
        """A command that was not settled: None while it is worth sending again."""
        if outcome is not None and isinstance(outcome.error, BusyError | SlowError):
            return None if tried < MAX_REFUSALS else outcome
        if tried < MAX_TRIES:
            return None
        asked = Asked(self._client.account, command.method)
        return outcome or Outcome(error=PayloadError("{where}: passed over without a word.", where=asked.where))

    def _size(self, method: str) -> int:
        return self._sizes.get(method, self._most)

    def _resize(self, methods: Sequence[str]) -> None:
        """After an answer to so many commands: as many at once as will be done in half the time they may take."""
        if took_s := self._client.took_s():
            size = int(TARGET_S * len(methods) / took_s)
            self._sizes.update(dict.fromkeys(methods, min(max(size, 1), self._most)))

    def _halve(self, chunk: Mapping[str, Command]) -> None:
        self._sizes.update(dict.fromkeys((command.method for command in chunk.values()), max(len(chunk) // 2, 1)))

    def _time_of(self, envelope: Json) -> Json:
        time = as_object(envelope.get("time"))
        finish = instant(time.get("finish"))
        if finish is not None:
            self._portal_at = (finish, self._pace.clock())
        return time

    def _reset_in_s(self, error: BusyError) -> float | None:
        if error.reset_at is None or self._portal_at is None:
            return None
        portal_at, our_at = self._portal_at
        return max(0.0, error.reset_at - portal_at - (self._pace.clock() - our_at))

    def _allow(self, method: str) -> None:
        assert method in self._methods, f"{method} is not among the methods this connector may call"

    def _take(self, wanted: Mapping[str, int], *, most: int = 1, in_batch: bool = False) -> Counter[str]:
        """What the budget grants; who waits for it lets others have rows in hand."""
        holds = getattr(self._mine, "depth", 0) > 0
        if holds:
            self._slots.release()
        try:
            return self._budget.take(wanted, most=most, in_batch=in_batch)
        finally:
            if holds:
                self._slots.acquire()

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Hold rows of a batch: memory is bounded by who may, not by who reads."""
        depth = getattr(self._mine, "depth", 0)
        if not depth:
            self._slots.acquire()
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth -= 1
            if not self._mine.depth:
                self._slots.release()


def chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
