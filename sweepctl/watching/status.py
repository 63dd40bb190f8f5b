"""Looking at sweeps, running or ended: what is there and how far it is, from the files alone."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepctl.attempts import read_attempts
from sweepctl.errors import nearest, suggestion
from sweepctl.holder import Holder, who_runs
from sweepctl.imported import is_table_row, origin
from sweepctl.labels import arm_of
from sweepctl.states import read_status
from sweepctl.watching.progress import WAITING_FOR_ENGINE, RunProgress, SweepProgress
from sweepctl.watching.retries import TO_BE_TRIED_AGAIN, is_tried_again, max_attempts
from trainer.errors import ConfigError
from trainer.paths import RunPaths, SweepPaths, is_pilot

IMPORTED = "imported"
"""What stands in place of the state of a run of which only results were imported."""
NOT_BEGUN = "not begun"
"""The same of one that had not begun where it was exported; it will not begin here."""
_NAMES_SHOWN = 8


@dataclass
class RunRow:
    """One run of a manifest, as it was at the last look."""

    planned: dict[str, Any]
    progress: RunProgress
    evaluations_expected: int
    attempts_allowed: int
    """How often it may fail in a row."""
    imported: bool = False
    """Whether its sweep is: nothing becomes of it here."""
    results_only: bool = False
    """Whether it was imported with nothing but results."""
    reason: str | None = None
    attempt: int = 0
    evaluations: int = 0
    """Results that are there."""

    @property
    def said(self) -> str:
        """Its state, or a note where there is more to say."""
        return self.progress.note or self.progress.state

    def refresh(self, holder: Holder | None) -> None:
        """Look at the run's files again; `holder` is the process that runs the sweep now."""
        paths = self.progress.paths
        state = self.planned.get("state", "planned")
        self.progress.state, self.progress.note, self.reason = state, None, self.planned.get("reason")
        if state == "infeasible":
            return
        try:
            status = read_status(paths)
        except ConfigError as error:
            self.progress.state, self.reason = "unreadable", str(error)
            return
        self.progress.state = "pending"
        if status is not None:
            self.progress.state, self.reason, self.attempt = status.state, status.reason, status.attempt
            if is_tried_again(paths, status.state, holder, self.attempts_allowed):
                self.progress.state, self.progress.note = "pending", TO_BE_TRIED_AGAIN
        devices = [each.devices for each in read_attempts(paths) if each.event == "started"]
        self.progress.device = devices[-1] if devices else None
        if holder is not None and (waits_on := holder.waiting.get(self.progress.name)):
            self.progress.state, self.progress.note, self.reason = "pending", WAITING_FOR_ENGINE, None
            self.progress.device = waits_on
        if self.imported:
            self.progress.note = self._imported_note()
        self.progress.take_in(status)
        self.evaluations = sum(1 for _ in paths.root.glob("eval/*/*shot.json"))

    def _imported_note(self) -> str | None:
        if self.results_only:
            return IMPORTED
        return NOT_BEGUN if self.progress.state == "pending" else None

    def summary(self) -> dict[str, Any]:
        """The run as a row of `status --json`."""
        progress = self.progress
        return {
            "label": progress.label or None,
            "run_name": progress.name,
            "state": progress.state,
            "note": progress.note,
            "reason": self.reason,
            "attempt": self.attempt,
            "step": progress.step,
            "max_steps": progress.max_steps,
            "seconds_per_step": progress.seconds_per_step,
            "seconds_left": progress.seconds_left if progress.state == "running" else None,
            "reward": progress.reward,
            "off_policy_steps": progress.age,
            "devices": progress.device,
            "evaluations": self.evaluations,
            "evaluations_expected": self.evaluations_expected,
            "log": str(progress.paths.log),
        }


@dataclass
class SweepStatus:
    """A sweep, as it was at the last look."""

    paths: SweepPaths
    manifest: dict[str, Any]
    rows: list[RunRow]
    holder: Holder | None
    """The process that runs it now."""
    other_sweeps: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str | None:
        """The folder it was imported from, by name; None: it was run here."""
        return origin(self.manifest)

    @property
    def progress(self) -> SweepProgress:
        """The same as the live table shows it."""
        runs = [row.progress for row in self.rows]
        return SweepProgress(self.paths.name, self.manifest.get("profile"), runs, began=self.began)

    @property
    def began(self) -> float | None:
        """When the process that runs it now began, on the monotonic clock."""
        return time.monotonic() - (time.time() - self.holder.since_unix) if self.holder else None

    def unplanned(self) -> list[str]:
        """Folders of runs that the manifest does not name: left by an earlier form of the spec."""
        planned = {row.progress.name for row in self.rows}
        found = (path.parent.name for path in self.paths.root.glob("*/config.json"))
        return sorted(name for name in found if name not in planned and ".set-aside-" not in name)

    def summary(self) -> dict[str, Any]:
        """The sweep as JSON."""
        holder = self.holder
        return {
            "name": self.paths.name,
            "profile": self.manifest.get("profile"),
            "directory": str(self.paths.root),
            "imported": self.manifest.get("imported"),
            "held_by": {"pid": holder.pid, "host": holder.host, "since_unix": holder.since_unix}
            if holder
            else None,
            "seconds_left": self.progress.seconds_left if holder else None,
            "runs": [row.summary() for row in self.rows],
            "unplanned": self.unplanned(),
            "other_sweeps": self.other_sweeps,
        }


def sweep_status(runs_dir: Path, sweep: str | None) -> SweepStatus:
    """The state of every run of a sweep, by default the one begun last.

    Raises:
        ConfigError: when there is no such sweep.
    """
    paths = find_sweep(runs_dir, sweep)
    manifest = read_manifest(paths)
    rows = [_row(paths, manifest, planned) for planned in manifest["runs"]]
    holder = who_runs(paths)
    for row in rows:
        row.refresh(holder)
    others = [other.name for other in sweeps(runs_dir) if other.name != paths.name] if sweep is None else []
    return SweepStatus(paths, manifest, rows, holder, others)


def find_sweep(runs_dir: Path, name: str | None) -> SweepPaths:
    """A sweep by name, or the one begun last, not counting those whose manifest is damaged.

    Raises:
        ConfigError: when there is none.
    """
    there = sweeps(runs_dir)
    if name is not None and (runs_dir / name).is_dir() and name not in [sweep.name for sweep in there]:
        raise ConfigError(f"{runs_dir / name}: no sweep.json in it; `sweepctl run SPEC` writes it")
    if not there:
        raise ConfigError(f"{runs_dir}: no sweep was run here; start one with: sweepctl run SPEC")
    if name is None:
        return next(_readable(there))[0]
    for sweep in there:
        if sweep.name == name:
            return sweep
    raise ConfigError(f"{runs_dir}: no sweep '{name}'; {suggestion(name, [sweep.name for sweep in there])}")


@dataclass(frozen=True)
class FoundRun:
    """A run that was asked for by one of its names."""

    sweep: SweepPaths
    manifest: dict[str, Any]
    planned: dict[str, Any]
    """The manifest's entry."""

    @property
    def paths(self) -> RunPaths:
        """Its files."""
        return self.sweep.run(self.planned["run_name"])


def locate_run(runs_dir: Path, given: str) -> FoundRun:
    """A run by its name, its label, or `SWEEP/RUN`; of several sweeps' the latest, said on stderr.

    Raises:
        ConfigError: when there is none.
    """
    return _locate(runs_dir, given, lambda planned: {planned["run_name"], planned.get("label")})[0]


def locate_seeds(runs_dir: Path, given: str) -> list[FoundRun]:
    """A run as `locate_run` finds it, or all seeds of an arm by its label: `Exp1` is `Exp1-seed0` and so on.

    Raises:
        ConfigError: when there is none.
    """

    def names(planned: dict[str, Any]) -> set[str | None]:
        label = planned.get("label") or planned["run_name"]
        return {planned["run_name"], label, arm_of(label)}

    return _locate(runs_dir, given, names)


def _locate(runs_dir: Path, given: str, names: Callable[[dict[str, Any]], set[str | None]]) -> list[FoundRun]:
    """The runs that go by a name, in the plan's order; of several sweeps' those of the latest."""
    sweep_name, _, run_name = given.rpartition("/")
    there = sweeps(runs_dir)
    if sweep_name or not there:
        there = [find_sweep(runs_dir, sweep_name or None)]
    readable = list(_readable(there))
    found = [
        FoundRun(sweep, manifest, planned)
        for sweep, manifest in readable
        for planned in manifest["runs"]
        if run_name in names(planned)
    ]
    if not found:
        planned = [run for _, manifest in readable for run in manifest["runs"]]
        raise ConfigError(f"{runs_dir}: no run '{given}'; {_instead(run_name, planned)}")
    chosen = found[0].sweep
    others = dict.fromkeys(each.sweep.name for each in found if each.sweep != chosen)
    if others:
        also = ", ".join(f"{other}/{run_name}" for other in others)
        print(f"this is {chosen.name}/{run_name}; there is also {also}", file=sys.stderr)
    return [each for each in found if each.sweep == chosen]


def _instead(run_name: str, planned: Sequence[dict[str, Any]]) -> str:
    """What to ask for where no run has a name."""
    labels = list(dict.fromkeys(run["label"] for run in planned if run.get("label")))
    if seeds := [label for label in labels if arm_of(label) == run_name]:
        more = f" and {len(seeds) - _NAMES_SHOWN} more" if len(seeds) > _NAMES_SHOWN else ""
        return f"{run_name} has several seeds: {', '.join(seeds[:_NAMES_SHOWN])}{more}"
    known = list(dict.fromkeys([*labels, *(run["run_name"] for run in planned)]))
    if len(known) > 2 * _NAMES_SHOWN and nearest(run_name, known) is None:
        return f"there are {len(planned):,}; `sweepctl status SWEEP` shows them"
    return suggestion(run_name, known)


def sweeps(runs_dir: Path) -> list[SweepPaths]:
    """Every sweep there is, the one begun last first; pilots after all others."""
    found = [SweepPaths(manifest.parent) for manifest in runs_dir.glob("[!.]*/sweep.json")]
    return sorted(found, key=lambda sweep: (is_pilot(sweep.name), -sweep.manifest.stat().st_mtime))


def read_manifest(sweep: SweepPaths) -> dict[str, Any]:
    """What the sweep was meant to be; `runs` is a list of maps with a `run_name` each.

    Raises:
        ConfigError: when the file is no manifest.
    """
    try:
        found = json.loads(sweep.manifest.read_bytes())
        if all(isinstance(run["run_name"], str) for run in found["runs"]):
            return dict(found)
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigError(f"{sweep.manifest}: not a sweep's manifest; `sweepctl run` writes it again")


def _readable(there: list[SweepPaths]) -> Iterator[tuple[SweepPaths, dict[str, Any]]]:
    """Sweeps with their manifests; a damaged one is passed over with a word on stderr.

    Raises:
        ConfigError: all of them are damaged.
    """
    damaged: list[str] = []
    found = False
    for sweep in there:
        try:
            manifest = read_manifest(sweep)
        except ConfigError as error:
            damaged.append(str(error))
            continue
        found = True
        _pass_over(damaged)
        damaged.clear()
        yield sweep, manifest
    if not found:
        raise ConfigError("\n".join(damaged))
    _pass_over(damaged)


def _pass_over(damaged: list[str]) -> None:
    for message in damaged:
        print(f"passed over: {message}", file=sys.stderr)


def _row(sweep: SweepPaths, manifest: dict[str, Any], planned: dict[str, Any]) -> RunRow:
    progress = RunProgress(
        label=planned.get("label") or "",
        name=planned["run_name"],
        max_steps=(planned.get("config") or {}).get("max_steps") or 0,
        paths=sweep.run(planned["run_name"]),
        state="pending",
    )
    infeasible = planned.get("state") == "infeasible"
    expected = 0 if infeasible else _evaluations_expected(manifest)
    return RunRow(
        planned,
        progress,
        expected,
        max_attempts(manifest),
        imported=origin(manifest) is not None,
        results_only=is_table_row(manifest, planned),
    )


def _evaluations_expected(manifest: dict[str, Any]) -> int:
    """Of each run, by the spec: every checkpoint with every task and number of shots."""
    spec = (manifest.get("spec") or {}).get("eval")
    if not spec:
        return 0
    tasks = spec.get("tasks") or ["the one that matches the training task"]
    return len(spec.get("checkpoints") or ["last"]) * len(tasks) * len(spec.get("num_fewshot") or [0])
