"""The limits of the emulated Bitrix24: the leaky bucket of requests and the meter of operating time (2.1, 2.2)."""

from collections.abc import Callable
from datetime import datetime
from math import ceil, floor
from typing import Any

from demo.bitrix24_calls import Answer
from demo.bitrix24_switches import Switches
from demo.bitrix24_wire import Wire

Json = dict[str, Any]


class Bucket:
    """Requests of a portal from one address: each adds one, and some drain away every second."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._levels: dict[str, tuple[float, float]] = {}

    def lets_pass(self, address: str, switches: Switches) -> bool:
        """Count a request; whether the bucket had not run over before it."""
        now = self._timer()
        level, drained_at = self._levels.get(address, (0.0, now))
        passed = floor(now - drained_at) if switches.rate_step_drain else now - drained_at
        level = max(0.0, level - switches.rate_y * passed)
        is_over = level > switches.rate_x
        if not is_over or switches.rate_count_rejected:
            level += 1
        self._levels[address] = (level, drained_at + passed)
        return not is_over

    def reset(self) -> None:
        self._levels.clear()


class Meter:
    """Seconds that each method took for each caller, in buckets of a minute that live for ten."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._buckets: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}

    def used(self, key: tuple[str, str], switches: Switches) -> float:
        return sum(seconds for _, seconds in self._living(key, switches).values())

    def reset_after(self, key: tuple[str, str], switches: Switches) -> float:
        """Seconds until the oldest bucket is dropped; a whole life where there is none."""
        life = switches.op_bucket_s * switches.op_n_buckets
        starts = [started for started, _ in self._living(key, switches).values()]
        return min(starts) + life - self._timer() if starts else life

    def add(self, key: tuple[str, str], seconds: float, switches: Switches) -> None:
        buckets = self._living(key, switches)
        number = floor(self._timer() / switches.op_bucket_s)
        started, before = buckets.get(number, (self._timer(), 0.0))
        buckets[number] = (started, before + seconds)
        self._buckets[key] = buckets

    def _living(self, key: tuple[str, str], switches: Switches) -> dict[int, tuple[float, float]]:
        oldest = self._timer() - switches.op_bucket_s * switches.op_n_buckets
        buckets = self._buckets.get(key, {})
        return {number: bucket for number, bucket in buckets.items() if bucket[0] > oldest}

    def reset(self) -> None:
        self._buckets.clear()


class Hit:
    """One HTTP request: what its methods took so far, and what it may still take.

    Sums are written to the meter at its end, those of at most `op_min_recorded_s` never.
    """

    def __init__(self, meter: Meter, switches: Switches, credential: str, *, outer: str) -> None:
        """`outer`: the method of the request itself; it is billed for all under `envelope`."""
        self._meter, self._switches, self._credential, self._outer = meter, switches, credential, outer
        self._sums: dict[str, float] = {}
        self.seconds = 0.0

    @property
    def is_metered(self) -> bool:
        return self._switches.flavour == "cloud" and self._switches.op_enabled

    def _name(self, method: str) -> tuple[str, str]:
        billed = self._outer if self._switches.op_billing == "envelope" else method
        kind = self._credential.partition(":")[0]
        is_shared = self._switches.op_webhook_batch_shared and self._outer == "batch" and kind == "webhook"
        return kind if is_shared else self._credential, billed

    def is_blocked(self, method: str) -> bool:
        """Whether the method has used up its time."""
        switches = self._switches
        return self.is_metered and switches.limiter and self.operating(method) > switches.op_limit_s

    def operating(self, method: str) -> float:
        """Seconds of the method within the last ten minutes, this request included."""
        name = self._name(method)
        here = self._sums.get(name[1], 0.0)
        return self._meter.used(name, self._switches) + (here if here > self._switches.op_min_recorded_s else 0.0)

    def reset_after(self, method: str) -> float:
        return self._meter.reset_after(self._name(method), self._switches)

    def spend(self, method: str, seconds: float) -> None:
        billed = self._name(method)[1]
        self._sums[billed] = self._sums.get(billed, 0.0) + seconds
        self.seconds += seconds

    def close(self) -> None:
        """Write what was spent to the meter."""
        for method, seconds in self._sums.items():
            if seconds > self._switches.op_min_recorded_s:
                self._meter.add(self._name(method), seconds, self._switches)


def cost(switches: Switches, method: str, answer: Answer) -> float:
    """Server time of a call, seconds."""
    seconds = switches.cost_per_page_s.get(method.lower(), switches.page_cost_s)
    seconds += switches.count_cost_s * answer.is_counted + switches.star_cost_s * answer.has_star
    return seconds + switches.offset_cost_s * answer.n_passed_over


def time_block(wire: Wire, now: float, seconds: float, hit: Hit, method: str | None) -> Json:
    """The key `time` of an answer; `method`: whose operating time it tells, None for none."""
    switches = wire.switches
    finish = now + seconds
    block: Json = {
        "start": float(now), "finish": finish, "duration": seconds, "processing": seconds,
        "date_start": wire.instant(floor(now)), "date_finish": wire.instant(floor(finish)),
    }  # fmt: skip
    if switches.time_int:
        block |= {"start": floor(now), "finish": floor(finish), "duration": floor(finish) - floor(now),
                  "processing": floor(seconds)}  # fmt: skip
    if method and hit.is_metered:
        reset_at = ceil(now + hit.reset_after(method))
        block["operating_reset_at"] = (
            datetime.fromtimestamp(reset_at, wire.zone).isoformat() if switches.op_reset_iso else reset_at
        )
        block["operating"] = round(hit.operating(method), 6)
    return block
