"""What earlier invocations left of a sweep, by the files alone: nothing is changed here."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Self

from sweepctl.attempts import AttemptRecord, read_attempts
from sweepctl.files import PARTIAL
from sweepctl.plan.set_aside import set_aside_at
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
    """What there is of a run: in its place, or elsewhere in the sweep, from where it comes back."""

    state: PlanState = "new"
    status: RunStatus | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    other_run: str | None = None
    """The run_id of another run in the directory; `unknown` where nothing tells."""
    stale: tuple[Stale, ...] = ()
    """What is not as it was when a finished run was trained."""
    comes_back: Path | None = None
    """Where the run is, when its place is empty or another run's: set aside, or under an earlier name."""


@dataclass(frozen=True)
class Orphan:
    """A run directory of the sweep that no planned run has or takes."""

    paths: RunPaths
    run_id: str | None
    state: str
    """A `RunState`, or `unknown`."""
    step: int | None
    max_steps: int | None
    same_as: str | None
    """The planned run of the same configuration: it has another directory, or cannot go on from this one."""

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


@dataclass(frozen=True)
class Directories:
    """The directories of a sweep, each looked at once."""

    sweep: SweepPaths
    holds: Mapping[str, str]
    """By name, the run_id of what a directory holds; `unknown` where nothing tells."""

    @classmethod
    def read(cls, sweep: SweepPaths) -> Self:
        """Look at all that is there now."""
        folders = sorted(sweep.root.iterdir()) if sweep.root.is_dir() else []
        held = {
            folder.name: _held_by(RunPaths(folder))
            for folder in folders
            if folder.name not in _NO_RUNS and folder.is_dir()
        }
        return cls(sweep, {name: run_id for name, run_id in held.items() if run_id is not None})

    @cached_property
    def of_run(self) -> Mapping[str, Sequence[RunPaths]]:
        """By run_id, the directories that hold the run, by name."""
        found: dict[str, list[RunPaths]] = defaultdict(list)
        for name, run_id in self.holds.items():
            found[run_id].append(self.sweep.run(name))
        return dict(found)


def _held_by(paths: RunPaths) -> str | None:
    """The run_id of what a directory holds: None where there is none, `unknown` where nothing tells."""
    try:
        found = json.loads(paths.config.read_bytes())["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown" if paths.root.is_dir() and _holds_something(paths) else None
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{12}", found) else "unknown"


def _holds_something(paths: RunPaths) -> bool:
    """Whether there is more than what a killed writer has left half-written."""
    return any(not path.name.endswith(PARTIAL) for path in paths.root.iterdir())


def read_existing(
    paths: RunPaths, run_id: str, rerun_on: frozenset[str], directories: Directories
) -> Existing:
    """What is left of the run `run_id`: what is in its place, else what is elsewhere in the sweep.

    Args:
        paths: its place.
        run_id: its identity.
        rerun_on: what makes it outdated once it is finished: `code`, `env`.
        directories: those of its sweep.

    Raises:
        ConfigError: the status in its place cannot be read.
    """
    found = directories.holds.get(paths.root.name)
    if found == run_id:
        return _read(paths, rerun_on)
    return replace(_read_elsewhere(directories.of_run.get(run_id, ()), rerun_on), other_run=found)


def _read(paths: RunPaths, rerun_on: frozenset[str]) -> Existing:
    status = read_status(paths)
    attempts = tuple(read_attempts(paths))
    state = _state(status)
    stale = _stale(attempts) if state == "succeeded" else ()
    return Existing("outdated" if rerun_on & set(stale) else state, status, attempts, stale=stale)


def _read_elsewhere(directories: Sequence[RunPaths], rerun_on: frozenset[str]) -> Existing:
    """The first in order of what has begun; what would be set aside again as outdated stays where it is."""
    found = []
    for paths in directories:
        try:
            existing = _read(paths, rerun_on)
        except ConfigError:
            continue  # damaged, and in nobody's way
        if existing.state not in {"new", "outdated"}:
            found.append((_precedence(paths.root.name, existing), replace(existing, comes_back=paths.root)))
    return max(found, key=lambda each: each[0])[1] if found else Existing()


def _precedence(name: str, existing: Existing) -> tuple[bool, bool, int, tuple[str, int]]:
    """A directory that nobody set aside comes first, of several the one that got furthest; then by date."""
    date = set_aside_at(name)
    if date is not None:
        return False, False, 0, date
    return True, existing.state == "succeeded", existing.status.step if existing.status else 0, ("", 0)


def find_orphans(
    directories: Directories, planned: Mapping[str, str], coming_back: Collection[Path | None]
) -> tuple[Orphan, ...]:
    """Run directories that no planned run has or takes, by name.

    Args:
        directories: those of the sweep.
        planned: the run_id of each run, by its name.
        coming_back: the directories from which runs come back.
    """
    names = {run_id: name for name, run_id in planned.items()}
    found = []
    for name, run_id in directories.holds.items():
        paths = directories.sweep.run(name)
        if name in planned or set_aside_at(name) is not None or paths.root in coming_back:
            continue
        if (orphan := _orphan(paths, run_id, names)) is not None:
            found.append(orphan)
    return tuple(found)


def _orphan(paths: RunPaths, run_id: str, names: Mapping[str, str]) -> Orphan | None:
    try:
        status = read_status(paths)
    except ConfigError:
        status = None
    if status is None and run_id == "unknown":
        return None  # evaluations, notes, whatever a user put there
    return Orphan(
        paths=paths,
        run_id=run_id if run_id != "unknown" else None,
        state=status.state.value if status else "unknown",
        step=status.step if status else None,
        max_steps=status.max_steps if status else None,
        same_as=names.get(run_id),
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
