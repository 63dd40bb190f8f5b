"""Speed-ups as the pages show them: of arms over their seeds, of runs, as bars."""

from collections.abc import Sequence

import pandas as pd

from dashboard.data import View
from dashboard.shown import show_figure
from results.figures.colours import arm_styles
from results.figures.speed import UNITS, SpeedUnit, in_unit, ranked, speedup_bars
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.compared import compared_speeds
from results.tables.arms import arm_speedups_table
from results.tables.speed import ONE_RUN

_SAID = 12
"""So many ratios are read out in a caption; of more the ends."""


def arm_speedups(view: View, report: Report, against: str) -> pd.DataFrame:
    """`arm_speedups_table` of the runs that the filter leaves, with a `run_name` to have the colour of."""
    runs = view.left(report.speedups[report.speedups["against"] == against])
    return _with_run(report, arm_speedups_table(report.experiments, runs))


def speeds(view: View, report: Report, against: str) -> pd.DataFrame:
    """Arms over several seeds and the runs of all others, of those that the filter leaves."""
    runs = view.left(report.speedups[report.speedups["against"] == against])
    arms = arm_speedups_table(report.experiments, runs)
    return _with_run(report, compared_speeds(report.experiments, runs, arms))


def _with_run(report: Report, arms: pd.DataFrame) -> pd.DataFrame:
    known = report.experiments.dropna(subset=["arm_id"]).drop_duplicates("arm_id")
    first = arms["arm_id"].map(dict(zip(known["arm_id"], known["run_name"], strict=True)))
    runs = arms["run_name"].fillna(first) if "run_name" in arms else first
    return arms.assign(run_name=runs)


def show_bars(view: View, name: str, rows: pd.DataFrame, unit: SpeedUnit, most: int) -> None:
    """The best rows as bars, best first; those of which only a bound is known come last, without a bar.

    Args:
        view: what the page shows.
        name: of the figure.
        rows: rows of one opponent with a ratio in this unit, as `results.figures.speed.in_unit` takes them.
        unit: of the ratio.
        most: bars.
    """
    ratios = ranked(in_unit(rows, unit))
    drawn = rows.loc[ratios.index[:most]]
    against = str(drawn["against"].iloc[0])
    over = ", over seeds" if (drawn["interval_scope"] != ONE_RUN).all() else ""
    numbers = ratios.loc[
        drawn.index, ["label", "other_label", "bound", "ratio", "low", "high", "interval_scope"]
    ]
    show_figure(
        view,
        name,
        speedup_bars(drawn, arm_styles(view.report.experiments), unit),
        numbers.assign(unit=_name(unit)),
        _caption(ratios, len(drawn), unit),
        title=f"speed-ups against the {OPPONENTS[against]}{over}, by {_name(unit)}",
    )


def _caption(ratios: pd.DataFrame, drawn: int, unit: SpeedUnit) -> str:
    """What the bars say, for who cannot see them."""
    shown = ratios.head(drawn)
    words = [
        f"{label} {said} against {other}"
        for label, said, other in zip(shown["label"], shown["words"], shown["other_label"], strict=True)
    ]
    if len(words) > _SAID:
        words = [words[0], "…", words[-1]]
    left = f"The best {drawn} of {len(ratios):,} are drawn. " if drawn < len(ratios) else ""
    title = unit.title[0].upper() + unit.title[1:]
    parts = [f"{left}{title}; right of 1× is faster: {'; '.join(words)}.", *_kinds(shown, unit)]
    if not shown["comparable"].all():
        parts.append("Hatched, †: their steps train different numbers of prompts, so this is no speed-up.")
    return " ".join(parts)


def _kinds(shown: pd.DataFrame, unit: SpeedUnit) -> Sequence[str]:
    """What the brackets are, of the kinds there are."""
    kinds = []
    of_runs = (shown["interval_scope"] == ONE_RUN) & shown["low"].notna()
    over_seeds = shown["interval_scope"].str.startswith("over")
    if of_runs.any():
        kinds.append("[ ]: 95 % interval within these runs, from whole sync cycles after the first.")
    if over_seeds.any():
        seeds = " and ".join(shown.loc[over_seeds, "interval_scope"].unique())
        kinds.append(
            f"{'Of arms' if of_runs.any() else 'Geometric means'} {seeds}, each against its own twin, "
            "with a 95 % t-interval."
        )
    if (shown["bound"].isna() & shown["words"].str.contains("(", regex=False)).any():
        kinds.append("( ): range of two seeds, which is no interval.")
    if unit.ends == "time_to_reward":
        kinds.append(
            "A run reaches a reward once: there is no interval within one. Not reached: one of the two ended "
            "before it came to that reward, so the ratio is only known to be below (<) or above (>) the "
            "figure, and has no bar."
        )
    return kinds


def _name(unit: SpeedUnit) -> str:
    return next(name for name, each in UNITS.items() if each == unit)
