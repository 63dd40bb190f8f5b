"""The tables of a report for machines: one model a table, one attribute a column.

JSON, its schema and CSV are made from these. Names end in their units: `_s` seconds, `_points` and
`_percent`, `_share` in [0, 1], `_speedup` a ratio above 1 where this run is the faster, `_unix` seconds
since 1970. What is not known is null.
"""

import difflib

from results.report.rows import accuracy, plan, runs, speed, staleness
from results.report.rows.base import Row
from trainer.errors import ConfigError

TABLES: dict[str, type[Row]] = {
    "experiments": runs.ExperimentRow,
    "arms": runs.ArmRow,
    "speedups": speed.SpeedupRow,
    "arm_speedups": speed.ArmSpeedupRow,
    "published_speed": speed.PublishedSpeedRow,
    "published_speedups": speed.PublishedSpeedupRow,
    "published_step_times": speed.PublishedStepTimesRow,
    "modes": speed.ModesRow,
    "staleness": staleness.StalenessRow,
    "fates": staleness.FateRow,
    "ages": staleness.AgesRow,
    "waste": staleness.WasteRow,
    "bias": staleness.BiasRow,
    "age_effects": staleness.AgeEffectsRow,
    "age_trends": staleness.AgeTrendsRow,
    "accuracy": accuracy.AccuracyRow,
    "deltas": accuracy.DeltaRow,
    "arm_deltas": accuracy.ArmDeltaRow,
    "noise_floor": accuracy.NoiseFloorRow,
    "plan": plan.PlanRow,
    "plan_arms": plan.PlanArmRow,
    "warnings": runs.WarningRow,
    "quarantine": runs.QuarantineRow,
}
"""By name; a `Report` has a frame of the same name for each."""


def check_table(name: str) -> None:
    """That there is a table of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TABLES:
        close = difflib.get_close_matches(name, TABLES, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(TABLES)}"
        raise ConfigError(f"--table {name}: no such table; {advice}")
