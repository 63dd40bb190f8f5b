"""Looking at sweeps that were run: their states and logs, from the files alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl.errors import suggestion
from sweepctl.states import read_status
from sweepctl.watching.progress import RunProgress
from trainer.errors import ConfigError
from trainer.paths import RunPaths, SweepPaths


@dataclass(frozen=True)
class RunRow:
    """One run of a manifest, as it is now."""

    label: str | None
    name: str
    state: str
    reason: str | None
    attempt: int
    progress: RunProgress

    def summary(self) -> dict[str, Any]:
        """The run as a row of `status --json`."""
        return {
            "label": self.label,
            "run_name": self.name,
            "state": self.state,
            "reason": self.reason,
            "attempt": self.attempt,
            "step": self.progress.step,
            "max_steps": self.progress.max_steps,
            "seconds_per_step": self.progress.seconds_per_step,
            "reward": self.progress.reward,
        }


@dataclass(frozen=True)
class SweepStatus:
    """A sweep, as it is now."""

    name: str
    profile: str | None
    runs: list[RunRow]

    def summary(self) -> dict[str, Any]:
        """The sweep as JSON."""
        return {"name": self.name, "profile": self.profile, "runs": [run.summary() for run in self.runs]}


def sweep_status(runs_dir: Path, sweep: str | None) -> SweepStatus:
    """The state of every run of a sweep, by default the one begun last.

    Raises:
        ConfigError: when there is no such sweep.
    """
    paths = find_sweep(runs_dir, sweep)
    manifest = _manifest(paths)
    rows = [_row(paths, planned) for planned in manifest.get("runs", [])]
    return SweepStatus(paths.name, manifest.get("profile"), rows)


def find_sweep(runs_dir: Path, name: str | None) -> SweepPaths:
    """A sweep by name, or the one begun last.

    Raises:
        ConfigError: when there is none.
    """
    there = sorted(_sweeps(runs_dir), key=lambda sweep: sweep.manifest.stat().st_mtime)
    if not there:
        raise ConfigError(f"{runs_dir}: no sweep was run here; start one with: sweepctl run SPEC")
    if name is None:
        return there[-1]
    for sweep in there:
        if sweep.name == name:
            return sweep
    raise ConfigError(f"{runs_dir}: no sweep '{name}'; {suggestion(name, [sweep.name for sweep in there])}")


def find_run(runs_dir: Path, given: str) -> RunPaths:
    """A run by its name, its label, or `SWEEP/RUN`; of the sweep begun last if several have it.

    Raises:
        ConfigError: when there is none.
    """
    sweep_name, _, run_name = given.rpartition("/")
    find_sweep(runs_dir, sweep_name or None)
    sweeps = sorted(_sweeps(runs_dir), key=lambda sweep: sweep.manifest.stat().st_mtime, reverse=True)
    known: list[str] = []
    for sweep in sweeps:
        if sweep_name and sweep.name != sweep_name:
            continue
        for planned in _manifest(sweep).get("runs", []):
            if run_name in {planned["run_name"], planned["label"]}:
                return sweep.run(planned["run_name"])
            known.append(planned["run_name"])
    raise ConfigError(f"{runs_dir}: no run '{given}'; {suggestion(run_name, known)}")


def _sweeps(runs_dir: Path) -> Iterator[SweepPaths]:
    for manifest in runs_dir.glob("*/sweep.json"):
        yield SweepPaths(manifest.parent)


def _manifest(sweep: SweepPaths) -> dict[str, Any]:
    try:
        found = json.loads(sweep.manifest.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{sweep.manifest}: not a sweep's manifest; `sweepctl run` writes it again")
    return found


def _row(sweep: SweepPaths, planned: dict[str, Any]) -> RunRow:
    paths = sweep.run(planned["run_name"])
    status = read_status(paths) if planned["state"] == "planned" else None
    state = "pending" if planned["state"] == "planned" else planned["state"]
    progress = RunProgress(
        label=planned["label"] or "",
        name=planned["run_name"],
        max_steps=planned["config"]["max_steps"],
        paths=paths,
        state=status.state.value if status else state,
    )
    progress.refresh()
    reason = status.reason if status else planned["reason"]
    attempt = status.attempt if status else 0
    return RunRow(planned["label"], planned["run_name"], progress.state, reason, attempt, progress)
