"""People who wait for a free person (S-ERLANG). Rates per second, times in seconds; numbers in, numbers out.

Erlang 1917 (B and C: nobody leaves), Palm 1946 and Garnett, Mandelbaum & Reiman 2002,
https://doi.org/10.1287/msom.4.3.208.7753 (A: who is out of patience leaves).
"""

import math
from dataclasses import dataclass

import numpy as np

NEGLIGIBLE = 1e-12
"""States of a queue beyond which no more probability than this lies are left out."""
MAX_AGENTS = 10_000


def erlang_b(load: float, n: int) -> float:
    """The share of calls that find all `n` lines busy and are lost, at an offered load in erlangs."""
    blocked = 1.0
    for k in range(1, n + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(load: float, n: int) -> float:
    """The share of calls that have to wait for one of `n` agents; 1 where the queue only grows."""
    if n <= load:
        return 1.0
    blocked = erlang_b(load, n)
    return n * blocked / (n - load * (1 - blocked))


@dataclass(frozen=True)
class Service:
    """How `n` agents serve where nobody leaves (Erlang C).

    p_wait: share that waits. asa_s: mean wait of all, infinite where the queue only grows. sl: share answered within
    the target. occupancy: share of time an agent talks.
    """

    n: int
    p_wait: float
    asa_s: float
    sl: float
    occupancy: float


def service(rate: float, aht_s: float, n: int, *, target_s: float) -> Service:
    """`n` agents against `rate` calls a second of `aht_s` seconds of work each."""
    load = rate * aht_s
    if load == 0:
        return Service(n, 0.0, 0.0, 1.0, 0.0)
    if n <= load:
        return Service(n, 1.0, math.inf, 0.0, 1.0)
    waits, spare = erlang_c(load, n), n - load
    return Service(n, waits, waits * aht_s / spare, 1 - waits * math.exp(-spare * target_s / aht_s), load / n)


def agents_needed(rate: float, aht_s: float, *, sl: float, target_s: float, max_occupancy: float) -> Service:
    """The fewest agents that answer the share `sl` within `target_s` and are not busier than `max_occupancy`.

    Raises ValueError where even `MAX_AGENTS` would not do.
    """
    load = rate * aht_s
    for n in range(math.floor(load / max_occupancy) if load else 0, MAX_AGENTS):
        served = service(rate, aht_s, n, target_s=target_s)
        if served.sl >= sl and served.occupancy <= max_occupancy:
            return served
    raise ValueError(f"a load of {load:g} erlangs needs more than {MAX_AGENTS} agents")


@dataclass(frozen=True)
class Patience:
    """How `n` agents serve where clients leave (Erlang A): share that leaves, mean wait of all, and as in `Service`."""

    p_abandon: float
    wait_s: float
    occupancy: float
    p_wait: float


def erlang_a(rate: float, aht_s: float, patience_s: float, n: int) -> Patience:
    """`n` agents against `rate` calls a second; waiting clients leave after `patience_s` on average.

    The number of clients is a birth–death chain with death rate min(k, n)/aht + max(0, k - n)/patience; its
    probabilities come from logarithms, for factorials of large teams leave floats.
    """
    if rate == 0:
        return Patience(0.0, 0.0, 0.0, 0.0)
    size = n + 64
    while True:
        k = np.arange(size + 1)
        death = np.minimum(k, n) / aht_s + np.maximum(0, k - n) / patience_s
        steps = math.log(rate) - np.log(death[1:])
        log_p = np.concatenate(([0.0], np.cumsum(steps)))
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        # Beyond the last state each is at most `ratio` times the one before.
        ratio = rate / float(death[-1])
        if ratio < 1 and p[-1] * ratio / (1 - ratio) < NEGLIGIBLE:
            break
        size *= 2
    waiting = float(np.sum(p * np.maximum(0, k - n)))
    busy = float(np.sum(p * np.minimum(k, n)))
    occupancy = busy / n if n else 0.0
    return Patience(waiting / patience_s / rate, waiting / rate, occupancy, float(p[n:].sum()))
