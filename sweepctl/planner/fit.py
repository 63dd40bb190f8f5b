"""Costs from what finished runs have recorded."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweepctl.planner.costs import CostModel
from sweepctl.planner.crowding import fit_crowding, generation_alone_s
from sweepctl.planner.measured import VERDICTS, Measured
from trainer.simulator import Durations, Work

Array = NDArray[np.float64]

_ON_THE_ENGINE = ["dispatched_s", "ended_s"]


def fit(runs: Sequence[Measured], source: str) -> CostModel:
    """The costs that explain the records of a run, or of several that differ by their seed only.

    Args:
        runs: one at least, with groups of the same size.
        source: what they are called together.
    """
    size = runs[0].completions_per_prompt
    groups = _one_after_another([_on_the_engines_clock(run) for run in runs])
    crowding = fit_crowding(groups)
    known = _one_of_each_prompt(groups.assign(alone_s=generation_alone_s(groups, crowding)))
    known = known.assign(
        learner_tokens=known["completion_tokens"] + size * known["prompt_tokens"]
    ).sort_values("progress", kind="stable")
    columns = (known[name].tolist() for name in ("alone_s", "completion_tokens", "learner_tokens", "fate"))
    return CostModel(
        source=f"fitted on {source}",
        durations=_durations(runs, crowding),
        progress=known["progress"].tolist(),
        pool=[
            Work(alone_s, completion_tokens, learner_tokens, VERDICTS[fate])
            for alone_s, completion_tokens, learner_tokens, fate in zip(*columns, strict=True)
        ],
        completions_per_prompt=size,
    )


def _on_the_engines_clock(run: Measured) -> pd.DataFrame:
    """A run's groups, with their progress, by a clock that stands still while a sync halts the engine."""
    groups = run.groups.assign(progress=_progress(run))
    if not len(run.syncs_s):
        return groups
    lasted_s = np.cumsum(np.diff(run.syncs_s))
    halted_s = np.repeat([0.0, *lasted_s], 2)[1:-1]  # by the beginning and by the end of each sync
    return groups.assign(
        **{
            name: groups[name] - np.interp(groups[name], run.syncs_s.ravel(), halted_s)
            for name in _ON_THE_ENGINE
        }
    )


def _progress(run: Measured) -> Array:
    """Sum of the learning rates before the version that sampled each group, see `progress_at`."""
    rates = run.steps["lr"].to_numpy(np.float64) * run.updates_per_batch
    before = np.concatenate([[0.0], np.cumsum(rates)])
    progress: Array = before[np.clip(run.groups["version_min"].to_numpy(np.int64), 0, len(before) - 1)]
    return progress


def _one_after_another(groups: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Groups of several runs, numbered by `run`, as of one engine, on which no two of the runs ever met."""
    shifted, begin_s = [], 0.0
    for run, each in enumerate(groups):
        moved = {name: each[name] + begin_s for name in _ON_THE_ENGINE}
        shifted.append(each.assign(run=run, **moved))
        begin_s = float(shifted[-1]["ended_s"].max())
    return pd.concat(shifted, ignore_index=True)


def _one_of_each_prompt(groups: pd.DataFrame) -> pd.DataFrame:
    """The last of each prompt's groups that has a verdict, with the progress at the prompt's first dispatch.

    One whose prompt is sent again until it is trained would count once for each time, and slow ones are sent
    again more often, until late in the run.
    """
    begun = groups.groupby(["run", "prompt"])["progress"].transform("min")
    known = groups.assign(progress=begun)[groups["finished_s"].notna() & groups["fate"].isin(VERDICTS)]
    return known.drop_duplicates(["run", "prompt"], keep="last")


def _durations(runs: Sequence[Measured], crowding: float) -> Durations:
    steps = pd.concat([run.steps for run in runs])
    warm = pd.concat([run.steps.iloc[1:] for run in runs])  # the first step pays for what is done once
    groups = pd.concat([run.groups for run in runs])
    evaluations_s = [_held_out(run) for run in runs]
    within, all_s = (np.concatenate(each) for each in zip(*evaluations_s, strict=True))
    per_token, optimizer_s = _learning(runs, warm)
    return Durations(
        crowding=crowding,
        verify_s=float((groups["verified_s"] - groups["finished_s"]).mean()),
        learn_s_per_token=per_token,
        optimizer_s=optimizer_s,
        other_s=float((warm["other_s"].sum() - within.sum()) / len(warm)),
        sync_s=_mean_where_any(warm["sync_s"].to_numpy(np.float64)),
        checkpoint_s=_mean_where_any(steps["checkpoint_s"].to_numpy(np.float64)),
        held_out_s=_mean_where_any(within if len(within) else all_s),
    )


def _learning(runs: Sequence[Measured], warm: pd.DataFrame) -> tuple[float, float]:
    """Seconds of a token, in all updates of its batch, and of the rest of a step's optimizer.

    A learner's last span is the optimizer, and every update after the first, which goes over the whole batch
    again and takes as long for a token as the first one does, but no longer than the span is.
    """
    size, again = runs[0].completions_per_prompt, runs[0].updates_per_batch - 1
    tokens = float(warm["completion_tokens"].sum() + size * warm["prompt_tokens"].sum())
    last_s = np.concatenate([run.optimizer_s for run in runs])
    last_mean_s = float(last_s.mean()) if last_s.size else 0.0
    learn_s = float(warm["learn_s"].sum())
    first_s = learn_s - last_mean_s * len(warm)
    optimizer_s = max(last_mean_s - again * first_s / len(warm), 0.0)
    return (learn_s - optimizer_s * len(warm)) / tokens, optimizer_s


def _held_out(run: Measured) -> tuple[Array, Array]:
    """Seconds of each evaluation within a step that is not the first, and of each at all.

    One before the first step has the engine for itself, and one after the last is in no step.
    """
    begun, ended = run.held_out_s.reshape(-1, 2).T
    start_s = run.steps["start_s"].to_numpy(np.float64)
    end_s = start_s[-1] + float(run.steps["wall_s"].iloc[-1])
    within = (begun >= start_s[1]) & (begun < end_s)
    return (ended - begun)[within], ended - begun


def _mean_where_any(seconds: Array) -> float:
    """Mean of those that took any time."""
    some = seconds[seconds > 0]
    return float(some.mean()) if len(some) else 0.0
