"""Watching sweeps."""

from typing import Annotated

import typer

from sweepctl.cli.app import app
from sweepctl.cli.options import AsJson, RunArgument, RunsDir, SweepArgument
from sweepctl.commands.run import DEFAULT_RUNS

_PANEL = "Watching"


@app.command(rich_help_panel=_PANEL)
def status(
    sweep: SweepArgument = None,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on until the sweep ends.")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Show the state of every run of a sweep."""
    from sweepctl.watching.show import show_status  # noqa: PLC0415

    show_status(runs_dir, sweep, watch=watch, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends.")] = False,
    lines: Annotated[int | None, typer.Option("-l", "--lines", min=0, help="Only the last so many.")] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Print what a run printed."""
    from sweepctl.watching.logs import print_log  # noqa: PLC0415

    print_log(runs_dir, run, follow=follow, lines=lines, as_json=as_json)
