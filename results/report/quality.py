"""Sentences on accuracy. Each says only what its adjusted test allows; docs/report.md lists them."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.cells import p_text
from results.statistics.proportions import LEVEL
from results.store import records
from results.tables.accuracy import default_filter_rows, learned_runs
from results.tables.arms import arm_label
from results.tables.arms_accuracy import ONE_SEED

_NAMED = 5
"""So many verdicts or runs are named one by one; more are counted."""


def quality_observations(
    experiments: pd.DataFrame, deltas: pd.DataFrame, arm_deltas: pd.DataFrame, margin_points: float
) -> Iterator[str]:
    """Sentences on learning, on every kind of opponent, and on how far verdicts reach.

    Args:
        experiments: view `run_summary`.
        deltas: `results.tables.accuracy.delta_table`.
        arm_deltas: `results.tables.arms_accuracy.arm_delta_table`.
        margin_points: of equivalence, percentage points.
    """
    if deltas.empty:
        yield "Nothing has been evaluated against anything yet: quality was not tested."
        return
    yield from learning(experiments, deltas)
    for against in OPPONENTS:
        part = default_filter_rows(deltas[deltas["against"] == against])
        part = part[part["verdict"] != "refused"]
        if against != "base":
            yield from decided(experiments, part)
            yield from equivalences(part, margin_points)
            yield from undecided(part)
    yield from arm_verdicts(arm_deltas)
    yield from noise(deltas)
    yield from reach(experiments, arm_deltas)


def learning(experiments: pd.DataFrame, deltas: pd.DataFrame) -> Iterator[str]:
    """Whether there was anything to lose."""
    base = default_filter_rows(deltas[deltas["against"] == "base"])
    if base.empty:
        yield "The base model was not evaluated: whether any run learned is not known."
        return
    learned, evaluated = learned_runs(deltas), set(base["run_name"])
    labels = dict(zip(experiments["run_name"], experiments["label"], strict=True))
    if not learned:
        yield (
            f"No run is shown to be better than its base model (adjusted p < {LEVEL}): nothing was learned "
            f"that staleness could have cost, so quality was not tested."
        )
    elif learned == evaluated:
        yield f"All {len(learned)} evaluated runs are shown to be better than their base model: they learned."
    else:
        without = sorted(evaluated - learned)
        missing = (
            ", ".join(labels[run] for run in without) if len(without) <= _NAMED else f"{len(without)} runs"
        )
        yield (
            f"{len(learned)} of {len(evaluated)} evaluated runs are shown to be better than their base "
            f"model; not shown: {missing}."
        )


def decided(experiments: pd.DataFrame, part: pd.DataFrame) -> Iterator[str]:
    """Verdicts better and worse.

    Args:
        experiments: view `run_summary`.
        part: rows of one kind of opponent that are not refused.
    """
    prompts = dict(zip(experiments["label"], experiments["prompts"], strict=True))
    for word in ("better", "worse"):
        chosen = part[part["verdict"] == word]
        if len(chosen) > _NAMED:
            name = OPPONENTS[str(chosen["against"].iloc[0])]
            runs = chosen["run_name"].nunique()
            yield (
                f"{len(chosen)} of {len(part)} comparisons with the {name} are {word}, "
                f"of {runs} {'run' if runs == 1 else 'runs'}."
            )
            continue
        for row in records(chosen):
            yield (
                f"{row['label']} is {word} than its {OPPONENTS[row['against']]} {row['other_label']} at "
                f"{row['num_fewshot']} shots: {row['delta_points']:+.2f} points "
                f"(adjusted {p_text(row['p_adjusted'])})"
                f"{_unequal_training(prompts.get(row['label']), prompts.get(row['other_label']))}."
            )


def equivalences(part: pd.DataFrame, margin_points: float) -> Iterator[str]:
    """How many comparisons are equivalent, and how wide the margin is."""
    same = int((part["verdict"] == "equivalent").sum())
    if same:
        name = OPPONENTS[str(part["against"].iloc[0])]
        yield (
            f"{same} of {len(part)} comparisons with the {name} are equivalent "
            f"within ±{margin_points:g} points."
        )


def undecided(part: pd.DataFrame) -> Iterator[str]:
    """How many comparisons show nothing, and what they could not have shown."""
    least = part.loc[part["verdict"] == "inconclusive", "detectable_points"]
    if len(least):
        name = OPPONENTS[str(part["against"].iloc[0])]
        yield (
            f"{len(least)} of {len(part)} comparisons with the {name} are inconclusive: differences "
            f"below about {least.min():.1f} to {least.max():.1f} points would have been missed "
            "one time in five or more."
        )


def arm_verdicts(arm_deltas: pd.DataFrame) -> Iterator[str]:
    """Verdicts better and worse over several seeds, which are about a setting."""
    over_seeds = default_filter_rows(arm_deltas[arm_deltas["scope"] != ONE_SEED])
    chosen = over_seeds[over_seeds["verdict"].isin(["better", "worse"]) & (over_seeds["against"] != "base")]
    for row in records(chosen)[:_NAMED]:
        yield (
            f"Over {row['scope']}, {arm_label(row['label'])} is {row['verdict']} than its "
            f"{OPPONENTS[row['against']]} {arm_label(row['other_label'])} at {row['num_fewshot']} shots: "
            f"{row['delta_points']:+.2f} points (95 % {row['low']:+.2f} to {row['high']:+.2f}, "
            f"adjusted {p_text(row['p_adjusted'])})."
        )
    if len(chosen) > _NAMED:
        yield f"So decided are {len(chosen)} of {len(over_seeds)} comparisons of arms over seeds in all."


def noise(deltas: pd.DataFrame) -> Iterator[str]:
    """Differences that are no larger than those between two evaluations of the same weights."""
    known = default_filter_rows(deltas[deltas["noise_points"].notna() & (deltas["verdict"] != "refused")])
    within = int(known["within_noise"].sum())
    if within:
        yield (
            f"{within} of {len(known)} differences are within what evaluating the base model twice "
            "already differs by (marked ~)."
        )


def reach(experiments: pd.DataFrame, arm_deltas: pd.DataFrame) -> Iterator[str]:
    """What a verdict is about."""
    if experiments["seed"].nunique() <= 1:
        yield "One seed: every verdict is about these checkpoints and these runs, not about the settings."
    elif (arm_deltas["scope"] != ONE_SEED).any():
        yield "A verdict over several seeds is about a setting; the others are about single checkpoints."
    else:
        yield "Each accuracy verdict is about single checkpoints: no arm has several seeds to compare."


def _unequal_training(prompts: float | None, other: float | None) -> str:
    """A word on runs that did not train the same number of prompts, which alone may decide a verdict."""
    if prompts is None or other is None or pd.isna(prompts) or pd.isna(other) or prompts == other:
        return ""
    return f"; it trained {prompts:.0f} prompts, the other {other:.0f}"
