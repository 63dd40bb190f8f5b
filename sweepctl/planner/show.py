"""What was predicted, on a terminal: below the plan's own table."""

from collections.abc import Iterator, Sequence

from results.files.predictions import Prediction
from results.report.cells import percent
from results.statistics.wording import range_text, seconds_text
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.select import due
from sweepctl.planner.outlook import Outlook
from sweepctl.planner.recommend import Recommendation, Split, Turn
from sweepctl.planner.trials import GAIN
from sweepctl.tables import new_table, print_table
from sweepctl.watching.progress import duration

_MOST_ROWS, _MOST_TURNS = 50, 3
_COLUMNS = ("step\ns", "chance\ns", "modes\ns", "prompts\n/s", "speed-\nup", "age", "wasted")
_IDLE = ("engine\nidle", "learner\nidle", "wall")
_COLUMNS_MEAN = (
    "step and chance: mean time of a step, and where chance alone puts that of 95 % of runs with these "
    "costs; modes: kinds of steps, where each is densest (–: too few steps); speed-up: prompts/s over those "
    "of the run's twin with s = 0 and P = B, or as `baseline` says; wasted: tokens sampled and not trained on"
)


def print_outlook(
    plan: Plan, outlook: Outlook, *, slots: int, retry_failed: bool = False, force: bool = False
) -> None:
    """A row for each run that was predicted; below, how long the sweep would take.

    Args:
        plan, outlook: of the sweep.
        slots: runs at a time.
        retry_failed, force: as `run` would be asked.
    """
    runs = [run for run in plan.feasible if run.name in outlook.predictions]
    table = new_table(("",), (*_COLUMNS, *_IDLE))
    for run in runs[:_MOST_ROWS]:
        cells = _cells(outlook.predictions[run.name], outlook.speedup(run.name))
        table.add_row(run.label, *cells, style=None if run.selected else "dim")
    print()
    notes = [f"... and {len(runs) - _MOST_ROWS:,} more (--json lists all)"] if len(runs) > _MOST_ROWS else []
    notes += [*outlook.gaps(plan), _COLUMNS_MEAN]
    todo = due(
        plan, retry_failed=retry_failed, force=force, max_attempts=plan.resolved.spec.retry.max_attempts
    )
    how = "one run after the other" if slots == 1 else f"{slots} at a time"
    if told := training_text(outlook, todo, slots, afresh=force):
        notes += [f"{told}, {how}", "starting engines and evaluating checkpoints come on top"]
    print_table(f"predicted; costs: {outlook.known.source}", table, notes)


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


def _cells(prediction: Prediction, speedup: float | None) -> list[str]:
    return [
        seconds_text(prediction.step_s),
        range_text(prediction.step_low_s, prediction.step_high_s),
        ", ".join(seconds_text(mode.seconds) for mode in prediction.modes) or "–",
        f"{prediction.prompts_per_s:.3g}",
        "–" if speedup is None else f"{speedup:.2f}x",
        f"{prediction.age_mean:.2f}",
        percent(prediction.wasted_token_share),
        f"{prediction.engine_idle_share:.0%}",
        f"{prediction.learner_idle_share:.0%}",
        duration(prediction.wall_s),
    ]


def print_recommendation(found: Recommendation) -> None:
    """The front, the knobs and the devices."""
    table = new_table(("",), ("s", "B", "P", "k", "prompts/s", "mean age", "engine idle", "learner idle"))
    for setting in found.front:
        s, batch, interval = (
            setting.max_staleness,
            setting.prompts_per_optim_step,
            setting.sync_interval_steps,
        )
        prediction = setting.prediction
        table.add_row(
            setting.label or "not in the sweep",
            *(str(number) for number in (s, batch, batch * interval, interval)),
            f"{prediction.prompts_per_s:.3g}",
            f"{prediction.age_mean:.2f}",
            f"{prediction.engine_idle_share:.0%}",
            f"{prediction.learner_idle_share:.0%}",
        )
    print()
    title = f"settings by the age of their samples, each over {GAIN:.0%} faster than the one above"
    print_table(title, table, list(_advice(found)))


def _advice(found: Recommendation) -> Iterator[str]:
    yield "simulated anew, a few times each: figures differ a little from those of the sweep's own runs above"
    if found.simulated_steps is not None:
        yield (
            f"simulated as runs of about {found.simulated_steps:,} steps that change as much as the whole "
            "ones, so that it takes seconds"
        )
    start = found.start.label or found.start.name
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
    gains = f"{turn.prompts_per_s:.3g} prompts/s ({turn.gain:+.0%})"
    notes = [f"{turn.key} {turn.before} -> {turn.after}{also}, {gains}", turn.why]
    if turn.learns_otherwise:
        notes.append("it also changes what a step learns from")
    if turn.key == "prompts_per_forward_backward":
        notes.append("if a token costs as much as in a full batch")
    return "; ".join(notes)


def _splits_text(splits: tuple[Split, ...]) -> str:
    return ", ".join(
        f"{split.devices} as {split.engine} + {split.learner} ({split.prompts_per_s:.3g} prompts/s)"
        for split in splits
    )
