"""Costs from what a finished run has recorded."""

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

_LEAST_GROUPS = 16
_MOST_CROWDING = 0.99
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
    if len(steps) < 2 or len(groups) < _LEAST_GROUPS:
        raise ConfigError(
            f"{name}: costs cannot be fitted to {len(steps)} steps and {len(groups)} groups; at least 2 and "
            f"{_LEAST_GROUPS} are needed. `sweepctl status` shows runs that are further"
        )
    return Measured(
        name=name,
        groups=groups,
        steps=steps,
        optimizer_s=optimizer["seconds"].to_numpy(np.float64),
        completions_per_prompt=int(run["completions_per_prompt"].iloc[0]),
    )


def fit(run: Measured) -> CostModel:
    """The costs that explain a run's own records."""
    crowding = fit_crowding(run.groups)
    groups = run.groups[run.groups["fate"].isin(_VERDICTS)]
    work_s = generation_alone_s(run.groups, crowding)[run.groups["fate"].isin(_VERDICTS).to_numpy()]
    progress = _progress(run.steps, groups["version_min"].to_numpy(np.int64))
    order = np.argsort(progress, kind="stable")
    pool = [
        Work(
            generate_s=float(work_s[place]),
            completion_tokens=int(groups["completion_tokens"].iloc[place]),
            learner_tokens=int(_learner_tokens(groups, run.completions_per_prompt)[place]),
            fate=_VERDICTS[groups["fate"].iloc[place]],
        )
        for place in order
    ]
    return CostModel(
        source=f"fitted on {run.name}",
        durations=_durations(run, crowding),
        progress=progress[order].tolist(),
        pool=pool,
        completions_per_prompt=run.completions_per_prompt,
    )


def fit_crowding(groups: pd.DataFrame) -> float:
    """How much groups slow each other down, from when each was dispatched and finished.

    A group's tokens should take the same time alone however many groups ran beside it. So it is the crowding
    for which the times alone, on a logarithmic scale, are explained best by the tokens.

    Args:
        groups: with `dispatched_s, finished_s, completion_tokens`.
    """
    tokens = np.log(groups["completion_tokens"].to_numpy(np.float64).clip(1))
    design = np.column_stack([np.ones_like(tokens), tokens])

    def unexplained(crowding: float) -> float:
        seconds = np.log(generation_alone_s(groups, crowding).clip(1e-9))
        _, residual, *_ = np.linalg.lstsq(design, seconds, rcond=None)
        return float(residual[0]) if residual.size else 0.0

    found = minimize_scalar(unexplained, bounds=(0.0, _MOST_CROWDING), method="bounded")
    return float(found.x) if found.fun < unexplained(0.0) else 0.0


def generation_alone_s(groups: pd.DataFrame, crowding: float) -> Array:
    """Seconds that the generation of each group would have taken alone, shape [groups].

    The integral of the engine's speed, 1 / (1 + crowding (c - 1)) with c groups running, over its time.
    """
    begun, ended = (groups[name].to_numpy(np.float64) for name in ("dispatched_s", "finished_s"))
    at = np.concatenate([begun, ended])
    change = np.concatenate([np.ones(len(begun)), -np.ones(len(ended))])
    order = np.argsort(at, kind="stable")
    running = np.cumsum(change[order]).clip(1)
    passed = np.diff(at[order], append=at[order][-1])
    virtual = np.concatenate([[0.0], np.cumsum(passed / (1.0 + crowding * (running - 1.0)))[:-1]])
    at_event = np.empty_like(virtual)
    at_event[order] = virtual
    alone_s: Array = at_event[len(begun) :] - at_event[: len(begun)]
    return alone_s


def _durations(run: Measured, crowding: float) -> Durations:
    steps, groups = run.steps, run.groups
    warm = steps.iloc[1:]  # the first step pays for what is done once
    optimizer_s = float(run.optimizer_s.mean()) if run.optimizer_s.size else 0.0
    tokens = warm["completion_tokens"].sum() + run.completions_per_prompt * warm["prompt_tokens"].sum()
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


def _learner_tokens(groups: pd.DataFrame, completions_per_prompt: int) -> Array:
    prompts = completions_per_prompt * groups["prompt_tokens"].to_numpy(np.float64)
    tokens: Array = groups["completion_tokens"].to_numpy(np.float64) + prompts
    return tokens


def _progress(steps: pd.DataFrame, versions: NDArray[np.int64]) -> Array:
    """Sum of the learning rates before each version."""
    before = np.concatenate([[0.0], np.cumsum(steps["lr"].to_numpy(np.float64))])
    at_version: Array = before[np.minimum(versions, len(before) - 1)]
    return at_version
