"""How many groups the simulator plays in a second, under both staleness policies.

    python benchmarks/simulator.py         half a minute

A group of 16 is filtered one time in five; generation is log-normal, verdicts take a moment, the learner is
about as fast as the engine. Times are of the processor. They are also given as a multiple of what as many
bare events take, pushed onto a heap of as many groups as run at once and popped again: that matters less on
which machine it is.
"""

import random
import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from trainer.records import Fate
from trainer.schedule import Schedule
from trainer.simulator import Durations, InFlight, Way, Work, simulate

STEPS = 50_000
BATCH = 16
DURATIONS = Durations(
    crowding=0.05, verify_s=0.01, learn_s_per_token=4e-4, optimizer_s=0.1, other_s=0.01, sync_s=0.1
)
CASES: dict[str, tuple[Schedule, InFlight]] = {
    "admission, s = 0": (Schedule(0, BATCH, BATCH, STEPS), "wait"),
    "admission, s = 1": (Schedule(1, BATCH, BATCH, STEPS), "wait"),
    "admission, s = 4, k = 2, keep": (Schedule(4, BATCH, 2 * BATCH, STEPS), "keep"),
    "evict_requeue, s = 1, 48 ahead": (Schedule(1, BATCH, BATCH, STEPS, 3 * BATCH), "wait"),
    "evict_requeue, s = 2, 64 ahead, abort": (Schedule(2, BATCH, BATCH, STEPS, 4 * BATCH), "abort"),
}


def drawing() -> Callable[[int], Work]:
    rng = random.Random(0)
    pool = [
        Work(
            generate_s=rng.lognormvariate(0.0, 0.5),
            completion_tokens=200,
            learner_tokens=300,
            fate=Fate.FILTERED if rng.random() < 0.2 else Fate.TRAINED,
        )
        for _ in range(1000)
    ]
    return lambda version: pool[int(rng.random() * len(pool))]


def bare_events(events: int) -> None:
    rng = random.Random(0)
    heap = [(rng.random(), place) for place in range(BATCH)]
    heap.sort()
    for place in range(events):
        heappush(heap, (heap[0][0] + rng.random(), place))
        heappop(heap)


def seconds(function: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    for name, (schedule, in_flight) in CASES.items():
        way = Way(schedule, in_flight)
        began = time.process_time()
        groups = simulate(way, DURATIONS, drawing()).fates.total()
        took_s = time.process_time() - began
        ratio = took_s / min(seconds(lambda groups=groups: bare_events(groups)) for _ in range(3))
        print(
            f"{name}: {groups:,} groups, {groups / took_s:,.0f} a second, "
            f"a million in {1e6 * took_s / groups:.1f} s; {ratio:.1f} bare events each",
            flush=True,
        )


if __name__ == "__main__":
    main()
