"""What earlier invocations left of a sweep, by the files alone: nothing is changed here."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sweepctl.attempts import AttemptRecord, read_attempts
from sweepctl.files import PARTIAL
from sweepctl.plan.set_aside import SET_ASIDE
from sweepctl.provenance import code_id, environment_id
from sweepctl.states import read_status
from trainer.errors import ConfigError
from trainer.paths import RunPaths, SweepPaths
from trainer.records import RunState, RunStatus

PlanState = Literal["new", "succeeded", "outdated", "failed", "interrupted", "running", "infeasible"]
"""`outdated`: succeeded, but from code or an environment that `--rerun-on` does not let pass."""
Stale = Literal["code", "env"]

_STATES: dict[RunState, PlanState] = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.INTERRUPTED: "interrupted",
    RunState.RUNNING: "running",
}
_NO_RUNS = frozenset({"base_models"})


@dataclass(frozen=True)
class Existing:
    """What there is of a run: in its directory, or in one that was set aside and comes back."""

    state: PlanState = "new"
    status: RunStatus | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    other_run: str | None = None
    """The run_id of another run in the directory; `unknown` where nothing tells."""
    stale: tuple[Stale, ...] = ()
    """What is not as it was when a finished run was trained."""
    comes_back: Path | None = None
    """Where the run is, when it was set aside and its place is empty or another run's."""


@dataclass(frozen=True)
class Orphan:
    """A run directory of the sweep that no planned run has."""

    paths: RunPaths
    run_id: str | None
    state: str
    """A `RunState`, or `unknown`."""
    step: int | None
    max_steps: int | None
    same_as: str | None
    """The planned run of the same configuration, whose directory it could be."""

    def summary(self) -> dict[str, Any]:
        """The directory as an entry of `plan --json`."""
        return {
            "directory": self.paths.root.name,
            "run_id": self.run_id,
            "state": self.state,
            "step": self.step,
            "max_steps": self.max_steps,
            "same_as": self.same_as,
        }


def read_existing(
    paths: RunPaths, run_id: str, rerun_on: frozenset[str], set_aside: Sequence[RunPaths]
) -> Existing:
    """What is left of the run `run_id`: what is in its place, else what was set aside.

    Args:
        paths: its place.
        run_id: its identity.
        rerun_on: what makes it outdated once it is finished: `code`, `env`.
        set_aside: the directories that were set aside from there, newest first.

    Raises:
        ConfigError: its status cannot be read.
    """
    found = directory_run_id(paths)
    if found == run_id:
        return _read(paths, rerun_on)
    return replace(_read_set_aside(set_aside, run_id, rerun_on), other_run=found)


def _read(paths: RunPaths, rerun_on: frozenset[str]) -> Existing:
    status = read_status(paths)
    attempts = tuple(read_attempts(paths))
    state = _state(status)
    stale = _stale(attempts) if state == "succeeded" else ()
    return Existing("outdated" if rerun_on & set(stale) else state, status, attempts, stale=stale)


def _read_set_aside(set_aside: Sequence[RunPaths], run_id: str, rerun_on: frozenset[str]) -> Existing:
    """The newest that has begun on this run; one that would be set aside again as outdated stays there."""
    for paths in set_aside:
        if directory_run_id(paths) != run_id:
            continue
        try:
            existing = _read(paths, rerun_on)
        except ConfigError:
            continue  # damaged, and in nobody's way
        if existing.state not in {"new", "outdated"}:
            return replace(existing, comes_back=paths.root)
    return Existing()


def directory_run_id(paths: RunPaths) -> str | None:
    """Whose directory this is: None where there is none, `unknown` where nothing tells."""
    try:
        found = json.loads(paths.config.read_bytes())["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown" if paths.root.is_dir() and _holds_something(paths) else None
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{12}", found) else "unknown"


def _holds_something(paths: RunPaths) -> bool:
    """Whether there is more than what a killed writer has left half-written."""
    return any(not path.name.endswith(PARTIAL) for path in paths.root.iterdir())


def find_orphans(sweep: SweepPaths, planned: Mapping[str, str]) -> tuple[Orphan, ...]:
    """Run directories that are no planned run's, by name; `planned` has the run_id of each run's name."""
    if not sweep.root.is_dir():
        return ()
    names = {run_id: name for name, run_id in planned.items()}
    found = []
    for folder in sorted(sweep.root.iterdir()):
        if folder.name in planned or folder.name in _NO_RUNS or SET_ASIDE in folder.name:
            continue
        if folder.is_dir() and (orphan := _orphan(RunPaths(folder), names)) is not None:
            found.append(orphan)
    return tuple(found)


def _orphan(paths: RunPaths, names: Mapping[str, str]) -> Orphan | None:
    run_id = directory_run_id(paths)
    try:
        status = read_status(paths)
    except ConfigError:
        status = None
    if status is None and run_id in {None, "unknown"}:
        return None  # evaluations, notes, whatever a user put there
    return Orphan(
        paths=paths,
        run_id=run_id if run_id != "unknown" else None,
        state=status.state.value if status else "unknown",
        step=status.step if status else None,
        max_steps=status.max_steps if status else None,
        same_as=names.get(run_id or ""),
    )


def _state(status: RunStatus | None) -> PlanState:
    if status is None:
        return "new"
    if status.state in _STATES:
        return _STATES[status.state]
    # Pending or skipped. What was begun before is gone on with, not begun anew.
    return "interrupted" if status.attempt else "new"


def _stale(attempts: tuple[AttemptRecord, ...]) -> tuple[Stale, ...]:
    """In what the last attempt differs from one that would start now; what is not on record is not known."""
    started = [record for record in attempts if record.event == "started"]
    if not started:
        return ()
    last = started[-1]
    stale: list[Stale] = []
    if last.code is not None and last.code != _code_now():
        stale.append("code")
    if last.environment is not None and last.environment != _environment_now():
        stale.append("env")
    return tuple(stale)


@cache
def _code_now() -> str:
    return code_id()


@cache
def _environment_now() -> str:
    return environment_id()
