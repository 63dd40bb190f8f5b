"""Before anything starts: no earlier process still at work, and directories ready for the runs."""

import json
import time
from collections.abc import Callable, Collection
from pathlib import Path

from sweepctl.attempts import append_attempt
from sweepctl.files import remove_partial, write_atomically
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.set_aside import SET_ASIDE
from sweepctl.states import write_pending
from trainer.config import Resources, RunFile
from trainer.errors import SweepctlError
from trainer.paths import RunPaths

ORPHAN_PATIENCE_S = 30.0
"""A killed sweepctl's runs are told to end by their guards, and ended after ten seconds."""
_POLL_S = 0.2


def wait_for_orphans(
    plan: Plan, say: Callable[[str], None], while_waiting: Callable[[], None], patience_s: float
) -> Plan:
    """Wait until nobody trains a run of a sweep whose lock is ours; the plan with the states of then.

    Raises:
        SweepctlError: a trainer goes on living, such as one started by hand.
    """
    deadline, said = time.monotonic() + patience_s, False
    while busy := [run for run in plan.refreshed().feasible if run.state == "running" and run.selected]:
        run = busy[0]
        pid = run.status.pid if run.status else None
        if time.monotonic() > deadline:
            directory = RunPaths(run.comes_back) if run.comes_back else run.paths
            raise SweepctlError(
                f"{directory.status}: process {pid} is training {run.name} already; "
                f"wait for it, or end it with `kill {pid}` (`kill -9 {pid}` if it does not listen)"
            )
        if not said:
            say(f"waiting for process {pid} to end, which trains {run.name} since an earlier invocation")
            said = True
        while_waiting()
        time.sleep(_POLL_S)
    return plan.refreshed()


def prepare(
    plan: Plan,
    todo: tuple[PlannedRun, ...],
    say: Callable[[str], None],
    *,
    retry_failed: bool,
    force: bool,
) -> None:
    """Make the directories ready, before anything is trained.

    Whatever is in the way is set aside first. Then what comes back is renamed to its place, of all selected
    runs; with `force` nothing comes back. Last, of those to be trained, configuration and first status are
    written. A kill in between loses nothing: what was set aside still comes back.
    """
    remove_partial(plan.paths.root)
    due = {run.name for run in todo}
    returning = {run.name for run in plan.feasible if run.comes_back and run.selected and not force}
    for run in (run for run in plan.feasible if run.name in due | returning):
        if run.in_the_way is not None or (force and run.paths.root.exists()):
            moved = set_aside(run.paths.root)
            say(f"{run.name}: what was in its directory is set aside as {moved.name}")
    if returning:
        _bring_back(plan.refreshed(), returning, say)
    for run in (run for run in plan.feasible if run.name in due):
        if run.state == "failed" and retry_failed and not force:
            append_attempt(run.paths, "reset")
        write_config(plan, run, Resources())
        if not run.paths.status.exists():
            write_pending(run.paths, run.config.max_steps)


def _bring_back(plan: Plan, names: Collection[str], say: Callable[[str], None]) -> None:
    """Rename what comes back of these runs to its place, which is empty."""
    for run in plan.feasible:
        if run.name in names and run.comes_back is not None:
            _set_name(RunPaths(run.comes_back), run.name)
            run.comes_back.rename(run.paths.root)
            say(f"{run.name}: comes back from {run.comes_back.name}")


def _set_name(run: RunPaths, name: str) -> None:
    """Have a run's configuration name it as it is called now; of a finished run nobody writes it anew."""
    content = json.loads(run.config.read_bytes())
    if content.get("run_name") != name:
        write_atomically(run.config, json.dumps(content | {"run_name": name}, indent=2))


def write_config(plan: Plan, run: PlannedRun, resources: Resources) -> None:
    """Write what `python -m trainer --config` reads; where it runs is known once it has a slot."""
    file = RunFile(
        sweep=plan.name,
        run_name=run.name,
        run_id=run.run_id,
        profile=plan.resolved.profile,
        tags=run.point.tags,
        inputs=run.inputs,
        config=run.config,
        resources=resources,
    )
    write_atomically(run.paths.config, file.model_dump_json(indent=2))


def set_aside(directory: Path) -> Path:
    """Rename a directory to a dated name of its own; nothing is ever overwritten."""
    stem = f"{directory.name}{SET_ASIDE}{time.strftime('%Y%m%d-%H%M%S')}"
    target, number = directory.with_name(stem), 2
    while target.exists():
        target, number = directory.with_name(f"{stem}-{number}"), number + 1
    return directory.rename(target)
