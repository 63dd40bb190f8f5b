"""Sentences on accuracy. Each says only what its adjusted test allows; docs/report.md lists them."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.cells import counted, p_text, unseen
from results.report.compared import between_arms, compared_accuracies, have_several_seeds, opponents
from results.statistics.proportions import LEVEL
from results.store import records
from results.tables.accuracy import default_filter_rows, learned_runs
from results.tables.arms import arm_label
from results.tables.arms_accuracy import ONE_SEED, learned_arms

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
    yield from learning(experiments, deltas, arm_deltas)
    deltas = between_arms(experiments, deltas)
    told = opponents(deltas)
    deltas = deltas[deltas["against"].isin(list(told))]
    arm_deltas = compared_accuracies(deltas, arm_deltas)
    for against in told:
        part = default_filter_rows(deltas[deltas["against"] == against])
        part = part[part["verdict"] != "refused"]
        if against != "base":
            yield from decided(part)
            yield from equivalences(part, margin_points)
            yield from undecided(part)
    yield from arm_verdicts(arm_deltas)
    yield from noise(deltas)
    yield from reach(experiments, arm_deltas)


def learning(experiments: pd.DataFrame, deltas: pd.DataFrame, arm_deltas: pd.DataFrame) -> Iterator[str]:
    """Whether there was anything to lose; of arms where they have several seeds."""
    base = default_filter_rows(deltas[deltas["against"] == "base"])
    if base.empty:
        yield "The base model was not evaluated: whether any run learned is not known."
        return
    if have_several_seeds(arm_deltas):
        what, learned = "arm", learned_arms(arm_deltas)
        arms = default_filter_rows(arm_deltas[arm_deltas["against"] == "base"])
        labels = dict(zip(arms["arm"], arms["label"].map(arm_label), strict=True))
    else:
        what, learned = "run", learned_runs(deltas)
        every = dict(zip(experiments["run_name"], experiments["label"], strict=True))
        labels = {run: every[run] for run in base["run_name"]}
    without = [label for each, label in labels.items() if each not in learned]
    if not learned:
        yield (
            f"No {what} is shown to be better than its base model (adjusted p < {LEVEL}), so whether "
            "anything was learned is not shown, and quality was not tested."
        )
    elif not without:
        found = f"All {len(learned):,} evaluated {what}s are shown to be better than their base model"
        yield f"{found}: they learned."
    else:
        missing = ", ".join(without) if len(without) <= _NAMED else f"{len(without):,} {what}s"
        yield (
            f"{len(learned):,} of {len(labels):,} evaluated {what}s are shown to be better than their base "
            f"model; not shown: {missing}."
        )


def decided(part: pd.DataFrame) -> Iterator[str]:
    """Verdicts better and worse.

    Args:
        part: rows of one kind of opponent that are not refused.
    """
    for word in ("better", "worse"):
        chosen = part[part["verdict"] == word]
        if len(chosen) > _NAMED:
            name = OPPONENTS[str(chosen["against"].iloc[0])]
            labels = list(chosen["label"].unique())
            runs = f"of {counted(len(labels), 'run')}"
            if len(labels) <= _NAMED:
                runs += f": {', '.join(labels)}"
            yield f"{len(chosen):,} of {len(part):,} comparisons with the {name} are {word}, {runs}."
            continue
        for row in records(chosen):
            yield (
                f"{row['label']} is {word} than its {OPPONENTS[row['against']]} {row['other_label']} at "
                f"{row['num_fewshot']} shots: {row['delta_points']:+.2f} points "
                f"(adjusted {p_text(row['p_adjusted'])})"
                f"{_unequal_training(row['prompts_trained'], row['other_prompts_trained'])}."
            )


def equivalences(part: pd.DataFrame, margin_points: float) -> Iterator[str]:
    """How many comparisons are equivalent, and how wide the margin is."""
    same = int((part["verdict"] == "equivalent").sum())
    if same:
        name = OPPONENTS[str(part["against"].iloc[0])]
        yield (
            f"{same:,} of {len(part):,} comparisons with the {name} are equivalent "
            f"within ±{margin_points:g} points."
        )


def undecided(part: pd.DataFrame) -> Iterator[str]:
    """How many comparisons show nothing, and what they could not have shown."""
    least = part.loc[part["verdict"] == "inconclusive", "detectable_points"]
    if len(least):
        name = OPPONENTS[str(part["against"].iloc[0])]
        yield (
            f"{len(least):,} of {len(part):,} comparisons with the {name} are inconclusive: "
            f"{unseen(least.min(), least.max())} would have been missed one time in five or more."
        )


def arm_verdicts(arm_deltas: pd.DataFrame) -> Iterator[str]:
    """Verdicts better and worse over several seeds."""
    over_seeds = default_filter_rows(arm_deltas[arm_deltas["scope"] != ONE_SEED])
    chosen = over_seeds[over_seeds["verdict"].isin(["better", "worse"]) & (over_seeds["against"] != "base")]
    for row in records(chosen)[:_NAMED]:
        yield (
            f"Over {row['scope']}, {arm_label(row['label'])} is {row['verdict']} than its "
            f"{OPPONENTS[row['against']]} {arm_label(row['other_label'])}"
            f"{', of which there is one checkpoint,' if row['other_seeds'] == 1 else ''} at "
            f"{row['num_fewshot']} shots: {row['delta_points']:+.2f} points "
            f"(95 % {row['low']:+.2f} to {row['high']:+.2f}, adjusted {p_text(row['p_adjusted'])})."
        )
    if len(chosen) > _NAMED:
        yield f"So decided are {len(chosen):,} of {len(over_seeds):,} comparisons of arms over seeds in all."


def noise(deltas: pd.DataFrame) -> Iterator[str]:
    """Differences that are no larger than those between two evaluations of the same weights."""
    known = default_filter_rows(deltas[deltas["noise_points"].notna() & (deltas["verdict"] != "refused")])
    within = int(known["within_noise"].sum())
    if within:
        yield (
            f"{within:,} of {len(known):,} differences are within what evaluating the base model twice "
            "already differs by (marked ~)."
        )


def reach(experiments: pd.DataFrame, arm_deltas: pd.DataFrame) -> Iterator[str]:
    """What a verdict is about: a setting, only where the opponent has several seeds, too."""
    over_seeds = arm_deltas[arm_deltas["scope"] != ONE_SEED]
    against_runs = over_seeds[over_seeds["against"] != "base"]  # a base model is one
    one = (against_runs if len(against_runs) else over_seeds)["other_seeds"] == 1
    if experiments["seed"].nunique() <= 1:
        yield "One seed: every verdict is about these checkpoints and these runs, not about the settings."
    elif over_seeds.empty:
        yield "Each accuracy verdict is about single checkpoints: no arm has several seeds to compare."
    elif one.all():
        yield (
            "A verdict over several seeds is about an arm against one checkpoint of its opponent; "
            "the others are about single checkpoints."
        )
    elif one.any():
        yield (
            "A verdict over several seeds is about a setting, or about an arm against one checkpoint where "
            "its opponent has one; the others are about single checkpoints."
        )
    else:
        yield "A verdict over several seeds is about a setting; the others are about single checkpoints."


def _unequal_training(prompts: float, other: float) -> str:
    """A word on checkpoints not trained on the same number of prompts, which alone may decide a verdict."""
    if pd.isna(prompts) or pd.isna(other) or prompts == other:
        return ""
    return f"; it trained {prompts:.0f} prompts, the other {other:.0f}"
