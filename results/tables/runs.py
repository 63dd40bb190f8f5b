"""Runs of a sweep, one row each, grouped by what they share, or two beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from results.store import Store, records
from results.tables.accuracy import default_filter_rows

LEVELS = ("step_mean_s", "prompts_per_s", "reward_last_fifth", "accuracy_percent")
"""Results of a run of which a group of runs has a mean."""
OPPONENTS = ("baseline", "reference")
"""Whom a run is compared with: the first of these that the sweep has."""

_RESULTS = ["step_mean_s", "prompts_per_s", "reward_last_fifth"]
_Configurations = Mapping[str, Mapping[str, Any]]


class Measure(NamedTuple):
    """What one number of accuracy is of."""

    task: str
    metric: str
    filter: str
    num_fewshot: int


def headline_measure(accuracy: pd.DataFrame) -> Measure | None:
    """The first task by its default filter with the most worked examples; None where nothing is evaluated.

    Args:
        accuracy: `results.tables.accuracy.accuracy_table`.
    """
    rows = default_filter_rows(accuracy)
    if rows.empty:
        return None
    first = rows.iloc[0]
    same = rows[(rows["task"] == first["task"]) & (rows["metric"] == first["metric"])]
    return Measure(first["task"], first["metric"], first["filter"], int(same["num_fewshot"].max()))


def measures(accuracy: pd.DataFrame) -> list[Measure]:
    """What runs were evaluated by, the one of `headline_measure` first.

    Args:
        accuracy: `results.tables.accuracy.accuracy_table`.
    """
    first = headline_measure(accuracy)
    if first is None:
        return []
    of_runs = accuracy[accuracy["run_name"].notna()].drop_duplicates(list(Measure._fields))
    rows = records(of_runs[list(Measure._fields)])
    return list(dict.fromkeys([first, *(Measure(**row) for row in rows)]))


def opponent(speedups: pd.DataFrame, deltas: pd.DataFrame) -> str | None:
    """The kind of opponent that a sweep's runs are shown against; None where they have none."""
    present = {*speedups["against"], *deltas["against"]}
    return next((against for against in OPPONENTS if against in present), None)


def runs_table(
    experiments: pd.DataFrame,
    configurations: _Configurations,
    knobs: Sequence[str],
    *,
    speedups: pd.DataFrame,
    accuracy: pd.DataFrame,
    deltas: pd.DataFrame,
    measure: Measure | None,
) -> pd.DataFrame:
    """One row per run of the plan, in its order.

    Columns: `label, run_name, arm_id, state, progress` (steps done and planned), the `knobs` by their dotted
    keys, `step_mean_s, prompts_per_s, reward_last_fifth`, `prompts_per_s_speedup` with the ends `_low` and
    `_high` of its 95 % interval and `verdict`, both against `opponent`, and `accuracy_percent`.

    Args:
        experiments: view `run_summary`.
        configurations: of the runs, by name and dotted key.
        knobs: dotted keys to have a column.
        speedups: `results.tables.speed.speedup_table`.
        accuracy: `results.tables.accuracy.accuracy_table`.
        deltas: `results.tables.accuracy.delta_table`.
        measure: what accuracy and verdict are of; None where nothing is evaluated.
    """
    table = experiments[["label", "run_name", "arm_id", "state"]].assign(
        progress=[
            f"{done} / {planned:.0f}" if pd.notna(planned) else str(done)
            for done, planned in zip(experiments["steps_done"], experiments["max_steps"], strict=True)
        ]
    )
    for knob in knobs:
        # By place: of runs that a filter leaves, the index has gaps.
        table[knob] = _column([configurations.get(run, {}).get(knob) for run in table["run_name"]]).array
    table = table.assign(**experiments[_RESULTS])
    against = opponent(speedups, deltas)
    speed = speedups[speedups["against"] == against].set_index("run_name")
    for name in ("prompts_per_s_speedup", "prompts_per_s_low", "prompts_per_s_high"):
        table[name] = table["run_name"].map(speed[name])
    table["accuracy_percent"] = table["run_name"].map(_by_run(accuracy, measure)["value_percent"])
    verdicts = _by_run(deltas[deltas["against"] == against], measure)["verdict"]
    table["verdict"] = table["run_name"].map(verdicts).astype(object)
    return table


def grouped_runs(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row per value of `by`, in the plan's order: `runs`, those `finished`, and over these the mean and
    standard deviation (`_std`, NaN of fewer than two) of each of `LEVELS`.

    Args:
        table: rows of `runs_table`.
        by: a column of it; lists count by what they hold.
    """
    keys = table[by].map(lambda value: str(value) if isinstance(value, list) else value)
    groups = table.groupby(keys, sort=False, dropna=False)
    finished = table[table["state"] == "succeeded"].groupby(keys, sort=False, dropna=False)
    grouped = pd.DataFrame({"runs": groups.size()})
    grouped["finished"] = finished.size().reindex(grouped.index, fill_value=0)
    for level in LEVELS:
        # Numbers that are missing everywhere come as objects.
        of_runs = finished[level]
        grouped[level] = of_runs.mean().reindex(grouped.index).astype(np.float64)
        grouped[f"{level}_std"] = of_runs.std().reindex(grouped.index).astype(np.float64)
    return grouped.rename_axis(by).reset_index()


def varying_columns(table: pd.DataFrame) -> list[str]:
    """The columns in which two rows have unlike values; a missing one says nothing, as in `varying_keys`."""
    return [str(name) for name in table if table[name].dropna().map(repr).nunique() > 1]


def configuration_table(flat: Mapping[str, Any], defaults: Mapping[str, Any]) -> pd.DataFrame:
    """One row per key: `key, value, default, departs`; None where there is no default.

    Args:
        flat: a run's configuration by dotted key.
        defaults: the trainer's own, likewise.
    """
    rows = [
        (key, value, defaults.get(key), value != defaults[key] if key in defaults else None)
        for key, value in flat.items()
    ]
    return pd.DataFrame(rows, columns=["key", "value", "default", "departs"], dtype=object)


def differences_table(first: Mapping[str, Any], second: Mapping[str, Any]) -> pd.DataFrame:
    """The keys of which two runs have unlike values, in the first's order: `key, first, second, in_first,
    in_second`, the last two whether it is given at all."""
    rows = [
        (key, first.get(key), second.get(key), key in first, key in second)
        for key in dict.fromkeys([*first, *second])
        if (key in first) != (key in second) or first.get(key) != second.get(key)
    ]
    return pd.DataFrame(rows, columns=["key", "first", "second", "in_first", "in_second"], dtype=object)


def attempts_table(store: Store, sweep: str, run: str) -> pd.DataFrame:
    """One row per attempt: `attempt, started_unix, t` (run time when it began, seconds), `engine`,
    `from_step` that it resumed from, and `steps`, those of it that no later attempt superseded."""
    return store.query(
        "SELECT a.attempt, a.unix_time AS started_unix, a.t, a.engine, r.from_step, "
        "(SELECT count(*) FROM steps AS s WHERE s.sweep = a.sweep AND s.run_name = a.run_name "
        "AND s.attempt = a.attempt) AS steps FROM attempts AS a "
        "LEFT JOIN resumes AS r USING (sweep, run_name, attempt) "
        "WHERE sweep = ? AND run_name = ? ORDER BY attempt",
        [sweep, run],
    )


def run_warnings_table(store: Store, sweep: str, run: str) -> pd.DataFrame:
    """What a run warned of: `message, times`, the most frequent first."""
    return store.query(
        "SELECT message, count(*) AS times FROM warnings WHERE sweep = ? AND run_name = ? "
        "GROUP BY message ORDER BY times DESC, message",
        [sweep, run],
    )


def environment(store: Store, sweep: str) -> Mapping[str, Any]:
    """What the sweep ran in, as its manifest has it: versions, hardware, and `git`."""
    found = store.query("SELECT environment, git FROM sweeps WHERE sweep = ?", [sweep])
    trees = [msgspec.json.decode(text) if isinstance(text, str) else None for text in found.iloc[0]]
    return {**(trees[0] or {}), "git": trees[1] or {}}


def discarded_groups(store: Store, sweep: str, run: str) -> set[int]:
    """Groups of attempts that were cut off and done again by a later one."""
    found = store.query(
        "SELECT group_id FROM groups WHERE sweep = ? AND run_name = ? AND fate = 'discarded'", [sweep, run]
    )
    return set(found["group_id"].tolist())


def _by_run(rows: pd.DataFrame, measure: Measure | None) -> pd.DataFrame:
    """Rows of one measure, of runs only, by name."""
    if measure is None:
        return rows.iloc[:0].set_index("run_name")
    wanted = (rows[list(measure._fields)] == list(measure)).all(axis=1) & rows["run_name"].notna()
    return rows[wanted].drop_duplicates("run_name").set_index("run_name")


def _column(values: list[Any]) -> "pd.Series[Any]":
    """Values as numbers where all that are there are; whole ones stay whole beside a missing one."""
    column = pd.Series(values, dtype=object)
    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return column.astype("Int64" if all(isinstance(value, int) for value in numbers) else "Float64")
    return column
