"""What a setting cost in accuracy, where several seeds of it were trained: arms against their opponents.

Both the seeds and the questions are a sample, see `results.statistics.crossed`. Of an arm with one seed only
its checkpoints can be spoken of: its row is its run's.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.crossed import (
    SeedSample,
    detectable,
    paired_sample,
    seed_differences,
    unpaired_sample,
)
from results.statistics.proportions import IntArray
from results.store import Store
from results.tables.accuracy import FAMILY, UNPAIRED_PUBLISHED, adjust, default_filter_rows, write_differences
from results.tables.answers import Answers, read_answers

ONE_SEED = "these checkpoints"
_ARM = ["arm", "against", "task", "metric", "filter", "num_fewshot"]


def arm_delta_table(store: Store, sweep: str, deltas: pd.DataFrame, margin_points: float) -> pd.DataFrame:
    """One row per arm, opponent, task, metric, filter and shots, in the plan's order.

    Columns: `arm` (its id, or the name of a run whose arm is not known), `label` of its first seed,
    `other_label`, `against, task, metric, filter, num_fewshot, position, seeds, other_seeds, scope`
    (*these checkpoints*, or *3 seeds*), `method` (*paired*
    or *unpaired*), `delta_points, low, high, p, p_adjusted, p_equivalent, p_equivalent_adjusted, verdict,
    detectable_points, noise_points, within_noise`. Percentage points; intervals are 95 %, not adjusted.
    Holm runs over the arms of several seeds; an arm of one seed has its run's own adjusted values. Seeds
    whose comparison was refused are left out; an arm of which none is left is *refused*.

    Args:
        store: the results.
        sweep: its name.
        deltas: `results.tables.accuracy.delta_table` of it.
        margin_points: of equivalence.
    """
    runs = deltas.assign(
        arm=deltas["arm_id"].fillna(deltas["run_name"]), is_paired=deltas["method"] == "paired"
    ).sort_values("seed", kind="stable")
    tested = runs["verdict"] != "refused"
    # A refused seed counts only where there is no other.
    kept = runs[tested | ~runs.groupby(_ARM)["p"].transform("count").gt(0)]
    table = kept.groupby(_ARM, sort=False).agg(
        label=("label", "first"),
        other_label=("other_label", "first"),
        position=("position", "min"),
        seeds=("run_name", "nunique"),
        other_seeds=("other_run", "nunique"),
        delta_points=("delta_points", "mean"),
        noise_points=("noise_points", "first"),
        tested=("p", "count"),
        paired=("is_paired", "all"),
    )
    table["other_seeds"] = table["other_seeds"].clip(lower=1)  # a base model is one, and no run
    table = table.reset_index().sort_values([*FAMILY, "position", "num_fewshot"], ignore_index=True)
    several = (table["tested"] >= 2).to_numpy()
    table["scope"] = (table["seeds"].astype(str) + " seeds").where(several, ONE_SEED)
    answers = read_answers(store, sweep) if table.loc[several, "paired"].any() else None
    _write_tests(table, kept, several, answers, margin_points)
    _take_over(table, kept, ~several)
    table["within_noise"] = table["delta_points"].abs() < table["noise_points"]
    return table.drop(columns=["tested", "paired"])


def learned_arms(arm_deltas: pd.DataFrame) -> set[str]:
    """Arms shown better than their base model at any number of shots, by the default filter.

    Of an arm with one seed that is said of its checkpoints only; column `scope` tells.
    """
    base = default_filter_rows(arm_deltas[arm_deltas["against"] == "base"])
    return set(base.loc[base["verdict"] == "better", "arm"])


def _write_tests(
    table: pd.DataFrame,
    kept: pd.DataFrame,
    several: npt.NDArray[np.bool_],
    answers: Answers | None,
    margin_points: float,
) -> None:
    """Add method, interval, p-values, verdict and detectable difference of the arms with several seeds."""
    rows = kept.merge(table.loc[several, _ARM].assign(cell=np.flatnonzero(several)), on=_ARM)
    rows = rows.sort_values(["cell", "seed"])
    samples = [
        (cells, sample, method)
        for _, part in rows.groupby(rows.groupby("cell")["seed"].transform("size"))
        for cells, sample, method in _samples(part, answers)
    ]
    write_differences(
        table, [(cells, seed_differences(sample, margin_points)) for cells, sample, _ in samples]
    )
    table["method"] = pd.Series(None, index=table.index, dtype=object)
    adjust(table, FAMILY)
    table["detectable_points"] = np.nan
    for cells, sample, method in samples:
        table.loc[cells, "method"] = method
        table.loc[cells, "detectable_points"] = np.minimum(
            100.0, detectable(sample, table["tests"].to_numpy(np.int64)[cells])
        )


def _samples(
    part: pd.DataFrame, answers: Answers | None
) -> Iterator[tuple[IntArray, SeedSample, npt.NDArray[np.str_]]]:
    """Comparisons with the same number of seeds, sorted by cell: their places, samples and methods."""
    shape = (-1, int((part["cell"] == part["cell"].iloc[0]).sum()))
    cells = part["cell"].to_numpy(np.int64).reshape(shape)[:, 0]
    methods = part["method"].to_numpy(str).reshape(shape)
    by_seed = part["delta_points"].to_numpy(np.float64).reshape(shape) / 100
    paired = (methods == "paired").all(axis=1)
    if answers is not None:
        filters = part["filter"].tolist()
        a = answers.rows(part["path"].tolist(), filters).reshape(shape)
        b = answers.rows(part["other_path"].tolist(), filters).reshape(shape)
        # Each seed has the questions of its own opponent; all seeds must have the same.
        paired &= (answers.documents[a] == answers.documents[a[:, :1]]).all(axis=1)
        discordant = (part["only_a"] + part["only_b"]).to_numpy(np.float64).reshape(shape).sum(axis=1)
        questions = part["questions"].to_numpy(np.float64).reshape(shape)[:, 0]
        sample = paired_sample(
            by_seed[paired],
            answers.question_squares(a[paired], b[paired]),
            discordant[paired],
            questions[paired],
        )
        yield cells[paired], sample, np.full(paired.sum(), "paired")
    errors = (
        part[name].to_numpy(np.float64).reshape(shape)[~paired].mean(axis=1) / 100
        for name in ("stderr_percent", "other_stderr_percent")
    )
    published = (methods[~paired] == UNPAIRED_PUBLISHED).any(axis=1)
    method = np.where(published, UNPAIRED_PUBLISHED, "unpaired")
    yield cells[~paired], unpaired_sample(by_seed[~paired], *errors), method


def _take_over(table: pd.DataFrame, kept: pd.DataFrame, single: npt.NDArray[np.bool_]) -> None:
    """What is known of the one run of an arm that has no other."""
    names = ["method", "low", "high", "p", "p_equivalent", "p_adjusted", "p_equivalent_adjusted", "verdict"]
    names.append("detectable_points")
    of_run = table.loc[single, _ARM].merge(kept.drop_duplicates(_ARM), how="left", on=_ARM)
    for name in names:
        table.loc[single, name] = of_run[name].to_numpy()
