"""Run directories that were set aside: how they are called, and which there are of each run."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from trainer.paths import RunPaths, SweepPaths

SET_ASIDE = ".set-aside-"
"""Between a run's name and the date on which its directory was set aside; `-2`, `-3`, … within a second."""
_NAME = re.compile(rf"(.+){re.escape(SET_ASIDE)}(\d{{8}}-\d{{6}})(?:-(\d+))?")


def find_set_aside(sweep: SweepPaths) -> Mapping[str, Sequence[RunPaths]]:
    """By the name of a run, the directories that were set aside of it, the newest first."""
    if not sweep.root.is_dir():
        return {}
    dated: dict[str, list[tuple[str, int, RunPaths]]] = defaultdict(list)
    for folder in sweep.root.iterdir():
        if (match := _NAME.fullmatch(folder.name)) and folder.is_dir():
            name, date, number = match.groups()
            dated[name].append((date, int(number or 1), RunPaths(folder)))
    return {
        name: [paths for _, _, paths in sorted(of, key=lambda entry: entry[:2], reverse=True)]
        for name, of in dated.items()
    }
