"""What a sweep leaves open first of all, and the command that goes on from there."""

from itertools import count, islice

import pandas as pd

from results.report.build import Report
from results.report.cells import counted
from results.statistics.seeds import MIN_SEEDS


def next_step(report: Report) -> str | None:
    """One sentence in Markdown; None where nothing can be done from here, as with runs made elsewhere.

    In this order: runs that have not finished, accuracy that was not tested, seeds too few for an interval
    that speaks of a setting, settings that the sweep does not have. What each leaves open is a count or a
    table that is empty: nothing is tested here.
    """
    runs = report.experiments
    elsewhere = (runs["state"] == "succeeded") & runs["profile"].isna()
    ours = runs[(runs["state"] != "infeasible") & ~elsewhere]
    if ours.empty:
        return None
    if left := int((ours["state"] != "succeeded").sum()):
        return (
            f"{counted(left, 'run')} of {len(ours):,} {'has' if left == 1 else 'have'} not finished. "
            "`sweepctl status` says what they are at; `sweepctl run` with the sweep's spec goes on with them."
        )
    if report.accuracy["run_name"].isna().all():
        return _evaluate(bool(report.spec.get("eval")))
    few = report.arms[report.arms["seeds"] < MIN_SEEDS]
    if len(few):
        return _more_seeds(len(few), len(report.arms), ours["seed"])
    return (
        "what was planned is done. `sweepctl plan` with the sweep's spec and `--recommend` simulates "
        "settings that it does not have."
    )


def _evaluate(in_spec: bool) -> str:
    how = "and without `--no-eval`" if in_spec else "once that has a section `eval`"
    return (
        "no run has been evaluated, so what speed costs in accuracy is not known. `sweepctl run` with the "
        f"sweep's spec, {how}, does so and trains nothing again."
    )


def _more_seeds(few: int, settings: int, seeds: "pd.Series[int]") -> str:
    """The seeds there are, and the next ones up to so many that an interval is over them."""
    there = sorted({int(seed) for seed in seeds.dropna()})
    new = islice((seed for seed in count() if seed not in there), max(0, MIN_SEEDS - len(there)))
    wanted = ",".join(map(str, [*there, *new]))
    which = "the only setting has" if settings == 1 else f"{few:,} of {settings:,} settings have"
    return (
        f"{which} fewer than {MIN_SEEDS} seeds, so what is said of them is of these runs alone. "
        f"`sweepctl run` with the sweep's spec and `--set seeds=[{wanted}]` trains what is missing, no more."
    )
