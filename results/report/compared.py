"""Which comparisons sentences are about: arms over their seeds where there are several, else single runs.

The best of several seeds is a lucky one, and says less of a setting than their mean. An arm is not compared
with itself, as it would be where the reference was trained with one seed only and its opponents with more.
"""

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.tables.arms_accuracy import ONE_SEED
from results.tables.speed import ONE_RUN

_PAIR = ["arm_id", "against", "other_arm_id"]


def opponents(rows: pd.DataFrame) -> dict[str, str]:
    """The kinds of opponent that rows are against, each with its name, in the order of `OPPONENTS`.

    Kinds that are the same run for every row are told once, by the first of them: `baseline` is then the
    *matched baseline, which is also the reference run*.

    Args:
        rows: with `label, other_label, against`, and `seeds` where they are of arms.
    """
    who = [name for name in ("label", "other_label", "seeds") if name in rows]
    pairs: dict[str, set[tuple[object, ...]]] = {}
    for against, *pair in zip(*(rows[name].tolist() for name in ("against", *who)), strict=True):
        pairs.setdefault(against, set()).add(tuple(pair))
    alike: dict[frozenset[tuple[object, ...]], list[str]] = {}
    for against in (kind for kind in OPPONENTS if kind in pairs):
        alike.setdefault(frozenset(pairs[against]), []).append(against)
    return {first: _also(first, others) for first, *others in alike.values()}


def _also(first: str, others: list[str]) -> str:
    if not others:
        return OPPONENTS[first]
    return f"{OPPONENTS[first]}, which is also the {' and the '.join(OPPONENTS[each] for each in others)}"


def compared_speeds(
    experiments: pd.DataFrame, speedups: pd.DataFrame, arm_speedups: pd.DataFrame
) -> pd.DataFrame:
    """Rows of `arm_speedups` with several seeds, and of `speedups` those that are in none of them.

    Args:
        experiments: view `run_summary`.
        speedups: `results.tables.speed.speedup_table`.
        arm_speedups: `results.tables.arms.arm_speedups_table`.
    """
    runs = between_arms(experiments, speedups)
    several = arm_speedups[arm_speedups["seeds"] > 1]
    if several.empty:
        return runs
    summed_up = pd.MultiIndex.from_frame(runs[_PAIR]).isin(pd.MultiIndex.from_frame(several[_PAIR]))
    return pd.concat([several, runs[~summed_up]], ignore_index=True)


def between_arms(experiments: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with `run_name` and `other_run` whose runs differ by more than the seed, with the arm of each.

    Columns added: `arm_id` and `other_arm_id`, None where it is not known.
    """
    arms = dict(zip(experiments["run_name"], experiments["arm_id"], strict=True))
    found = rows.assign(arm_id=rows["run_name"].map(arms), other_arm_id=rows["other_run"].map(arms))
    same = found["arm_id"].notna() & (found["arm_id"] == found["other_arm_id"])
    return found[~same.to_numpy(bool)]


def compared_accuracies(deltas: pd.DataFrame, arm_deltas: pd.DataFrame) -> pd.DataFrame:
    """Rows of `arm_deltas` that speak of what `deltas` does.

    Args:
        deltas: `results.tables.accuracy.delta_table`, or some of it.
        arm_deltas: `results.tables.arms_accuracy.arm_delta_table`.
    """
    arms = deltas["arm_id"].fillna(deltas["run_name"])
    there = pd.MultiIndex.from_arrays([arms, deltas["against"]])
    return arm_deltas[pd.MultiIndex.from_frame(arm_deltas[["arm", "against"]]).isin(there)]


def have_several_seeds(arm_deltas: pd.DataFrame) -> bool:
    """Whether any arm was tested over its seeds."""
    return bool((arm_deltas["scope"] != ONE_SEED).any())


def subject(rows: pd.DataFrame, count: int) -> str:
    """`run`, `arms`, or `arms and runs`: what rows of `compared_speeds` are, as many as `count`."""
    of_runs = rows["interval_scope"] == ONE_RUN
    plural = "" if count == 1 else "s"
    if of_runs.all():
        return f"run{plural}"
    if not of_runs.any():
        return f"arm{plural}"
    return "arm or run" if count == 1 else "arms and runs"
