"""`sweepctl report` and `sweepctl ingest`."""

import json
import sys
from dataclasses import asdict
from io import StringIO
from pathlib import Path

from rich.console import Console

from sweepctl.files import write_atomically
from sweepctl.watching.status import find_sweep
from trainer.errors import ConfigError

FORMATS = ("terminal", "md", "json")


def print_report(runs_dir: Path, sweep: str | None, output_format: str, out: Path | None) -> None:
    """Print a sweep's report or write it to a file, over a store that is brought up to date first.

    Raises:
        ConfigError: for an unknown format or sweep, or when `out` cannot be written.
    """
    if output_format not in FORMATS:
        raise ConfigError(f"--format {output_format}: there is {', '.join(FORMATS)}")
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it, or name another file")
    name = find_sweep(runs_dir, sweep).name
    from results.ingest import ingest  # noqa: PLC0415 - duckdb and scipy are slow to import
    from results.report.build import build_report  # noqa: PLC0415
    from results.report.render import render_json, render_markdown, render_terminal  # noqa: PLC0415
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
        print(f"written to {out}", file=sys.stderr)


def print_ingest(runs_dir: Path, *, rebuild: bool, as_json: bool) -> None:
    """Bring the store up to date and say what was done.

    Raises:
        ConfigError: when there is no such folder.
    """
    if not runs_dir.is_dir():
        raise ConfigError(f"{runs_dir}: no such folder; name the runs directory with --runs-dir")
    from results.ingest import ingest  # noqa: PLC0415 - duckdb is slow to import

    done = ingest(runs_dir, rebuild=rebuild)
    if as_json:
        print(json.dumps({**asdict(done), "store": str(done.store)}, indent=2))
        return
    quarantined = f", {done.quarantined} unreadable (see table quarantine)" if done.quarantined else ""
    print(f"{done.store}: {done.lines} lines of {done.files} files in {done.seconds:.1f} s{quarantined}")
