"""How much faster, per unit of work, and how sure: speed-ups of a sweep's runs."""

import json

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.first_passage import WINDOW_STEPS, Climb, climb, seconds_to_reach, speedups
from results.statistics.rates import LogRates, rate_ratios
from results.store import Store

REWARD_WINDOW_STEPS = WINDOW_STEPS
"""Trailing mean over which a reward counts as reached."""
NOT_COMPARABLE = "†"
"""How a ratio of step times is marked whose steps train different numbers of prompts."""
ONE_RUN = "within this run"
"""Scope of an interval that speaks of the runs at hand only."""

_UNITS = {"steps": "step_time", "prompts": "prompts_per_s", "completion_tokens": "completion_tokens_per_s"}
"""Units of work in table `run_rates`, and what their speed-ups are called."""
_NO_CLIMB = climb(np.empty(0), np.empty(0))


def speedup_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `speedups` with intervals and time to reward: one row per run and what it is compared with.

    Adds to the view's columns

    - `step_time_low`, `_high`, `prompts_per_s_low`, `_high`, `completion_tokens_per_s_low`, `_high`: ends of
      the 95 % interval over whole sync cycles, NaN where one of the two has too few;
    - `step_time_cycles_speedup`: the ratio of step times over those cycles, which its interval is of
      (`step_time_speedup` is over all steps, the first ones too);
    - `interval_scope`: what the intervals speak of;
    - `threshold_reward`: mean reward of the other run over its last fifth, and `other_reward_gain`, that
      less its first fifth;
    - `time_to_reward_s`, `other_time_to_reward_s`: training time until either reached it; NaN: it did not;
    - `time_to_reward_speedup`: their ratio, or where `time_to_reward_bound` is '>' or '<' the figure it is
      above or below because one run ended first. NaN where both did, or where the other's reward did not
      rise, so that reaching it says nothing.
    """
    table = store.query(
        "SELECT * FROM speedups WHERE sweep = ? ORDER BY position, run_name, against", [sweep]
    )
    rates = store.query("SELECT * FROM run_rates WHERE sweep = ?", [sweep])
    for unit, name in _UNITS.items():
        of_unit = rates[rates["unit"] == unit].set_index("run_name")
        found = rate_ratios(_log_rates(of_unit, table["run_name"]), _log_rates(of_unit, table["other_run"]))
        if name == "step_time":
            table["step_time_cycles_speedup"] = found.ratios
        table[f"{name}_low"], table[f"{name}_high"] = found.low, found.high
    table["interval_scope"] = ONE_RUN
    return _with_time_to_reward(table, _climbs(store, sweep))


def overlapping_runs(store: Store, sweep: str) -> pd.DataFrame:
    """Runs that ran at the same time on cores they shared, so that each slowed the other: `run_name, others`.

    An attempt lasts from its `run_started` to its last step; a run that is pinned to no cores may have
    used any. `others` are names, with commas between them.
    """
    lived = store.query(
        """
        SELECT a.run_name, a.unix_time AS start_unix, r.cores,
            a.unix_time + coalesce(max(s.start_s + s.wall_s), a.t) - a.t AS end_unix
        FROM attempts AS a
        JOIN runs AS r USING (sweep, run_name)
        LEFT JOIN steps AS s
            ON s.sweep = a.sweep AND s.run_name = a.run_name AND s.attempt = a.attempt
        WHERE a.sweep = ?
        GROUP BY a.run_name, a.attempt, a.unix_time, a.t, r.cores ORDER BY start_unix, a.run_name
        """,
        [sweep],
    )
    names, cores = lived["run_name"].to_numpy(), _core_sets(lived["cores"])
    starts, ends = lived["start_unix"].to_numpy(np.float64), lived["end_unix"].to_numpy(np.float64)
    others: dict[str, set[str]] = {}
    # Of two attempts, the one that began later is among those that began before the first one's end.
    begun_by = np.searchsorted(starts, ends)
    for first, stop in enumerate(begun_by):
        later = slice(first + 1, stop)
        meets = (ends[later] > starts[first]) & (cores[later] & cores[first]).any(axis=1)
        for name in names[later][meets & (names[later] != names[first])]:
            others.setdefault(names[first], set()).add(name)
            others.setdefault(name, set()).add(names[first])
    runs = sorted(others)
    return pd.DataFrame(
        {"run_name": runs, "others": [", ".join(sorted(others[run])) for run in runs]}, dtype=object
    )


def _core_sets(cores: pd.Series) -> npt.NDArray[np.bool_]:
    """Which cores each run may have used, shape [runs, cores]; all for one that is pinned to none."""
    sets = [frozenset(json.loads(text) or ()) if isinstance(text, str) else frozenset() for text in cores]
    known = sorted(frozenset().union(*sets)) or [0]
    return np.array([[not chosen or core in chosen for core in known] for chosen in sets], dtype=bool)


def _log_rates(of_unit: pd.DataFrame, runs: pd.Series) -> LogRates:
    """Rows of table `run_rates` of one unit, by run name, in the order of `runs`."""
    rows = of_unit.reindex(runs)
    return LogRates(
        *(rows[name].to_numpy(np.float64) for name in ("log_rate", "variance", "degrees_of_freedom"))
    )


def _climbs(store: Store, sweep: str) -> dict[str, Climb]:
    """How each run's reward rose, by name."""
    found = store.query("SELECT * EXCLUDE (sweep) FROM run_climbs WHERE sweep = ?", [sweep])
    return {name: Climb(*rest) for name, *rest in found.itertuples(index=False, name=None)}


def _with_time_to_reward(table: pd.DataFrame, climbs: dict[str, Climb]) -> pd.DataFrame:
    """Adds the columns of time to reward."""
    mine = [climbs.get(run, _NO_CLIMB) for run in table["run_name"]]
    others = [climbs.get(run, _NO_CLIMB) for run in table["other_run"]]
    threshold = np.array([other.last_fifth for other in others], dtype=np.float64)
    gain = threshold - np.array([other.first_fifth for other in others], dtype=np.float64)
    seconds, other_seconds = (
        np.array([seconds_to_reach(*pair) for pair in zip(runs, threshold, strict=True)], dtype=np.float64)
        for runs in (mine, others)
    )
    ended, other_ended = (
        np.array([run.training_s for run in runs], dtype=np.float64) for runs in (mine, others)
    )
    found = speedups(seconds, ended, other_seconds, other_ended)
    rose = gain > 0
    found.bounds[~rose] = None
    return table.assign(
        threshold_reward=threshold,
        other_reward_gain=gain,
        time_to_reward_s=seconds,
        other_time_to_reward_s=other_seconds,
        time_to_reward_speedup=np.where(rose, found.ratios, np.nan),
        time_to_reward_bound=found.bounds,
    )
