"""What was predicted, on a terminal: below the plan's own table."""

from collections.abc import Iterator

from results.files.predictions import Prediction
from results.report.cells import duration, percent
from results.statistics.wording import range_text, seconds_text
from sweepctl.plan.plan import Plan
from sweepctl.plan.select import due
from sweepctl.planner.outlook import Outlook
from sweepctl.planner.recommend import GAIN, Recommendation, Split, Turn
from sweepctl.tables import new_table, print_table

_MOST_ROWS = 50
_COLUMNS = ("step, s", "chance, s", "modes, s", "prompts/s", "speed-up", "age", "wasted")
_IDLE = ("engine idle", "learner idle", "wall")


def print_outlook(plan: Plan, outlook: Outlook, *, slots: int) -> None:
    """A row for each run that was predicted; below, how long the sweep would take."""
    runs = [run for run in plan.feasible if run.name in outlook.predictions]
    table = new_table(("",), (*_COLUMNS, *_IDLE))
    for run in runs[:_MOST_ROWS]:
        cells = _cells(outlook.predictions[run.name], outlook.speedup(run.name))
        table.add_row(run.label, *cells, style=None if run.selected else "dim")
    print()
    notes = _notes(plan, outlook, len(runs) - _MOST_ROWS, slots)
    print_table(f"predicted; costs: {outlook.costs.source}", table, list(notes))


def _cells(prediction: Prediction, speedup: float | None) -> list[str]:
    return [
        seconds_text(prediction.step_s),
        range_text(prediction.step_low_s, prediction.step_high_s),
        " and ".join(seconds_text(mode.seconds) for mode in prediction.modes) or "–",
        f"{prediction.prompts_per_s:.3g}",
        "–" if speedup is None else f"{speedup:.2f}x",
        f"{prediction.age_mean:.2f}",
        percent(prediction.wasted_token_share),
        f"{prediction.engine_idle_share:.0%}",
        f"{prediction.learner_idle_share:.0%}",
        duration(prediction.wall_s),
    ]


def _notes(plan: Plan, outlook: Outlook, rows_left: int, slots: int) -> Iterator[str]:
    if rows_left > 0:
        yield f"... and {rows_left:,} more (--json lists all)"
    if outlook.left_out:
        yield f"{outlook.left_out:,} more runs were not predicted: simulating them would take too long"
    if outlook.useless:
        names = ", ".join(outlook.useless)
        yield f"no prediction for {names}: by these costs no group would have rewards to learn from"
    yield (
        "step and chance: mean time of a step, and between which values it lies in 95 % of simulated runs; "
        "speed-up: prompts/s over those of the run's twin; wasted: tokens sampled and not trained on"
    )
    todo = due(plan, max_attempts=plan.resolved.spec.retry.max_attempts)
    if todo:
        how = "one run after the other" if slots == 1 else f"{slots} at a time"
        yield f"training what is left would take about {duration(outlook.training_s(todo, slots))}, {how}"
        yield "starting engines and evaluating checkpoints come on top"


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
    print_table("settings that none beats with samples as young", table, list(_advice(found)))


def _advice(found: Recommendation) -> Iterator[str]:
    start = found.start.label or found.start.name
    worth = [turn for turn in found.turns if turn.gain > GAIN]
    if not worth:
        yield f"next knob: none; from {start}, the fastest, no single one gains more than {GAIN:.0%}"
    same_learning = [turn for turn in worth if not turn.learns_otherwise]
    for first, turn in enumerate(same_learning[:3]):
        yield f"{'then' if first else f'next knob, from {start}'}: {_turn_text(turn)}"
    for turn in (turn for turn in worth if turn.learns_otherwise):
        yield f"it also changes what a step learns from: {_turn_text(turn)}"
    yield f"devices for {start}, where engine and learner scale without loss: {_splits_text(found.splits)}"


def _turn_text(turn: Turn) -> str:
    return (
        f"{turn.key} {turn.before} -> {turn.after}, {turn.prompts_per_s:.3g} prompts/s ({turn.gain:+.0%}); "
        f"{turn.why}"
    )


def _splits_text(splits: tuple[Split, ...]) -> str:
    return ", ".join(
        f"{split.devices} as {split.engine} + {split.learner} ({split.prompts_per_s:.3g} prompts/s)"
        for split in splits
    )
