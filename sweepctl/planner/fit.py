"""Costs from what finished runs have recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from results.store import Store
from sweepctl.planner.costs import CostModel
from trainer.errors import ConfigError
from trainer.records import Fate
from trainer.simulator import Durations, Work

Array = NDArray[np.float64]

LEAST_STEPS, LEAST_GROUPS = 2, 16
"""That a run must have recorded; of the steps the first tells nothing of the learner."""
_MOST_CROWDING = 0.99
_MOMENTS = ("dispatched_s", "finished_s", "verified_s")
_SHORTEST_S = 1e-9
_VERDICTS = {
    "trained": Fate.TRAINED,
    "evicted": Fate.TRAINED,  # it could have been, had it come earlier
    "filtered": Fate.FILTERED,
    "failed": Fate.FAILED,
}


@dataclass(frozen=True)
class Measured:
    """What the store has of a run.

    Attributes:
        name: `SWEEP/RUN`.
        groups: its rows of table `groups`.
        steps: its rows of table `steps`.
        optimizer_s: of each step, what its learner's last span took: the optimizer, and further updates.
        completions_per_prompt: of its groups.
    """

    name: str
    groups: pd.DataFrame
    steps: pd.DataFrame
    optimizer_s: Array
    completions_per_prompt: int


def measured(store: Store, sweep: str, run_name: str) -> Measured:
    """What the store has of a run.

    Raises:
        ConfigError: nothing that costs could be fitted to.
    """
    key = [sweep, run_name]
    name = f"{sweep}/{run_name}"
    where = "WHERE sweep = ? AND run_name = ?"
    steps = store.query(f"SELECT * FROM steps {where} ORDER BY step", key)
    groups = store.query(f"SELECT * FROM groups {where} AND finished_s IS NOT NULL ORDER BY group_id", key)
    optimizer = store.query(
        "SELECT arg_max(end_s - start_s, start_s) AS seconds FROM spans "
        f"{where} AND lane = 'learner' AND name = 'learn' GROUP BY step ORDER BY step",
        key,
    )
    run = store.query(f"SELECT completions_per_prompt FROM runs {where}", key)
    if len(steps) < LEAST_STEPS or len(groups) < LEAST_GROUPS:
        raise ConfigError(
            f"{name}: costs cannot be fitted to {len(steps)} steps and {len(groups)} groups; at least "
            f"{LEAST_STEPS} and {LEAST_GROUPS} are needed. `sweepctl status` shows runs that are further"
        )
    return Measured(
        name=name,
        groups=groups,
        steps=steps,
        optimizer_s=optimizer["seconds"].to_numpy(np.float64),
        completions_per_prompt=int(run["completions_per_prompt"].iloc[0]),
    )


def fit(runs: Sequence[Measured], source: str) -> CostModel:
    """The costs that explain the records of a run, or of several that differ by their seed only.

    Args:
        runs: one at least, with groups of the same size.
        source: what they are called together.
    """
    size = runs[0].completions_per_prompt
    groups = _one_after_another([_with_progress(run) for run in runs])
    crowding = fit_crowding(groups)
    known = groups.assign(alone_s=generation_alone_s(groups, crowding))
    known = known[known["fate"].isin(_VERDICTS)]
    known = known.assign(
        learner_tokens=known["completion_tokens"] + size * known["prompt_tokens"]
    ).sort_values("progress", kind="stable")
    columns = (known[name].tolist() for name in ("alone_s", "completion_tokens", "learner_tokens", "fate"))
    return CostModel(
        source=f"fitted on {source}",
        durations=_durations(runs, groups, crowding),
        progress=known["progress"].tolist(),
        pool=[
            Work(alone_s, completion_tokens, learner_tokens, _VERDICTS[fate])
            for alone_s, completion_tokens, learner_tokens, fate in zip(*columns, strict=True)
        ],
        completions_per_prompt=size,
    )


def fit_crowding(groups: pd.DataFrame) -> float:
    """How much groups slow each other down, from when each was dispatched and finished.

    A group's tokens should take the same time alone however many groups ran beside it. So it is the crowding
    under which the ends of all generations are most likely, given that the time alone is log-normal around a
    power of the tokens. The density of an end is that of the time alone, times the engine's speed at that
    moment. (Least residuals alone would find too little: without crowding, the times of groups that ran
    together seem more alike than they are.)

    Args:
        groups: with `dispatched_s, finished_s, completion_tokens`.
    """
    tokens = np.log(groups["completion_tokens"].to_numpy(np.float64).clip(1))
    design = np.column_stack([np.ones_like(tokens), tokens])
    engine = _Engine(groups)

    def unlikely(crowding: float) -> float:
        """Negative log-likelihood, up to a constant."""
        speed = engine.speed(crowding)
        log_s = np.log(engine.alone_s(speed).clip(_SHORTEST_S))
        coefficients, *_ = np.linalg.lstsq(design, log_s)
        residuals = log_s - design @ coefficients
        deviation = max(float(residuals.std()), _SHORTEST_S)
        return float(len(log_s) * np.log(deviation) + log_s.sum() - np.log(engine.at_end(speed)).sum())

    found = minimize_scalar(unlikely, bounds=(0.0, _MOST_CROWDING), method="bounded")
    return float(found.x) if found.fun < unlikely(0.0) else 0.0


def generation_alone_s(groups: pd.DataFrame, crowding: float) -> Array:
    """Seconds that the generation of each group would have taken alone, shape [groups].

    The integral of the engine's speed, 1 / (1 + crowding (c - 1)) with c groups running, over its time.
    """
    engine = _Engine(groups)
    return engine.alone_s(engine.speed(crowding))


class _Engine:
    """How many groups ran when, between each dispatch and end of a generation and the next."""

    def __init__(self, groups: pd.DataFrame) -> None:
        begun, ended = (groups[name].to_numpy(np.float64) for name in ("dispatched_s", "finished_s"))
        at = np.concatenate([begun, ended])
        order = np.argsort(at, kind="stable")
        change = np.concatenate([np.ones(len(begun)), -np.ones(len(ended))])
        self._running = np.cumsum(change[order]).clip(1)
        self._passed = np.diff(at[order])
        self._place = np.empty(len(at), np.int64)
        self._place[order] = np.arange(len(at))

    def speed(self, crowding: float) -> Array:
        """Of each running group, as a share of that alone, from each event to the next; shape [events]."""
        return 1.0 / (1.0 + crowding * (self._running - 1.0))

    def alone_s(self, speed: Array) -> Array:
        """The integral of the speed over the time of each group."""
        virtual = np.concatenate([[0.0], np.cumsum(self._passed * speed[:-1])])[self._place]
        begun, ended = np.split(virtual, 2)
        alone_s: Array = ended - begun
        return alone_s

    def at_end(self, speed: Array) -> Array:
        """The speed just before each group's end."""
        ended = np.split(self._place, 2)[1]
        return speed[ended - 1]


def _one_after_another(groups: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Groups of several runs as of one engine, on which no two of the runs ever met."""
    shifted, begin_s = [], 0.0
    for each in groups:
        shifted.append(each.assign(**{name: each[name] + begin_s for name in _MOMENTS}))
        begin_s = float(shifted[-1]["finished_s"].max())
    return pd.concat(shifted, ignore_index=True)


def _durations(runs: Sequence[Measured], groups: pd.DataFrame, crowding: float) -> Durations:
    steps = pd.concat([run.steps for run in runs])
    warm = pd.concat([run.steps.iloc[1:] for run in runs])  # the first step pays for what is done once
    optimizer = np.concatenate([run.optimizer_s for run in runs])
    optimizer_s = float(optimizer.mean()) if optimizer.size else 0.0
    size = runs[0].completions_per_prompt
    tokens = warm["completion_tokens"].sum() + size * warm["prompt_tokens"].sum()
    learn_s = warm["learn_s"].sum() - optimizer_s * len(warm)
    return Durations(
        crowding=crowding,
        verify_s=float((groups["verified_s"] - groups["finished_s"]).mean()),
        learn_s_per_token=float(learn_s / tokens),
        optimizer_s=optimizer_s,
        other_s=float(warm["other_s"].mean()),
        sync_s=_mean_where_any(warm["sync_s"]),
        checkpoint_s=_mean_where_any(steps["checkpoint_s"]),
    )


def _mean_where_any(seconds: pd.Series) -> float:
    """Mean of the steps in which it took any time."""
    some = seconds[seconds > 0]
    return float(some.mean()) if len(some) else 0.0


def _with_progress(run: Measured) -> pd.DataFrame:
    """A run's groups, with the sum of the learning rates before the version that sampled each."""
    before = np.concatenate([[0.0], np.cumsum(run.steps["lr"].to_numpy(np.float64))])
    versions = run.groups["version_min"].to_numpy(np.int64)
    return run.groups.assign(progress=before[np.clip(versions, 0, len(before) - 1)])
