"""What a sweep has shown, in a few sentences. Each states a count of tests and what it does not show."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.tables.accuracy import default_filter_rows, learned_runs


def conclusions(
    experiments: pd.DataFrame, speedups: pd.DataFrame, deltas: pd.DataFrame, margin_points: float
) -> Iterator[str]:
    """Sentences on speed, on accuracy and on what is still open.

    Args:
        experiments: view `run_summary`.
        speedups: `results.tables.speed.speedup_table`.
        deltas: `results.tables.accuracy.delta_table`.
        margin_points: of equivalence, percentage points.
    """
    for against in ("baseline", "reference"):
        yield from shown_speed(speedups[speedups["against"] == against])
    quality = default_filter_rows(deltas[deltas["against"] == "baseline"])
    yield from shown_quality(quality, bool(learned_runs(deltas)), margin_points)
    yield from still_missing(experiments)


def shown_speed(part: pd.DataFrame) -> Iterator[str]:
    """How many runs are faster than their opponent, how many slower, and of how many nothing is shown.

    Args:
        part: rows of one kind of opponent; those without a ratio were not compared.
    """
    part = part[part["prompts_per_s_speedup"].notna()]
    if part.empty:
        return
    against = str(part["against"].iloc[0])
    faster = part[part["prompts_per_s_low"] > 1]
    slower = int((part["prompts_per_s_high"] < 1).sum())
    # A row that is neither, whether its interval holds 1 or there is none.
    open_ = len(part) - len(faster) - slower
    said = f"Of {len(part)} {'run' if len(part) == 1 else 'runs'} compared with "
    said += f"{'the' if against == 'reference' else 'a'} {OPPONENTS[against]}, {len(faster)} "
    said += f"{'is' if len(faster) == 1 else 'are'} shown to train more prompts a second"
    if len(faster):
        low, high = faster["prompts_per_s_speedup"].min(), faster["prompts_per_s_speedup"].max()
        said += f" ({low:.2f}x)" if len(faster) == 1 else f" ({low:.2f}x to {high:.2f}x)"
    said += f" and {slower} fewer, each by its own 95 % interval"
    yield f"{said}; of {open_} neither is shown." if open_ else f"{said}."


def shown_quality(part: pd.DataFrame, learned: bool, margin_points: float) -> Iterator[str]:
    """What the comparisons with the matched baseline amount to.

    Args:
        part: rows against the baseline, default filter, refused ones among them.
        learned: whether any run is shown to be better than its base model.
        margin_points: of equivalence, percentage points.
    """
    tested = part[part["verdict"] != "refused"]
    if tested.empty:
        yield "What the settings cost in accuracy was not tested: no run could be compared with its baseline."
        return
    worse = int((tested["verdict"] == "worse").sum())
    open_ = int((tested["verdict"] == "inconclusive").sum())
    if worse:
        yield f"A loss of accuracy is shown in {worse} of {len(tested)} comparisons with a matched baseline."
    elif not learned:
        yield (
            "No run is shown to have learned anything, so that no loss of accuracy is shown "
            "says nothing about what the settings cost."
        )
    elif open_:
        yield (
            "No loss of accuracy against a matched baseline is shown, nor is it ruled out: "
            f"{open_} of {len(tested)} comparisons are inconclusive."
        )
    else:
        yield (
            f"In all {len(tested)} comparisons that could be made with a matched baseline, a loss of more "
            f"than {margin_points:g} points is ruled out for these checkpoints, at the 5 % level."
        )


def still_missing(experiments: pd.DataFrame) -> Iterator[str]:
    """That runs have not finished, which all that is said above depends on."""
    feasible = experiments[experiments["state"] != "infeasible"]
    missing = int((feasible["state"] != "succeeded").sum())
    if missing:
        yield f"{missing} of {len(feasible)} runs have not finished: all of this may change."
