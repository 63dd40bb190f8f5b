"""What it cost: accuracies, differences with their verdicts, and what they amount to."""

from collections.abc import Callable, Iterator, Mapping

import pandas as pd

from results.report.build import Report
from results.report.cells import NONE, Row, counted, metric_name, number, p_text
from results.report.compared import opponents
from results.report.document import Cells, Rows, Section, Sentences, Sheet
from results.statistics.proportions import LEVEL
from results.store import records
from results.tables.accuracy import FAMILY, VERDICT_MARKS, default_filter_rows
from results.tables.arms import arm_label
from results.tables.arms_accuracy import ONE_SEED

_REFUSALS = 6
"""So many refused comparisons are explained one by one; JSON has all."""
_NAMED = 6
"""So many models or figures are named in a note; more are counted."""
_SHOWN = (
    *("value_percent", "delta_points", "low", "high", "verdict", "within_noise"),
    *("p_adjusted", "p_equivalent_adjusted", "detectable_points"),
)
"""What cells are made of."""


def accuracy_sections(report: Report) -> Iterator[Section]:
    """Evaluation results, deltas, observations."""
    if len(report.accuracy):
        noise = tuple(dict.fromkeys(default_filter_rows(report.noise_floor)["sentence"]))
        yield Section("Evaluation results", (*_accuracies(report), *([Sentences(noise)] if noise else [])))
    if len(report.deltas):
        legend, names = Sentences((_legend(report.margin_points),)), opponents(report.deltas)
        yield Section("Deltas", (legend, *_deltas(report, names), *_arm_deltas(report, names)))
    yield Section("Quality observations", (Sentences(report.quality_observations),))


def _accuracies(report: Report) -> Iterator[Sheet]:
    """The reference's table of exact match, one per task and filter."""
    groups = report.accuracy.groupby(["task", "metric", "filter"], sort=False)
    first = set(default_filter_rows(report.accuracy).groupby(["task", "filter"]).groups)
    # Both of lm-eval's filters are shown, the default one first.
    for keys, part in sorted(groups, key=lambda group: (group[0][0], group[0][2]) not in first):
        task, metric, filter_name = keys
        title = f"{metric_name(metric)} (%), {task}, {filter_name}"
        alike = report.accuracy[(report.accuracy["task"] == task) & (report.accuracy["metric"] == metric)]
        notes = (*questions_notes(part), *absent_notes(alike, part))
        yield _by_shots(title, part, {"label": "Model"}, _accuracy, notes=notes)


def _accuracy(row: Row) -> str:
    return number(row["value_percent"], ".2f")


def questions_notes(part: pd.DataFrame) -> Iterator[str]:
    """Of how many questions the percentages of a table are; those of another number by their names.

    Args:
        part: rows of `results.tables.accuracy.accuracy_table`.
    """
    counts = part["questions"].fillna(0).astype(int)  # 0: it was not said
    most = counts.mode().iloc[0]
    yield f"Percentages of {_questions(most)}{'' if (counts == most).all() else ', but for those below'}."
    for other in sorted(set(counts) - {most}):
        yield f"Of {_questions(other)}: {_which(part, counts == other)}."


def absent_notes(alike: pd.DataFrame, part: pd.DataFrame) -> Iterator[str]:
    """Models that have no figure by a filter, though by another.

    Args:
        alike: rows of `results.tables.accuracy.accuracy_table` of one task and metric.
        part: those of them by the filter.
    """
    models, there = alike["label"].unique(), set(part["label"].unique())
    names = [model for model in models if model not in there]
    if not names:
        return
    absent = alike[alike["label"].isin(names)]
    who = f": {', '.join(names)}" if len(names) <= _NAMED else ""
    why = ""
    if (absent["source"] == "published").all():
        why = f"; published was {' and '.join(absent['filter'].unique())} only"
    of_all = f"{len(names):,} of {counted(len(models), 'model')}"
    yield f"{of_all} {'has' if len(names) == 1 else 'have'} no figure by this filter{who}{why}."


def _questions(count: int) -> str:
    return counted(count, "question") if count else "a number of questions that is not known"


def _which(part: pd.DataFrame, chosen: "pd.Series[bool]") -> str:
    """Some figures of a table by their shots or models, where it is all of these, else one by one."""
    rows, rest = part[chosen], part[~chosen]
    shots, labels = rows["num_fewshot"].astype(str) + "-shot", rows["label"]
    if not rest["num_fewshot"].isin(rows["num_fewshot"]).any():
        names = list(shots.unique())
    elif not rest["label"].isin(labels).any():
        names = list(labels.unique())
    else:
        names = list(labels + " " + shots)
    return ", ".join(names) if len(names) <= _NAMED else counted(len(rows), "figure")


def _deltas(report: Report, names: Mapping[str, str]) -> Iterator[Sheet]:
    """The reference's table of deltas with what each is worth, by the default filter; JSON has the others."""
    deltas = default_filter_rows(report.deltas)
    for keys, part in deltas[deltas["against"].isin(list(names))].groupby(FAMILY, sort=False):
        against, task, _, filter_name = keys
        heads = {"label": "Model"} | ({} if against == "base" else {"other_label": "Against"})
        title = f"Delta from the {names[str(against)]} (points), {task}, {filter_name}"
        yield _by_shots(title, part, heads, _delta, notes=tuple(_delta_notes(part)))


def _arm_deltas(report: Report, names: Mapping[str, str]) -> Iterator[Sheet]:
    """Verdicts over several seeds: the only ones that are about a setting."""
    told = (report.arm_deltas["scope"] != ONE_SEED) & report.arm_deltas["against"].isin(list(names))
    table = default_filter_rows(report.arm_deltas[told])
    for keys, part in table.assign(label=table["label"].map(arm_label)).groupby(FAMILY, sort=False):
        against, task, _, filter_name = keys
        title = f"Delta of arms from the {names[str(against)]} (points), {task}, {filter_name}"
        notes = ("Seeds and questions are both a sample.",)
        yield _by_shots(title, part, {"label": "Arm", "scope": "Over"}, _delta, key="arm", notes=notes)


def _by_shots(
    title: str,
    part: pd.DataFrame,
    heads: Mapping[str, str],
    form: Callable[[Row], str],
    *,
    key: str = "label",
    notes: tuple[str, ...],
) -> Sheet:
    """A row for each value of `key`, in the order they come, and a column for each number of shots.

    Args:
        title: of the table.
        part: its rows, one per value of `key` and `num_fewshot`.
        heads: the columns that name a row, and what these are called.
        form: a row of `part` as a cell.
        key: the column that tells what a row is about.
        notes: below the table.
    """
    shots = sorted(part["num_fewshot"].unique())
    names = [name for name in part.columns if name in {*heads, *_SHOWN}]
    columns = [part[name].tolist() for name in names]
    places: dict[str, dict[int, int]] = {}
    for place, (each, shot) in enumerate(zip(part[key].tolist(), part["num_fewshot"].tolist(), strict=True)):
        places.setdefault(each, {})[shot] = place

    def cells(by_shot: dict[int, int]) -> Cells:
        found = {
            shot: {name: column[place] for name, column in zip(names, columns, strict=True)}
            for shot, place in by_shot.items()
        }
        first = next(iter(found.values()))
        return *(first[head] for head in heads), *(form(found[s]) if s in found else NONE for s in shots)

    rows = Rows(list(places.values()), cells)
    return Sheet(title, (*heads.values(), *(f"{shot}-shot" for shot in shots)), rows, len(heads), notes)


def _legend(margin_points: float) -> str:
    return (
        f"▲ better, ▼ worse (p < {LEVEL}), = equivalent within ±{margin_points:g} points "
        f"(equiv. p < {LEVEL}), ? inconclusive, ✗ refused, ~ within what evaluating the base model twice "
        "differs by. Brackets: 95 % interval, not adjusted. p: Holm-adjusted, of no difference; equiv. p: "
        "of one beyond the margin. detects: only a difference so large would have shown with 80 % power."
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
    """`-0.38 ?`, its interval and p, and where nothing is shown the least difference that would have been."""
    mark = VERDICT_MARKS[str(row["verdict"])]
    if row["verdict"] == "refused":
        return mark
    noise = " ~" if row["within_noise"] else ""
    lines = [f"{row['delta_points']:+.2f} {mark}{noise}", f"[{row['low']:+.1f}, {row['high']:+.1f}]"]
    lines.append(p_text(row["p_adjusted"]))
    if row["verdict"] == "equivalent":
        lines.append(f"equiv. {p_text(row['p_equivalent_adjusted'])}")
    if row["verdict"] == "inconclusive":
        least = row["detectable_points"]
        lines.append("detects nothing" if least >= 100 else f"detects ≥{least:.1f}")
    return "\n".join(lines)
