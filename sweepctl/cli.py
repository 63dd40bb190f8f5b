"""The command line: thin commands over the library, each importing only what it needs.

Data goes to stdout, progress and errors to stderr. Exit codes: 0 all well, 1 some run failed, 2 a bad
spec or usage, 130 interrupted: the same command goes on.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from trainer.errors import ConfigError, SweepctlError

app = typer.Typer(
    help="Declarative sweeps for asynchronous GRPO: what staleness buys, and what it costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SpecArgument = Annotated[
    Path, typer.Argument(metavar="SPEC", help="A sweep spec, such as sweeps/staleness.yaml.")
]
SweepArgument = Annotated[
    str | None, typer.Argument(metavar="[SWEEP]", help="A sweep's name; by default the latest.")
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="SWEEPCTL_RUNS_DIR", help="Where all results are.")
]
Profile = Annotated[str, typer.Option("--profile", help="A profile of the spec; auto: the first that fits.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key for all runs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]

DEFAULT_RUNS = Path("runs")


def main() -> NoReturn:
    """The `sweepctl` command: expected errors become one message and an exit code."""
    try:
        app()
    except SweepctlError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, as `head` does
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = "check the path, its permissions and the space left, and run the command again"
        _fail(SweepctlError(f"{where}{error.strerror or error}; {advice}"))
    sys.exit(0)


def _fail(error: SweepctlError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, ConfigError) else 1)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415

        print(f"sweepctl {installed('sweepctl')}")
        raise typer.Exit


@app.command()
def run(
    spec: SpecArgument,
    *,
    profile: Profile = "auto",
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Show the plan and start nothing.")
    ] = False,
    overrides: Overrides = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again, too.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Set aside what there is and run all again.")
    ] = False,
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Train only.")] = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Run a sweep; what has succeeded is not run again."""
    if dry_run:
        plan(spec, profile, overrides, runs_dir=runs_dir)
        return
    from sweepctl.commands.results import run_sweep  # noqa: PLC0415

    resume = ["sweepctl", "run", str(spec), *(["--profile", profile] if profile != "auto" else [])]
    resume += [part for override in overrides or [] for part in ("--set", override)]
    resume += ["--runs-dir", str(runs_dir)] if runs_dir != DEFAULT_RUNS else []
    resume += ["--no-eval"] if no_eval else []
    code = run_sweep(
        spec,
        profile,
        overrides or [],
        runs_dir,
        retry_failed=retry_failed,
        force=force,
        evaluate=not no_eval,
        resume_command=shlex.join(resume),
    )
    raise typer.Exit(code)


@app.command()
def plan(
    spec: SpecArgument,
    profile: Profile = "auto",
    overrides: Overrides = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Show a sweep's runs in order, which are infeasible and why, and what is done already."""
    from sweepctl.plan.plan import load_plan  # noqa: PLC0415

    planned = load_plan(spec, profile, overrides or [], runs_dir)
    if as_json:
        print(json.dumps(planned.summary(), indent=2))
    else:
        from sweepctl.watching.display import print_plan  # noqa: PLC0415

        print_plan(planned)


@app.command()
def validate(
    spec: SpecArgument,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Only this profile; by default all.")
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


@app.command()
def status(sweep: SweepArgument = None, as_json: AsJson = False, runs_dir: RunsDir = DEFAULT_RUNS) -> None:
    """Show the state of every run of a sweep."""
    from sweepctl.watching.status import sweep_status  # noqa: PLC0415

    found = sweep_status(runs_dir, sweep)
    if as_json:
        print(json.dumps(found.summary(), indent=2))
    else:
        from sweepctl.watching.display import print_status  # noqa: PLC0415

        print_status(found)


@app.command()
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, its label, or SWEEP/RUN.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends.")] = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Print what a run printed."""
    from sweepctl.watching.status import find_run, print_log  # noqa: PLC0415

    print_log(find_run(runs_dir, run), follow=follow)


@app.command()
def report(
    sweep: SweepArgument = None,
    output_format: Annotated[str, typer.Option("--format", metavar="terminal|md|json")] = "terminal",
    out: Annotated[Path | None, typer.Option("--out", help="Write to a file.")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Report speed, its causes and accuracy of a sweep."""
    from sweepctl.commands.results import print_report  # noqa: PLC0415

    print_report(runs_dir, sweep, output_format, out)


@app.command()
def ingest(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the store again from all files.")] = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Bring the results store up to date with the runs' files."""
    from sweepctl.commands.results import ingest_runs  # noqa: PLC0415

    print(ingest_runs(runs_dir, rebuild=rebuild))


@app.command()
def schema() -> None:
    """Print the JSON schema of a spec, for editors."""
    from sweepctl.spec.model import schema_text  # noqa: PLC0415

    print(schema_text())
