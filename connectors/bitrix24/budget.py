"""The server time ("operating") a portal grants each method: 480 s of it in ten minutes, of one webhook or application.

Every answer tells how much of it a method has used. The value is a sum over minutes that fall out of sight one by one:
the last one seen is what counts, until the oldest minute is due to go. Requests under way are not in it yet: they are
reckoned with at what a command of the method has cost so far, and where nobody knows, at what a request can cost at
most. Reference, 2.2.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.bitrix24.answers import instant
from connectors.paging import Json

SHARE = 0.97
"""Of the limit that is used. A method is refused from the limit on, whatever the call under way still takes."""
SLOW_SHARE = 0.9
"""From here on one request at a time, so that each is sent knowing what the last one has cost."""
LOWER_SHARE = 0.8
"""Some portals grant 420 s. What is refused further below was used up by somebody else."""
AFTER_RESET_S = 1.0
SHORTEST_WAIT_S = 10.0
"""While a method is full, whatever the portal says of its reset: asking whether it still is costs time too."""
SHORTEST_SLEEP_S = 0.01
USUAL_RESET_S = 60.0
"""Where it says nothing: the oldest minute goes within that time more often than not."""
CUT_S = 60.0
"""A request is cut after so long: it uses up no more of a method whose cost is not known. Reference, 2.3."""
FIRST_COMMANDS = 5
"""Of a method of which nothing is known yet, or too little is left for a request that is cut."""
REMEMBERED = 1_000
"""Commands the mean cost is of, about; older ones count less."""
BATCH = "batch"
"""Some portals bill a whole batch to this name, and not what is in it."""


@dataclass
class Use:
    """What is known of one method. Seconds of server time; instants by our clock, `seen_at` by the portal's.

    seen_s: the last value seen; None: none yet. frees_at: when it may have fallen. cost_s, n_counted: what so many
    commands have cost. n_under_way: commands, n_requests: requests that are sent and not answered.
    """

    seen_s: float | None = None
    seen_at: float = float("-inf")
    frees_at: float = float("-inf")
    cost_s: float = 0.0
    n_counted: int = 0
    n_under_way: int = 0
    n_requests: int = 0

    def note(self, seen_s: float, seen_at: float, n: int, began_s: float | None = None) -> None:
        """A value that came with the answer to `n` commands. began_s: the value after the first of them, where there
        were more. Answers may be read in another order than they came in."""
        before_s = self.seen_s
        has_fallen = before_s is not None and seen_s < before_s and seen_at > self.seen_at
        if before_s is None or seen_s >= before_s or has_fallen:
            self.seen_s, self.seen_at = seen_s, max(seen_at, self.seen_at)
        if before_s is None or has_fallen:  # what part of such a value is ours only the answer itself can tell
            if began_s is None or began_s >= seen_s:
                return
            before_s, n = began_s, n - 1
        self.cost_s += max(0.0, seen_s - before_s)
        self.n_counted += n
        if self.n_counted > REMEMBERED:
            self.cost_s, self.n_counted = self.cost_s / 2, self.n_counted // 2


class Budget:
    """Shared by the threads of a run. A portal that tells nothing (its own server, limiter off) is never waited for."""

    def __init__(self, limit_s: float, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._sleep = sleep
        self._uses = defaultdict[str, Use](Use, {BATCH: Use(seen_s=0.0)})
        self._changed = threading.Condition()
        self.is_told = False

    def take(self, wanted: Mapping[str, int], *, most: int = 1, in_batch: bool = False) -> Counter[str]:
        """Wait until commands of at least one of the wanted methods may be sent; which, and how many of each.

        most: of all together. in_batch: in one request, which is a method of its own too. What is taken has to be given
        back by `settle`. Methods that have to wait are left out, so that the others run.
        """
        while True:
            with self._changed:
                while not (taken := self._granted(wanted, most, in_batch)):
                    awaited = [BATCH] if in_batch and not self._room(BATCH, 1) else list(wanted)
                    if not any(self._uses[method].n_requests for method in awaited):
                        break
                    self._changed.wait()  # an answer will tell more
                for method, n in taken.items():
                    self._uses[method].n_under_way += n
                    self._uses[method].n_requests += 1
                if taken:
                    return taken
                wait_s = min(self._uses[method].frees_at for method in awaited) - self._clock()
            self._sleep(max(wait_s, SHORTEST_SLEEP_S))

    def settle(
        self, taken: Mapping[str, int], seen: Mapping[str, Json], first: Mapping[str, Json] | None = None
    ) -> None:
        """What was taken is not under way any more. seen: the last `time` of each method in the answer, if any. first:
        the first of those of several commands."""
        with self._changed:
            self._changed.notify_all()
            for method, n in taken.items():
                self._uses[method].n_under_way -= n
                self._uses[method].n_requests -= 1
            for method, time in seen.items():
                began_s = instant((first or {}).get(method, {}).get("operating"))
                self._note(self._uses[method], time, taken.get(method, 0), began_s)

    def refused(self, method: str, reset_in_s: float | None = None) -> None:
        """The portal has refused a method: it is full, until what the answer or an earlier one said. Where that was not
        far below the limit, the portal's limit is lower than was thought."""
        with self._changed:
            use = self._uses[method]
            if (use.seen_s or 0.0) >= LOWER_SHARE * self._limit_s:
                self._limit_s = min(self._limit_s, use.seen_s or self._limit_s)
            use.seen_s = max(use.seen_s or 0.0, self._limit_s)
            known_s = use.frees_at - self._clock()
            wait_s = reset_in_s or (known_s if known_s > 0 else USUAL_RESET_S)
            use.frees_at = self._clock() + max(wait_s + AFTER_RESET_S, SHORTEST_WAIT_S)

    def _granted(self, wanted: Mapping[str, int], most: int, in_batch: bool) -> Counter[str]:
        granted = Counter[str]()
        left = self._room(BATCH, most) if in_batch else most
        for method, n in wanted.items():
            if fit := min(self._room(method, n), left):
                granted[method] = fit
                left -= fit
        if granted and in_batch:
            granted[BATCH] = granted.total()
        return granted

    def _room(self, method: str, wanted: int) -> int:
        """How many commands of a method may go now."""
        use = self._uses[method]
        is_idle = use.n_requests == 0
        few = min(wanted, FIRST_COMMANDS) if is_idle else 0
        if use.seen_s is None:
            return few
        if use.seen_s == 0 and not use.cost_s:
            return wanted
        each_s = use.cost_s / use.n_counted if use.n_counted else 0.0
        under_way_s = use.n_under_way * each_s if use.n_counted else use.n_requests * CUT_S
        left_s = SHARE * self._limit_s - use.seen_s - under_way_s
        if left_s <= 0:
            return 1 if is_idle and self._clock() >= use.frees_at else 0
        if not use.n_counted:
            return wanted if left_s >= CUT_S else few
        if use.seen_s >= SLOW_SHARE * self._limit_s and not is_idle:
            return 0
        fit = min(wanted, int(left_s / each_s)) if each_s else wanted
        return fit or (1 if is_idle else 0)

    def _note(self, use: Use, time: Json, n: int, began_s: float | None) -> None:
        seen_at, seen_s = instant(time.get("finish")) or 0.0, instant(time.get("operating"))
        if seen_s is None:
            use.seen_s = use.seen_s or 0.0
            return
        self.is_told = True
        use.note(seen_s, seen_at, n, began_s)
        reset_at = instant(time.get("operating_reset_at"))
        if reset_at is not None and seen_at >= use.seen_at:
            shortest_s = SHORTEST_WAIT_S if seen_s >= SHARE * self._limit_s else 0.0
            use.frees_at = self._clock() + max(reset_at - seen_at + AFTER_RESET_S, shortest_s)
