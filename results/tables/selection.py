"""Is what was thrown away like what was trained on? Length, reward and truncation, by fate.

Only finished groups are compared. An aborted group was cut off, so its lengths are censored: what came of
it is a lower bound, it has no reward, and whether it would have been truncated is not known.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from results.statistics.families import holm_within
from results.statistics.proportions import LEVEL
from results.statistics.selection import MIN_BLOCKS, MatchedMeans, Side, matched_means
from results.store import Store, records
from results.tables.staleness import NUMBERED_RUNS, runs_of
from trainer.records import Fate

VERSION_BLOCKS = 20
"""A run's policy versions are cut into so many blocks, each one observation."""
QUANTITIES = {
    "completion_tokens": "length of completions",
    "reward": "reward",
    "truncated_share": "share of completions cut off by their limit",
}
"""What is compared, and its name in sentences. Lengths by their ratio, the others by their difference."""


def bias_table(store: Store, sweep: str) -> pd.DataFrame:
    """Groups of every other fate against trained groups of the same run, one row per run, fate and quantity.

    Within blocks of policy versions at dispatch, see `results.statistics.selection`. `discarded` groups are
    left out: why they were thrown away has nothing to do with them. So is the reward of `filtered` groups:
    they are filtered because their rewards are equal, so that theirs differ is by construction.

    Columns:
        run_name, label, position, fate, quantity: a key of `QUANTITIES`.
        groups: of this fate, finished or not.
        compared_groups: those finished, with the quantity known, in a block with a trained group.
        blocks: effective number of blocks that hold them, see `MIN_BLOCKS`.
        uncommon_groups: with another value than the median of their block, to be expected of the compared
            or of the trained groups, whichever has fewer, were there no difference; see `MIN_UNCOMMON`.
        mean: over the compared groups; tokens per completion, reward, share in [0, 1].
        trained_mean: over the trained groups of the same blocks, weighted as the compared ones are spread.
        scale: `ratio` or `difference`.
        estimate, low, high: mean / trained_mean or mean - trained_mean with its 95 % interval, not
            adjusted; ends are NaN where nothing is tested.
        effect_size: (mean - trained_mean) / standard deviation over trained groups (Glass's delta).
        p, p_adjusted: test of no difference, by Holm over all fates and quantities of the run.
    """
    runs, cells = runs_of(store, sweep), _cells(store, sweep)
    table = pd.concat([_compared(cells, quantity) for quantity in QUANTITIES])
    table = table[(table["fate"] != Fate.FILTERED) | (table["quantity"] != "reward")]
    table["p_adjusted"] = holm_within(table["p"].to_numpy(), table["run"].to_numpy())
    table = table.sort_values(["run", "fate"], kind="stable")
    return (
        runs.iloc[table["run"]].reset_index(drop=True).join(table.drop(columns="run").reset_index(drop=True))
    )


def bias_sentences(bias: pd.DataFrame) -> list[str]:
    """What may be said of each row of `bias_table`, and no more."""
    return [_sentence(row) for row in records(bias)]


def bias_verdict(row: Mapping[str, Any]) -> str:
    """Of a row of `bias_table`: *more*, *less*, *no difference shown*, *not tested*, *cut off* (censored)."""
    if row["fate"] == "aborted":
        return "cut off"
    if not np.isfinite(row["p"]):
        return "not tested"
    if not row["p_adjusted"] < LEVEL:
        return "no difference shown"
    return "more" if row["mean"] > row["trained_mean"] else "less"


def _cells(store: Store, sweep: str) -> pd.DataFrame:
    """By run, block and fate, of each quantity: `_n`, `_sum`, `_squares`, and `_uncommon`, see `Side`."""
    values = {
        "completion_tokens": "g.completion_tokens / n.completions_per_prompt",
        "reward": "g.reward_mean",
        "truncated_share": "g.truncated / n.completions_per_prompt",
    }
    quantities = ", ".join(
        f"CASE WHEN g.finished_s IS NOT NULL THEN {sql} END AS {name}" for name, sql in values.items()
    )
    sums = ", ".join(
        f"count({name}) AS {name}_n, coalesce(sum({name}), 0) AS {name}_sum, "
        f"coalesce(sum({name} * {name}), 0) AS {name}_squares, "
        f"count(*) FILTER ({name} <> {name}_median) AS {name}_uncommon"
        for name in values
    )
    medians = ", ".join(f"quantile_disc({name}, 0.5) AS {name}_median" for name in values)
    return store.query(
        f"""
        WITH numbered AS ({NUMBERED_RUNS}),
        known AS (
            SELECT run_name, run, completions_per_prompt, versions
            FROM numbered
            JOIN (SELECT run_name, completions_per_prompt FROM runs WHERE sweep = $sweep) USING (run_name)
            JOIN (
                SELECT run_name, max(version_min) + 1 AS versions
                FROM groups WHERE sweep = $sweep GROUP BY run_name
            ) USING (run_name)
        ),
        each AS (
            SELECT n.run, g.fate, g.version_min * {VERSION_BLOCKS} // n.versions AS block, {quantities}
            FROM groups AS g
            JOIN known AS n USING (run_name)
            WHERE g.sweep = $sweep AND g.fate <> 'discarded'
        ),
        usual AS (SELECT run, block, {medians} FROM each WHERE fate = 'trained' GROUP BY run, block)
        SELECT run, fate, block, count(*) AS groups, {sums}
        FROM each LEFT JOIN usual USING (run, block)
        GROUP BY run, fate, block
        """,
        {"sweep": sweep},
    )


def _compared(cells: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """One quantity of every run and fate against the run's trained groups."""
    sums = [f"{quantity}_{part}" for part in ("n", "sum", "squares", "uncommon")]
    count = sums[0]
    trained = cells[cells["fate"] == "trained"]
    others = cells[cells["fate"] != "trained"].merge(
        trained[["run", "block", *sums]], how="left", on=["run", "block"], suffixes=("", "_trained")
    )
    cases = others.groupby(["run", "fate"])
    table = cases["groups"].sum().reset_index()
    others["case"] = cases.ngroup()
    both = others[(others[count] > 0) & (others[f"{count}_trained"] > 0)]
    found = matched_means(
        both["case"].to_numpy(),
        Side(*(both[name].to_numpy(np.float64) for name in sums)),
        Side(*(both[f"{name}_trained"].to_numpy(np.float64) for name in sums)),
        cases=len(table),
        as_ratio=quantity == "completion_tokens",
    )
    compared = both.groupby("case")[count].sum().reindex(range(len(table)), fill_value=0)
    spread = _standard_deviation(trained.groupby("run")[sums[:3]].sum())
    return table.assign(
        quantity=quantity,
        compared_groups=compared.astype("int64"),
        **_columns(found, quantity),
        effect_size=(found.mean - found.matched_mean) / table["run"].map(spread).astype(float),
    )


def _columns(found: MatchedMeans, quantity: str) -> dict[str, Any]:
    return {
        "blocks": found.blocks,
        "uncommon_groups": found.uncommon,
        "mean": found.mean,
        "trained_mean": found.matched_mean,
        "scale": "ratio" if quantity == "completion_tokens" else "difference",
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "p": found.p,
    }


def _standard_deviation(sums: pd.DataFrame) -> "pd.Series[float]":
    """Of a sample, from count, sum and sum of squares; NaN where all are alike and it is no unit."""
    count, total, squares = (sums[name] for name in sums.columns)
    variance = (squares - total * total / count) / (count - 1)
    return variance.where(variance > 1e-12 * squares / count) ** 0.5


def _sentence(row: dict[str, Any]) -> str:
    """What the row's test allows to say, and no more."""
    fate, what = row["fate"], QUANTITIES[str(row["quantity"])]
    begin = f"{row['label']}, {what}, {fate} against trained groups: "
    if fate == "aborted":
        return begin + "not compared, because they were cut off before they were finished."
    if not np.isfinite(row["p"]):
        return begin + _untested(row)
    form, unit = (".2f", "x") if row["scale"] == "ratio" else ("+.3f", "")
    low, high, estimate = (format(row[name], form) for name in ("low", "high", "estimate"))
    figures = f"{estimate}{unit} (95 % {low} to {high})"
    return begin + (figures + "." if row["p_adjusted"] < LEVEL else f"no difference is shown, {figures}.")


def _untested(row: dict[str, Any]) -> str:
    """Why there is no test."""
    groups = f"not tested, {row['compared_groups']} groups "
    if not row["blocks"] >= MIN_BLOCKS:  # NaN where none is compared
        return groups + "in too few parts of the run."
    return groups + "and nearly all values alike: too few others to tell chance from a difference."
