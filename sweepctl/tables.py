"""Tables of the commands that only look, on stdout."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweepctl.plan import Plan
from sweepctl.status import SweepStatus


def print_plan(plan: Plan) -> None:
    """The runs in order; below, why some are infeasible and what else is to be known."""
    table = _table(["", "run", "state"], ["s", "B", "P", "k", "age at most", "steps"])
    notes = list(plan.notes)
    for run in plan.runs:
        row = run.summary()
        numbers = (
            row["max_staleness"],
            row["prompts_per_optim_step"],
            row["prompts_per_rollout_sync"],
            row["sync_interval_steps"],
            row["worst_case_age"],
            row["max_steps"],
        )
        cells = ["" if number is None else str(number) for number in numbers]
        table.add_row(run.label or "", escape(run.name), run.state, *cells)
        if run.point.reason:
            notes.append(f"{run.name} is infeasible: {run.point.reason}")
        if run.other_run:
            notes.append(f"{run.name}: its directory holds another run ({run.other_run}), to be set aside")
    profile = f" [{plan.resolved.profile}]" if plan.resolved.profile else ""
    _print(f"{plan.name}{profile} -> {plan.paths.root}", table, notes)


def print_status(status: SweepStatus) -> None:
    """The runs as they are now; below, why some are not well."""
    table = _table(["", "run", "state"], ["attempt", "step", "s/step", "reward"])
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
    _print(f"{status.name}{profile}", table, reasons)


def _table(words: list[str], numbers: list[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for word in words:
        table.add_column(word, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def _print(title: str, table: Table, notes: list[str]) -> None:
    console = Console(highlight=False)
    console.print(title, markup=False, soft_wrap=True)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
