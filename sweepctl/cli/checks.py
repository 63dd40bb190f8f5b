"""Is all well here?"""

from typing import Annotated

import typer

from sweepctl.cli.app import app
from sweepctl.cli.options import AsJson, RunsDir
from sweepctl.commands.run import DEFAULT_RUNS


@app.command(rich_help_panel="Checks")
def doctor(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Check this run's records instead: name, label or SWEEP/RUN."),
    ] = None,
    no_engine: Annotated[
        bool, typer.Option("--no-engine", help="Leave the engine's round trip out; it takes a minute.")
    ] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Check this machine, or the records of a run; every finding says what to do about it."""
    from sweepctl.commands.doctor import check_machine, check_run  # noqa: PLC0415

    healthy = (
        check_run(runs_dir, run, as_json=as_json)
        if run
        else check_machine(runs_dir, engine=not no_engine, as_json=as_json)
    )
    raise typer.Exit(0 if healthy else 1)
