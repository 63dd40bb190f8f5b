"""`sweepctl report`."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from sweepctl.commands.up_to_date import bring_up_to_date
from sweepctl.errors import suggestion
from sweepctl.files import write_atomically
from sweepctl.watching.status import find_sweep
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from results.report.build import Report
    from results.report.gate import GateOutcome
    from results.report.gate_reader import Gate
    from results.store import Store

_T = TypeVar("_T")
FORMATS = ("terminal", "md", "html", "json", "csv")
_SUFFIXES = {
    **{".txt": "terminal", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html"},
    **{".json": "json", ".csv": "csv"},
}
_FILE_WIDTH = 120


@dataclass(frozen=True)
class ReportRequest:
    """What a report is to be, as it was asked for."""

    sweep: str | None = None
    output_format: str | None = None
    """None: what `out` ends in says, else a terminal's."""
    out: Path | None = None
    table: str | None = None
    """The one table of CSV."""
    baseline: str | None = None
    gate: str | None = None
    all_rows: bool = False


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for garbage: a report is built and shown once, and leaves none before it is done.

    Of a thousand runs' the search takes an eighth of the time.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_uncollected()
def print_report(runs_dir: Path, request: ReportRequest) -> bool:
    """Print a sweep's report or write it to a file, over a store that is brought up to date first.

    Returns:
        whether the gate passed, or there was none.

    Raises:
        ConfigError: for options that do not go together, an unknown sweep, run, table or name in the gate,
            or when `out` cannot be written.
    """
    output_format = _format(request)
    _check_out(request, output_format)
    name = find_sweep(runs_dir, request.sweep).name
    from results.report.build import build_report  # noqa: PLC0415 - duckdb and scipy are slow to import
    from results.report.chosen import compared_with  # noqa: PLC0415
    from results.store import Store  # noqa: PLC0415

    gate = _named("--gate", partial(_gate, request.gate)) if request.gate is not None else None
    bring_up_to_date(runs_dir)
    published = Store(runs_dir)
    asked = request.baseline is not None
    chosen = compared_with(published, name, request.baseline or "") if asked else nullcontext(published)
    with chosen as store:
        report = build_report(store, name)
        outcome = _named("--gate", partial(_checked, gate, report)) if gate else None
        _write(report, store, request, output_format, outcome)
    return _told(outcome)


def _gate(text: str) -> "Gate":
    from results.report.gate_reader import read_gate  # noqa: PLC0415
    from sweepctl.spec.keys import leaf_keys  # noqa: PLC0415 - asks the trainer's models for all their keys

    return read_gate(text, leaf_keys())


def _checked(gate: "Gate", report: "Report") -> "GateOutcome":
    from results.report.gate import check_gate  # noqa: PLC0415

    return check_gate(gate, report)


def _format(request: ReportRequest) -> str:
    """The format that was asked for, or that the file's name asks for."""
    if request.output_format is not None:
        if request.output_format not in FORMATS:
            advice = suggestion(request.output_format, FORMATS)
            raise ConfigError(f"--format {request.output_format}: there is no such format; {advice}")
        return request.output_format
    if request.table is not None:
        return "csv"
    if request.out is None or not request.out.suffix or not _is_regular(request.out):
        return "terminal"
    found = _SUFFIXES.get(request.out.suffix.lower())
    if found is None:
        known = ", ".join(_SUFFIXES)
        raise ConfigError(
            f"--out {request.out}: no format ends in {request.out.suffix}; give --format, or {known}"
        )
    return found


def _check_out(request: ReportRequest, output_format: str) -> None:
    """That the format can be written where it is asked for, before anything is computed."""
    out = request.out
    if request.table is not None:
        if output_format != "csv":
            raise ConfigError(f"--table {request.table}: tables are for --format csv, not {output_format}")
        from results.report.rows import check_table  # noqa: PLC0415 - pydantic models, rarely needed

        check_table(request.table)
    elif output_format == "csv" and out is None:
        raise ConfigError(
            "--format csv: there are several tables; name one with --table, or a folder with --out"
        )
    elif output_format == "csv" and out is not None and (out.is_file() or (out.suffix and not out.is_dir())):
        raise ConfigError(f"--out {out}: CSV without --table is a file a table; name a folder, or a --table")
    if output_format == "html" and out is None:
        raise ConfigError("--format html: name a file with --out, such as --out report.html")
    if out is not None and out.is_dir() and (output_format != "csv" or request.table is not None):
        raise ConfigError(f"--out {out}: this is a folder; name a file in it")
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it, or name another file")


def _write(
    report: "Report",
    store: "Store",
    request: ReportRequest,
    output_format: str,
    outcome: "GateOutcome | None",
) -> None:
    """To the file or folder that was named, or to stdout. A file is written when it is whole."""
    if output_format == "csv" and request.table is None and request.out is not None:
        from results.report.csv_tables import csv_table  # noqa: PLC0415
        from results.report.rows import TABLES  # noqa: PLC0415

        for name in TABLES:
            _save(request.out / f"{name}.csv", csv_table(report, name))
        print(f"{len(TABLES)} tables written to {request.out}", file=sys.stderr)
        return
    if output_format == "terminal":
        _terminal(report, request)
        return
    text = _text(report, store, request, output_format, outcome).rstrip("\n") + "\n"
    if request.out is None:
        sys.stdout.write(text)
    else:
        _save(request.out, text)
        print(f"written to {request.out}", file=sys.stderr)


def _terminal(report: "Report", request: ReportRequest) -> None:
    from results.report.document import SHOWN_ROWS  # noqa: PLC0415
    from results.report.terminal import render_terminal  # noqa: PLC0415

    rows = None if request.all_rows else SHOWN_ROWS
    if request.out is None:
        render_terminal(report, Console(), rows=rows)
        return
    buffer = StringIO()
    render_terminal(report, Console(file=buffer, width=_FILE_WIDTH), rows=rows)
    _save(request.out, buffer.getvalue())
    print(f"written to {request.out}", file=sys.stderr)


def _text(
    report: "Report",
    store: "Store",
    request: ReportRequest,
    output_format: str,
    outcome: "GateOutcome | None",
) -> str:
    match output_format:
        case "json":
            from results.report.json_document import render_json  # noqa: PLC0415

            return render_json(report, outcome)
        case "csv":
            from results.report.csv_tables import csv_table  # noqa: PLC0415

            return csv_table(report, request.table or "")
        case "html":
            from results.report.charts import charts  # noqa: PLC0415 - plotly
            from results.report.html import render_html  # noqa: PLC0415

            return render_html(report, charts(report, store))
    from results.report.markdown import render_markdown  # noqa: PLC0415

    return render_markdown(report)


def _save(path: Path, text: str) -> None:
    """Into a file, replaced whole; where a link leads to; into a device or a pipe as it is."""
    target = path.resolve() if path.is_symlink() else path
    try:
        if _is_regular(target):
            write_atomically(target, text)
        else:
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--out {path}: cannot be written: {error.strerror}; name a file that you may write"
        ) from None


def _is_regular(path: Path) -> bool:
    """Whether a file may take the place of what is there."""
    return path.is_file() or not path.exists()


def _named(option: str, read: Callable[[], _T]) -> _T:
    """What `read` gives; its errors name the option they are about."""
    try:
        return read()
    except ConfigError as error:
        raise ConfigError(f"{option} {error}") from None


def _told(outcome: "GateOutcome | None") -> bool:
    """Says on stderr how the gate went, which rows failed it, and returns whether it passed."""
    if outcome is None:
        return True
    print(f"gate {'passed' if outcome.passed else 'FAILED'}: {outcome.expression}", file=sys.stderr)
    for reason in outcome.reasons:
        print(f"  {reason}", file=sys.stderr)
    return outcome.passed
