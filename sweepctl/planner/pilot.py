"""A pilot: a few steps of one arm of a sweep, trained to measure what things cost here.

    plan -> the arm that tells most -> a sweep of that one short run -> SweepRunner -> its records

It is a sweep of its own, `NAME@pilot`, run as any other: same lock, devices, engine, display and signals.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

from sweepctl.errors import Place
from sweepctl.expansion.points import Point
from sweepctl.expansion.space import Space
from sweepctl.plan.existing import Existing
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.planner import PILOT_STEPS
from sweepctl.planner.measured import LEAST_GROUPS, LEAST_STEPS
from sweepctl.running.engine import EngineKind
from sweepctl.running.executor import Executor, LocalExecutor
from sweepctl.running.ingesting import update_store
from sweepctl.running.runner import EXIT_INTERRUPTED, EXIT_OK, Options, SweepRunner
from sweepctl.running.slots import Share
from sweepctl.spec.model import Retry
from sweepctl.spec.settings import Flat, Leaf
from sweepctl.states import read_status
from sweepctl.watching.display import Display, make_display
from sweepctl.watching.show import in_brief, log_of, resume_command
from sweepctl.watching.status import read_manifest
from sweepctl.watching.unbreakable import UnbreakableDisplay
from trainer.config import RunConfig
from trainer.errors import ConfigError, TrainingError
from trainer.paths import SweepPaths, pilot_name


def pilot(
    plan: Plan,
    runs_dir: Path,
    *,
    share: Share,
    steps: int = PILOT_STEPS,
    display: Display | None = None,
    executor: Executor | None = None,
    engines: EngineKind | None = None,
) -> tuple[str, str]:
    """Train the pilot of a sweep, or take the one that there is.

    One that has succeeded with the same configuration, in this environment and on as many devices, is taken;
    one that was interrupted goes on, and one that failed is tried again, once.

    Args:
        plan: of the sweep.
        runs_dir: where all sweeps are; its store holds the records of what is trained now afterwards.
        share: what of this machine the sweep would use.
        steps: see `pilot_steps`.
        display: by default the one that fits stderr.
        executor: by default processes of this machine.
        engines: by default those that are installed.

    Returns:
        names of its sweep and of its run.

    Raises:
        ConfigError: something the spec asks for is not there, or nothing can be written.
        SweepLockedError: somebody else runs this pilot.
        TrainingError: it failed.
        KeyboardInterrupt: it was asked to stop; the same call goes on with it.
    """
    planned = pilot_plan(plan, steps)
    (run,) = planned.runs
    shown = display or UnbreakableDisplay(make_display())
    what = f"{run.config.max_steps} steps of {run.name}, in {planned.paths.root}"
    other = _other_devices(run, share)
    if other is None and _is_there(planned, run):
        shown.say(f"the pilot of {plan.name} is there: {what}")
        return planned.name, run.name
    shown.say(f"a pilot of {plan.name}: {what}")
    if other is not None:
        shown.say(
            f"the pilot that is there ran on {other}, which is not what a run has now; it is trained again"
        )
    again = (*_words(plan), "--pilot", *(() if steps == PILOT_STEPS else ("--pilot-steps", str(steps))))
    later = (*_words(plan), "--from", f"{planned.name}/{run.name}")
    code = SweepRunner(
        plan=planned,
        options=Options(
            retry_failed=True,
            force=other is not None,
            resume_command=resume_command({"command": again}, runs_dir),
            command=again,
            report_command=resume_command({"command": later}, runs_dir),
        ),
        display=shown,
        share=share,
        ingest=lambda: update_store(runs_dir),
        executor=executor or LocalExecutor(),
        engines=engines or EngineKind(),
    ).run()
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code != EXIT_OK:
        raise TrainingError(_why_not(planned, run))
    return planned.name, run.name


def pilot_plan(plan: Plan, steps: int = PILOT_STEPS) -> Plan:
    """The pilot of a sweep as a plan of its own, of one run."""
    arm = chosen_arm(plan)
    settings = {**arm.point.settings, **_changed(arm.config, steps, plan.resolved.file)}
    point = Point(arm.name, None, arm.point.tags, Space(settings, (), {}), ())
    resolved = plan.resolved
    spec = resolved.spec.model_copy(
        update={
            "name": pilot_name(plan.name),
            "retry": Retry(max_attempts=1),  # somebody waits for it, and tries again by hand
            "mirrors": (),
            "eval": None,
        }
    )
    paths = SweepPaths(plan.paths.root.with_name(spec.name))
    run = replace(arm, point=point, paths=paths.run(arm.name), existing=Existing())
    return Plan(
        resolved=replace(
            resolved,
            spec=spec,
            base=settings,
            blocks=(),
            seeds=(),
            overrides={},
            drawing=None,
            exclude=(),
            include=(),
            when=(),
            reference=None,
            run_name=None,
            evaluation=None,
        ),
        paths=paths,
        runs=(replace(run, run_id=run.config.run_id(arm.inputs)),),
        expansion_notes=(),
        overrides=plan.overrides,
        rerun_on=frozenset({"env"}),  # what another machine took says nothing of this one
    ).refreshed()


def chosen_arm(plan: Plan) -> PlannedRun:
    """The selected run that tells most: of the largest batches, a synchronous one if there is one.

    Most groups run side by side then, and each drain lets them become fewer: crowding shows in both. A plan
    always selects a run that is feasible.
    """
    runs = [run for run in plan.feasible if run.selected]
    return max(runs, key=lambda run: (run.config.prompts_per_optim_step, _is_synchronous(run.config)))


def pilot_steps(config: RunConfig, steps: int) -> int:
    """How many steps a run's pilot has.

    At least a sync cycle and what costs can be fitted to, never more than the run itself.

    Args:
        config: of the run.
        steps: how many are asked for.
    """
    groups = math.ceil(LEAST_GROUPS / config.prompts_per_optim_step)
    least = max(LEAST_STEPS, groups, config.schedule.sync_interval_steps)
    return min(max(steps, least), config.max_steps)


def _is_synchronous(config: RunConfig) -> bool:
    return config.max_staleness == 0 and config.staleness_policy == "admission"


def _changed(config: RunConfig, steps: int, file: str) -> Flat:
    """What a pilot has otherwise than its arm: it is short, and keeps no more than it must."""
    values = {
        "max_steps": pilot_steps(config, steps),
        "checkpoint.every_steps": None,
        "rollouts.keep": 0.0,
    }
    return {key: Leaf(value, json.dumps(value), Place(file)) for key, value in values.items()}


def _is_there(planned: Plan, run: PlannedRun) -> bool:
    """Whether the pilot has succeeded, in its place, and can be found: by the manifest that names it."""
    if run.state != "succeeded" or run.comes_back:
        return False
    try:
        there = read_manifest(planned.paths)["runs"]
    except (ConfigError, FileNotFoundError):
        return False  # it is written again
    return run.run_id in {each.get("run_id") for each in there}


def _other_devices(run: PlannedRun, share: Share) -> str | None:
    """What a pilot that has succeeded ran on, where that is not as much as a slot has now."""
    started = [record.devices for record in run.attempts if record.event == "started" and record.devices]
    if run.state != "succeeded" or not started:
        return None
    now = share.slots(share.devices)[0].name
    return started[-1] if _size(started[-1]) != _size(now) else None


def _size(slot_name: str) -> tuple[str, int]:
    """Kind and number of the devices of a slot, by its name: `cores 2,3` is two cores."""
    kind, _, devices = slot_name.partition(" ")
    return kind.rstrip("s"), devices.count(",") + 1


def _why_not(planned: Plan, run: PlannedRun) -> str:
    status = read_status(run.paths)
    reason = (status.reason if status else None) or "it has not begun"
    log = log_of(planned.paths, run.paths, reason)
    brief = in_brief(reason).rstrip(".")
    return f"the pilot {planned.name}/{run.name} did not succeed: {brief}; see {log}"


def _words(plan: Plan) -> tuple[str, ...]:
    """The command that plans this sweep."""
    words = ["sweepctl", "plan", plan.resolved.file]
    words += ["--profile", plan.resolved.profile] if plan.resolved.profile else []
    words += [word for override in plan.overrides for word in ("--set", override)]
    words += ["--only", plan.only] if plan.only else []
    return tuple(words)
