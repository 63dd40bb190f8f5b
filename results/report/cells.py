"""Numbers as cells of a table. What is missing is a dash."""

from typing import Any

import pandas as pd

from results.tables.speed import NOT_COMPARABLE

NONE = "–"
Row = dict[str, Any]
"""A row of a frame."""


def integer(value: float | None) -> str:
    """A whole number."""
    return NONE if pd.isna(value) else f"{value:.0f}"


def number(value: float | None, form: str) -> str:
    """A number in Python's own format."""
    return NONE if pd.isna(value) else format(value, form)


def significant(value: float | None, digits: int) -> str:
    """A number to so many digits, also where the last are zero: `0.550`."""
    return number(value, f"#.{digits}g").rstrip(".")


def span(low: float, high: float, form: str, unit: str = "") -> str:
    """`6.7 to 7.0`, `1.40x to 1.89x`; one figure where both are printed alike."""
    return " to ".join(dict.fromkeys(f"{end:{form}}{unit}" for end in (low, high)))


def unseen(least: float, most: float) -> str:
    """Which differences in percentage points comparisons may have missed, by `detectable_points`."""
    if least >= 100:
        return "differences of any size"
    return f"differences below about {span(least, most, '.1f')} points"


def counted(count: int, noun: str) -> str:
    """`1 question`, `1,319 questions`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(value: float | None) -> str:
    """A share in [0, 1]."""
    return number(value, ".0%")


def p_text(p: float) -> str:
    """`p = 0.012`; below one in ten thousand only that."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def duration(seconds: float) -> str:
    """`95.0 s`, from two minutes on `2.0 min`."""
    if pd.isna(seconds):
        return NONE
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def durations(*times: float) -> str:
    """Durations in one unit, that of the longest: `9.5 / 14.8 min`."""
    known = [seconds for seconds in times if not pd.isna(seconds)]
    if not known:
        return NONE
    unit, divisor = ("s", 1) if max(known) < 120 else ("min", 60)
    return f"{' / '.join(number(seconds / divisor, '.1f') for seconds in times)} {unit}"


def ratio(value: float, low: float, high: float, mark: str = "") -> str:
    """A ratio and its interval on a line each, or the word that there is none: it never stands alone."""
    if pd.isna(value):
        return NONE
    interval = "no interval" if pd.isna(low) or pd.isna(high) else f"{low:.2f}–{high:.2f}"
    return f"{value:.2f}x{mark}\n[{interval}]"


def published_ratio(row: Row, name: str) -> tuple[str, str]:
    """A ratio of published figures to the decimals that are certain, and the ends that rounding allows.

    Args:
        row: of `results.tables.published.published_speedup_table`, with a value of that name.
        name: of the ratio.
    """
    value = f"{row[name]:.{int(row[f'{name}_decimals'])}f}x"
    return value, f"{row[f'{name}_low']:.3f}–{row[f'{name}_high']:.3f}"


def unlike_steps(row: Row) -> str:
    """The mark beside a ratio of step times of steps that train different numbers of prompts."""
    return "" if row["step_time_comparable"] else f" {NOT_COMPARABLE}"


def metric_name(metric: object) -> str:
    """`exact_match` as a heading: `Exact match`."""
    return str(metric).replace("_", " ").capitalize()


def value_text(value: object) -> str:
    """A value of a configuration, as it would be written in a spec."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return str(value)
