"""The charts of a report, each with the section it stands in and what it shows in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import ArmStyle, arm_styles
from results.figures.plan import phase_bars, predicted_against_measured
from results.figures.quality import delta_forest, exact_match, training_curves
from results.figures.speed import speedup_bars
from results.figures.staleness import ages
from results.figures.steps import step_time_bins, step_time_histograms
from results.report.build import Report
from results.report.cells import metric_name
from results.report.compared import opponents
from results.store import Store, records
from results.tables.accuracy import default_filter_rows
from results.tables.curves import X_AXES, first_seeds, reward_curves_table
from results.tables.plan import PHASES
from results.tables.speed import REWARD_WINDOW_STEPS
from results.tables.steps import steps_table

SHOWN_RUNS = 12
"""More runs than these cannot be told apart in one chart: the first are drawn, and it is said."""


@dataclass(frozen=True)
class Chart:
    """A figure of the report."""

    section: str
    """Title of the section it stands in."""
    title: str
    figure: go.Figure
    alternative: str
    """What it shows, for those who do not see it."""


def charts(report: Report, store: Store) -> tuple[Chart, ...]:
    """All charts there is something to draw in."""
    styles = arm_styles(report.experiments)
    steps = _steps(report, store)
    return (
        *_speedups(report, styles),
        *_step_times(report, steps),
        *_accuracies(report, styles),
        *_deltas(report, styles),
        *_learning(report, store, styles),
        *_ages(report),
        *_plan(report, styles),
    )


def _speedups(report: Report, styles: Mapping[str, ArmStyle]) -> Iterator[Chart]:
    for against, name in opponents(report.speedups).items():
        part = report.speedups[report.speedups["against"] == against].dropna(subset=["prompts_per_s_speedup"])
        part, shown = _first(part)
        if part.empty:
            continue
        words = [
            f"{row['label']} {row['prompts_per_s_speedup']:.2f} times {row['other_label']}"
            + (
                ""
                if pd.isna(row["prompts_per_s_low"])
                else f" ({row['prompts_per_s_low']:.2f} to {row['prompts_per_s_high']:.2f})"
            )
            for row in records(part)
        ]
        yield Chart(
            "Training speed",
            f"Prompts a second against the {name}{shown}",
            speedup_bars(part, styles),
            f"Bars with 95 % intervals: {'; '.join(words)}.",
        )


def _step_times(report: Report, steps: pd.DataFrame) -> Iterator[Chart]:
    if steps.empty:
        return
    sentences = dict(zip(report.modes["run_name"], report.modes["sentence"], strict=True))
    first = steps.drop_duplicates("run_name")
    labels = {str(run): str(label) for run, label in zip(first["run_name"], first["label"], strict=True)}
    several = {row["run_name"]: row["mode_seconds"] for row in records(report.modes) if row["modes"] > 1}
    yield Chart(
        "Step time distribution",
        f"Step times{_of(len(labels), _timed(report))}",
        step_time_histograms(step_time_bins(steps), labels, several),
        "Histograms of step times. "
        + " ".join(f"{label}: {sentences.get(run, 'too few steps')}" for run, label in labels.items()),
    )


def _accuracies(report: Report, styles: Mapping[str, ArmStyle]) -> Iterator[Chart]:
    for (task, metric), part in default_filter_rows(report.accuracy).groupby(["task", "metric"], sort=False):
        models = list(part["label"].unique())
        kept = part[part["label"].isin(models[: SHOWN_RUNS + 1])]
        words = [
            f"{row['label']} {row['value_percent']:.2f} % at {row['num_fewshot']} shots"
            for row in records(kept)
        ]
        yield Chart(
            "Evaluation results",
            f"{metric_name(metric)}, {task}{_of(kept['label'].nunique(), len(models))}",
            exact_match(kept, styles),
            f"Accuracies with one standard error: {'; '.join(words)}.",
        )


def _deltas(report: Report, styles: Mapping[str, ArmStyle]) -> Iterator[Chart]:
    deltas = default_filter_rows(report.deltas)
    names = opponents(report.deltas)
    told = deltas[deltas["against"].isin(names)]
    for (against, task, _), part in told.groupby(["against", "task", "metric"], sort=False):
        kept, shown = _first(part)
        words = [
            f"{row['label']} at {row['num_fewshot']} shots {row['delta_points']:+.2f}, {row['verdict']}"
            for row in records(kept)
        ]
        yield Chart(
            "Deltas",
            f"Difference from the {names[str(against)]}, {task}{shown}",
            delta_forest(kept, styles, report.margin_points),
            f"Differences in percentage points with 95 % intervals: {'; '.join(words)}.",
        )


def _learning(report: Report, store: Store, styles: Mapping[str, ArmStyle]) -> Iterator[Chart]:
    runs, left_out = first_seeds(report.experiments)
    curves = reward_curves_table(store, report.sweep, runs, REWARD_WINDOW_STEPS)
    if curves.empty:
        return
    last = curves.dropna(subset=["mean"]).drop_duplicates("run_name", keep="last")
    words = [f"{row['label']} ends at {row['mean']:.3f}" for row in records(last)]
    yield Chart(
        "Quality observations",
        "Mean reward while training",
        training_curves(curves, curves, styles, "prompts", (X_AXES["prompts"], "mean reward")),
        f"Reward of sampled groups by prompts trained on, trailing mean of {REWARD_WINDOW_STEPS} steps, over "
        f"an arm's seeds from the least to the greatest: {'; '.join(words) or 'too few steps'}."
        + (f" {left_out}." if left_out else ""),
    )


def _ages(report: Report) -> Iterator[Chart]:
    kept, shown = _first(report.staleness)
    if kept.empty:
        return
    words = [f"{row['label']}: {row['share']:.0%} at age {row['off_policy_steps']}" for row in records(kept)]
    yield Chart(
        "Staleness",
        f"Age of trained groups{shown}",
        ages(kept),
        f"Share of trained groups by age in optimizer steps. {'; '.join(words)}.",
    )


def _plan(report: Report, styles: Mapping[str, ArmStyle]) -> Iterator[Chart]:
    measured, shown = _first(report.plan[report.plan["measured_step_s"].notna()])
    if measured.empty:
        return
    words = [
        f"{row['label']} predicted {row['predicted_step_s']:.3g} s, measured {row['measured_step_s']:.3g} s"
        for row in records(measured)
    ]
    section = "Predicted and measured"
    yield Chart(
        section,
        f"Mean step time, predicted against measured{shown}",
        predicted_against_measured(measured, styles),
        f"A point for each run, on the line where both are equal: {'; '.join(words)}.",
    )
    yield Chart(
        section,
        f"Parts of a step, predicted and measured{shown}",
        phase_bars(measured),
        f"Two bars for each run, predicted above measured, in seconds a step: {'; '.join(_parts(measured))}.",
    )


def _parts(plan: pd.DataFrame) -> Iterator[str]:
    for row in records(plan):
        parts = (
            f"{phase} {row[f'predicted_{phase}_s']:.3g} and {row[f'measured_{phase}_s']:.3g}"
            for phase in PHASES
        )
        yield f"{row['label']}: {', '.join(parts)}"


def _steps(report: Report, store: Store) -> pd.DataFrame:
    """Steps of the first runs that have any."""
    timed = report.experiments[report.experiments["training_s"].notna()]
    return steps_table(store, report.sweep, list(timed["run_name"].head(SHOWN_RUNS)))


def _timed(report: Report) -> int:
    return int(report.experiments["training_s"].notna().sum())


def _first(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows of the first runs, and the words that say so where there are more."""
    runs = frame["run_name"].unique()
    return frame[frame["run_name"].isin(runs[:SHOWN_RUNS])], _of(min(len(runs), SHOWN_RUNS), len(runs))


def _of(drawn: int, there: int) -> str:
    return f", the first {drawn} of {there}" if drawn < there else ""
