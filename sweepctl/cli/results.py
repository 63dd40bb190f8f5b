"""From runs to answers, and to and from other places."""

from pathlib import Path
from typing import Annotated

import typer

from sweepctl.cli.app import app
from sweepctl.cli.completion import complete_sweep
from sweepctl.cli.options import AsJson, RunArgument, RunsDir, SweepArgument
from sweepctl.commands.run import DEFAULT_RUNS
from trainer.errors import ConfigError

_PANEL = "Results"
_GATE_FAILED = 3


@app.command(rich_help_panel=_PANEL)
def report(
    sweep: SweepArgument = None,
    *,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="terminal|md|html|json|csv", help="By default what --out ends in says."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write to a file; CSV to a folder.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="The one table of CSV.")] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="RUN", help="Compare every run with this one, too.")
    ] = None,
    gate: Annotated[
        str | None, typer.Option("--gate", metavar="EXPR", help="A condition; exit code 3 when it fails.")
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="All rows on the terminal.")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Report speed, its causes and accuracy of a sweep."""
    from sweepctl.commands.results import ReportRequest, print_report  # noqa: PLC0415

    if as_json and output_format not in {None, "json"}:
        raise ConfigError(f"--json and --format {output_format}: give one of them")
    request = ReportRequest(
        sweep=sweep,
        output_format="json" if as_json else output_format,
        out=out,
        table=table,
        baseline=baseline,
        gate=gate,
        all_rows=all_rows,
    )
    if not print_report(runs_dir, request):
        raise typer.Exit(_GATE_FAILED)


@app.command(rich_help_panel=_PANEL)
def query(
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One statement, read-only; - reads it from stdin.")
    ],
    as_json: AsJson = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Ask the results store a question in SQL."""
    from sweepctl.commands.query import print_query  # noqa: PLC0415

    print_query(runs_dir, sql, as_json=as_json, csv=csv)


@app.command(rich_help_panel=_PANEL)
def diff(
    first: RunArgument,
    second: RunArgument,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Show where two runs differ: configuration, environment and code, results."""
    from sweepctl.commands.diff import print_diff  # noqa: PLC0415

    print_diff(runs_dir, first, second, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def ingest(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the store again from all files.")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Bring the results store up to date with the runs' files."""
    from sweepctl.commands.ingest import print_ingest  # noqa: PLC0415

    print_ingest(runs_dir, rebuild=rebuild, as_json=as_json)


@app.command("import", rich_help_panel=_PANEL)
def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of lm-eval results, or an exported sweep.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="The sweep's name here; by default the folder's.")
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", metavar="TABLE.yaml", help="Knobs and times of runs made elsewhere."),
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Take in results that were made elsewhere, as a sweep of their own."""
    from sweepctl.commands.import_ import import_folder  # noqa: PLC0415

    import_folder(runs_dir, folder, name=name, runs=runs, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def export(
    sweep: Annotated[
        str, typer.Argument(metavar="SWEEP", help="A sweep's name.", autocompletion=complete_sweep)
    ],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that is not there yet.")],
    no_checkpoints: Annotated[bool, typer.Option("--no-checkpoints", help="Leave the weights out.")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = DEFAULT_RUNS,
) -> None:
    """Write a sweep as an archive to publish: notes, configurations, traces, checkpoints, evaluations."""
    from sweepctl.commands.export import export_sweep  # noqa: PLC0415

    export_sweep(runs_dir, sweep, destination, checkpoints=not no_checkpoints, as_json=as_json)
