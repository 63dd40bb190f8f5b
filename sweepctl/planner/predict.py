"""What the simulator says of a run: many plays of it with other draws, summed up."""

import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.files.predictions import Costs, PredictedMode, Prediction
from results.statistics.modes import StepModes, step_modes
from sweepctl.planner.costs import CostModel, way_of
from trainer.config import RunConfig
from trainer.records import Fate
from trainer.simulator import SimulatedRun, simulate

_PHASES = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
_MOST_REPLICATIONS, _LEAST_REPLICATIONS = 20, 3
_GROUPS = 200_000
"""About so many groups are simulated for a sweep, where that is enough for a few replications of each run."""
_SEARCHED = 5
_LEVELS = (2.5, 97.5)


def replications(configs: Sequence[RunConfig]) -> int:
    """How often each run is played, so that a sweep is predicted in seconds."""
    groups = sum(config.max_steps * config.prompts_per_optim_step for config in configs)
    return int(np.clip(_GROUPS // max(groups, 1), _LEAST_REPLICATIONS, _MOST_REPLICATIONS))


def predict(config: RunConfig, costs: CostModel, plays: int, *, searched: int = _SEARCHED) -> Prediction:
    """What to expect of a run.

    Args:
        config: feasible.
        costs: of its model, task and machine.
        plays: replications; where all groups ask for the same, one tells all.
        searched: replications whose step times are searched for modes, which takes as long as playing them.

    Raises:
        StalledError: by these costs it would find no groups to learn from.
    """
    plays = plays if len(costs.pool) > 1 else 1
    way, durations = way_of(config), costs.durations_of(config)
    runs = [simulate(way, durations, costs.drawing(config, seed)) for seed in range(plays)]
    steps = [_steps(run) for run in runs]
    cycle = config.schedule.sync_interval_steps
    step_means = np.array([each["wall_s"].mean() for each in steps])
    low_s, high_s = np.percentile(step_means, _LEVELS)
    p5_s, p50_s, p95_s = np.percentile(
        np.concatenate([_warm(each, cycle)["wall_s"].to_numpy() for each in steps]), (5, 50, 95)
    )
    wall_s = np.array([run.wall_s for run in runs])
    prompts = config.max_steps * config.prompts_per_optim_step
    trained = plays * prompts
    everything = pd.concat(steps)
    return Prediction(
        made_unix=time.time(),
        costs=costs_record(costs),
        replications=plays,
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
        wasted_token_share=_wasted(runs),
        dispatched_per_trained=sum(run.fates.total() for run in runs) / trained,
        latency_s=sum(run.latency_s for run in runs) / sum(run.finished for run in runs),
        completion_tokens_per_prompt=everything["completion_tokens"].sum() / trained,
    )


def costs_record(costs: CostModel) -> Costs:
    """What of the costs is kept beside a prediction."""
    return Costs(
        source=costs.source,
        generate_s=costs.mean_generate_s,
        groups=len(costs.pool),
        **asdict(costs.durations),
    )


def _steps(run: SimulatedRun) -> pd.DataFrame:
    names = (*_PHASES, "wall_s", "start_s", "engine_idle_s", "completion_tokens")
    frame = pd.DataFrame({name: [getattr(step, name) for step in run.steps] for name in names})
    return frame.assign(step=np.arange(len(frame)))


def _warm(steps: pd.DataFrame, cycle: int) -> pd.DataFrame:
    """Without the first sync cycle, which fills the pipeline; all of a run that is no longer than that."""
    return steps[cycle:] if len(steps) > cycle else steps


def _by_position(steps: Sequence[pd.DataFrame], cycle: int) -> tuple[float, ...]:
    warm = pd.concat([_warm(each, cycle) for each in steps])
    return tuple(warm.groupby(warm["step"] % cycle)["wall_s"].mean())


def _modes(steps: Sequence[pd.DataFrame], cycle: int) -> tuple[PredictedMode, ...]:
    """The modes of the median location, of the number that most replications show."""
    found: list[StepModes] = [step_modes(each, cycle) for each in steps]
    numbers = [len(each.modes) for each in found]
    most = max(set(numbers), key=numbers.count)
    alike = [each.modes for each in found if len(each.modes) == most]
    return tuple(
        PredictedMode(
            seconds=_median([modes[place].seconds for modes in alike]),
            weight=_median([modes[place].weight for modes in alike]),
        )
        for place in range(most)
    )


def _median(values: Sequence[float]) -> float:
    array: NDArray[np.float64] = np.asarray(values, np.float64)
    return float(np.median(array))


def _shares(runs: Sequence[SimulatedRun], trained: int) -> dict[int, float]:
    ages = sorted({age for run in runs for age in run.ages})
    return {age: sum(run.ages[age] for run in runs) / trained for age in ages}


def _wasted(runs: Sequence[SimulatedRun]) -> float | None:
    tokens = sum(run.tokens.total() for run in runs)
    return 1.0 - sum(run.tokens[Fate.TRAINED] for run in runs) / tokens if tokens else None
