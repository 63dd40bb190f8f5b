"""Settings played beside each other with the same draws, and by how much one of them is faster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from results.files.predictions import Prediction
from results.statistics.rates import FloatArray
from sweepctl.planner.costs import KnownCosts
from sweepctl.planner.predict import play, summed_up
from trainer.config import RunConfig
from trainer.simulator import Durations, StalledError

GAIN = 0.02
"""What a setting must be faster by to be worth anything."""
_SURE = 0.95
_PLAYS, _LEAST_PLAYS = 8, 3
_GROUPS = 1_200_000
"""So many groups are simulated in about ten seconds, and for one recommendation."""
_LEAST_STEPS = 20


@dataclass(frozen=True, eq=False)
class Trial:
    """A setting as simulated.

    Attributes:
        prediction: of it, without modes.
        prompts_per_s: of each play, shape [plays]; NaN where the trainer would give the run up.
    """

    prediction: Prediction
    prompts_per_s: FloatArray


@dataclass(frozen=True)
class Gain:
    """By how much prompts/s are higher, relative to before."""

    mean: float
    """Over plays of the same draws."""
    at_least: float
    """Lower end of its one-sided 95 % t-interval; -1 where nothing is shown."""


@dataclass(frozen=True)
class Trials:
    """How settings are tried.

    Attributes:
        known: what they cost.
        plays: of each, with the same seeds.
        steps: that are played of each, in whole sync cycles, for all of its training; a shorter run as it is.
    """

    known: KnownCosts
    plays: int
    steps: int

    def of(self, config: RunConfig, scaled: Callable[[Durations], Durations] | None = None) -> Trial | None:
        """None where nothing is known of such a run's costs, or too few plays come to their end.

        Args:
            config: of the setting.
            scaled: other durations than those that the costs give it.
        """
        costs = self.known.of(config)
        if costs is None:
            return None
        shorter = _shortened(config, self.steps)
        durations = costs.durations_of(config)
        runs = play(shorter, costs, self.plays, scaled(durations) if scaled else durations)
        prompts = shorter.max_steps * shorter.prompts_per_optim_step
        try:
            prediction = summed_up(shorter, costs, runs)
        except StalledError:
            return None
        return Trial(prediction, np.array([prompts / run.wall_s if run else np.nan for run in runs]))


def affordable(known: KnownCosts, configs: Sequence[RunConfig], dispatched_per_trained: float) -> Trials:
    """As many plays and steps as take some seconds.

    Args:
        known: what settings cost.
        configs: all that are to be tried, each as often as it is.
        dispatched_per_trained: groups of each that is trained, about.
    """
    a_step = dispatched_per_trained * sum(config.prompts_per_optim_step for config in configs)
    by_chance = any((costs := known.of(config)) is not None and len(costs.pool) > 1 for config in configs)
    most = _PLAYS if by_chance else 1
    plays = int(np.clip(_GROUPS // (_LEAST_STEPS * a_step), min(_LEAST_PLAYS, most), most))
    longest = max(config.max_steps for config in configs)
    return Trials(known, plays, steps=int(min(longest, max(_GROUPS // (plays * a_step), _LEAST_STEPS))))


def _shortened(config: RunConfig, steps: int) -> RunConfig:
    """As much progress in fewer steps: what a prompt asks for changes from the beginning to the end."""
    cycle = config.schedule.sync_interval_steps
    steps = -(-steps // cycle) * cycle
    if steps >= config.max_steps:
        return config
    faster = config.max_steps / steps
    optim = {"lr": config.optim.lr * faster, "warmup_steps": round(config.optim.warmup_steps / faster)}
    return config.model_copy(update={"max_steps": steps, "optim": config.optim.model_copy(update=optim)})


def gain(before: Trial, after: Trial) -> Gain:
    """Play by play. Without chance the one play's gain is sure; else fewer than two pairs show nothing."""
    ratios = after.prompts_per_s / before.prompts_per_s - 1.0
    told = ratios[np.isfinite(ratios)]
    if len(told) < 2:
        mean = float(np.nanmean(after.prompts_per_s) / np.nanmean(before.prompts_per_s)) - 1.0
        return Gain(mean, mean if len(ratios) == 1 else -1.0)
    error = told.std(ddof=1) / np.sqrt(len(told))
    return Gain(float(told.mean()), float(told.mean() - special.stdtrit(len(told) - 1, _SURE) * error))
