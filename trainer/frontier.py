"""The order of prompts: epochs of a seeded shuffle."""

import random
from collections import deque


class PromptFrontier:
    """Yields (problem index, epoch) for ever, each problem once an epoch.

    Args:
        problems: how many there are.
        seed: two frontiers of one seed give the same order.
    """

    def __init__(self, problems: int, seed: int) -> None:
        self._problems = problems
        self._seed = seed
        self._epoch = -1
        self._order: deque[int] = deque()

    def next(self) -> tuple[int, int]:
        """The next prompt of this epoch, or the first of the next one."""
        if not self._order:
            self._epoch += 1
            order = list(range(self._problems))
            random.Random(f"{self._seed}-{self._epoch}").shuffle(order)
            self._order.extend(order)
        return self._order.popleft(), self._epoch
