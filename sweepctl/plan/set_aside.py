"""Run directories that were set aside: how they are called."""

import re

SET_ASIDE = ".set-aside-"
"""Between a run's name and the date on which its directory was set aside; `-2`, `-3`, … within a second."""
_DATE = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")


def set_aside_at(name: str) -> tuple[str, int] | None:
    """When the directory of this name was set aside, in an order of its own; None: it was not.

    >>> set_aside_at("s0.set-aside-20261123-101500-2")
    ('20261123-101500', 2)
    """
    _, mark, date = name.partition(SET_ASIDE)
    if not mark:
        return None
    match = _DATE.fullmatch(date)
    return (match[1], int(match[2] or 1)) if match else ("", 0)
