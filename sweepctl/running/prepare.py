"""Before anything starts: the sweep's lock, which runs are to be run, and directories ready for them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sweepctl.errors import SweepLockedError
from sweepctl.files import write_atomically
from sweepctl.machine import Placement
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.states import write_pending
from trainer.config import Resources, RunFile
from trainer.errors import ConfigError, SweepctlError
from trainer.paths import SweepPaths


@contextmanager
def sweep_lock(sweep: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock: one `sweepctl run` of a sweep at a time.

    Raises:
        SweepLockedError: another process holds it; the message says which and since when.
        ConfigError: the sweep's folder cannot be made or written to.
    """
    # Beside the lock and not in it: whoever only tries the lock empties that file.
    holder = sweep.lock.with_name(sweep.lock.name + ".holder.json")
    lock = FileLock(sweep.lock)
    try:
        sweep.root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SweepLockedError(f"{sweep.root}: this sweep is being run{_held_by(holder)}") from None
    except OSError as error:
        raise ConfigError(
            f"{sweep.root}: cannot be written to: {error.strerror}; "
            "name a folder that you may write to with --runs-dir"
        ) from None
    try:
        write_atomically(holder, json.dumps({"pid": os.getpid(), "since_unix": time.time()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


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
            write_pending(run.paths, run.config.max_steps)


def set_aside(directory: Path) -> Path:
    """Rename a directory to a dated name of its own; nothing is ever overwritten."""
    stem = f"{directory.name}.set-aside-{time.strftime('%Y%m%d-%H%M%S')}"
    target, number = directory.with_name(stem), 2
    while target.exists():
        target, number = directory.with_name(f"{stem}-{number}"), number + 1
    return directory.rename(target)


def _held_by(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since_unix"]))
        return f" by process {found['pid']} since {since}; wait for it, or end it with `kill {found['pid']}`"
    except (OSError, ValueError, KeyError):
        return "; wait for it to end"
