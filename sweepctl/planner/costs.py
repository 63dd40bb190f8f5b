"""What generation, learning and syncs cost: the numbers that the simulator needs beside the schedule."""

import bisect
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.simulator import Durations, Way, Work

_NEIGHBOURS = 48
"""Groups that a prompt's work is drawn from: those measured at the most similar progress."""


@dataclass(frozen=True)
class CostModel:
    """Costs of a model, a task and a machine, as measured or given.

    What a group asks for is drawn from groups that were measured, as a whole: length, time and verdict belong
    together. It changes while a policy learns, so it is drawn from those of a similar *progress*, the sum
    of the learning rates of all steps so far: with Adam a step moves the weights by about its learning
    rate, whatever the gradient.

    Attributes:
        source: where the numbers come from, in words.
        durations: of all but generation; `crowding` is for groups of `completions_per_prompt`.
        progress: of each measured group, ascending; equal for costs given by hand.
        pool: the work of each.
        completions_per_prompt: of the measured groups; None: the costs hold for groups of any size.
    """

    source: str
    durations: Durations
    progress: Sequence[float]
    pool: Sequence[Work]
    completions_per_prompt: int | None = None

    def durations_of(self, config: RunConfig) -> Durations:
        """How long things take in a run with its own size of groups."""
        return replace(self.durations, crowding=_rescaled(self.durations.crowding, self._size(config))[0])

    def drawing(self, config: RunConfig, seed: int) -> Callable[[int], Work]:
        """Draws the work of a prompt that is sampled by a policy version; the same for the same seed."""
        size, rng = self._size(config), random.Random(seed)
        slower = _rescaled(self.durations.crowding, size)[1]
        progress = [progress_at(config, version) for version in range(config.max_steps + 1)]
        first = [self._first_neighbour(each) for each in progress]
        last = min(_NEIGHBOURS, len(self.pool)) - 1
        pool = self.pool if size == 1 else [_resized(work, size, slower) for work in self.pool]
        return lambda version: pool[first[version] + rng.randint(0, last)]

    def _size(self, config: RunConfig) -> float:
        """How many times larger the groups of a run are than the measured ones."""
        measured = self.completions_per_prompt
        return config.completions_per_prompt / measured if measured else 1.0

    def _first_neighbour(self, progress: float) -> int:
        """Place of the first of the neighbours; they lie around `progress` as far as there are any."""
        place = bisect.bisect_left(self.progress, progress) - _NEIGHBOURS // 2
        return max(0, min(place, len(self.pool) - _NEIGHBOURS))

    @cached_property
    def mean_generate_s(self) -> float:
        """Mean seconds of generation of a group that has the engine for itself."""
        return sum(work.generate_s for work in self.pool) / len(self.pool)


@dataclass(frozen=True)
class KnownCosts:
    """What runs cost here, as far as it is known.

    Attributes:
        source: where from, in words; of several cost models joined.
        of: the cost model of a run with this configuration, or None where nothing is known of such a run.
    """

    source: str
    of: Callable[[RunConfig], CostModel | None]

    @classmethod
    def alike_for_all(cls, costs: CostModel) -> "KnownCosts":
        """The same costs for every run, because somebody said so."""
        return cls(costs.source, lambda config: costs)


def way_of(config: RunConfig) -> Way:
    """What of a configuration decides a run's course in time."""
    return Way(
        schedule=config.schedule,
        in_flight=config.in_flight,
        chunk=config.forward_backward_prompts,
        checkpoint_every_steps=config.checkpoint.every_steps,
        held_out_every_steps=config.held_out.every_steps,
        max_useless_groups=config.max_useless_batches * config.prompts_per_optim_step,
    )


def progress_at(config: RunConfig, version: int) -> float:
    """Sum of the learning rates of the steps before a policy version, times the updates of each."""
    optim = config.optim
    warm = min(version, optim.warmup_steps)
    warming = warm * (warm + 1) / 2 / optim.warmup_steps if optim.warmup_steps else 0.0
    return optim.lr * config.updates_per_batch * (warming + version - warm)


def by_hand(*, generate_s: float, train_s_per_prompt: float, overhead_s: float) -> CostModel:
    """Costs as three numbers.

    Args:
        generate_s: from the dispatch of a step's groups until its training can start.
        train_s_per_prompt: forward and backward for one prompt's completions.
        overhead_s: the rest of a step.

    Raises:
        ConfigError: one is no number of seconds, or no step would take any time.
    """
    given = {"generate-s": generate_s, "train-s-per-prompt": train_s_per_prompt, "overhead-s": overhead_s}
    for name, seconds in given.items():
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"--{name}: a cost is a finite number of seconds, 0 or more; found {seconds}")
    if not any(given.values()):
        raise ConfigError(
            f"a run in which nothing takes any time cannot be predicted; found 0 for "
            f"{', '.join(f'--{name}' for name in given)}, of which one at least must be more"
        )
    return CostModel(
        source="numbers given by hand",
        durations=Durations(learn_s_per_prompt=train_s_per_prompt, other_s=overhead_s),
        progress=(0.0,),
        pool=(Work(generate_s),),
    )


def _rescaled(crowding: float, size: float) -> tuple[float, float]:
    """Crowding among groups that are `size` times as large, and by how much such a group alone is slower.

    A decoding step of m sequences takes a + b m seconds. Among groups of n, crowding is b n / (a + b n).
    """
    share = crowding / (1.0 - crowding) * size  # b n' / a
    return share / (1.0 + share), (1.0 + share) * (1.0 - crowding)


def _resized(work: Work, size: float, slower: float) -> Work:
    return replace(
        work,
        generate_s=work.generate_s * slower,
        completion_tokens=round(work.completion_tokens * size),
        learner_tokens=round(work.learner_tokens * size),
    )
