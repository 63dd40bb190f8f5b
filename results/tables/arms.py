"""Arms: runs that differ only by seed, summed up over their seeds.

Only an interval over seeds speaks of a setting. One seed keeps the interval of its run, and says so; two
have a range. Both tables are made of a sweep's other tables and need no store.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.seeds import MIN_SEEDS, SeedMeans, seed_means
from results.tables.speed import ONE_RUN

KNOBS = (
    *("model", "task", "max_staleness", "prompts_per_optim_step", "prompts_per_rollout_sync"),
    *("completions_per_prompt", "lr"),
)
"""Settings shown of an arm; all its runs agree in these."""
LEVELS = ("step_mean_s", "prompts_per_s", "completion_tokens_per_s", "reward_last_fifth")
RATIOS = ("step_time", "prompts_per_s", "completion_tokens_per_s")
"""Units of speed-up that have an interval within a run, too."""

_SEED = re.compile(r"[\s_-]*seed[\s_-]*\d+$")


def arm_label(label: str) -> str:
    """A run's label or name without its seed: `Exp1-seed0` is of arm `Exp1`."""
    return _SEED.sub("", label) or label


def arms_named(labels: Iterable[str], among: Iterable[str]) -> list[str]:
    """Runs by name, those of an arm together: `Exp1`, `Exp2 (4 seeds)`, `Exp3 (2 of 4 seeds)`.

    Args:
        labels: of the runs.
        among: labels of all runs that could have been meant.
    """
    of_arm: dict[str, list[str]] = {}
    for label in labels:
        of_arm.setdefault(arm_label(label), []).append(label)
    seeds = Counter(map(arm_label, among))
    return [
        own[0]
        if len(own) == 1
        else f"{arm} ({len(own)} {'' if len(own) == seeds[arm] else f'of {seeds[arm]} '}seeds)"
        for arm, own in of_arm.items()
    ]


def arms_table(experiments: pd.DataFrame) -> pd.DataFrame:
    """One row per arm with a finished run, in the plan's order.

    Columns: `arm_id, label`, the `KNOBS`, `planned_seeds`, `seeds` that finished, `interval_scope`, and of
    each of `LEVELS` the mean over these seeds, the ends `_low`, `_high` of its 95 % t-interval, NaN below
    three seeds, and the range `_least`, `_most`.

    Args:
        experiments: view `run_summary` of one sweep, in the plan's order.
    """
    runs = experiments[experiments["state"] != "infeasible"].dropna(subset=["arm_id"])
    planned = runs.groupby("arm_id")["seed"].nunique()
    runs = runs[runs["state"] == "succeeded"]
    number, first = _numbered(runs, ["arm_id"])
    table = first[["arm_id", "label", *KNOBS]].assign(
        label=first["label"].map(arm_label), planned_seeds=first["arm_id"].map(planned)
    )
    seeds = np.bincount(number, minlength=len(table))
    table = table.assign(seeds=seeds, interval_scope=scopes(seeds, one="one seed"))
    for level in LEVELS:
        found = seed_means(runs[level].to_numpy(np.float64), number, count=len(table))
        table[level] = found.means
        for end in ("low", "high", "least", "most"):
            table[f"{level}_{end}"] = getattr(found, end)
    return table


def arm_speedups_table(experiments: pd.DataFrame, speedups: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and arm it is compared with: geometric means over seeds, each against its own twin.

    Pairs count whose two runs finished and have the same seed. Columns: `arm_id, label, against,
    other_arm_id, other_label, seeds, interval_scope, step_time_comparable`; for `step_time, prompts_per_s,
    completion_tokens_per_s` and `time_to_reward` the mean ratio `_speedup`, the ends `_low`, `_high` of its
    95 % interval and the range `_least`, `_most`; `time_to_reward_seeds`, the pairs whose two runs reached
    the reward: below `seeds` the mean over the others would be one of the lucky, and is left out.

    Of one seed, `_low` and `_high` are the interval within its run (that of `step_time` is of the ratio over
    whole cycles); of two they are NaN.

    Args:
        experiments: view `run_summary` of one sweep.
        speedups: `results.tables.speed.speedup_table` of it.
    """
    pairs = _pairs(experiments, speedups)
    keys = ["arm_id", "against", "other_arm_id"]
    number, first = _numbered(pairs, keys)
    table = first[keys].assign(
        label=first["label"].map(arm_label),
        other_label=first["other_label"].map(arm_label),
        step_time_comparable=first["step_time_comparable"],
    )
    seeds = np.bincount(number, minlength=len(table))
    table = table.assign(seeds=seeds, interval_scope=scopes(seeds, one=ONE_RUN))
    for unit in RATIOS:
        table = table.assign(**_ratio_columns(unit, pairs[f"{unit}_speedup"], number, len(table)))
        for end in ("low", "high"):
            name = f"{unit}_{end}"
            table[name] = np.where(seeds == 1, first[name], table[name])
    exact = pairs["time_to_reward_speedup"].where(pairs["time_to_reward_bound"].isna())
    reward = _ratio_columns("time_to_reward", exact, number, len(table))
    reached = np.bincount(number[exact.notna()], minlength=len(table))
    complete = reached == seeds
    table = table.assign(**{name: np.where(complete, column, np.nan) for name, column in reward.items()})
    return table.assign(time_to_reward_seeds=reached)


def _pairs(experiments: pd.DataFrame, speedups: pd.DataFrame) -> pd.DataFrame:
    """The speed-ups of finished runs against finished runs of the same seed, with both arms."""
    runs = experiments[experiments["state"] == "succeeded"].set_index("run_name")[["arm_id", "seed"]]
    others = runs.add_prefix("other_")
    pairs = speedups.join(runs, on="run_name", how="inner").join(others, on="other_run", how="inner")
    return pairs[pairs["seed"] == pairs["other_seed"]].dropna(subset=["arm_id", "other_arm_id"])


def _numbered(rows: pd.DataFrame, keys: list[str]) -> tuple[npt.NDArray[np.int64], pd.DataFrame]:
    """The group of each row, counted in the order they come, and the first row of each group."""
    number = rows.groupby(keys, sort=False).ngroup().to_numpy().astype(np.int64)
    return number, rows.drop_duplicates(keys).reset_index(drop=True)


def _ratio_columns(
    unit: str, ratios: pd.Series, number: npt.NDArray[np.int64], count: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Geometric means of positive ratios with their intervals and ranges, by column."""
    found: SeedMeans = seed_means(np.log(ratios.to_numpy(np.float64)), number, count=count)
    ends = {f"{unit}_{end}": np.exp(getattr(found, end)) for end in ("low", "high", "least", "most")}
    return {f"{unit}_speedup": np.exp(found.means), **ends}


def scopes(seeds: npt.NDArray[np.int64], one: str) -> list[str]:
    """What an interval speaks of, by the number of seeds; of one seed, `one`."""
    return [
        f"over {count} seeds" if count >= MIN_SEEDS else "range of 2 seeds" if count == 2 else one
        for count in seeds
    ]
