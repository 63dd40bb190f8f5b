"""Declaring, planning, running and stopping sweeps."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from sweepctl.cli.app import app
from sweepctl.cli.completion import complete_profile, complete_run, complete_sweep
from sweepctl.cli.options import AsJson, Only, Overrides, Profile, RunsDir, SpecArgument
from sweepctl.commands.run import DEFAULT_RUNS
from sweepctl.planner import PILOT_STEPS
from trainer.errors import ConfigError

_PANEL = "Sweeps"


class RerunOn(StrEnum):
    """What, beside the configuration, may make a finished run out of date."""

    CODE = "code"
    ENV = "env"


class ExecutorName(StrEnum):
    """Where runs are run."""

    LOCAL = "local"
    INLINE = "inline"


Rerun = Annotated[
    list[RerunOn] | None,
    typer.Option("--rerun-on", help="Run finished runs again that came from other code, or elsewhere."),
]


@app.command(rich_help_panel=_PANEL)
def run(
    spec: SpecArgument,
    *,
    profile: Profile = "auto",
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Show the plan and start nothing.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option("-j", "--concurrency", min=1, help="Runs at the same time.")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="GPUs to use, or cores where there is none: '0,1' or '0-3'."),
    ] = None,
    overrides: Overrides = None,
    only: Only = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again, too.")] = False,
    rerun_on: Rerun = None,
    force: Annotated[
        bool, typer.Option("--force", help="Set aside what there is and run all again.")
    ] = False,
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Train only.")] = False,
    executor: Annotated[
        ExecutorName,
        typer.Option(help="local: a process for each run; inline: in this one, for a debugger."),
    ] = ExecutorName.LOCAL,
    predict_from: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Predict from this run's records; by default from the one that has most to say.",
            autocompletion=complete_run,
        ),
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Run a sweep, or go on with it; what has succeeded is not run again."""
    if dry_run:
        from sweepctl.commands.plan import show_plan  # noqa: PLC0415
        from sweepctl.plan.plan import load_plan  # noqa: PLC0415
        from sweepctl.running.slots import choose_share  # noqa: PLC0415

        planned = load_plan(
            spec, profile, overrides or [], runs_dir, only=only, rerun_on=frozenset(rerun_on or ())
        )
        share = choose_share(planned.resolved.spec.resources, devices, concurrency)
        show_plan(planned, share, runs_dir, retry_failed=retry_failed, force=force)
        return
    from sweepctl.commands.run import RunRequest, run_sweep  # noqa: PLC0415

    code = run_sweep(
        RunRequest(
            spec=spec,
            profile=profile,
            overrides=tuple(overrides or ()),
            only=only,
            runs_dir=runs_dir,
            concurrency=concurrency,
            devices=devices,
            retry_failed=retry_failed,
            rerun_on=frozenset(rerun_on or ()),
            force=force,
            evaluate=not no_eval,
            inline=executor is ExecutorName.INLINE,
            predict_from=predict_from,
        )
    )
    raise typer.Exit(code)


@app.command(rich_help_panel=_PANEL)
def plan(
    spec: SpecArgument,
    *,
    profile: Profile = "auto",
    overrides: Overrides = None,
    only: Only = None,
    rerun_on: Rerun = None,
    from_run: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Predict from the records of this run, or of all seeds of an arm.",
            autocompletion=complete_run,
        ),
    ] = None,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Predict from a few steps of one run, trained now.")
    ] = False,
    pilot_steps: Annotated[
        int | None,
        typer.Option(min=2, help=f"Steps of a pilot; by default {PILOT_STEPS}.", show_default=False),
    ] = None,
    generate_s: Annotated[
        float | None,
        typer.Option(min=0.0, help="Predict from this: seconds from dispatch until training can start,"),
    ] = None,
    train_s_per_prompt: Annotated[
        float | None, typer.Option(min=0.0, help="of training on a prompt's completions,")
    ] = None,
    overhead_s: Annotated[float | None, typer.Option(min=0.0, help="and of the rest of a step.")] = None,
    recommend: Annotated[
        bool, typer.Option("--recommend", help="Look beyond the sweep's own settings.")
    ] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Show a sweep's runs in order, what there is of them, and what each will do."""
    from sweepctl.commands.plan import CostsRequest, show_plan  # noqa: PLC0415
    from sweepctl.plan.plan import load_plan  # noqa: PLC0415
    from sweepctl.running.slots import choose_share  # noqa: PLC0415

    if pilot_steps is not None and not pilot:
        raise ConfigError("--pilot-steps is how long a pilot is; give --pilot as well")
    planned = load_plan(
        spec, profile, overrides or [], runs_dir, only=only, rerun_on=frozenset(rerun_on or ())
    )
    costs = CostsRequest(
        from_run=from_run,
        pilot_steps=(pilot_steps or PILOT_STEPS) if pilot else None,
        generate_s=generate_s,
        train_s_per_prompt=train_s_per_prompt,
        overhead_s=overhead_s,
    )
    share = choose_share(planned.resolved.spec.resources)
    show_plan(planned, share, runs_dir, costs, recommend=recommend, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def validate(
    spec: SpecArgument,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="Only this profile; by default all.", autocompletion=complete_profile),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check a spec without starting anything; every profile, unless one is named."""
    from sweepctl.plan.validate import validate_spec  # noqa: PLC0415

    result = validate_spec(spec, profile, overrides or [])
    if as_json:
        print(json.dumps(result.summary(), indent=2))
    elif result.error is None:
        print("\n".join(result.lines()))
    if result.error is not None:
        if not as_json:
            raise result.error
        raise typer.Exit(2)


@app.command(rich_help_panel=_PANEL)
def stop(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP", help="The name of a sweep that is being run.", autocompletion=complete_sweep
        ),
    ],
    now: Annotated[bool, typer.Option("--now", help="Do not wait for runs to write a checkpoint.")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Stop a sweep that is being run elsewhere; the same `run` goes on with it."""
    from sweepctl.running.stop import stop_sweep  # noqa: PLC0415

    stopped = stop_sweep(runs_dir, sweep, now=now)
    print(json.dumps(stopped.summary(), indent=2) if as_json else stopped.line())


@app.command(rich_help_panel=_PANEL)
def schema() -> None:
    """Print the JSON schema of a spec, for editors."""
    from sweepctl.spec.schema import schema_text  # noqa: PLC0415

    print(schema_text())
