"""`sweepctl status`."""

import json
from pathlib import Path

from rich.markup import escape

from sweepctl.tables import new_table, print_table
from sweepctl.watching.status import SweepStatus, sweep_status


def show_status(runs_dir: Path, sweep: str | None, *, watch: bool, as_json: bool) -> None:
    """Show the state of every run of a sweep, and with `watch` go on until it ends."""
    found = sweep_status(runs_dir, sweep)
    if as_json:
        print(json.dumps(found.summary(), indent=2))
    else:
        print_status(found)


def print_status(status: SweepStatus) -> None:
    """`sweepctl status`: the runs as they are now; below, why some are not well."""
    table = new_table(["", "run", "state"], ["attempt", "step", "s/step", "reward"])
    for run in status.runs:
        pace, reward = run.progress.seconds_per_step, run.progress.reward
        table.add_row(
            run.label or "",
            escape(run.name),
            run.state,
            str(run.attempt or ""),
            f"{run.progress.step}/{run.progress.max_steps}",
            "" if pace is None else f"{pace:.2f}",
            "" if reward is None else f"{reward:.2f}",
        )
    profile = f" [{status.profile}]" if status.profile else ""
    reasons = [f"{run.name} {run.state}: {run.reason}" for run in status.runs if run.reason]
    print_table(f"{status.name}{profile}", table, reasons)
