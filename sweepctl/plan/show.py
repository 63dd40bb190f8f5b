"""`sweepctl plan` on a terminal."""

from rich.markup import escape

from sweepctl.plan.plan import Plan
from sweepctl.tables import new_table, print_table


def print_plan(plan: Plan) -> None:
    """`sweepctl plan`: the runs in order; below, why some are infeasible and what else is to be known."""
    table = new_table(["", "run", "state"], ["s", "B", "P", "k", "age at most", "steps"])
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
    print_table(f"{plan.name}{profile} -> {plan.paths.root}", table, notes)
