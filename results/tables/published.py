"""Speed as others published it, of runs that left no trace here: with the rounding of what was printed.

Published figures carry no steps, so they have no confidence interval. What they do have is rounding: 70.4 min
is anything from 70.35 to 70.45. Every figure computed from them is given with the ends that this allows, and
with the decimals that are certain to within one unit. Nothing here is ever put beside measured figures.
"""

import json

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.rounding import resolution
from results.store import Store, records

FloatArray = npt.NDArray[np.float64]

UNITS_S = (1.0, 60.0, 3600.0)
"""Seconds, minutes, hours: what a training time may have been printed in."""
_PRINTED_DECIMALS = 6
"""A figure with more was computed, not printed: it has no rounding."""
_MOST_DECIMALS = 3
"""Of a ratio, however exact."""
_RATIOS = {"training_time_ratio": "training_time_s", "step_time_speedup": "step_mean_s"}
"""Ratios of times, and the figure they are of."""


def published_speed_table(store: Store, sweep: str) -> pd.DataFrame:
    """Published speed, one row per run of which any was, in the plan's order.

    Columns:
        run_name, label, position, max_staleness, prompts_per_optim_step, prompts_per_rollout_sync, lr, notes
        training_time_s, step_mean_s: with `_low`, `_high`, the ends that rounding allows. It is taken that
            one table prints a column to the same decimals throughout, and training times in the unit
            (`UNITS_S`) that makes their figures the roundest.
        steps: that the step times are over; NaN where that was not said.
        step_std_s, step_median_s, step_min_s, step_max_s: as published.
        prompts_per_s: prompts_per_optim_step / step_mean_s, with `_low`, `_high`.
        other_run, other_label: the sweep's reference run; None where it has none.
        training_time_ratio, step_time_speedup, prompts_per_s_speedup: of the reference run over this, of
            prompts this over the reference run; > 1 is faster. With `_low`, `_high`, `_decimals`.
        step_time_comparable: whether both train as many prompts a step; without it neither ratio of times
            compares the same work.
    """
    runs, pairs = _runs(store, sweep), _pairs(store, sweep)
    to_reference = pairs[pairs["against"] == "reference"]
    itself = pd.Series(to_reference["other_run"].unique())  # 1.0x, as the table of a publication has it
    both = pd.concat([to_reference, pd.DataFrame({"run_name": itself, "other_run": itself})])
    ratios = _ratios(runs, both).drop(columns=["label", "position", "against"])
    return runs.drop(columns=["values_s", "step_ranges"]).merge(ratios, how="left", on="run_name")


def published_speedup_table(store: Store, sweep: str) -> pd.DataFrame:
    """Ratios of published figures, one row per run and opponent (`against`: `baseline`, `reference`).

    Columns: `run_name, label, position, against` and from `other_run` on those of `published_speed_table`.
    A run that was measured here is never the opponent.
    """
    return _ratios(_runs(store, sweep), _pairs(store, sweep))


def published_step_times_table(store: Store, sweep: str) -> pd.DataFrame:
    """What was published of the spread of step times, one row per run that has any of it.

    Columns: `run_name, label, position, steps`; `text`, in a publication's words, such as `66 steps in
    28.2-29.1 s; 1 step at 42.2 s`; `counted_steps`, how many the ranges hold, NaN where there are none;
    `values_s`, all step times in order, empty where they were not given: they can be looked at by
    `results.statistics.modes` like any.
    """
    runs = _runs(store, sweep)
    ranges = [json.loads(each) for each in runs.pop("step_ranges")]
    table = runs[["run_name", "label", "position", "steps"]].copy()
    table["text"] = [_text(found, row) for found, row in zip(ranges, records(runs), strict=True)]
    table["counted_steps"] = [
        float(sum(each["steps"] for each in found)) if found else np.nan for found in ranges
    ]
    table["values_s"] = runs["values_s"]
    return table[(table["text"] != "") | (table["values_s"].map(len) > 0)].reset_index(drop=True)


def _runs(store: Store, sweep: str) -> pd.DataFrame:
    """Runs with published figures, and the ends that rounding allows."""
    runs = store.query(
        """
        SELECT r.run_name, r.label, r.position, r.max_staleness, r.prompts_per_optim_step,
            r.prompts_per_rollout_sync, r.lr, p.notes, p.training_time_s, p.step_mean_s, p.steps,
            p.step_std_s, p.step_median_s, p.step_min_s, p.step_max_s, p.step_ranges,
            p.step_values_s AS values_s, r.prompts_per_optim_step / p.step_mean_s AS prompts_per_s
        FROM published_runs AS p JOIN runs AS r USING (sweep, run_name)
        WHERE sweep = ? ORDER BY r.position NULLS LAST, r.run_name
        """,
        [sweep],
    )
    values = [np.asarray(each, dtype=np.float64) for each in runs.pop("values_s")]
    runs["values_s"] = pd.Series([each.tolist() for each in values], dtype=object)
    training, mean = (runs[name].to_numpy(np.float64) for name in _RATIOS.values())
    training_half = max(_half_unit(training, unit) for unit in UNITS_S)
    given = np.array([len(each) > 0 for each in values], dtype=bool)
    mean_half = np.full(len(runs), _half_unit(mean[~given]))
    mean_half[given] = [_half_unit(each) for each in values if len(each)]
    for name, figure, half in (
        ("training_time_s", training, training_half),
        ("step_mean_s", mean, mean_half),
    ):
        runs[f"{name}_low"], runs[f"{name}_high"] = figure - half, figure + half
    batch = runs["prompts_per_optim_step"].to_numpy(np.float64)
    runs["prompts_per_s_low"] = batch / runs["step_mean_s_high"]
    runs["prompts_per_s_high"] = batch / runs["step_mean_s_low"]
    return runs


def _half_unit(figures: FloatArray, unit: float = 1.0) -> float:
    """How far a column of figures may be from what was printed; 0 where it was not rounded."""
    return resolution(figures, unit, _PRINTED_DECIMALS) / 2


def _pairs(store: Store, sweep: str) -> pd.DataFrame:
    """`run_name, against, other_run` where figures of both were published."""
    return store.query(
        """
        SELECT c.run_name, c.against, c.other_run FROM comparisons AS c
        SEMI JOIN published_runs AS p ON p.sweep = c.sweep AND p.run_name = c.run_name
        SEMI JOIN published_runs AS q ON q.sweep = c.sweep AND q.run_name = c.other_run
        WHERE c.sweep = ?
        """,
        [sweep],
    )


def _ratios(runs: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The ratios of every pair, in the plan's order."""
    ends = [f"{name}{end}" for name in _RATIOS.values() for end in ("", "_low", "_high")]
    figures = runs[["run_name", "label", "position", "prompts_per_optim_step", *ends]]
    both = figures.merge(pairs, on="run_name").merge(
        figures.add_prefix("other_").rename(columns={"other_run_name": "other_run"}), on="other_run"
    )
    table = both[["run_name", "label", "position", "against", "other_run", "other_label"]].copy()
    itself = both["run_name"] == both["other_run"]
    for ratio, name in _RATIOS.items():
        table[ratio] = both[f"other_{name}"] / both[name]
        low, high = (
            both[f"other_{name}_{end}"] / both[f"{name}_{opposite}"]
            for end, opposite in (("low", "high"), ("high", "low"))
        )
        table[f"{ratio}_low"] = low.mask(itself, table[ratio])  # a figure is no different from itself
        table[f"{ratio}_high"] = high.mask(itself, table[ratio])
    work = both["prompts_per_optim_step"] / both["other_prompts_per_optim_step"]
    for end in ("", "_low", "_high"):
        table[f"prompts_per_s_speedup{end}"] = (work * table[f"step_time_speedup{end}"]).astype(float)
    for ratio in (*_RATIOS, "prompts_per_s_speedup"):
        table[f"{ratio}_decimals"] = _decimals(table[f"{ratio}_high"] - table[f"{ratio}_low"])
    table["step_time_comparable"] = (work == 1).fillna(False).astype(bool)
    return table.sort_values(["position", "run_name", "against"], ignore_index=True)


def _decimals(width: "pd.Series[float]") -> npt.NDArray[np.int64]:
    """Decimals of a figure that are certain to within one unit, when it lies in an interval so wide."""
    with np.errstate(divide="ignore"):
        certain = np.floor(-np.log10(width.to_numpy(np.float64) / 2))
    decimals: npt.NDArray[np.int64] = np.nan_to_num(certain).clip(0, _MOST_DECIMALS).astype(np.int64)
    return decimals


def _text(ranges: list[dict[str, float]], row: dict[str, float]) -> str:
    """The spread of a run's step times in words; empty where nothing was said of it."""
    of_all = "" if pd.isna(row["steps"]) else f" of {row['steps']:.0f}"
    parts = []
    for each in ranges:
        number = f"{'about ' if each['approximate'] else ''}{each['steps']:.0f}{of_all}"
        noun = "step" if each["steps"] == 1 and not of_all else "steps"
        parts.append(f"{number} {noun} {_interval(each['min'], each['max'])}")
    if pd.notna(row["step_min_s"]) and pd.notna(row["step_max_s"]):
        parts.append(f"all steps {_interval(row['step_min_s'], row['step_max_s'])}")
    if pd.notna(row["step_std_s"]):
        parts.append(f"standard deviation {row['step_std_s']:.4g} s")
    return "; ".join(parts)


def _interval(low: float, high: float) -> str:
    """`in 28.2-29.1 s` or `at 42.2 s`, both ends to the same decimals."""
    decimals = max(len(f"{end:.4g}".partition(".")[2]) for end in (low, high))
    return f"at {low:.{decimals}f} s" if low == high else f"in {low:.{decimals}f}-{high:.{decimals}f} s"
