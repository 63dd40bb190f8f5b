"""What the simulator says of a run: many plays of it with other draws, summed up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from results.files.predictions import Costs, PredictedMode, Prediction
from results.statistics.modes import StepModes, step_modes
from results.statistics.rates import FloatArray, t_quantile
from sweepctl.planner.costs import CostModel, way_of
from trainer.config import RunConfig
from trainer.records import Fate
from trainer.simulator import Durations, SimulatedRun, StalledError, Way, Work, simulate

_PHASES = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
_MOST_REPLICATIONS, _LEAST_REPLICATIONS = 20, 3
_GROUPS = 200_000
"""About so many groups are simulated for a sweep, where that is enough for a few replications of each run."""
_SEARCHED = 5
_LEAST_ENDED = 2
"""Replications that must come to their end, where there are several."""


def replications(arms: Sequence[RunConfig]) -> int:
    """How often each arm is played, so that a sweep is predicted in seconds."""
    groups = sum(config.max_steps * config.prompts_per_optim_step for config in arms)
    return int(np.clip(_GROUPS // max(groups, 1), _LEAST_REPLICATIONS, _MOST_REPLICATIONS))


def predict(config: RunConfig, costs: CostModel, plays: int, *, searched: int = _SEARCHED) -> Prediction:
    """What to expect of a run.

    Args:
        config: feasible.
        costs: of its model, task and machine.
        plays: replications; where all groups ask for the same, one tells all.
        searched: replications whose step times are searched for modes, which takes as long as playing them.

    Raises:
        StalledError: by these costs it would hardly ever find groups to learn from; see `summed_up`.
    """
    return summed_up(config, costs, play(config, costs, plays), searched=searched)


def play(
    config: RunConfig, costs: CostModel, plays: int, durations: Durations | None = None
) -> list[SimulatedRun | None]:
    """One simulated run for each seed; None where the trainer would give up for want of groups to train on.

    Of one seed all runs draw alike, prompt by prompt, whatever their schedule: they are to be compared.

    Args:
        config, costs, plays: as of `predict`.
        durations: in place of those that the costs give this run.
    """
    plays = plays if len(costs.pool) > 1 else 1
    way, durations = way_of(config), durations or costs.durations_of(config)
    return [_played(way, durations, costs.drawing(config, seed)) for seed in range(plays)]


def summed_up(
    config: RunConfig, costs: CostModel, plays: Sequence[SimulatedRun | None], *, searched: int = 0
) -> Prediction:
    """What replications of a run say of it.

    Those that were given up are left out, and their share is told.

    Raises:
        StalledError: all were given up, or all but one of several, which tells nothing of chance.
    """
    runs = [run for run in plays if run is not None]
    if len(runs) < min(len(plays), _LEAST_ENDED):
        raise StalledError(f"{len(runs)} of {len(plays)} plays come to their end")
    steps = [_steps(run) for run in runs]
    cycle = config.schedule.sync_interval_steps
    step_means = np.array([each["wall_s"].mean() for each in steps])
    low_s, high_s = range_of_next(step_means)
    p5_s, p50_s, p95_s = np.percentile(
        np.concatenate([_warm(each, cycle)["wall_s"].to_numpy() for each in steps]), (5, 50, 95)
    )
    wall_s = np.array([run.wall_s for run in runs])
    prompts = config.max_steps * config.prompts_per_optim_step
    trained = len(runs) * prompts
    everything = pd.concat(steps)
    return Prediction(
        made_unix=time.time(),
        costs=costs_record(costs),
        replications=len(plays),
        stalled_share=1.0 - len(runs) / len(plays),
        step_s=step_means.mean(),
        step_low_s=low_s,
        step_high_s=high_s,
        step_p5_s=p5_s,
        step_p50_s=p50_s,
        step_p95_s=p95_s,
        modes=_modes(steps[:searched], cycle) if searched else (),
        position_s=_by_position(steps, cycle),
        **{phase: float(everything[phase].mean()) for phase in _PHASES},
        prompts_per_s=float((prompts / wall_s).mean()),
        wall_s=wall_s.mean(),
        age_mean=sum(age * groups for run in runs for age, groups in run.ages.items()) / trained,
        ages=_shares(runs, trained),
        engine_idle_share=everything["engine_idle_s"].sum() / wall_s.sum(),
        learner_idle_share=(everything["wait_s"] + everything["drain_s"]).sum() / wall_s.sum(),
        latency_s=sum(run.latency_s for run in runs) / sum(run.finished for run in runs),
        **_of_groups(runs, trained),
    )


def range_of_next(values: FloatArray) -> tuple[float, float]:
    """Where one more value lies with 95 %: Student's prediction interval, mean ± t(n - 1) sd √(1 + 1 / n).

    Args:
        values: independent, roughly normal, not negative, as the next one, shape [n]; of a single one, which
            stands for all, both ends are that one.
    """
    n, mean = len(values), float(values.mean())
    if n == 1:
        return mean, mean
    (t,) = t_quantile(np.array([n - 1.0]))
    half = float(t * values.std(ddof=1) * np.sqrt(1.0 + 1.0 / n))
    return max(0.0, mean - half), mean + half


def costs_record(costs: CostModel) -> Costs:
    """What of the costs is kept beside a prediction."""
    return Costs(
        source=costs.source,
        generate_s=costs.mean_generate_s,
        groups=len(costs.pool),
        **asdict(costs.durations),
    )


def _played(way: Way, durations: Durations, draw: Callable[[int], Work]) -> SimulatedRun | None:
    try:
        return simulate(way, durations, draw)
    except StalledError:
        return None


def _steps(run: SimulatedRun) -> pd.DataFrame:
    names = (*_PHASES, "wall_s", "engine_idle_s")
    frame = pd.DataFrame({name: [getattr(step, name) for step in run.steps] for name in names})
    return frame.assign(step=np.arange(len(frame)))


def _warm(steps: pd.DataFrame, cycle: int) -> pd.DataFrame:
    """Without the first sync cycle, which fills the pipeline; all of a run that is no longer than that."""
    return steps[cycle:] if len(steps) > cycle else steps


def _by_position(steps: Sequence[pd.DataFrame], cycle: int) -> tuple[float, ...]:
    warm = pd.concat([_warm(each, cycle) for each in steps])
    return tuple(warm.groupby(warm["step"] % cycle)["wall_s"].mean())


def _modes(steps: Sequence[pd.DataFrame], cycle: int) -> tuple[PredictedMode, ...]:
    """The modes of the median location, of the replications that show the usual number."""
    found: list[StepModes] = [step_modes(each, cycle) for each in steps]
    usual = usual_number([len(each.modes) for each in found])
    alike = [each.modes for each in found if len(each.modes) == usual]
    return tuple(
        PredictedMode(
            seconds=_median([modes[place].seconds for modes in alike]),
            weight=_median([modes[place].weight for modes in alike]),
        )
        for place in range(usual)
    )


def usual_number(modes: Sequence[int]) -> int:
    """Several where more than half of the replications show several, then the number most of those show."""
    several = [number for number in modes if number > 1]
    if len(several) * 2 <= len(modes):
        return min(modes)
    return max(sorted(set(several)), key=several.count)


def _median(values: Sequence[float]) -> float:
    array: FloatArray = np.asarray(values, np.float64)
    return float(np.median(array))


def _shares(runs: Sequence[SimulatedRun], trained: int) -> dict[int, float]:
    ages = sorted({age for run in runs for age in run.ages})
    return {age: sum(run.ages[age] for run in runs) / trained for age in ages}


def _of_groups(runs: Sequence[SimulatedRun], trained: int) -> dict[str, float | None]:
    """What is known of groups where costs know their tokens and verdicts; else nothing, not 0."""
    tokens = sum(run.tokens.total() for run in runs)
    learned = sum(run.tokens[Fate.TRAINED] for run in runs)
    dispatched = sum(run.fates.total() for run in runs)
    return {
        "wasted_token_share": 1.0 - learned / tokens if tokens else None,
        "dispatched_per_trained": dispatched / trained if tokens else None,
        "completion_tokens_per_prompt": learned / trained if tokens else None,
    }
