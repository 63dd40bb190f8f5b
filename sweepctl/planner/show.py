"""What was predicted, on a terminal: below the plan's own table."""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from results.files.predictions import Prediction
from results.report.cells import NONE, percent
from results.statistics.wording import range_text, seconds_text
from sweepctl.labels import arm_of
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.select import due
from sweepctl.planner.outlook import Outlook
from sweepctl.planner.recommend import Recommendation, Setting, Split, Turn
from sweepctl.planner.trials import GAIN
from sweepctl.tables import fit_widths, fitted_table, print_table, stdout_console
from sweepctl.watching.progress import duration

_MOST_ROWS, _MOST_TURNS, _MOST_SPANS = 50, 3, 4
_TITLES = {
    "label": "",
    "step": "step\ns",
    "chance": "chance\ns",
    "modes": "modes\ns",
    "prompts/s": "prompts\n/s",
    "speed-up": "speed-\nup",
    "mean age": "mean\nage",
    "engine idle": "engine\nidle",
    "learner idle": "learner\nidle",
}
_IDLE = ("learner idle", "engine idle")
_DROPPED_FIRST = (*_IDLE, "wasted", "chance", "age", "modes", "prompts/s", "speed-up", "wall")
"""What a narrow terminal does without, the least important first."""
_MEANINGS = {
    "step": "mean time of a step",
    "chance": "where chance alone puts that of 95 % of runs with these costs",
    "modes": f"kinds of steps, where each is densest ({NONE}: too few steps)",
    "speed-up": "prompts/s over those of the run's twin with s = 0 and P = B, or as `baseline` says",
    "wasted": "tokens sampled and not trained on",
}
_Cells = Mapping[str, str | None]
"""A row by column; None: nothing is to be said."""


def print_outlook(
    plan: Plan, outlook: Outlook, *, slots: int, retry_failed: bool = False, force: bool = False
) -> None:
    """A row for each arm that was predicted; below, how long the sweep would take.

    Args:
        plan, outlook: of the sweep.
        slots: runs at a time.
        retry_failed, force: as `run` would be asked.
    """
    rows = _rows(plan, outlook)
    shown = rows[:_MOST_ROWS]
    table, columns, notes = _fitted([cells for cells, _ in shown], _DROPPED_FIRST)
    for row, (_, selected) in zip(table.rows, shown, strict=True):
        row.style = None if selected else "dim"
    if len(rows) > _MOST_ROWS:
        notes.append(f"... and {len(rows) - _MOST_ROWS:,} more (--json lists all)")
    notes += [*outlook.gaps(plan), *_meanings(columns)]
    todo = due(
        plan, retry_failed=retry_failed, force=force, max_attempts=plan.resolved.spec.retry.max_attempts
    )
    how = "one run after the other" if slots == 1 else f"{slots} at a time"
    if told := training_text(outlook, todo, slots, afresh=force):
        notes += [f"{told}, {how}", "starting engines and evaluating checkpoints come on top"]
    print()
    print_table(f"predicted; costs: {outlook.known.source}", table, notes)


def _rows(plan: Plan, outlook: Outlook) -> list[tuple[_Cells, bool]]:
    """What is printed, and whether the runs are selected: one row for the seeds that share all of it."""
    arms: dict[str, dict[tuple[bool, tuple[tuple[str, str | None], ...]], list[PlannedRun]]] = {}
    for run in plan.feasible:
        if run.name in outlook.predictions:
            cells = _cells(outlook.predictions[run.name], outlook.speedup(run.name))
            alike = arms.setdefault(arm_of(str(run.label)), {})
            alike.setdefault((run.selected, tuple(cells.items())), []).append(run)
    return [
        ({"label": _label(arm, runs), **dict(cells)}, selected)
        for arm, alike in arms.items()
        for (selected, cells), runs in alike.items()
    ]


def _label(arm: str, runs: Sequence[PlannedRun]) -> str:
    """`Exp1-seed0`, or of several seeds `Exp1, seeds 0-2, 5`; of many single ones `Exp1, 9 seeds`."""
    if len(runs) == 1:
        return str(runs[0].label)
    spans: list[list[int]] = []
    for seed in sorted(run.config.seed for run in runs):
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    if len(spans) > _MOST_SPANS:
        return f"{arm}, {len(runs):,} seeds"
    seeds = [str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans]
    return f"{arm}, seeds {', '.join(seeds)}"


def _fitted(rows: Sequence[_Cells], dropped_first: Sequence[str]) -> tuple[Table, tuple[str, ...], list[str]]:
    """A table in which nothing wraps, its columns, and what was left out for want of width.

    A column in which nothing is said of any row is left out without a word.
    """
    told = [key for key in rows[0] if any(row[key] for row in rows)] if rows else []
    columns = {key: [row[key] or NONE for row in rows] for key in told}
    with_titles = {key: [*texts, *_TITLES.get(key, key).split("\n")] for key, texts in columns.items()}
    untitled = dict.fromkeys(columns, "")
    widths = fit_widths(with_titles, untitled, stdout_console().width, dropped_first=dropped_first)
    table = fitted_table(widths, _TITLES, {key for key in columns if key != "label"})
    for texts in zip(*(columns[key] for key in widths), strict=True):
        table.add_row(*map(Text, texts))
    hidden = [key for key in columns if key not in widths]
    return table, tuple(widths), [f"too narrow for {', '.join(hidden)}: see --json"] if hidden else []


def _meanings(columns: Sequence[str]) -> Iterator[str]:
    """What the columns are, those that their titles do not tell."""
    told = [f"{key}: {_MEANINGS[key]}" for key in columns if key in _MEANINGS]
    if told:
        yield "; ".join(told)


def training_text(outlook: Outlook, todo: Sequence[PlannedRun], slots: int, *, afresh: bool) -> str | None:
    """How long training these runs takes, as far as they are predicted; None where none of them is.

    Args:
        outlook: of the sweep.
        todo: what is left to train, in order.
        slots: runs at a time.
        afresh: all begin at their first step.
    """
    told = [run for run in todo if run.name in outlook.predictions]
    if not told:
        return None
    which = (
        "what is left"
        if len(told) == len(todo)
        else f"the {len(told):,} predicted of {len(todo):,} runs left"
    )
    return f"training {which} takes about {duration(outlook.training_s(told, slots, afresh=afresh))}"


def _cells(prediction: Prediction, speedup: float | None) -> _Cells:
    low_s, high_s = prediction.step_low_s, prediction.step_high_s
    wasted = prediction.wasted_token_share
    return {
        "step": seconds_text(prediction.step_s),
        "chance": range_text(low_s, high_s) if low_s < high_s else None,
        "modes": ", ".join(seconds_text(mode.seconds) for mode in prediction.modes) or None,
        "prompts/s": _rate(prediction.prompts_per_s),
        "speed-up": None if speedup is None else f"{speedup:.2f}x",
        "age": f"{prediction.age_mean:.2f}",
        "wasted": None if wasted is None else percent(wasted),
        "engine idle": f"{prediction.engine_idle_share:.0%}",
        "learner idle": f"{prediction.learner_idle_share:.0%}",
        "wall": duration(prediction.wall_s),
    }


def _rate(per_s: float) -> str:
    """To as many digits as a time."""
    return seconds_text(per_s)


def print_recommendation(found: Recommendation) -> None:
    """The front, the knobs and the devices."""
    table, _, notes = _fitted([_setting(each) for each in found.front], (*_IDLE, "k", "P"))
    print()
    title = f"settings by the age of their samples, each over {GAIN:.0%} faster than the one above"
    print_table(title, table, [*notes, *_advice(found)])


def _setting(setting: Setting) -> _Cells:
    batch, interval, prediction = (
        setting.prompts_per_optim_step,
        setting.sync_interval_steps,
        setting.prediction,
    )
    return {
        "label": arm_of(setting.label) if setting.label else "not in the sweep",
        "s": str(setting.max_staleness),
        "B": str(batch),
        "P": str(batch * interval),
        "k": str(interval),
        "prompts/s": _rate(prediction.prompts_per_s),
        "mean age": f"{prediction.age_mean:.2f}",
        "engine idle": f"{prediction.engine_idle_share:.0%}",
        "learner idle": f"{prediction.learner_idle_share:.0%}",
    }


def _advice(found: Recommendation) -> Iterator[str]:
    yield "simulated anew, a few times each: figures differ a little from those of the sweep's own runs above"
    if found.simulated_steps is not None:
        yield (
            f"simulated as runs of about {found.simulated_steps:,} steps that change as much as the whole "
            "ones, so that it takes seconds"
        )
    start = arm_of(str(found.start.label))
    worth = [turn for turn in found.turns if turn.gain_at_least > GAIN]
    if not worth:
        yield f"next knob: none; from {start}, the fastest, none is sure to gain more than {GAIN:.0%}"
    same_learning = [turn for turn in worth if not turn.learns_otherwise][:_MOST_TURNS]
    for place, turn in enumerate([*same_learning, *(turn for turn in worth if turn.learns_otherwise)]):
        yield f"{'or' if place else f'next knob, from {start}'}: {_turn_text(turn)}"
    if found.splits:
        splits = _splits_text(found.splits)
        yield f"devices for {start}, where engine and learner scale without loss: {splits}"
    else:
        yield "devices: not shared out; costs by hand do not say how more groups slow an engine down"


def _turn_text(turn: Turn) -> str:
    also = "".join(f", {key} {value}" for key, value in turn.also.items())
    gains = f"{_rate(turn.prompts_per_s)} prompts/s ({turn.gain:+.0%})"
    notes = [f"{turn.key} {turn.before} -> {turn.after}{also}, {gains}", turn.why]
    if turn.learns_otherwise:
        notes.append("it also changes what a step learns from")
    if turn.key == "prompts_per_forward_backward":
        notes.append("if a token costs as much as in a full batch")
    return "; ".join(notes)


def _splits_text(splits: tuple[Split, ...]) -> str:
    return ", ".join(
        f"{split.devices} as {split.engine} + {split.learner} ({_rate(split.prompts_per_s)} prompts/s)"
        for split in splits
    )
