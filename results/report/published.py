"""Sentences on speed that was published elsewhere: what the figures say, and no test of anything.

Published means come without the steps they are of, so there is no interval and no verdict. What is given
with each ratio is what the rounding of its figures allows.
"""

from collections.abc import Iterator

import pandas as pd

from results.report.cells import Row, published_ratio
from results.report.compared import opponents
from results.report.observations import opponent_name
from results.store import records

_NAMED = 5
"""So many runs are named one by one; more are counted."""


def published_observations(published: pd.DataFrame) -> Iterator[str]:
    """Sentences on every kind of opponent.

    Args:
        published: `results.tables.published.published_speedup_table`.
    """
    for against in opponents(published):
        part = published[published["against"] == against]
        yield from largest_published(part)
        yield from flattering_step_times(part)
        yield from published_as_slower(part)


def largest_published(part: pd.DataFrame) -> Iterator[str]:
    """The largest published ratio of prompts/s, and those that rounding cannot tell from it.

    Args:
        part: rows of `published_speedup_table` of one kind of opponent.
    """
    known = records(part.dropna(subset=["prompts_per_s_speedup"]))
    if not known:
        return
    best = max(known, key=lambda row: row["prompts_per_s_speedup"])
    name = opponent_name(best["against"])
    value, ends = published_ratio(best, "prompts_per_s_speedup")
    if best["prompts_per_s_speedup_low"] <= 1:
        yield (
            f"No run is published as faster than {name}: the best, {best['label']}, trains {value} the "
            f"prompts a second (rounding allows {ends}; no confidence interval)."
        )
        return
    low = best["prompts_per_s_speedup_low"]
    rivals = [row["label"] for row in known if row is not best and row["prompts_per_s_speedup_high"] >= low]
    same = f"; rounding cannot tell it from that of {_named(rivals)}" if rivals else ""
    yield (
        f"Largest published speed-up in prompts a second: {value} (rounding allows {ends}; no confidence "
        f"interval), {best['label']} against {name}, {best['other_label']}{same}."
    )


def flattering_step_times(part: pd.DataFrame) -> Iterator[str]:
    """The largest published ratio of step times, where the steps train different numbers of prompts."""
    known = records(part.dropna(subset=["step_time_speedup", "prompts_per_s_speedup"]))
    if not known:
        return
    best = max(known, key=lambda row: row["step_time_speedup"])
    if not best["step_time_comparable"]:
        step_time, _ = published_ratio(best, "step_time_speedup")
        value, ends = published_ratio(best, "prompts_per_s_speedup")
        yield (
            f"The largest published ratio of step times, {step_time}, {best['label']} against "
            f"{opponent_name(best['against'])}, {best['other_label']}, is of steps that train different "
            f"numbers of prompts: in prompts a second it is {value} (rounding allows {ends})."
        )


def published_as_slower(part: pd.DataFrame) -> Iterator[str]:
    """Runs that by their published figures train fewer prompts a second, however these were rounded."""
    slower = records(part[part["prompts_per_s_speedup_high"] < 1])
    if slower:
        who = _named([_with_ratio(row) for row in slower])
        yield f"Published as slower than {opponent_name(slower[0]['against'], len(slower))}: {who}."


def _with_ratio(row: Row) -> str:
    value, ends = published_ratio(row, "prompts_per_s_speedup")
    return f"{row['label']}, {value} the prompts a second (rounding allows {ends})"


def _named(words: list[str]) -> str:
    return "; ".join(words) if len(words) <= _NAMED else f"{len(words):,} runs"
