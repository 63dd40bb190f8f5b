"""Sentences on what was thrown away and on what age did. Each says only what its count or test allows."""

from collections.abc import Iterator

import pandas as pd

from results.report.cells import p_text
from results.statistics.proportions import LEVEL
from results.store import records
from results.tables.ages import METRIC_NAMES
from results.tables.selection import bias_sentences
from results.tables.staleness import WASTED

_NAMED = 5
"""So many findings of a kind are told one by one; more are counted."""


def staleness_observations(waste: pd.DataFrame, bias: pd.DataFrame, trends: pd.DataFrame) -> Iterator[str]:
    """Sentences on waste, on its bias, and on ratios against age.

    Args:
        waste: `results.tables.staleness.waste_table`.
        bias: `results.tables.selection.bias_table`.
        trends: `results.tables.ages.age_trends_table`.
    """
    yield from most_wasted(waste)
    yield from biased(bias)
    yield from age_matters(trends)


def most_wasted(waste: pd.DataFrame) -> Iterator[str]:
    """The run that trained on the smallest share of what it generated. A count: no test is needed."""
    wasted = waste[waste["wasted_share"] > 0]
    if wasted.empty:
        return
    most = records(wasted.loc[[wasted["wasted_share"].idxmax()]])[0]
    fate = max(WASTED, key=lambda each: most[f"{each}_share"])
    least, share = (f"{each:.0%}" for each in (waste["wasted_share"].min(), most["wasted_share"]))
    of = f"{share} of each run's" if least == share else f"between {least} and {share} of a run's"
    yield (
        f"Never trained on: {of} generated tokens, most in {most['label']}, "
        f"where {most[f'{fate}_share']:.0%} were {fate}."
    )


def biased(bias: pd.DataFrame) -> Iterator[str]:
    """What was thrown away and is shown to be unlike what was trained on."""
    shown = bias[bias["p_adjusted"] < LEVEL]
    if len(shown) > _NAMED:
        tested = int(bias["p"].notna().sum())
        for fate, part in shown.groupby("fate", sort=False):
            yield (
                f"Groups that were {fate} are shown to be unlike trained ones in {len(part)} of {tested} "
                f"comparisons, of {part['run_name'].nunique()} runs; CSV and JSON have them."
            )
        return
    yield from bias_sentences(shown)


def age_matters(trends: pd.DataFrame) -> Iterator[str]:
    """Ratios that are shown to go with age within a run."""
    shown = trends[trends["p_adjusted"] < LEVEL]
    for row in records(shown)[:_NAMED]:
        way = "rises" if row["rank_correlation"] > 0 else "falls"
        yield (
            f"{row['label']}: {METRIC_NAMES[row['metric']]} (`{row['metric']}`) {way} with the age of what a "
            "step trains on "
            f"(rank correlation {row['rank_correlation']:+.2f}, adjusted {p_text(row['p_adjusted'])})."
        )
    if len(shown) > _NAMED:
        yield f"So do {len(shown) - _NAMED} further ratios, of {shown['run_name'].nunique()} runs in all."
