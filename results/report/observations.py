"""Generated sentences about a sweep. Each says only what its interval or adjusted test allows."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.statistics.proportions import LEVEL
from results.store import records
from results.tables.accuracy import default_filter_rows, learned_runs


def observations(
    experiments: pd.DataFrame, speedups: pd.DataFrame, deltas: pd.DataFrame, margin_points: float
) -> Iterator[str]:
    """Sentences on speed, then on quality.

    Args:
        experiments: view `run_summary`.
        speedups: `results.tables.speed.speedup_table`.
        deltas: `results.tables.accuracy.delta_table`.
        margin_points: of equivalence, percentage points.
    """
    yield from _speed(speedups)
    if deltas.empty:
        yield "Nothing has been evaluated yet: quality was not tested."
        return
    yield from _learning(experiments, deltas)
    yield from _quality(experiments, deltas, margin_points)
    if experiments["seed"].nunique() <= 1:
        yield "One seed: every verdict is about these checkpoints and these runs, not about the settings."
    else:
        yield "Each accuracy verdict is about single checkpoints: no test over seeds is made."


def _speed(speedups: pd.DataFrame) -> Iterator[str]:
    """The largest speed-up shown against each kind of opponent, what step times make of it, and losses."""
    for against, article in (("baseline", "its"), ("reference", "the")):
        name = f"{article} {OPPONENTS[against]}"
        part = speedups[speedups["against"] == against].dropna(subset=["prompts_per_s_low"])
        if part.empty:
            continue
        # The largest ratio may be an unsteady run's: what is shown is decided by every interval.
        faster = part[part["prompts_per_s_low"] > 1]
        candidates = part if faster.empty else faster
        best = max(records(candidates), key=lambda row: row["prompts_per_s_speedup"])
        low, high = best["prompts_per_s_low"], best["prompts_per_s_high"]
        ratio = best["prompts_per_s_speedup"]
        if faster.empty:
            yield (
                f"No run is shown to be faster than {name}: the best, {best['label']}, trains {ratio:.2f}x "
                f"the prompts a second (95 % {low:.2f}–{high:.2f}, {best['interval_scope']})."
            )
            yield from _slower(part, name)
            continue
        yield (
            f"Largest speed-up in prompts a second: {ratio:.2f}x (95 % {low:.2f}–{high:.2f}, "
            f"{best['interval_scope']}), {best['label']} against {name}, {best['other_label']}."
        )
        if not best["step_time_comparable"]:
            yield (
                f"The ratio of their step times, {best['step_time_speedup']:.2f}x, is not that speed-up: "
                f"their steps train different numbers of prompts."
            )
        yield from _slower(part, name)


def _slower(part: pd.DataFrame, name: str) -> Iterator[str]:
    """Runs shown to lose time against their opponent."""
    for row in records(part[part["prompts_per_s_high"] < 1]):
        low, high = row["prompts_per_s_low"], row["prompts_per_s_high"]
        yield (
            f"{row['label']} is slower than {name}, {row['other_label']}: "
            f"{row['prompts_per_s_speedup']:.2f}x the prompts a second "
            f"(95 % {low:.2f}–{high:.2f}, {row['interval_scope']})."
        )


def _learning(experiments: pd.DataFrame, deltas: pd.DataFrame) -> Iterator[str]:
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
        missing = ", ".join(labels[run] for run in sorted(evaluated - learned))
        yield (
            f"{len(learned)} of {len(evaluated)} evaluated runs are shown to be better than their base "
            f"model; not shown: {missing}."
        )


def _quality(experiments: pd.DataFrame, deltas: pd.DataFrame, margin_points: float) -> Iterator[str]:
    """Verdicts against baseline and reference, and what could not have been seen."""
    prompts = dict(zip(experiments["label"], experiments["prompts"], strict=True))
    for against in ("baseline", "reference"):
        name = OPPONENTS[against]
        part = default_filter_rows(deltas[deltas["against"] == against])
        part = part[part["verdict"] != "refused"]
        if part.empty:
            continue
        counts = part["verdict"].value_counts()
        for word in ("better", "worse"):
            for row in records(part[part["verdict"] == word]):
                yield (
                    f"{row['label']} is {word} than its {name} {row['other_label']} at {row['num_fewshot']} "
                    f"shots: {row['delta_points']:+.2f} points (adjusted p = {row['p_adjusted']:.2g})"
                    f"{_unequal_training(prompts.get(row['label']), prompts.get(row['other_label']))}."
                )
        same, open_ = int(counts.get("equivalent", 0)), int(counts.get("inconclusive", 0))
        of_all = f"of {len(part)} comparisons with the {name} are"
        if same:
            yield f"{same} {of_all} equivalent within ±{margin_points:g} points."
        if open_:
            least = part.loc[part["verdict"] == "inconclusive", "detectable_points"]
            yield (
                f"{open_} {of_all} inconclusive: differences below about {least.min():.1f} to "
                f"{least.max():.1f} points would have been missed one time in five or more."
            )


def _unequal_training(prompts: float | None, other: float | None) -> str:
    """A word on runs that did not train the same number of prompts, which alone may decide a verdict."""
    if prompts is None or other is None or pd.isna(prompts) or pd.isna(other) or prompts == other:
        return ""
    return f"; it trained {prompts:.0f} prompts, the other {other:.0f}"
