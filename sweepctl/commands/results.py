"""What the heavier commands do: wiring the runner and the results together."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from sweepctl.files import write_atomically
from sweepctl.watching.status import find_sweep
from trainer.errors import ConfigError

FORMATS = ("terminal", "md", "json")


def run_sweep(
    spec: Path,
    profile: str,
    overrides: Sequence[str],
    runs_dir: Path,
    *,
    retry_failed: bool,
    force: bool,
    evaluate: bool,
    resume_command: str,
) -> int:
    """Run a sweep to its end; the exit code.

    Raises:
        SweepctlError: a bad spec, or a sweep that is being run already.
    """
    from sweepctl.machine import placement  # noqa: PLC0415
    from sweepctl.plan.plan import load_plan  # noqa: PLC0415
    from sweepctl.running.engine import SharedEngine  # noqa: PLC0415
    from sweepctl.running.ingesting import update_store  # noqa: PLC0415
    from sweepctl.running.runner import Options, SweepRunner  # noqa: PLC0415
    from sweepctl.watching.display import make_display  # noqa: PLC0415

    plan = load_plan(spec, profile, overrides, runs_dir)
    display = make_display()
    for note in plan.notes:
        display.say(note)
    return SweepRunner(
        plan=plan,
        options=Options(retry_failed, force, evaluate, resume_command),
        display=display,
        engine=SharedEngine(log=plan.paths.engine_log, placement=placement()),
        ingest=lambda: update_store(runs_dir),
    ).run()


def print_report(runs_dir: Path, sweep: str | None, output_format: str, out: Path | None) -> None:
    """Print a sweep's report or write it to a file, over a store that is brought up to date first.

    Raises:
        ConfigError: for an unknown format or sweep, or when `out` cannot be written.
    """
    if output_format not in FORMATS:
        raise ConfigError(f"--format {output_format}: there is {', '.join(FORMATS)}")
    name = find_sweep(runs_dir, sweep).name
    from results.ingest import ingest  # noqa: PLC0415 - duckdb and scipy are slow to import
    from results.render import render_json, render_markdown, render_terminal  # noqa: PLC0415
    from results.report import build_report  # noqa: PLC0415
    from results.store import Store  # noqa: PLC0415

    ingest(runs_dir)
    report = build_report(Store(runs_dir), name)
    # A file is written when it is whole: a failure above leaves an older report as it was.
    buffer = StringIO()
    console = Console(file=buffer, width=120) if out else Console()
    if output_format == "terminal":
        render_terminal(report, console)
    else:
        text = render_markdown(report) if output_format == "md" else render_json(report)
        console.file.write(text.rstrip("\n") + "\n")
    if out:
        try:
            write_atomically(out, buffer.getvalue())
        except OSError as error:
            raise ConfigError(
                f"--out {out}: cannot be written: {error.strerror}; name a file that you may write"
            ) from None


def ingest_runs(runs_dir: Path, *, rebuild: bool) -> str:
    """Bring the store up to date; what was done, in a line.

    Raises:
        ConfigError: when there is no such folder.
    """
    if not runs_dir.is_dir():
        raise ConfigError(f"{runs_dir}: no such folder; name the runs directory with --runs-dir")
    from results.ingest import ingest  # noqa: PLC0415 - duckdb is slow to import

    done = ingest(runs_dir, rebuild=rebuild)
    quarantined = f", {done.quarantined} unreadable (see table quarantine)" if done.quarantined else ""
    return f"{done.store}: {done.lines} lines of {done.files} files in {done.seconds:.1f} s{quarantined}"
