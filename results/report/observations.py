"""Sentences on speed. Each says only what its interval or test allows; docs/report.md lists them."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.compared import opponents, subject
from results.report.knobs import Flat, differing_keys
from results.store import records
from results.tables.arms import arms_named

_NAMED = 5
"""So many runs are named one by one; more are counted, with the extreme one."""


def speed_observations(
    compared: pd.DataFrame,
    speedups: pd.DataFrame,
    modes: pd.DataFrame,
    configurations: Mapping[str, Flat],
    varying: Sequence[str],
) -> Iterator[str]:
    """Sentences on every kind of opponent, then on modes.

    Args:
        compared: `results.report.compared.compared_speeds`.
        speedups: `results.tables.speed.speedup_table`.
        modes: `results.tables.modes.modes_table`.
        configurations: by run name, by dotted keys.
        varying: the keys that differ between runs.
    """
    for against in opponents(speedups):
        part = compared[compared["against"] == against]
        yield from largest_speedup(part)
        yield from slower_runs(part)
        yield from confounded(speedups[speedups["against"] == against], configurations, varying)
    yield from several_modes(modes)


def opponent_name(against: str, runs: int = 1) -> str:
    """`its matched baseline`, `the reference run`; of several runs `their matched baselines`."""
    if against not in {"base", "baseline"}:
        return f"the {OPPONENTS[against]}"
    return f"its {OPPONENTS[against]}" if runs == 1 else f"their {OPPONENTS[against]}s"


def largest_speedup(part: pd.DataFrame) -> Iterator[str]:
    """The largest ratio of prompts/s that is shown to be above 1, and what step times make of it.

    Args:
        part: rows of `results.report.compared.compared_speeds` of one kind of opponent.
    """
    tested = part.dropna(subset=["prompts_per_s_low", "prompts_per_s_high"])
    if tested.empty:
        return
    name = opponent_name(str(tested["against"].iloc[0]))
    # The largest ratio may be an unsteady run's: what is shown is decided by every interval.
    faster = tested[tested["prompts_per_s_low"] > 1]
    candidates = tested if faster.empty else faster
    best = max(records(candidates), key=lambda row: row["prompts_per_s_speedup"])
    if faster.empty:
        yield (
            f"No {subject(tested, 1)} is shown to be faster than {name}: the best, {best['label']}, trains "
            f"{best['prompts_per_s_speedup']:.2f}x the prompts a second ({_interval(best)})."
        )
        return
    yield (
        f"Largest speed-up in prompts a second: {best['prompts_per_s_speedup']:.2f}x ({_interval(best)}), "
        f"{best['label']} against {name}, {best['other_label']}."
    )
    if not best["step_time_comparable"] and not pd.isna(best["step_time_speedup"]):
        yield (
            f"The ratio of their step times, {best['step_time_speedup']:.2f}x, is not that speed-up: "
            f"their steps train different numbers of prompts."
        )


def slower_runs(part: pd.DataFrame) -> Iterator[str]:
    """Arms and runs shown to lose time against their opponent."""
    slower = part[part["prompts_per_s_high"] < 1]
    if slower.empty:
        return
    tested = part[part["prompts_per_s_high"].notna()]
    family = f"; not adjusted for {len(tested)} {subject(tested, len(tested))}" if len(tested) > 1 else ""
    against = str(slower["against"].iloc[0])
    if len(slower) > _NAMED:
        name = opponent_name(against, len(slower))
        worst = min(records(slower), key=lambda row: row["prompts_per_s_speedup"])
        yield (
            f"{len(slower):,} {subject(slower, len(slower))} are slower than {name}, each by its own 95 % "
            f"interval, not adjusted for {len(tested):,} {subject(tested, len(tested))}; most of all "
            f"{worst['label']}: {worst['prompts_per_s_speedup']:.2f}x the prompts a second "
            f"({_interval(worst)})."
        )
        return
    for row in records(slower):
        yield (
            f"{row['label']} is slower than {opponent_name(against)}, {row['other_label']}: "
            f"{row['prompts_per_s_speedup']:.2f}x the prompts a second ({_interval(row)}{family})."
        )


def confounded(
    part: pd.DataFrame, configurations: Mapping[str, Flat], varying: Sequence[str]
) -> Iterator[str]:
    """Runs that differ from their opponent in more than one setting, so that none can be credited."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in records(part):
        keys = differing_keys(configurations[row["run_name"]], configurations[row["other_run"]], varying)
        if len(keys) > 1:
            found.setdefault(tuple(keys), []).append(row["label"])
    if not found:
        return
    against = str(part["against"].iloc[0])
    for differing, labels in list(found.items())[:_NAMED]:
        name = opponent_name(against, len(labels))
        named = arms_named(labels, part["label"])
        who = ", ".join(named) if len(named) <= _NAMED else f"{len(labels):,} runs"
        verb = "differs" if len(labels) == 1 else "differ"
        yield (
            f"{who} {verb} from {name} in {', '.join(f'`{key}`' for key in differing)} at once: "
            f"what changed cannot be laid to one of them."
        )
    if len(found) > _NAMED:
        yield f"So do runs in {len(found) - _NAMED} further combinations of settings."


def several_modes(modes: pd.DataFrame) -> Iterator[str]:
    """Runs whose step times are shown to have more than one mode."""
    several = modes[modes["modes"] > 1]
    if several.empty:
        return
    labels = list(several["label"])
    named = arms_named(labels, modes["label"])
    who = ", ".join(named) if len(named) <= _NAMED else f"{len(labels):,} of {len(modes):,} runs"
    verb = "has" if len(labels) == 1 else "have"
    yield f"{who} {verb} more than one step-time mode, so a mean step time alone does not describe the steps."


def _interval(row: Mapping[str, float]) -> str:
    """`95 % 1.10–1.30, within this run`, or `over 3 seeds`."""
    low, high = row["prompts_per_s_low"], row["prompts_per_s_high"]
    return f"95 % {low:.2f}–{high:.2f}, {row['interval_scope']}"
