"""`sweepctl plan` on a terminal."""

from collections.abc import Iterator, Sequence

from rich.markup import escape

from sweepctl.attempts import failures_in_a_row
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.select import DueCounts, count_due
from sweepctl.tables import STATE_STYLES, new_table, print_table

MAX_ROWS = 50
_MAX_NAMES = 4
_ALWAYS = ("max_staleness", "prompts_per_optim_step", "prompts_per_rollout_sync", "max_steps")


def print_plan(plan: Plan, *, retry_failed: bool = False, force: bool = False) -> None:
    """`sweepctl plan`: the runs in order; below, what is to be known of them and what `run` would do."""
    shown = _shown(plan)
    axes = tuple(key for key in plan.varied() if key not in _ALWAYS)
    table = new_table(["", "run", "state"], [*_headers(axes), "s", "B", "P", "k", "age ≤", "steps"])
    for run in shown:
        table.add_row(*_cells(run, axes), style=None if run.selected else "dim")
    profile = f" [{plan.resolved.profile}]" if plan.resolved.profile else ""
    left_out = len(plan.runs) - len(shown)
    notes = [f"... and {left_out:,} more (--json lists all)"] if left_out else []
    notes += plan.notes
    notes += _infeasible(plan)
    notes += _set_aside(plan)
    notes += _orphaned(plan)
    notes.append(_outlook(count_due(plan, retry_failed=retry_failed, force=force)))
    print_table(f"{plan.name}{profile} -> {plan.paths.root}", table, notes)


def _shown(plan: Plan) -> tuple[PlannedRun, ...]:
    """The rows that are printed: where there are too many, those selected come first."""
    if len(plan.runs) <= MAX_ROWS:
        return plan.runs
    return tuple(run for run in plan.runs if run.selected)[:MAX_ROWS]


def _headers(axes: Sequence[str]) -> list[str]:
    """The last part of each key, or all of it where two keys end in the same."""
    last = [key.rpartition(".")[2] for key in axes]
    return [part if last.count(part) == 1 else key for key, part in zip(axes, last, strict=True)]


def _cells(run: PlannedRun, axes: Sequence[str]) -> Iterator[str]:
    settings, row = run.point.settings, run.summary()
    yield run.label or ""
    yield escape(run.name)
    words = in_words(run) + ("" if run.selected else ", not selected")
    yield f"[{STATE_STYLES[run.state]}]{words}[/]" if run.state in STATE_STYLES else words
    for key in axes:
        yield escape(settings[key].text if key in settings else str(run.point.value(key)))
    for key in (*_ALWAYS[:3], "sync_interval_steps", "worst_case_age", "max_steps"):
        yield "" if row[key] is None else str(row[key])


def in_words(run: PlannedRun) -> str:
    """A run's state with what there is of it: `failed 2x`, `interrupted at 12/40`."""
    if run.state == "failed" and (failures := failures_in_a_row(run.attempts)) > 1:
        return f"failed {failures}x"
    if run.state in {"interrupted", "running"} and run.status is not None:
        return f"{run.state} at {run.status.step}/{run.config.max_steps}"
    if run.state == "outdated":
        return f"outdated ({', '.join(run.stale)})"
    return run.state


def _infeasible(plan: Plan) -> Iterator[str]:
    """The inequality that fails, with the points for which it does."""
    names: dict[str, list[str]] = {}
    for run in plan.runs:
        if run.point.reason:
            names.setdefault(run.point.reason, []).append(run.name)
    for reason, of in names.items():
        yield f"{_some(of)} {'is' if len(of) == 1 else 'are'} infeasible: {reason}"


def _set_aside(plan: Plan) -> Iterator[str]:
    """Whose directories hold something that will be renamed before they are trained."""
    others = [run for run in plan.feasible if run.selected and run.other_run]
    for run in others[:_MAX_NAMES]:
        holds = "no run that can be told" if run.other_run == "unknown" else f"another run ({run.other_run})"
        yield f"{run.name}: its directory holds {holds}, to be set aside"
    if others[_MAX_NAMES:]:
        yield f"... and {len(others) - _MAX_NAMES:,} more directories to be set aside"


def _orphaned(plan: Plan) -> Iterator[str]:
    """Directories of runs that are none of this plan's."""
    for orphan in plan.orphaned[:_MAX_NAMES]:
        name = orphan.paths.root.name
        steps = f" at {orphan.step}/{orphan.max_steps}" if orphan.step is not None else ""
        advice = f"; it is what {orphan.same_as} would be: rename it to keep it" if orphan.same_as else ""
        yield f"{name}: no run of this plan ({orphan.state}{steps}), stays as it is{advice}"
    if plan.orphaned[_MAX_NAMES:]:
        yield f"... and {len(plan.orphaned) - _MAX_NAMES:,} more directories that are no run of this plan"


def _outlook(counts: DueCounts) -> str:
    rest = [f"{counts.done:,} {'is' if counts.done == 1 else 'are'} done"] if counts.done else []
    rest += [f"{counts.waiting:,} failed: add --retry-failed"] if counts.waiting else []
    rest += [f"{counts.running:,} being trained already"] if counts.running else []
    would = f"run would train {counts.train:,}, go on with {counts.go_on:,}, retry {counts.retry:,}"
    return "; ".join([would, *rest])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
