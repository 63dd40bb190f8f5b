"""The order of prompts: epochs of a seeded shuffle, and those that were sent back."""

import heapq
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Prompt:
    """A place in the order of prompts.

    Attributes:
        ordinal: 0 for the first prompt of the run, 1 for the next one, and so on.
        index: of the task's problem.
        epoch: how often the order has come round.
    """

    ordinal: int
    index: int
    epoch: int


class PromptFrontier:
    """Yields prompts for ever, each problem once an epoch; what is put back comes first, oldest first.

    Safe to call from any thread.

    Args:
        problems: how many there are.
        seed: two frontiers of one seed give the same order.
    """

    def __init__(self, problems: int, seed: int) -> None:
        self._problems = problems
        self._order = lru_cache(maxsize=2)(lambda epoch: _shuffled(problems, f"{seed}-{epoch}"))
        self._lock = threading.Lock()
        self._next = 0
        self._returned: list[int] = []

    def next(self) -> Prompt:
        """The oldest prompt that was put back, else the next new one."""
        with self._lock:
            if self._returned:
                return self.prompt(heapq.heappop(self._returned))
            self._next += 1
            return self.prompt(self._next - 1)

    def prompt(self, ordinal: int) -> Prompt:
        """The prompt at a place in the order."""
        epoch, position = divmod(ordinal, self._problems)
        return Prompt(ordinal, self._order(epoch)[position], epoch)

    def put_back(self, prompt: Prompt) -> None:
        """This prompt must be dispatched again."""
        with self._lock:
            heapq.heappush(self._returned, prompt.ordinal)

    def state(self, undecided: Iterable[Prompt]) -> dict[str, int | list[int]]:
        """What a checkpoint keeps; prompts that are `undecided` now are to be dispatched again."""
        with self._lock:
            returned = sorted([*self._returned, *(prompt.ordinal for prompt in undecided)])
            return {"next": self._next, "returned": returned}

    def restore(self, next: int, returned: list[int]) -> None:
        """Go on where `state` was taken."""
        self._next, self._returned = next, sorted(returned)


def _shuffled(count: int, seed: str) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
