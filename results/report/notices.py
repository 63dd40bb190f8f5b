"""What a reader must know before the numbers: what is missing, and what is doubtful."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from results.store import records
from results.tables.arms import arm_label, arms_named

SILENT_AFTER_S = 60.0
"""A run that says it is running and has given no sign of life for so long has probably died."""
_NAMED = 8
"""So many runs or files of a kind are named one by one; more are counted."""


def notices(experiments: pd.DataFrame, overlapping: pd.DataFrame, quarantine: pd.DataFrame) -> list[str]:
    """Sentences, the most important first.

    Args:
        experiments: view `run_summary`.
        overlapping: `results.tables.speed.overlapping_runs`.
        quarantine: files with lines that cannot be read: `path, lines`.
    """
    return [
        *_unfinished(experiments),
        *_lacking(experiments),
        *_profiles(experiments),
        *_overlapping(experiments, overlapping),
        *_unread(quarantine),
    ]


def infeasible_notices(experiments: pd.DataFrame) -> list[str]:
    """Of `notices`, those of runs that cannot run: the plan left them out, nothing went wrong.

    Args:
        experiments: view `run_summary`.
    """
    return list(_unfinished(experiments[experiments["state"] == "infeasible"]))


def _unfinished(experiments: pd.DataFrame) -> Iterator[str]:
    """How many runs are missing; which, and why."""
    feasible = experiments[experiments["state"] != "infeasible"]
    done = feasible[feasible["state"] == "succeeded"]
    if len(done) < len(feasible):
        yield f"{len(done)} of {len(feasible)} runs have finished: this report is partial."
    for state, part in experiments[experiments["state"] != "succeeded"].groupby("state", sort=False):
        told = _points(part) if state == "infeasible" else part
        if len(told) > _NAMED:
            yield f"{len(part)} runs are {state}; `sweepctl status` names them and says why."
            continue
        for row in records(told):
            because = f": {row['reason']}" if isinstance(row["reason"], str) else ""
            at = f", step {row['steps_done']} of {row['max_steps']}" if row["steps_done"] else ""
            silence = _silence(row["heartbeat_unix"]) if state == "running" else ""
            yield f"{row['label']} is {state}{at}{because}.{silence}"


def _points(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for the seeds of a point that cannot run: for all of them the reason is the same."""
    point = [runs["label"].map(arm_label), runs["reason"]]
    named = runs.groupby(point, sort=False)["label"].transform(lambda own: arms_named(own, own)[0])
    return runs.assign(label=named).drop_duplicates(["label", "reason"])


def lacks_steps(row: Mapping[str, Any]) -> bool:
    """Whether a run has ended well, but not all of its steps can be read.

    Args:
        row: of view `run_summary`.
    """
    return bool(row["state"] == "succeeded" and row["steps_done"] < row["max_steps"])  # unknown is no number


def _lacking(experiments: pd.DataFrame) -> Iterator[str]:
    """A run without a profile was made elsewhere, and has no trace to read."""
    lacking = [row for row in records(experiments[experiments["profile"].notna()]) if lacks_steps(row)]
    for row in lacking[:_NAMED]:
        yield (
            f"{row['label']} has succeeded, but only {row['steps_done']:.0f} of its {row['max_steps']:.0f} "
            "steps can be read: its figures are not those of the whole run; `sweepctl doctor` says why."
        )
    if len(lacking) > _NAMED:
        yield f"{len(lacking)} runs that succeeded lack steps in all."


def _profiles(experiments: pd.DataFrame) -> Iterator[str]:
    """Nobody may take the built-in model's numbers for another's, least of all in one table."""
    profiles = experiments["profile"].dropna()
    if profiles.nunique() > 1:
        counts = ", ".join(f"{name} ({count})" for name, count in profiles.value_counts(sort=False).items())
        yield f"The runs are of different profiles: {counts}. They may differ in more than their knobs."


def _overlapping(experiments: pd.DataFrame, overlapping: pd.DataFrame) -> Iterator[str]:
    shared = overlapping.merge(experiments[["run_name", "label"]], on="run_name")
    if shared.empty:
        return
    labels = sorted(shared["label"])
    who = ", ".join(labels) if len(labels) <= _NAMED else f"{len(labels)} runs"
    yield f"{who} ran at the same time on cores they shared: their speed is not that of a run alone."


def _unread(quarantine: pd.DataFrame) -> Iterator[str]:
    for path, lines in list(zip(quarantine["path"], quarantine["lines"], strict=True))[:_NAMED]:
        yield f"{path}: {lines} unreadable; table `quarantine` says where and why."
    if len(quarantine) > _NAMED:
        yield (
            f"{quarantine['lines'].sum()} lines of {len(quarantine)} files are unreadable in all; "
            "table `quarantine` has them."
        )


def _silence(heartbeat_unix: float) -> str:
    """A word on a running run that has gone silent; whether its process lives is for sweepctl to find out."""
    silent_s = time.time() - heartbeat_unix
    return (
        f" No sign of life for {_rough(silent_s)}; see `sweepctl status`."
        if silent_s > SILENT_AFTER_S
        else ""
    )


def _rough(seconds: float) -> str:
    """A duration in the largest unit it has two of: `95 min`, `7 h`, `5 days`."""
    for size, unit in ((86400, "days"), (3600, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} min"
