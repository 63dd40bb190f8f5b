"""What it cost in accuracy: each run's last evaluated checkpoint against base, baseline and reference.

Paired on the same question where samples of both exist, else from standard errors, and says which.
Holm's adjustment runs within each delta table: all runs and shots of one task, metric and filter against
one kind of opponent. Results obtained under unlike settings are not compared.
"""

import json
from typing import Any

import numpy as np
import pandas as pd

from results.statistics.proportions import (
    Difference,
    detectable_points,
    holm,
    paired_difference,
    unpaired_difference,
    verdict,
)
from results.store import Store, records

DEFAULT_FILTER = "strict-match"
VERDICT_MARKS = {"better": "▲", "worse": "▼", "equivalent": "=", "inconclusive": "?", "refused": "✗"}
"""How a verdict is marked wherever it is shown."""
_FAMILY = ["against", "task", "metric", "filter"]


def accuracy_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `accuracy`, base models first, each run by its last evaluated checkpoint."""
    return store.query(
        "SELECT * FROM accuracy WHERE sweep = ? AND latest "
        "ORDER BY task, metric, filter, position, label, num_fewshot",
        [sweep],
    )


def delta_table(store: Store, sweep: str, margin_points: float) -> pd.DataFrame:
    """View `accuracy_deltas` with tests and verdicts: one row per run, opponent, shots and filter.

    Adds `method` (paired or unpaired), `low`, `high` (95 %, not adjusted), `p`, `p_adjusted`,
    `p_equivalent_adjusted`, `verdict` (better, worse, equivalent, inconclusive, refused), `detectable_points`
    and `refusal`, the settings that differ. A delta is (this run - other), percentage points.
    """
    table = store.query(
        "SELECT * FROM accuracy_deltas WHERE sweep = ? AND coalesce(higher_is_better, true) "
        "ORDER BY against, task, metric, filter, position, run_name, num_fewshot",
        [sweep],
    )
    table = table.merge(_discordant(store, sweep), how="left", on=["path", "other_path", "filter"])
    rows = records(table)
    refusals = [_refusal(row) for row in rows]
    table["refusal"] = pd.Series(refusals, dtype=object)
    differences = [
        None if refusal else _difference(row, margin_points)
        for row, refusal in zip(rows, refusals, strict=True)
    ]
    for name in ("method", "low", "high"):
        table[name] = [getattr(d, name) if d else None for d in differences]
    table["p"] = pd.Series([d.p_different if d else np.nan for d in differences], dtype=float)
    table["p_equivalent"] = pd.Series([d.p_equivalent if d else np.nan for d in differences], dtype=float)
    table["p_adjusted"] = _holm(table, "p")
    table["p_equivalent_adjusted"] = _holm(table, "p_equivalent")
    table["verdict"] = _verdicts(table)
    table["detectable_points"] = _detectable(table)
    return table.drop(columns=["settings", "other_settings", "p_equivalent", "pairs", "same_documents"])


def learned_runs(deltas: pd.DataFrame) -> set[str]:
    """Names of the runs shown better than their base model at any number of shots, by the default filter."""
    base = default_filter_rows(deltas[deltas["against"] == "base"])
    return set(base.loc[base["verdict"] == "better", "run_name"])


def default_filter_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `strict-match`, or of the first filter where a task has no such one."""
    chosen = []
    for _, part in table.groupby("task"):
        filters = list(part["filter"].unique())
        chosen.append(part[part["filter"] == (DEFAULT_FILTER if DEFAULT_FILTER in filters else filters[0])])
    return pd.concat(chosen) if chosen else table


def _discordant(store: Store, sweep: str) -> pd.DataFrame:
    """Per pair of results: questions in both, right in A only, right in B only; whether they are the same."""
    return store.query(
        """
        SELECT d.path, d.other_path, d.filter, count(*) AS pairs,
            count(*) FILTER (a.exact_match > b.exact_match) AS only_a,
            count(*) FILTER (a.exact_match < b.exact_match) AS only_b,
            bool_and(a.doc_hash IS NOT DISTINCT FROM b.doc_hash) AS same_documents
        FROM (
            SELECT DISTINCT path, other_path, filter FROM accuracy_deltas
            WHERE sweep = ? AND metric = 'exact_match'
        ) AS d
        JOIN eval_samples AS a ON a.path = d.path AND a.filter = d.filter
        JOIN eval_samples AS b ON b.path = d.other_path AND b.filter = d.filter AND b.doc_id = a.doc_id
        GROUP BY d.path, d.other_path, d.filter
        """,
        [sweep],
    )


def _refusal(row: dict[str, Any]) -> str | None:
    """The settings in which the two results differ, or None where they may be compared."""
    mine, others = json.loads(row["settings"]), json.loads(row["other_settings"])
    unlike = [
        f"{key}: {mine.get(key)!r} and {others.get(key)!r}"
        for key in sorted(mine.keys() | others.keys())
        if mine.get(key) != others.get(key)
    ]
    if row["same_documents"] is False or row["same_documents"] is np.False_:
        unlike.append("documents: the questions' hashes differ")
    return "; ".join(unlike) or None


def _difference(row: dict[str, Any], margin_points: float) -> Difference | None:
    """Paired where both answered all questions, unpaired where standard errors are known, else nothing."""
    if row["metric"] == "exact_match" and row["pairs"] == row["questions"]:
        return paired_difference(int(row["only_a"]), int(row["only_b"]), int(row["questions"]), margin_points)
    errors = row["stderr_percent"], row["other_stderr_percent"]
    if any(pd.isna(error) for error in errors):
        return None
    return unpaired_difference(
        row["value_percent"], errors[0], row["other_percent"], errors[1], margin_points
    )


def _holm(table: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Holm's adjustment of a column of p-values within each family; NaN stays NaN."""
    adjusted = pd.Series(np.nan, index=table.index, dtype=float)
    tested = table[table[column].notna()]
    for _, family in tested.groupby(_FAMILY):
        adjusted.loc[family.index] = holm(family[column].to_numpy(np.float64))
    return adjusted


def _verdicts(table: pd.DataFrame) -> list[str]:
    columns = (table[name] for name in ("delta_points", "p_adjusted", "p_equivalent_adjusted"))
    return [
        "refused" if pd.isna(different) else verdict(points, different, equivalent)
        for points, different, equivalent in zip(*columns, strict=True)
    ]


def _detectable(table: pd.DataFrame) -> "pd.Series[float]":
    """The least difference each comparison would have shown with 80 % power, percentage points."""
    tests = table.groupby(_FAMILY)["p"].transform("count")
    values = []
    for row, count in zip(records(table), tests, strict=True):
        if pd.isna(row["p"]):
            values.append(float("nan"))
            continue
        paired = row["method"] == "paired"
        discordant = int(row["only_a"] + row["only_b"]) if paired else None
        error = float(np.hypot(row["stderr_percent"], row["other_stderr_percent"]))
        values.append(
            detectable_points(discordant, int(row["questions"]) if paired else None, error, int(count))
        )
    return pd.Series(values, index=table.index, dtype=float)
