"""`sweepctl status`: the runs in a table; below, why some are not well and what to do about it."""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from sweepctl.tables import STATE_STYLES, fit_widths, fitted_table, number, print_table, stdout_console
from sweepctl.watching.progress import count_states, duration, speed_unit
from sweepctl.watching.retries import TO_BE_TRIED_AGAIN
from sweepctl.watching.status import IMPORTED, RunRow, SweepStatus, sweep_status
from trainer.errors import ConfigError
from trainer.paths import RunPaths, SweepPaths, is_pilot

_DEFAULT_RUNS = Path("runs")
_NAMES_SHOWN = 3
_REASONS_SHOWN = 20
_ADVICE = {
    "failed": "once the cause is gone: {retry}",
    "interrupted": "what was interrupted goes on with: {command}",
    "skipped": "what was skipped is run with: {command}",
}


def _left(row: RunRow) -> str:
    left = row.progress.seconds_left if row.progress.state == "running" else None
    return "" if left is None else duration(left)


def _step(row: RunRow) -> str:
    known = (row.progress.max_steps or not row.results_only) and row.progress.state != "infeasible"
    return f"{row.progress.step}/{row.progress.max_steps}" if known else ""


def _evaluations(row: RunRow) -> str:
    if row.results_only:
        return str(row.evaluations or "")  # how many there should be, nobody says
    wanted = row.evaluations_expected and row.progress.state == "succeeded"
    return f"{row.evaluations}/{row.evaluations_expected}" if wanted else ""


_COLUMNS: dict[str, Callable[[RunRow], str]] = {
    "label": lambda row: row.progress.label,
    "run": lambda row: row.progress.name,
    "state": lambda row: row.said,
    "attempt": lambda row: str(row.attempt or ""),
    "step": _step,
    "speed": lambda _: "",  # in the unit that suits the runs
    "reward": lambda row: number(row.progress.reward),
    "age": lambda row: number(row.progress.age),
    "left": _left,
    "evals": _evaluations,
    "device": lambda row: row.progress.device or "",
}
_TITLES = {"label": ""}
_NUMBERS = {"attempt", "step", "speed", "reward", "age", "left", "evals"}
_DROPPED_FIRST = ("device", "age", "attempt", "evals", "speed", "reward", "label", "left", "step")
"""What a narrow terminal does without, the least important first."""


def show_status(runs_dir: Path, sweep: str | None, *, watch: bool, as_json: bool) -> None:
    """Show the state of every run of a sweep, and with `watch` go on until nothing runs any more.

    Raises:
        ConfigError: there is no such sweep, or a run's status is damaged; the rest is shown all the same.
    """
    if watch:
        from sweepctl.watching.watch import watch_sweep  # noqa: PLC0415 - imports the live display

        found = watch_sweep(runs_dir, sweep, as_json=as_json)
    else:
        found = sweep_status(runs_dir, sweep)
        if as_json:
            print(json.dumps(found.summary(), indent=2))
    if not as_json and (not watch or found.origin is not None):
        print_status(found, runs_dir)
    if damaged := [row.reason or "" for row in found.rows if row.progress.state == "unreadable"]:
        raise ConfigError("\n".join(damaged))


def print_status(status: SweepStatus, runs_dir: Path) -> None:
    """The table on stdout."""
    unit = speed_unit(row.progress for row in status.rows)
    titles = _TITLES | {"speed": f"steps/{unit.name}"}
    texts = _COLUMNS | {"speed": lambda row: unit.number(row.progress.seconds_per_step)}
    cells = {key: [text(row) for row in status.rows] for key, text in texts.items()}
    widths = fit_widths(cells, titles, stdout_console().width, dropped_first=_DROPPED_FIRST)
    table = fitted_table(widths, titles, _NUMBERS)
    for index, row in enumerate(status.rows):
        style = STATE_STYLES.get(row.progress.state, "dim")
        table.add_row(*(Text(cells[key][index], style if key == "state" else "") for key in widths))
    notes = [*_totals(status), *_reasons(status), *_advice(status, runs_dir), *_others(status)]
    print_table(f"{status.progress.title} -> {status.paths.root}", table, notes)


def log_of(sweep: SweepPaths, run: RunPaths, reason: str | None) -> str:
    """Which log says more about a run that is not well."""
    if reason and reason.startswith("the engine did not start"):
        logs = sorted(str(path) for path in sweep.root.glob("engine*.log"))
        return ", ".join(logs) or str(sweep.engine_log())
    return str(run.log)


def in_brief(reason: str) -> str:
    """The reason without the end of the engine's log, which `trainer.server` adds; `log_of` has all of it."""
    return reason.partition(" Last lines of ")[0]


def resume_command(manifest: dict[str, Any], runs_dir: Path) -> str:
    """What to type to go on with a sweep, by its manifest."""
    words = list(manifest.get("command") or _command(manifest))
    if runs_dir != _DEFAULT_RUNS:
        words += ["--runs-dir", str(runs_dir)]
    return shlex.join(words)


def retry_command(resume: str, sweep: str) -> str:
    """What to type to try failed runs again; a pilot's is tried whenever it is asked for.

    Args:
        resume: what goes on with the sweep.
        sweep: its name.
    """
    return resume if is_pilot(sweep) else f"{resume} --retry-failed"


def _command(manifest: dict[str, Any]) -> list[str]:
    """As far as the plan tells, where the command itself is not on record."""
    spec = manifest.get("spec") or {}
    words = ["sweepctl", "run", spec.get("file") or "SPEC"]
    if profile := manifest.get("profile"):
        words += ["--profile", profile]
    return words + [word for given in spec.get("set") or [] for word in ("--set", given)]


def _totals(status: SweepStatus) -> Iterator[str]:
    progress = status.progress
    if status.origin is not None:
        counts = Counter(row.said for row in status.rows if row.said != IMPORTED)
        said = ", ".join(f"{count} {said}" for said, count in counts.items())
        yield f"imported from {status.origin}, not run here" + (f": {said}" if said else "")
    elif status.holder:
        yield f"{count_states(progress.runs)}; {progress.times()}"
        yield f"being run by {status.holder}; watch it with: sweepctl status {progress.name} --watch"
    else:
        yield f"{count_states(progress.runs)}; not being run now"


def _reasons(status: SweepStatus) -> Iterator[str]:
    """Why runs are not well, each reason once."""
    alike: dict[tuple[str, str], list[RunRow]] = {}
    for row in sorted(status.rows, key=lambda row: row.progress.state == "infeasible"):
        told = row.progress.state == "unreadable" or row.said == IMPORTED  # as an error of its own; above
        if row.reason and not told:
            alike.setdefault((row.said, row.reason), []).append(row)
    for (said, reason), rows in list(alike.items())[:_REASONS_SHOWN]:
        names = [row.progress.name for row in rows]
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        yield f"{', '.join(names[:_NAMES_SHOWN])}{more} {said}: {in_brief(reason)}"
        if said in {"failed", TO_BE_TRIED_AGAIN}:
            yield f"  log: {log_of(status.paths, rows[0].progress.paths, reason)}"
    if len(alike) > _REASONS_SHOWN:
        yield f"… and {len(alike) - _REASONS_SHOWN} more reasons: sweepctl status {status.paths.name} --json"


def _advice(status: SweepStatus, runs_dir: Path) -> Iterator[str]:
    if status.holder or status.origin is not None:
        return
    states = {row.progress.state for row in status.rows}
    for state, advice in _ADVICE.items():
        if state in states:
            command = resume_command(status.manifest, runs_dir)
            yield advice.format(command=command, retry=retry_command(command, status.paths.name))


def _others(status: SweepStatus) -> Iterator[str]:
    if unplanned := status.unplanned():
        yield f"not of this plan, and left alone: {_list(unplanned)}"
    if status.other_sweeps:
        yield f"other sweeps: {_list(status.other_sweeps)} (sweepctl status SWEEP)"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
