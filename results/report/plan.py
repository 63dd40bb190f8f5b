"""Sentences on how right the predictions of a sweep were. They count; none is a test."""

from collections.abc import Iterator, Sequence

import pandas as pd

from results.report.cells import counted
from results.statistics.wording import listed, seconds_text
from results.store import records

_NAMED = 3
"""So many sources of costs are named."""


def plan_observations(plan: pd.DataFrame, arms: pd.DataFrame) -> Iterator[str]:
    """Where the predictions come from, and how far off they were.

    Args:
        plan: `results.tables.plan.plan_table`.
        arms: `results.tables.plan_arms.plan_arms_table` of it.
    """
    if plan.empty:
        return
    yield from _source(plan)
    done = plan[(plan["state"] == "succeeded") & plan["step_error"].notna()]
    yield from _errors(done)
    yield from _arms(arms)
    yield from _modes(done)
    yield from _positions(done)
    yield from _failed(done)


def _source(plan: pd.DataFrame) -> Iterator[str]:
    sources = list(plan["costs_source"].unique())
    more = f" and {len(sources) - _NAMED} more" if len(sources) > _NAMED else ""
    yield (
        f"{counted(len(plan), 'run')} predicted before the first step; costs: "
        f"{', '.join(sources[:_NAMED])}{more}."
    )


def _errors(done: pd.DataFrame) -> Iterator[str]:
    if done.empty:
        return
    error = done["step_error"].abs()
    worst = records(done.loc[[error.idxmax()]])[0]
    if len(done) == 1:
        yield f"The predicted mean step time of {worst['label']} is {worst['step_error']:+.1%} off."
        return
    inside = int(done["measured_step_s"].between(done["step_low_s"], done["step_high_s"]).sum())
    yield (
        f"Predicted mean step times of {len(done)} finished runs are off by {error.median():.1%} in the "
        f"median and {error.max():.1%} at most ({worst['label']}); {inside} of {len(done)} measured ones lie "
        "where chance alone puts 95 %."
    )


def _arms(arms: pd.DataFrame) -> Iterator[str]:
    """What is left of the errors when seeds are averaged."""
    several = arms[arms["seeds"] > 1]
    if several.empty:
        return
    error = several["step_error"].abs()
    worst = records(several.loc[[error.idxmax()]])[0]
    fewest, most = int(several["seeds"].min()), int(several["seeds"].max())
    seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    if len(several) == 1:
        off = f"{worst['step_error']:+.1%} off"
        yield f"Over {seeds} seeds, the predicted mean step time of {worst['label']} is {off}."
        return
    yield (
        f"Over {seeds} seeds each, predicted mean step times of {len(several)} arms are off by "
        f"{error.median():.1%} in the median and {error.max():.1%} at most ({worst['label']})."
    )


def _modes(done: pd.DataFrame) -> Iterator[str]:
    told = done["modes_agree"].dropna()
    if len(told):
        yield f"As many step-time modes as predicted: {int(told.sum())} of {len(told)} finished runs."


def _positions(done: pd.DataFrame) -> Iterator[str]:
    """Where steps differ by their place in the sync cycle: what a cycle of several steps predicts first."""
    told = [
        f"{row['label']} {_seconds(row['measured_position_s'])} "
        f"(predicted {_seconds(row['predicted_position_s'])})"
        for row in records(done)
        if len(row["predicted_position_s"]) > 1 and row["measured_position_s"]
    ]
    if told:
        more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        yield f"Mean step times by place in the sync cycle, in s: {'; '.join(told[:_NAMED])}{more}."


def _seconds(times: Sequence[float]) -> str:
    return listed([seconds_text(time) for time in times])


def _failed(done: pd.DataFrame) -> Iterator[str]:
    failed = done[done["failed_assumption"].notna()]
    if failed.empty:
        return
    yield f"Assumptions that failed: {'; '.join(_named(failed))}."


def _named(failed: pd.DataFrame) -> Sequence[str]:
    """`learner speed (Exp4)`; of many runs the number."""
    found = []
    for name, labels in failed.groupby("failed_assumption", sort=False)["label"]:
        runs = ", ".join(labels) if len(labels) <= _NAMED else f"{len(labels)} runs"
        found.append(f"{name} ({runs})")
    return found
