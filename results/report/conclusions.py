"""What a sweep has shown, in a few sentences. Each states a count of tests and what it does not show."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.cells import span
from results.report.compared import have_several_seeds, opponents, subject
from results.tables.accuracy import default_filter_rows, learned_runs
from results.tables.arms_accuracy import ONE_SEED, learned_arms


def conclusions(
    experiments: pd.DataFrame,
    speeds: pd.DataFrame,
    deltas: pd.DataFrame,
    arm_deltas: pd.DataFrame,
    margin_points: float,
) -> Iterator[str]:
    """Sentences on speed, on accuracy and on what is still open.

    Args:
        experiments: view `run_summary`.
        speeds: `results.report.compared.compared_speeds`.
        deltas: `results.tables.accuracy.delta_table`.
        arm_deltas: `results.tables.arms_accuracy.arm_delta_table`; where arms have several seeds, accuracy
            is told of these.
        margin_points: of equivalence, percentage points.
    """
    for against in opponents(speeds[speeds["against"] != "chosen"]):
        yield from shown_speed(speeds[speeds["against"] == against])
    several = have_several_seeds(arm_deltas)
    learned = bool(learned_arms(arm_deltas) if several else learned_runs(deltas))
    told = arm_deltas if several else deltas.assign(scope=ONE_SEED)
    yield from shown_quality(default_filter_rows(told[told["against"] == "baseline"]), learned, margin_points)
    yield from still_missing(experiments)


def shown_speed(part: pd.DataFrame) -> Iterator[str]:
    """How many are faster than their opponent, how many slower, and of how many nothing is shown.

    Args:
        part: rows of `results.report.compared.compared_speeds` of one kind of opponent; those without a
            ratio were not compared.
    """
    part = part[part["prompts_per_s_speedup"].notna()]
    if part.empty:
        return
    against = str(part["against"].iloc[0])
    faster = part[part["prompts_per_s_low"] > 1]
    slower = int((part["prompts_per_s_high"] < 1).sum())
    # A row that is neither, whether its interval holds 1 or there is none.
    open_ = len(part) - len(faster) - slower
    said = f"Of {len(part):,} {subject(part, len(part))} compared with "
    said += f"{'the' if against == 'reference' else 'a'} {OPPONENTS[against]}, {len(faster):,} "
    said += f"{'is' if len(faster) == 1 else 'are'} shown to train more prompts a second"
    if len(faster):
        low, high = faster["prompts_per_s_speedup"].min(), faster["prompts_per_s_speedup"].max()
        said += f" ({span(low, high, '.2f', 'x')})"
    said += f" and {slower:,} fewer, each by its own 95 % interval"
    said += ", not adjusted for their number" if len(part) > 1 else ""
    yield f"{said}; of {open_:,} neither is shown." if open_ else f"{said}."


def shown_quality(part: pd.DataFrame, learned: bool, margin_points: float) -> Iterator[str]:
    """What the comparisons with the matched baseline amount to.

    Args:
        part: rows of runs or of arms against the baseline with what their verdict is about, `scope`;
            default filter, refused ones among them.
        learned: whether any of them is shown to be better than its base model.
        margin_points: of equivalence, percentage points.
    """
    tested = part[part["verdict"] != "refused"]
    if tested.empty:
        yield "What the settings cost in accuracy was not tested: no run could be compared with its baseline."
        return
    of_checkpoints = tested["scope"] == ONE_SEED
    worse = int((tested["verdict"] == "worse").sum())
    open_ = int((tested["verdict"] == "inconclusive").sum())
    if worse:
        yield (
            f"A loss of accuracy is shown in {worse:,} of {len(tested):,} comparisons with a matched "
            "baseline."
        )
    elif not learned:
        yield (
            f"No {'run' if of_checkpoints.all() else 'arm'} is shown to have learned anything, so that no "
            "loss of accuracy is shown "
            "says nothing about what the settings cost."
        )
    elif open_:
        yield (
            "No loss of accuracy against a matched baseline is shown, nor is it ruled out: "
            f"{open_:,} of {len(tested):,} comparisons are inconclusive."
        )
    else:
        about = "these checkpoints" if of_checkpoints.all() else "these arms over their seeds"
        if of_checkpoints.any() and not of_checkpoints.all():
            about += ", and for the checkpoints of those with one seed"
        yield (
            f"In all {len(tested):,} comparisons that could be made with a matched baseline, a loss of more "
            f"than {margin_points:g} points is ruled out for {about}, at the 5 % level."
        )


def still_missing(experiments: pd.DataFrame) -> Iterator[str]:
    """That runs have not finished, which all that is said above depends on."""
    feasible = experiments[experiments["state"] != "infeasible"]
    missing = int((feasible["state"] != "succeeded").sum())
    if missing:
        yield f"{missing:,} of {len(feasible):,} runs have not finished: all of this may change."
