"""Many runs in few words."""

from collections.abc import Sequence

from sweepctl.plan.select import Selectable

_SHOWN = 8


def spans(runs: Sequence[Selectable], chosen: Sequence[Selectable]) -> str:
    """The labels of some runs, neighbours joined: `Exp1-Exp3, Exp5`."""
    positions = {run.name: position for position, run in enumerate(runs)}
    groups: list[list[Selectable]] = []
    for run in chosen:
        if groups and positions[run.name] == positions[groups[-1][-1].name] + 1:
            groups[-1].append(run)
        else:
            groups.append([run])
    joint = " to " if any("-" in (run.label or "") for run in chosen) else "-"
    words = [
        str(group[0].label) if len(group) == 1 else f"{group[0].label}{joint}{group[-1].label}"
        for group in groups
    ]
    return ", ".join(words[:_SHOWN]) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")
