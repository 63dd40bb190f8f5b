"""What running a sweep would do here: its runs in order, which are meant, and what there is of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sweepctl.attempts import AttemptRecord, failures_in_a_row
from sweepctl.expansion.expand import expand
from sweepctl.expansion.points import Point
from sweepctl.plan.existing import (
    Directories,
    Existing,
    Orphan,
    PlanState,
    Stale,
    find_orphans,
    read_existing,
)
from sweepctl.plan.identify import identify
from sweepctl.plan.select import count_due, matching
from sweepctl.plan.spans import spans
from sweepctl.plan.twins import twins_note
from sweepctl.plan.validate import load_whole
from sweepctl.spec.file import SpecFile
from sweepctl.spec.keys import leaf_keys
from sweepctl.spec.resolve import Resolved, choose_profile, resolve
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.paths import RunPaths, SweepPaths
from trainer.records import RunStatus


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan, or a point that can never make progress."""

    label: str | None
    """`Exp1`, `Exp2`, ... in order; an infeasible point has none."""
    point: Point
    paths: RunPaths
    run_id: str
    """The hash of all that is trained; empty for an infeasible point."""
    inputs: dict[str, str]
    """Fingerprints of the local files that the configuration names, by dotted key."""
    profile: str | None
    existing: Existing = field(default_factory=Existing)
    selected: bool = True
    """Whether `--only` leaves it in."""

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
        return self.point.reason is None

    @property
    def state(self) -> PlanState:
        """What there is of it."""
        return self.existing.state if self.feasible else "infeasible"

    @property
    def status(self) -> RunStatus | None:
        """What its status file says, if the directory is its own."""
        return self.existing.status

    @property
    def attempts(self) -> tuple[AttemptRecord, ...]:
        """Its attempts so far, oldest first."""
        return self.existing.attempts

    @property
    def stale(self) -> tuple[Stale, ...]:
        """What is not as it was when it was trained; of a finished run only."""
        return self.existing.stale

    @property
    def other_run(self) -> str | None:
        """The run_id of another run in its directory, to be set aside before it is trained."""
        return self.existing.other_run

    @property
    def comes_back(self) -> Path | None:
        """The directory that holds this run and is to be renamed to its place: one that was set aside, or
        has the name by which the run was known before."""
        return self.existing.comes_back

    @property
    def times_begun(self) -> int:
        """How often it was begun, also where that ended before the trainer could write a status."""
        started = sum(record.event == "started" for record in self.attempts)
        return max(started, self.status.attempt if self.status else 0)

    @property
    def in_the_way(self) -> str | None:
        """The run_id of what its directory holds and has to be set aside first: another run, or itself
        when it is outdated."""
        return self.run_id if self.state == "outdated" else self.other_run

    def lookup(self, name: str) -> Any:  # noqa: ANN401 - any value of a configuration
        """A value to select by: one of `select.PROPERTIES`, or a dotted key."""
        match name:
            case "label":
                return self.label
            case "run_name":
                return self.name
            case "state":
                return self.state
            case "tags":
                return list(self.point.tags)
            case "profile":
                return self.profile
        return self.point.value(name)

    def summary(self) -> dict[str, Any]:
        """The run as a row of `plan --json`; docs/plan.md says what the keys mean."""
        per_sync = self.point.value("prompts_per_rollout_sync")
        batch = self.point.value("prompts_per_optim_step")
        return {
            "label": self.label,
            "run_name": self.name,
            "run_id": self.run_id or None,
            "selected": self.selected,
            "state": self.state,
            "reason": self.point.reason,
            "stale": list(self.stale),
            "tags": list(self.point.tags),
            "max_staleness": self.point.value("max_staleness"),
            "prompts_per_optim_step": batch,
            "prompts_per_rollout_sync": per_sync,
            "sync_interval_steps": per_sync // batch,
            "worst_case_age": self.config.schedule.worst_case_age() if self.feasible else None,
            "max_steps": self.point.value("max_steps"),
            "seed": self.point.value("seed"),
            "step": self.status.step if self.status else 0,
            "attempts": self.times_begun,
            "failures_in_a_row": failures_in_a_row(self.attempts),
            "other_run": self.other_run,
            "sets_aside": self.in_the_way if self.selected else None,
            "comes_back": self.comes_back.name if self.comes_back else None,
        }


@dataclass(frozen=True)
class Plan:
    """A sweep as it will be run."""

    resolved: Resolved
    paths: SweepPaths
    runs: tuple[PlannedRun, ...]
    expansion_notes: tuple[str, ...]
    orphaned: tuple[Orphan, ...] = ()
    overrides: tuple[str, ...] = ()
    """What `--set` was given."""
    only: str | None = None
    rerun_on: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.resolved.spec.name

    @property
    def feasible(self) -> tuple[PlannedRun, ...]:
        """The runs that can be run, in order, selected or not."""
        return tuple(run for run in self.runs if run.feasible)

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be said before anything is run."""
        given = (f"changed by --set: {', '.join(self.overrides)}",) if self.overrides else ()
        stale = (note for what in ("code", "env") if (note := self._stale_note(what)))
        twins = twins_note(self.resolved, self.feasible)
        return (*given, *self._selection_notes(), *self.expansion_notes, *stale, *([twins] if twins else []))

    def refreshed(self) -> "Plan":
        """The same plan, with the same runs selected, and the states of now."""
        directories = Directories.read(self.paths)

        def now(run: PlannedRun) -> Existing:
            return read_existing(run.paths, run.run_id, self.rerun_on, directories)

        runs = tuple(replace(run, existing=now(run)) if run.feasible else run for run in self.runs)
        planned = {run.name: run.run_id for run in runs if run.feasible}
        coming_back = {run.comes_back for run in runs}
        return replace(self, runs=runs, orphaned=find_orphans(directories, planned, coming_back))

    def selecting(self, only: str) -> "Plan":
        """The same plan with the runs selected that `only` names.

        Raises:
            ConfigError: it names none that can be run.
        """
        chosen = {run.name for run in matching(self.runs, only)}
        runs = tuple(replace(run, selected=run.name in chosen) for run in self.runs)
        if not any(run.selected and run.feasible for run in runs):
            refused = next(run for run in runs if run.selected)
            raise ConfigError(f"--only {only}: {refused.name} is infeasible: {refused.point.reason}")
        return replace(self, runs=runs, only=only)

    def varied(self) -> tuple[str, ...]:
        """The dotted keys in which its points differ, in the order of the configuration."""
        given = dict.fromkeys(key for run in self.runs for key in run.point.settings)
        first = self.runs[0].point
        return tuple(
            key
            for key in leaf_keys()
            if key in given and any(run.point.value(key) != first.value(key) for run in self.runs)
        )

    def summary(self) -> dict[str, Any]:
        """The plan as JSON; docs/plan.md says what the keys mean."""
        varied = self.varied()
        counts = count_due(self)
        return {
            "name": self.name,
            "profile": self.resolved.profile,
            "directory": str(self.paths.root),
            "overrides": list(self.overrides),
            "only": self.only,
            "rerun_on": sorted(self.rerun_on),
            "varied": list(varied),
            "runs": [
                run.summary() | {"values": {key: run.point.value(key) for key in varied}} for run in self.runs
            ],
            "orphaned": [orphan.summary() for orphan in self.orphaned],
            "run_would": asdict(counts),
            "notes": list(self.notes),
        }

    def _selection_notes(self) -> tuple[str, ...]:
        if self.only is None:
            return ()
        selected = sum(run.selected for run in self.feasible)
        return (f"{selected:,} of {len(self.feasible):,} runs selected by --only {self.only}",)

    def _stale_note(self, what: str) -> str | None:
        finished = [run for run in self.feasible if run.selected and what in run.stale]
        if not finished:
            return None
        one = len(finished) == 1
        origin = "other code" if what == "code" else "another environment"
        come = f"{len(finished):,} finished {'run comes' if one else 'runs come'} from {origin}"
        again = f"`--rerun-on {what}` runs {'it' if one else 'them'} again"
        if what in self.rerun_on:
            again = f"set aside and run again, by --rerun-on {what}"
        return f"{come}: {spans(self.feasible, finished)}; {again}"


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

    Args:
        spec: its file.
        profile: the profile to use, or `auto`.
        overrides: `key=value`, as `--set` takes them.
        runs_dir: where all sweeps are.
        only: which runs are meant, see `select.matching`; by default all.
        rerun_on: what makes a finished run outdated beside its configuration: `code`, `env`.

    Raises:
        ConfigError: with everything wrong with the spec; or a selection that selects nothing.
    """
    file = load_whole(spec, profile, overrides)
    plan = make_plan(file, choose_profile(file.spec, profile), overrides, runs_dir, rerun_on=rerun_on)
    return plan.selecting(only) if only is not None else plan


def make_plan(
    file: SpecFile,
    profile: str | None,
    overrides: Sequence[str],
    runs_dir: Path,
    *,
    rerun_on: frozenset[str] = frozenset(),
) -> Plan:
    """Plan a sweep that was read.

    Raises:
        SpecError: with every problem found.
    """
    resolved = resolve(file, profile, overrides)
    expansion = expand(resolved)
    paths = SweepPaths(runs_dir.resolve() / resolved.spec.name)
    identified, notes = identify(expansion.points, several_seeds=len(resolved.seeds) > 1)
    runs = tuple(
        PlannedRun(
            label=label,
            point=point,
            paths=paths.run(point.run_name),
            run_id=run_id,
            inputs=inputs,
            profile=profile,
        )
        for point, label, run_id, inputs in identified
    )
    plan = Plan(
        resolved=resolved,
        paths=paths,
        runs=runs,
        expansion_notes=(*expansion.notes, *notes),
        overrides=tuple(overrides),
        rerun_on=rerun_on,
    )
    return plan.refreshed()
