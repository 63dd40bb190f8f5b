"""One report of one sweep: tables of numbers, and sentences no stronger than their tests.

    Store --tables--> Report --sections--> terminal, Markdown, HTML        Report --> JSON, CSV, gate

Everything is computed here; what comes after formats and selects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pandas as pd

from results.report.compared import compared_speeds
from results.report.conclusions import conclusions
from results.report.knobs import Flat, flatten, objective, varying_keys
from results.report.notices import SILENT_AFTER_S, notices
from results.report.observations import speed_observations
from results.report.plan import plan_observations
from results.report.published import published_observations
from results.report.quality import quality_observations
from results.report.snapshot import snapshot
from results.report.waste import staleness_observations
from results.statistics.seeds import MIN_SEEDS
from results.store import Store, StoreError
from results.tables.accuracy import accuracy_table, delta_table
from results.tables.ages import age_effects_table, age_trends_table
from results.tables.arms import arm_speedups_table, arms_table
from results.tables.arms_accuracy import arm_delta_table
from results.tables.modes import modes_table
from results.tables.noise_floor import noise_floor_table
from results.tables.plan import plan_table
from results.tables.plan_arms import plan_arms_table
from results.tables.published import (
    published_speed_table,
    published_speedup_table,
    published_step_times_table,
)
from results.tables.selection import bias_table
from results.tables.speed import overlapping_runs, speedup_table
from results.tables.staleness import ages_table, fates_table, staleness_table, waste_table
from trainer.paths import PILOT

__all__ = ["SILENT_AFTER_S", "Report", "build_report"]


@dataclass(frozen=True)
class Report:
    """Everything a report says. Frames hold raw numbers; seconds, shares in [0, 1] and percentage points."""

    sweep: str
    profile: str | None
    models: tuple[str, ...]
    created_unix: float | None
    margin_points: float
    published_unix: float
    """When the store was published that this was computed from."""
    objective: str
    """One sentence: what the sweep varies."""
    spec: Mapping[str, Any]
    """The spec as resolved, of the sweep's manifest."""
    git: Mapping[str, Any]
    baseline: Any
    """What makes a run's matched baseline: `synchronous`, or keys with values."""
    configurations: Mapping[str, Flat]
    """By run name, in the plan's order, the configuration by dotted keys."""
    varying: tuple[str, ...]
    """The keys that differ between runs that can run."""
    experiments: pd.DataFrame
    """View `run_summary`, one row per run of the plan, in its order."""
    speedups: pd.DataFrame
    """`results.tables.speed.speedup_table`."""
    arms: pd.DataFrame
    """`results.tables.arms.arms_table`."""
    arm_speedups: pd.DataFrame
    """`results.tables.arms.arm_speedups_table`."""
    published_speed: pd.DataFrame
    """`results.tables.published.published_speed_table`: made elsewhere, never mixed with measurements."""
    published_speedups: pd.DataFrame
    """`results.tables.published.published_speedup_table`."""
    published_step_times: pd.DataFrame
    """`results.tables.published.published_step_times_table`."""
    modes: pd.DataFrame
    """`results.tables.modes.modes_table`."""
    staleness: pd.DataFrame
    """`results.tables.staleness.staleness_table`."""
    fates: pd.DataFrame
    """`results.tables.staleness.fates_table`."""
    ages: pd.DataFrame
    """`results.tables.staleness.ages_table`."""
    waste: pd.DataFrame
    """`results.tables.staleness.waste_table`."""
    bias: pd.DataFrame
    """`results.tables.selection.bias_table`."""
    age_effects: pd.DataFrame
    """`results.tables.ages.age_effects_table`."""
    age_trends: pd.DataFrame
    """`results.tables.ages.age_trends_table`."""
    accuracy: pd.DataFrame
    """`results.tables.accuracy.accuracy_table`."""
    deltas: pd.DataFrame
    """`results.tables.accuracy.delta_table`."""
    arm_deltas: pd.DataFrame
    """`results.tables.arms_accuracy.arm_delta_table`."""
    noise_floor: pd.DataFrame
    """`results.tables.noise_floor.noise_floor_table`."""
    plan: pd.DataFrame
    """`results.tables.plan.plan_table`."""
    plan_arms: pd.DataFrame
    """`results.tables.plan_arms.plan_arms_table`."""
    warnings: pd.DataFrame
    """What runs warned of: `label, message, times`."""
    quarantine: pd.DataFrame
    """Files with lines that cannot be read: `path, lines`."""
    notices: tuple[str, ...]
    """What is missing or doubtful: unfinished, failed and infeasible runs, unread lines, shared cores."""
    speed_observations: tuple[str, ...]
    quality_observations: tuple[str, ...]
    staleness_observations: tuple[str, ...]
    plan_observations: tuple[str, ...]
    """How right the predictions were; not among `observations`, which are of the runs."""
    conclusions: tuple[str, ...]

    @property
    def observations(self) -> tuple[str, ...]:
        """What the numbers show, speed first."""
        return (*self.speed_observations, *self.quality_observations, *self.staleness_observations)

    @property
    def seeds(self) -> pd.DataFrame:
        """Arms with an interval over seeds: `label, arm_id, against, other_arm_id, seeds,
        prompts_per_s_speedup, low, high`."""
        several = self.arm_speedups[self.arm_speedups["seeds"] >= MIN_SEEDS]
        ends = {"prompts_per_s_low": "low", "prompts_per_s_high": "high"}
        columns = ["label", "arm_id", "against", "other_arm_id", "seeds", "prompts_per_s_speedup", *ends]
        return several[columns].rename(columns=ends)

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that succeeded."""
        return self.experiments[self.experiments["state"] == "succeeded"]

    @property
    def feasible(self) -> list[Flat]:
        """The configurations of the runs that can run."""
        possible = self.experiments.loc[self.experiments["state"] != "infeasible", "run_name"]
        return [self.configurations[run] for run in possible]


def build_report(store: Store, sweep: str | None = None) -> Report:
    """The report of a sweep, by default of the most recent one, pilots last; partial while runs are missing.

    Raises:
        StoreError: nothing is published yet, or no sweep has that name.
    """
    with snapshot(store) as opened:
        sweeps = opened.query(
            "SELECT * EXCLUDE (environment) FROM sweeps "
            "ORDER BY ends_with(sweep, ?), created_unix DESC NULLS LAST, sweep",
            [PILOT],
        )
        if sweeps.empty:
            raise StoreError(f"{store.path}: holds no sweep; `sweepctl run SPEC` makes one")
        name = str(sweeps["sweep"].iloc[0]) if sweep is None else sweep
        if name not in set(sweeps["sweep"]):
            raise StoreError(f"{store.path}: no sweep {name!r}; there are {', '.join(sweeps['sweep'])}")
        report = _report(opened, name, sweeps[sweeps["sweep"] == name].iloc[0])
    if sweep is None and len(sweeps) > 1:
        others = ", ".join(sweeps["sweep"].iloc[1:])
        first = f"The most recent of {len(sweeps)} sweeps; the others are {others}."
        return replace(report, notices=(first, *report.notices))
    return report


def _report(store: Store, name: str, chosen: "pd.Series[Any]") -> Report:
    """The report of one sweep, of which `chosen` is the row of table `sweeps`."""
    margin = float(chosen["margin"])
    experiments = store.query(
        "SELECT * FROM run_summary WHERE sweep = ? ORDER BY position NULLS LAST, run_name", [name]
    )
    configurations = _configurations(store, name)
    possible = experiments.loc[experiments["state"] != "infeasible", "run_name"]
    feasible = [configurations[run] for run in possible]
    varying = tuple(varying_keys(feasible))
    speedups, modes = speedup_table(store, name), modes_table(store, name)
    fates = fates_table(store, name)
    waste, bias, trends = waste_table(fates), bias_table(store, name), age_trends_table(store, name)
    deltas = delta_table(store, name, margin)
    arm_deltas = arm_delta_table(store, name, deltas, margin)
    arm_speedups = arm_speedups_table(experiments, speedups)
    speeds = compared_speeds(experiments, speedups, arm_speedups)
    quarantine, published = _quarantine(store, name), published_speedup_table(store, name)
    plan = plan_table(store, name)
    plan_arms = plan_arms_table(experiments, plan)
    return Report(
        sweep=name,
        profile=_optional(chosen["profile"]),
        models=tuple(sorted(experiments["model"].dropna().unique())),
        created_unix=_optional(chosen["created_unix"]),
        margin_points=margin,
        published_unix=store.mtime,
        objective=objective(feasible, varying),
        spec=_json(chosen["spec"]) or {},
        git=_json(chosen["git"]) or {},
        baseline=_json(chosen["baseline"]),
        configurations=configurations,
        varying=varying,
        experiments=experiments,
        speedups=speedups,
        arms=arms_table(experiments),
        arm_speedups=arm_speedups,
        published_speed=published_speed_table(store, name),
        published_speedups=published,
        published_step_times=published_step_times_table(store, name),
        modes=modes,
        staleness=staleness_table(store, name),
        fates=fates,
        ages=ages_table(store, name),
        waste=waste,
        bias=bias,
        age_effects=age_effects_table(store, name),
        age_trends=trends,
        accuracy=accuracy_table(store, name),
        deltas=deltas,
        arm_deltas=arm_deltas,
        noise_floor=noise_floor_table(store, name),
        plan=plan,
        plan_arms=plan_arms,
        warnings=_warnings(store, name),
        quarantine=quarantine,
        notices=tuple(notices(experiments, overlapping_runs(store, name), quarantine)),
        speed_observations=(
            *published_observations(published),
            *speed_observations(speeds, speedups, modes, configurations, varying),
        ),
        quality_observations=tuple(quality_observations(experiments, deltas, arm_deltas, margin)),
        staleness_observations=tuple(staleness_observations(waste, bias, trends)),
        plan_observations=tuple(plan_observations(plan, plan_arms)),
        conclusions=tuple(conclusions(experiments, speeds, deltas, arm_deltas, margin)),
    )


def _configurations(store: Store, sweep: str) -> dict[str, Flat]:
    frame = store.query(
        "SELECT run_name, config FROM runs WHERE sweep = ? ORDER BY position NULLS LAST, run_name", [sweep]
    )
    return {
        run: flatten(_json(text) or {}) for run, text in zip(frame["run_name"], frame["config"], strict=True)
    }


def _warnings(store: Store, sweep: str) -> pd.DataFrame:
    return store.query(
        "SELECT r.label, w.message, count(*) AS times FROM warnings AS w "
        "JOIN runs AS r USING (sweep, run_name) WHERE sweep = ? "
        "GROUP BY r.label, r.position, w.message ORDER BY r.position, times DESC, w.message",
        [sweep],
    )


def _quarantine(store: Store, sweep: str) -> pd.DataFrame:
    return store.query(
        "SELECT path, count(*) AS lines FROM quarantine WHERE starts_with(path, ? || '/') "
        "GROUP BY path ORDER BY path",
        [sweep],
    )


def _json(text: object) -> Any:  # noqa: ANN401 - a JSON value
    return msgspec.json.decode(text) if isinstance(text, str) else None


def _optional(value: Any) -> Any:  # noqa: ANN401 - a cell of any type
    """A cell as Python's own; None where it is missing."""
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()
