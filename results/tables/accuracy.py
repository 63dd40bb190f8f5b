"""What it cost in accuracy: each run's last evaluated checkpoint against base, baseline and reference.

Paired on the same question where samples of both exist, else from standard errors, and says which.
Holm's adjustment runs within each delta table: all runs and shots of one task, metric and filter against
one kind of opponent. Results obtained under unlike settings are not compared, nor checkpoints of runs that
had come to different parts of their plans.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.families import holm_within
from results.statistics.paired import paired_differences
from results.statistics.proportions import (
    Differences,
    FloatArray,
    IntArray,
    detectable_paired,
    reach,
    unpaired_differences,
    verdicts,
)
from results.store import Store
from results.tables.answers import Discordance, read_answers
from results.tables.noise_floor import noise_floor_table

DEFAULT_FILTER = "strict-match"
VERDICT_MARKS = {"better": "▲", "worse": "▼", "equivalent": "=", "inconclusive": "?", "refused": "✗"}
"""How a verdict is marked wherever it is shown."""
UNPAIRED_PUBLISHED = "unpaired, published"
FAMILY = ["against", "task", "metric", "filter"]
"""What one delta table is about."""
_PROGRESS = ["steps_trained", "max_steps", "other_steps_trained", "other_max_steps"]
"""How far a comparison's two runs had come; not known of a base model."""


def accuracy_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `accuracy`, base models first, each run by its last evaluated checkpoint.

    `source` is *lm-eval*, or *published* for what was published without lm-eval's file; `value_percent` is
    unrounded in either case, where the number of questions is known.
    """
    return store.query(
        "SELECT * FROM accuracy WHERE sweep = ? AND latest "
        "ORDER BY task, metric, filter, position, label, num_fewshot",
        [sweep],
    )


def delta_table(store: Store, sweep: str, margin_points: float) -> pd.DataFrame:
    """View `accuracy_deltas` with tests and verdicts: one row per run, opponent, shots and filter.

    Adds `method` (*paired*, *unpaired*, or *unpaired, published*), `low`, `high` (95 %, not adjusted), `p`,
    `p_equivalent`, `p_adjusted`, `p_equivalent_adjusted`, `verdict` (better, worse, equivalent,
    inconclusive, refused), `detectable_points`, `refusal`, what differs so that the two may not be compared,
    and `noise_points` with `within_noise`: the floor of `results.tables.noise_floor`, NaN where the base was
    evaluated once. `checkpoint` and `other_checkpoint` are those compared, `prompts_trained` and
    `other_prompts_trained` the prompts up to them, NaN where a step is not known. A delta is (this run -
    other), percentage points.
    """
    table = store.query(
        # Settings that are the same, as nearly all are, need not be looked at.
        "SELECT * REPLACE (nullif(settings, other_settings) AS settings, "
        "nullif(other_settings, settings) AS other_settings) "
        "FROM accuracy_deltas WHERE sweep = ? AND coalesce(higher_is_better, true) "
        "ORDER BY against, task, metric, filter, position, run_name, num_fewshot",
        [sweep],
    )
    answers = read_answers(store, sweep)
    filters = table["filter"].tolist()
    mine, others = (answers.rows(table[name].tolist(), filters) for name in ("path", "other_path"))
    found = answers.compare(mine, others)
    table["refusal"] = _refusals(table, found)
    allowed = table["refusal"].isna().to_numpy()
    paired = allowed & _is_paired(table, found)
    errors = table[["stderr_percent", "other_stderr_percent"]].notna().all(axis=1).to_numpy()
    unpaired = allowed & ~paired & errors
    _write_tests(table, found, paired, unpaired, margin_points)
    adjust(table, FAMILY)
    table["detectable_points"] = _detectable(table, paired, unpaired)
    table = _with_noise(store, sweep, table)
    return table.drop(columns=["settings", "other_settings", "other_questions", *_PROGRESS])


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


def adjust(table: pd.DataFrame, family: list[str]) -> None:
    """Add `p_adjusted`, `p_equivalent_adjusted` by Holm within each family, `tests` in it, and `verdict`."""
    number = np.asarray(table.groupby(family).ngroup(), dtype=np.int64)
    for name in ("p", "p_equivalent"):
        table[f"{name}_adjusted"] = holm_within(table[name].to_numpy(np.float64), number)
    table["tests"] = table.groupby(family)["p"].transform("count").astype(np.int64)
    columns = ("delta_points", "p_adjusted", "p_equivalent_adjusted")
    words = verdicts(*(table[name].to_numpy(np.float64) for name in columns))
    table["verdict"] = pd.Series([word or "refused" for word in words], index=table.index, dtype=object)


def _refusals(table: pd.DataFrame, found: Discordance) -> "pd.Series[str]":
    """What two results differ in so that they may not be compared, or None where they may.

    Of what was published no setting is known but the shots, and at times the number of questions.
    """
    unlike: list[str | None] = [
        _unlike(mine, others) if isinstance(mine, str) and isinstance(others, str) else None
        for mine, others in zip(table["settings"], table["other_settings"], strict=True)
    ]
    published = (table["source"] == "published") | (table["other_source"] == "published")
    counts = table["questions"].notna() & table["other_questions"].notna()
    for place in np.flatnonzero(published & counts & (table["questions"] != table["other_questions"])):
        pair = table["questions"].iloc[place], table["other_questions"].iloc[place]
        unlike[place] = f"questions: {pair[0]:.0f} and {pair[1]:.0f}"
    for place in np.flatnonzero(~found.same_documents):
        words = "documents: the questions' hashes differ"
        unlike[place] = "; ".join(part for part in (unlike[place], words) if part)
    for place, words in _unequal_progress(table):
        unlike[place] = "; ".join(part for part in (unlike[place], words) if part)
    return pd.Series(unlike, index=table.index, dtype=object)


def _unequal_progress(table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Places of runs evaluated after unlike shares of their planned steps, and the checkpoints in words.

    Such a difference is one of progress before it is one of settings. Nothing is said where a step or a
    plan is not known, as of imported runs, or of a base model, which has none.
    """
    steps, planned, other_steps, other_planned = table[_PROGRESS].to_numpy(np.float64, na_value=np.nan).T
    mine, others = steps * other_planned, other_steps * planned
    for place in np.flatnonzero(np.isfinite(mine) & np.isfinite(others) & (mine != others)):
        first, second = table["checkpoint"].iloc[place], table["other_checkpoint"].iloc[place]
        yield (
            int(place),
            f"checkpoints: {first} of {planned[place]:.0f} and {second} of {other_planned[place]:.0f}",
        )


@lru_cache(maxsize=1024)
def _unlike(settings: str, other_settings: str) -> str | None:
    """Of two results' settings, those that differ; None where none does."""
    mine, others = json.loads(settings), json.loads(other_settings)
    unlike = [
        f"{key}: {mine.get(key)!r} and {others.get(key)!r}"
        for key in sorted(mine.keys() | others.keys())
        if mine.get(key) != others.get(key)
    ]
    return "; ".join(unlike) or None


def _is_paired(table: pd.DataFrame, found: Discordance) -> npt.NDArray[np.bool_]:
    """Whether both have a sample for every question of the result."""
    exact = (table["metric"] == "exact_match").to_numpy()
    every = table["questions"].to_numpy(np.float64, na_value=np.nan) == found.questions
    return np.asarray(exact & found.complete & every)


def _write_tests(
    table: pd.DataFrame,
    found: Discordance,
    paired: npt.NDArray[np.bool_],
    unpaired: npt.NDArray[np.bool_],
    margin_points: float,
) -> None:
    """Add `method`, the counts of discordant questions, the interval and the two p-values."""
    published = (table["source"] == "published") | (table["other_source"] == "published")
    method: pd.Series[str] = pd.Series(None, index=table.index, dtype=object)
    method[paired], method[unpaired], method[unpaired & published] = "paired", "unpaired", UNPAIRED_PUBLISHED
    table["method"] = method
    for name, counts in (("only_a", found.only_a), ("only_b", found.only_b)):
        table[name] = np.where(paired, counts.astype(float), np.nan)
    value, error, other, other_error = (
        table.loc[unpaired, name].to_numpy(np.float64)
        for name in ("value_percent", "stderr_percent", "other_percent", "other_stderr_percent")
    )
    by_question = paired_differences(
        found.only_a[paired], found.only_b[paired], found.questions[paired], margin_points
    )
    by_error = unpaired_differences(value, error, other, other_error, margin_points)
    write_differences(table, [(paired, by_question), (unpaired, by_error)])


def write_differences(
    table: pd.DataFrame, parts: Sequence[tuple[npt.NDArray[np.bool_] | IntArray, Differences]]
) -> None:
    """Add `low`, `high`, `p` and `p_equivalent`, each part's at its rows; NaN elsewhere."""
    columns = {"low": "low", "high": "high", "p": "p_different", "p_equivalent": "p_equivalent"}
    for name, field in columns.items():
        column: FloatArray = np.full(len(table), np.nan)
        for rows, differences in parts:
            column[rows] = getattr(differences, field)
        table[name] = column


def _detectable(
    table: pd.DataFrame, paired: npt.NDArray[np.bool_], unpaired: npt.NDArray[np.bool_]
) -> FloatArray:
    """The least difference each comparison would have shown with 80 % power, percentage points.

    Where even the largest there can be would not have shown, 100.
    """
    found: FloatArray = np.full(len(table), np.nan)
    discordant = (table["only_a"] + table["only_b"])[paired].to_numpy(np.int64)
    tests = table["tests"].to_numpy(np.int64)
    questions = table.loc[paired, "questions"].to_numpy(np.int64)
    found[paired] = detectable_paired(discordant, questions, tests[paired])
    errors = table.loc[unpaired, ["stderr_percent", "other_stderr_percent"]].to_numpy(np.float64)
    found[unpaired] = reach(tests[unpaired]) * np.hypot(errors[:, 0], errors[:, 1])
    return np.minimum(found, 100.0)


def _with_noise(store: Store, sweep: str, table: pd.DataFrame) -> pd.DataFrame:
    """Add what evaluating the same weights twice already differs by, at the same task, shots and filter."""
    keys = ["base_slug", "task", "num_fewshot", "metric", "filter"]
    floor = noise_floor_table(store, sweep).groupby(keys, as_index=False)["noise_points"].max()
    table = table.merge(floor, how="left", on=keys)
    table["within_noise"] = table["delta_points"].abs() < table["noise_points"]
    return table
