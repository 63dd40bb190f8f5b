"""How much faster, per unit of work, and how sure: speed-ups of a sweep's runs."""

import numpy as np
import pandas as pd

from results.statistics.rates import MIN_SEEDS, LogRate, rate_ratio, seeds_ratio
from results.store import Store

REWARD_WINDOW_STEPS = 5
"""Trailing mean over which a reward counts as reached."""


def speedup_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `speedups` with intervals and time to reward: one row per run and what it is compared with.

    Adds to the view's columns `prompts_per_s_low`, `_high`, `completion_tokens_per_s_low`, `_high`,
    `interval_scope`, `threshold_reward`, `time_to_reward_s`, `other_time_to_reward_s` (NaN: not reached).
    """
    table = store.query(
        "SELECT * FROM speedups WHERE sweep = ? ORDER BY position, run_name, against", [sweep]
    )
    rates = _rates(store, sweep)
    missing = LogRate(float("nan"), float("nan"), float("nan"))
    for unit in ("prompts", "completion_tokens"):
        intervals = [
            rate_ratio(rates.get((run, unit), missing), rates.get((other, unit), missing))
            for run, other in zip(table["run_name"], table["other_run"], strict=True)
        ]
        table[f"{unit}_per_s_low"] = pd.Series([interval.low for interval in intervals], dtype=float)
        table[f"{unit}_per_s_high"] = pd.Series([interval.high for interval in intervals], dtype=float)
    table["interval_scope"] = "within this run"
    return _with_time_to_reward(store, sweep, table)


def seeds_table(store: Store, sweep: str) -> pd.DataFrame:
    """Speed-ups of arms with three seeds or more, each seed against its own twin of the same seed.

    Columns: `label, arm_id, against, other_arm_id, seeds, prompts_per_s_speedup, low, high`; no rows
    where no arm has as many.
    """
    pairs = store.query(
        """
        SELECT a.arm_id, min(a.label) AS label, s.against, b.arm_id AS other_arm_id, count(*) AS seeds,
            list(ln(s.prompts_per_s_speedup) ORDER BY a.seed) AS log_ratios, min(s.position) AS position
        FROM speedups AS s
        JOIN runs AS a ON a.sweep = s.sweep AND a.run_name = s.run_name
        JOIN runs AS b ON b.sweep = s.sweep AND b.run_name = s.other_run AND b.seed = a.seed
        WHERE s.sweep = ? AND isfinite(s.prompts_per_s_speedup)
        GROUP BY a.arm_id, s.against, b.arm_id HAVING count(*) >= ? ORDER BY position, against
        """,
        [sweep, MIN_SEEDS],
    )
    intervals = [seeds_ratio(np.asarray(ratios, dtype=np.float64)) for ratios in pairs.pop("log_ratios")]
    pairs["prompts_per_s_speedup"] = pd.Series([interval.ratio for interval in intervals], dtype=float)
    pairs["low"] = pd.Series([interval.low for interval in intervals], dtype=float)
    pairs["high"] = pd.Series([interval.high for interval in intervals], dtype=float)
    return pairs.drop(columns="position")


def overlapping_runs(store: Store, sweep: str) -> pd.DataFrame:
    """Runs that ran at the same time on cores they shared, so that each slowed the other: `run_name, others`.

    An attempt lasts from its `run_started` to its last step; a run that is pinned to no cores may have
    used any.
    """
    return store.query(
        """
        WITH lived AS (
            SELECT a.sweep, a.run_name, a.attempt, a.unix_time AS start_unix,
                a.unix_time + coalesce(max(s.start_s + s.wall_s), a.t) - a.t AS end_unix,
                from_json(r.cores, '["BIGINT"]') AS cores
            FROM attempts AS a
            JOIN runs AS r USING (sweep, run_name)
            LEFT JOIN steps AS s
                ON s.sweep = a.sweep AND s.run_name = a.run_name AND s.attempt = a.attempt
            GROUP BY a.sweep, a.run_name, a.attempt, a.unix_time, a.t, r.cores
        )
        SELECT x.run_name, string_agg(DISTINCT y.run_name, ', ' ORDER BY y.run_name) AS others
        FROM lived AS x
        JOIN lived AS y
            ON y.sweep = x.sweep AND y.run_name <> x.run_name
            AND x.start_unix < y.end_unix AND y.start_unix < x.end_unix
            AND (coalesce(len(x.cores), 0) = 0 OR coalesce(len(y.cores), 0) = 0
                 OR list_has_any(x.cores, y.cores))
        WHERE x.sweep = ? GROUP BY x.run_name ORDER BY x.run_name
        """,
        [sweep],
    )


def _rates(store: Store, sweep: str) -> dict[tuple[str, str], LogRate]:
    """Table `run_rates` by run name and unit."""
    frame = store.query(
        "SELECT run_name, unit, log_rate, variance, degrees_of_freedom FROM run_rates WHERE sweep = ?",
        [sweep],
    )
    return {(run, unit): LogRate(*values) for run, unit, *values in frame.itertuples(index=False, name=None)}


def _with_time_to_reward(store: Store, sweep: str, table: pd.DataFrame) -> pd.DataFrame:
    """Adds the training time after which the trailing mean reward reached the other run's last fifth."""
    thresholds = store.query(
        "SELECT run_name, reward_last_fifth FROM run_summary WHERE sweep = ?", [sweep]
    ).set_index("run_name")["reward_last_fifth"]
    curves = store.query(
        f"""
        SELECT run_name, sum(wall_s) OVER so_far AS elapsed_s,
            avg(reward_mean) OVER (
                PARTITION BY run_name ORDER BY step ROWS {REWARD_WINDOW_STEPS - 1} PRECEDING
            ) AS reward,
            row_number() OVER so_far AS place
        FROM steps WHERE sweep = ? WINDOW so_far AS (PARTITION BY run_name ORDER BY step)
        QUALIFY place >= {REWARD_WINDOW_STEPS} ORDER BY run_name, place
        """,
        [sweep],
    )
    by_run = dict(iter(curves.groupby("run_name")))
    threshold = table["other_run"].map(thresholds).astype(float)
    table["threshold_reward"] = threshold
    for column, owner in (("time_to_reward_s", "run_name"), ("other_time_to_reward_s", "other_run")):
        times = [_reached_s(by_run.get(run), t) for run, t in zip(table[owner], threshold, strict=True)]
        table[column] = pd.Series(times, dtype=float)
    return table


def _reached_s(curve: pd.DataFrame | None, threshold: float) -> float:
    """Seconds until the smoothed reward was at the threshold for the first time; NaN: not in this run."""
    if curve is None:
        return float("nan")
    reached = curve.loc[curve["reward"] >= threshold, "elapsed_s"]
    return float(reached.iloc[0]) if len(reached) else float("nan")
