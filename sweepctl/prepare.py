"""Before anything starts: which runs are to be run, and directories that are ready for them."""

import time
from collections.abc import Callable
from pathlib import Path

from sweepctl.files import write_atomically
from sweepctl.machine import Placement
from sweepctl.plan import Plan, PlannedRun
from sweepctl.states import write_status
from trainer.config import Resources, RunFile
from trainer.errors import SweepctlError
from trainer.records import RunState, RunStatus


def refuse_running(plan: Plan) -> None:
    """Nobody else may be training a run of a sweep whose lock is ours.

    Raises:
        SweepctlError: a trainer of an earlier invocation, or one started by hand, still lives.
    """
    for run in plan.feasible:
        if run.state == "running" and run.status is not None:
            raise SweepctlError(
                f"{run.paths.status}: process {run.status.pid} is training {run.name} already; "
                f"wait for it, or end it with `kill {run.status.pid}`"
            )


def select(plan: Plan, *, retry_failed: bool, force: bool) -> tuple[PlannedRun, ...]:
    """The runs to run: what has succeeded is not run again, what has failed only when asked."""
    states = {"new", "interrupted"} | ({"failed"} if retry_failed else set())
    return tuple(run for run in plan.feasible if force or run.state in states)


def prepare(
    plan: Plan, todo: tuple[PlannedRun, ...], placement: Placement, say: Callable[[str], None], *, force: bool
) -> None:
    """Set aside what is in the way, and write each run's configuration and first status."""
    for run in todo:
        if run.other_run is not None or (force and run.paths.root.exists()):
            moved = set_aside(run.paths.root)
            say(f"{run.name}: what was in its directory is set aside as {moved.name}")
        file = RunFile(
            sweep=plan.name,
            run_name=run.name,
            run_id=run.config.run_id(),
            profile=plan.resolved.profile,
            config=run.config,
            resources=Resources(cores=placement.learner_cores, device=placement.learner_device),
        )
        write_atomically(run.paths.config, file.model_dump_json(indent=2))
        if not run.paths.status.exists():
            pending = RunStatus(
                state=RunState.PENDING, attempt=0, heartbeat=time.time(), max_steps=run.config.max_steps
            )
            write_status(run.paths, pending)


def set_aside(directory: Path) -> Path:
    """Rename a directory to a dated name of its own; nothing is ever overwritten."""
    stem = f"{directory.name}.set-aside-{time.strftime('%Y%m%d-%H%M%S')}"
    target, number = directory.with_name(stem), 2
    while target.exists():
        target, number = directory.with_name(f"{stem}-{number}"), number + 1
    return directory.rename(target)
