"""What running a sweep would do here: its runs in order, and what earlier invocations left of them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sweepctl.expansion.expand import Point, expand
from sweepctl.spec.file import SpecFile, load_spec
from sweepctl.spec.resolve import Resolved, choose_profile, resolve
from sweepctl.states import read_status
from trainer.config import RunConfig
from trainer.paths import RunPaths, SweepPaths
from trainer.records import RunState, RunStatus

PlanState = Literal["new", "succeeded", "failed", "interrupted", "running", "infeasible"]
_STATES: dict[RunState, PlanState] = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.INTERRUPTED: "interrupted",
    RunState.RUNNING: "running",
}


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan, or a point that can never make progress."""

    label: str | None
    """`Exp1`, `Exp2`, ... in order; an infeasible point has none."""
    point: Point
    paths: RunPaths
    state: PlanState
    status: RunStatus | None
    other_run: str | None
    """The run_id of another run in its directory, which will be set aside."""

    @property
    def name(self) -> str:
        """The run's name, that of its directory."""
        return self.point.run_name

    @property
    def config(self) -> RunConfig:
        """The configuration of a feasible run."""
        if self.point.config is None:
            raise ValueError(f"{self.name} is infeasible and has no configuration")
        return self.point.config

    @property
    def feasible(self) -> bool:
        """Whether it can be run at all."""
        return self.point.config is not None

    def summary(self) -> dict[str, Any]:
        """The run as a row of `plan --json`."""
        config = self.point.config
        per_sync = self.point.value("prompts_per_rollout_sync")
        batch = self.point.value("prompts_per_optim_step")
        return {
            "label": self.label,
            "run_name": self.name,
            "run_id": config.run_id() if config else None,
            "state": self.state,
            "reason": self.point.reason,
            "max_staleness": self.point.value("max_staleness"),
            "prompts_per_optim_step": batch,
            "prompts_per_rollout_sync": per_sync,
            "sync_interval_steps": per_sync // batch,
            "worst_case_age": config.schedule.worst_case_age() if config else None,
            "max_steps": self.point.value("max_steps"),
            "seed": self.point.value("seed"),
            "step": self.status.step if self.status else 0,
            "sets_aside": self.other_run,
        }


@dataclass(frozen=True)
class Plan:
    """A sweep as it will be run."""

    resolved: Resolved
    paths: SweepPaths
    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.resolved.spec.name

    @property
    def feasible(self) -> tuple[PlannedRun, ...]:
        """The runs that can be run, in order."""
        return tuple(run for run in self.runs if run.feasible)

    def refreshed(self) -> "Plan":
        """The same plan with the states of now."""
        return replace(self, runs=tuple(_planned(run.point, run.label, run.paths) for run in self.runs))

    def summary(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "name": self.name,
            "profile": self.resolved.profile,
            "directory": str(self.paths.root),
            "runs": [run.summary() for run in self.runs],
            "notes": list(self.notes),
        }


def load_plan(
    spec: Path,
    profile: str,
    overrides: Sequence[str],
    runs_dir: Path,
    *,
    only: str | None = None,
    rerun_on: frozenset[str] = frozenset(),
) -> Plan:
    """Read a spec and plan it.

    Raises:
        ConfigError: with everything wrong with the spec.
    """
    file = load_spec(spec)
    return make_plan(file, choose_profile(file.spec, profile), overrides, runs_dir)


def make_plan(file: SpecFile, profile: str | None, overrides: Sequence[str], runs_dir: Path) -> Plan:
    """Plan a sweep that was read.

    Raises:
        SpecError: with every problem found.
    """
    resolved = resolve(file, profile, overrides)
    expansion = expand(resolved)
    paths = SweepPaths(runs_dir.resolve() / resolved.spec.name)
    labels = _labels(expansion.points, several_seeds=len(resolved.seeds) > 1)
    runs = tuple(
        _planned(point, label, paths.run(point.run_name))
        for point, label in zip(expansion.points, labels, strict=True)
    )
    return Plan(resolved, paths, runs, expansion.notes)


def _labels(points: Sequence[Point], *, several_seeds: bool) -> list[str | None]:
    """Numbers for the arms, in order; runs that differ only by seed share theirs."""
    numbers: dict[str, int] = {}
    labels: list[str | None] = []
    for point in points:
        if point.config is None:
            labels.append(None)
            continue
        arm = point.config.model_copy(update={"seed": 0}).run_id()
        number = numbers.setdefault(arm, len(numbers) + 1)
        labels.append(f"Exp{number}" + (f"-seed{point.config.seed}" if several_seeds else ""))
    return labels


def _planned(point: Point, label: str | None, paths: RunPaths) -> PlannedRun:
    if point.config is None:
        return PlannedRun(label, point, paths, "infeasible", None, None)
    found = directory_run_id(paths)
    if found is not None and found != point.config.run_id():
        return PlannedRun(label, point, paths, "new", None, found)
    status = read_status(paths) if found else None
    state: PlanState = _STATES.get(status.state, "new") if status else "new"
    return PlannedRun(label, point, paths, state, status, None)


def directory_run_id(paths: RunPaths) -> str | None:
    """Whose directory this is: None where there is none, `unknown` where nothing tells."""
    if not paths.root.exists():
        return None
    try:
        found = json.loads(paths.config.read_bytes())["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown" if any(paths.root.iterdir()) else None
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{12}", found) else "unknown"
