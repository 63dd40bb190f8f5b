"""How sentences write numbers."""

_ONES = ("none", "one", "two", "three", "four")


def seconds_text(seconds: float) -> str:
    """Three significant digits, no exponent above: `28.6`, `0.0412`, `1,234`."""
    return f"{seconds:,.0f}" if seconds >= 999.5 else f"{seconds:#.3g}".rstrip(".")


def range_text(low: float, high: float) -> str:
    """Both ends, with as many digits as tell them apart, at most six: `28.2–29.1`."""
    if low == high:
        return seconds_text(low)
    for digits in (3, 4, 5, 6):
        ends = [f"{end:#.{digits}g}".rstrip(".") for end in (low, high)]
        if ends[0] != ends[1] and "e" not in "".join(ends):
            return "–".join(ends)
    return "–".join(seconds_text(end) for end in (low, high))


def count_text(count: int) -> str:
    """Small numbers in words."""
    return _ONES[count] if count < len(_ONES) else str(count)


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
