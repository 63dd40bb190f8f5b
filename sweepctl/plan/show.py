"""`sweepctl plan` on a terminal."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from sweepctl.attempts import failures_in_a_row
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.select import DueCounts, count_due
from sweepctl.plan.spans import spans
from sweepctl.tables import STATE_STYLES, fit_widths, fitted_table, print_table, stdout_console

MAX_ROWS = 50
_MAX_NAMES = 4
_WORDS = ("label", "run", "state")
_TITLES = {
    "label": "",
    "max_staleness": "s",
    "prompts_per_optim_step": "B",
    "prompts_per_rollout_sync": "P",
    "sync_interval_steps": "k",
    "worst_case_age": "age ≤",
    "max_steps": "steps",
}
_ALWAYS = tuple(_TITLES)[1:]


def print_plan(plan: Plan, *, retry_failed: bool = False, force: bool = False) -> None:
    """`sweepctl plan`: the runs in order; below, what is to be known of them and what `run` would do."""
    shown = _shown(plan)
    table, notes = _table(plan, shown)
    if more := len(plan.runs) - len(shown):
        notes.append(f"... and {more:,} more (--json lists all)")
    notes += plan.notes
    notes += _infeasible(plan)
    notes += _comes_back(plan) if not force else []
    notes += _set_aside(plan)
    notes += _left_in_place(plan)
    notes += _orphaned(plan)
    notes.append(_outlook(count_due(plan, retry_failed=retry_failed, force=force)))
    profile = f" [{plan.resolved.profile}]" if plan.resolved.profile else ""
    print_table(f"{plan.name}{profile} -> {plan.paths.root}", table, notes)


def _table(plan: Plan, runs: Sequence[PlannedRun]) -> tuple[Table, list[str]]:
    """The rows, and what was left out for want of width: columns of one value, then from the right."""
    axes = tuple(key for key in plan.varied() if key not in _ALWAYS)
    titles = _TITLES | dict(zip(axes, _headers(axes), strict=True))
    rows = [_cells(run, axes) for run in runs]
    cells = {key: [row[key] for row in rows] for key in (*_WORDS, *axes, *_ALWAYS)}
    widths = fit_widths(cells, titles, stdout_console().width, dropped_first=_dropped_first(cells))
    table = fitted_table(widths, titles, (*axes, *_ALWAYS))
    for key, column in zip(widths, table.columns, strict=True):
        if key == "run":
            column.no_wrap, column.overflow = False, "fold"  # a name cut short would be no name
    for run, row in zip(runs, rows, strict=True):
        row_cells = [
            Text(row[key], STATE_STYLES.get(run.state, "") if key == "state" else "") for key in widths
        ]
        table.add_row(*row_cells, style=None if run.selected else "dim")
    hidden = [titles[key] for key in (*axes, *_ALWAYS) if key not in widths and any(cells[key])]
    return table, [f"too narrow for {', '.join(hidden)}: see --json"] if hidden else []


def _dropped_first(cells: dict[str, list[str]]) -> list[str]:
    """The columns that a narrow terminal does without: those that tell no runs apart go first."""
    from_the_right = [key for key in reversed(cells) if key not in _WORDS]
    return sorted(from_the_right, key=lambda key: len({text for text in cells[key] if text}) > 1)


def _shown(plan: Plan) -> tuple[PlannedRun, ...]:
    """The rows that are printed: where there are too many, those selected come first."""
    if len(plan.runs) <= MAX_ROWS:
        return plan.runs
    return tuple(run for run in plan.runs if run.selected)[:MAX_ROWS]


def _headers(axes: Sequence[str]) -> list[str]:
    """The last part of each key, or all of it where two keys end in the same."""
    last = [key.rpartition(".")[2] for key in axes]
    return [part if last.count(part) == 1 else key for key, part in zip(axes, last, strict=True)]


def _cells(run: PlannedRun, axes: Sequence[str]) -> dict[str, str]:
    settings, row = run.point.settings, run.summary()
    return {
        "label": run.label or "",
        "run": run.name,
        "state": in_words(run) + ("" if run.selected else ", not selected"),
        **{key: settings[key].text if key in settings else str(run.point.value(key)) for key in axes},
        **{key: "" if row[key] is None else str(row[key]) for key in _ALWAYS},
    }


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


def _comes_back(plan: Plan) -> Iterator[str]:
    """What lies in another directory than its own, which will be renamed."""
    runs = [(run, run.comes_back.name) for run in plan.feasible if run.comes_back]
    for run, directory in runs[:_MAX_NAMES]:
        comes = "comes back" if run.selected else "would come back, if selected,"
        yield f"{run.name}: {comes} from {directory}"
    if runs[_MAX_NAMES:]:
        yield f"... and {len(runs) - _MAX_NAMES:,} more"


def _left_in_place(plan: Plan) -> Iterator[str]:
    """Runs that are not meant now, and whose directories hold others, which no run takes from there."""
    taken = {run.comes_back for run in plan.feasible if run.selected}
    runs = [
        run for run in plan.feasible if run.other_run and not run.selected and run.paths.root not in taken
    ]
    if runs:
        held = _some([str(run.other_run) for run in runs])
        hold = "its directory holds another run" if len(runs) == 1 else "their directories hold other runs"
        stay = "stays" if len(runs) == 1 else "stay"
        yield f"{spans(plan.feasible, runs)}: not selected; {hold} ({held}), which {stay}"


def _set_aside(plan: Plan) -> Iterator[str]:
    """Whose directories hold something that will be renamed before anything is trained."""
    others = [run for run in plan.feasible if run.selected and run.other_run]
    for run in others[:_MAX_NAMES]:
        holds = "no run that can be told" if run.other_run == "unknown" else f"another run ({run.other_run})"
        yield f"{run.name}: its directory holds {holds}, to be set aside"
    if more := len(others) - len(others[:_MAX_NAMES]):
        yield f"... and {_directories(more)} to be set aside"


def _orphaned(plan: Plan) -> Iterator[str]:
    """Directories of runs that are none of this plan's, or of which it has another directory."""
    planned = {run.name: run for run in plan.feasible}
    for orphan in plan.orphaned[:_MAX_NAMES]:
        name = orphan.paths.root.name
        steps = f" at {orphan.step}/{orphan.max_steps}" if orphan.step is not None else ""
        why = "no run of this plan" if orphan.same_as is None else _instead(planned[orphan.same_as])
        yield f"{name} ({orphan.state}{steps}): {why}; stays as it is"
    if more := len(plan.orphaned) - len(plan.orphaned[:_MAX_NAMES]):
        yield f"... and {_directories(more)} that {'stays as it is' if more == 1 else 'stay as they are'}"


def _instead(run: PlannedRun) -> str:
    """Why a directory that holds this run is not taken."""
    if run.state == "new":
        return f"the same run as {run.name}, which does not come back from it"
    return f"the same run as {(run.comes_back or run.paths.root).name}, which comes first"


def _directories(more: int) -> str:
    return f"{more:,} more {'directory' if more == 1 else 'directories'}"


def _outlook(counts: DueCounts) -> str:
    rest = [f"{counts.done:,} {'is' if counts.done == 1 else 'are'} done"] if counts.done else []
    rest += [f"{counts.waiting:,} failed: add --retry-failed"] if counts.waiting else []
    rest += [f"{counts.running:,} being trained already"] if counts.running else []
    would = f"run would train {counts.train:,}, go on with {counts.go_on:,}, retry {counts.retry:,}"
    return "; ".join([would, *rest])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
