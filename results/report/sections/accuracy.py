"""What it cost: accuracies, differences with their verdicts, and what they amount to."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import NONE, Row, metric_name, number
from results.report.document import Section, Sentences, Sheet
from results.store import records
from results.tables.accuracy import VERDICT_MARKS, default_filter_rows
from results.tables.arms import arm_label
from results.tables.arms_accuracy import ONE_SEED

_REFUSALS = 6
"""So many refused comparisons are explained one by one; JSON has all."""


def accuracy_sections(report: Report) -> Iterator[Section]:
    """Evaluation results, deltas, observations."""
    if len(report.accuracy):
        noise = tuple(dict.fromkeys(default_filter_rows(report.noise_floor)["sentence"]))
        yield Section("Evaluation results", (*_accuracies(report), *([Sentences(noise)] if noise else [])))
    if len(report.deltas):
        legend = Sentences((_legend(report.margin_points),))
        yield Section("Deltas", (legend, *_deltas(report), *_arm_deltas(report)))
    yield Section("Quality observations", (Sentences(report.quality_observations),))


def _accuracies(report: Report) -> Iterator[Sheet]:
    """The reference's table of exact match, one per task and filter."""
    default = default_filter_rows(report.accuracy)
    rest = report.accuracy.drop(default.index)  # both of lm-eval's filters are shown, the default one first
    for keys, part in pd.concat([default, rest]).groupby(["task", "metric", "filter"], sort=False):
        task, metric, filter_name = keys
        shots = sorted(part["num_fewshot"].unique())
        by_label: dict[str, dict[int, float]] = {}
        for label, shot, value in zip(part["label"], part["num_fewshot"], part["value_percent"], strict=True):
            by_label.setdefault(str(label), {})[shot] = value
        rows = tuple(
            (label, *(number(values.get(shot), ".2f") for shot in shots))
            for label, values in by_label.items()
        )
        title = f"{metric_name(metric)} (%), {task}, {filter_name}"
        yield Sheet(title, ("Model", *(f"{shot}-shot" for shot in shots)), rows)


def _deltas(report: Report) -> Iterator[Sheet]:
    """The reference's table of deltas with what each is worth, by the default filter; JSON has the others."""
    deltas = default_filter_rows(report.deltas)
    for keys, part in deltas.groupby(["against", "task", "metric", "filter"], sort=False):
        against, task, _, filter_name = keys
        shots = sorted(part["num_fewshot"].unique())
        by_label: dict[str, dict[int, Row]] = {}
        for row in records(part):
            by_label.setdefault(row["label"], {})[row["num_fewshot"]] = row
        rows = []
        for label, by_shot in by_label.items():
            other = () if against == "base" else (str(next(iter(by_shot.values()))["other_label"]),)
            cells = (_delta(by_shot[shot]) if shot in by_shot else NONE for shot in shots)
            rows.append((label, *other, *cells))
        title = f"Delta from the {OPPONENTS[str(against)]} (points), {task}, {filter_name}"
        names = ("Model",) if against == "base" else ("Model", "Against")
        columns = (*names, *(f"{shot}-shot" for shot in shots))
        yield Sheet(title, columns, tuple(rows), len(names), tuple(_delta_notes(part)))


def _arm_deltas(report: Report) -> Iterator[Sheet]:
    """Verdicts over several seeds: the only ones that are about a setting."""
    table = default_filter_rows(report.arm_deltas[report.arm_deltas["scope"] != ONE_SEED])
    for keys, part in table.groupby(["against", "task", "metric", "filter"], sort=False):
        against, task, _, filter_name = keys
        shots = sorted(part["num_fewshot"].unique())
        by_arm: dict[str, dict[int, Row]] = {}
        for row in records(part):
            by_arm.setdefault(row["arm"], {})[row["num_fewshot"]] = row
        rows = []
        for by_shot in by_arm.values():
            first = next(iter(by_shot.values()))
            cells = (_delta(by_shot[shot]) if shot in by_shot else NONE for shot in shots)
            rows.append((arm_label(first["label"]), first["scope"], *cells))
        title = f"Delta of arms from the {OPPONENTS[str(against)]} (points), {task}, {filter_name}"
        columns = ("Arm", "Over", *(f"{shot}-shot" for shot in shots))
        yield Sheet(title, columns, tuple(rows), 2, ("Seeds and questions are both a sample.",))


def _legend(margin_points: float) -> str:
    return (
        f"▲ better, ▼ worse (Holm-adjusted p < 0.05), = equivalent within ±{margin_points:g} points, "
        "? inconclusive: only a difference ≥ the last line would have shown with 80 % power, "
        "✗ refused, ~ within what evaluating the base model twice differs by. "
        "Brackets: 95 % interval, not adjusted."
    )


def _delta_notes(part: pd.DataFrame) -> Iterator[str]:
    if methods := "; ".join(sorted(part["method"].dropna().unique())):
        yield f"Tests and intervals: {methods}."
    refused = records(part[part["verdict"] == "refused"])
    for row in refused[:_REFUSALS]:
        why = f"they differ in {row['refusal']}" if row["refusal"] else "no standard error and no samples"
        yield f"✗ {row['label']}, {row['num_fewshot']}-shot, not compared: {why}."
    if len(refused) > _REFUSALS:
        yield f"✗ {len(refused)} comparisons in all are refused; --format json says why of each."


def _delta(row: Row) -> str:
    """`-0.38 ?`, its interval, and the least difference that would have shown."""
    mark = VERDICT_MARKS[str(row["verdict"])]
    if row["verdict"] == "refused":
        return mark
    noise = " ~" if row["within_noise"] else ""
    lines = [f"{row['delta_points']:+.2f} {mark}{noise}", f"[{row['low']:+.1f}, {row['high']:+.1f}]"]
    if row["verdict"] == "inconclusive":
        lines.append(f"≥{row['detectable_points']:.1f}")
    return "\n".join(lines)
