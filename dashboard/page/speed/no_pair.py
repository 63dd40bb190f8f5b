"""Why no run that the filter leaves is compared with the opponent chosen, and what to do about it."""

from collections.abc import Iterator, Sequence

from dashboard.data import View
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import counted

_MOST_NAMED = 5


def why_no_pair(view: View, report: Report, against: str) -> str:
    """What to say in place of bars and tables; plain text.

    Args:
        view: what the page shows.
        report: with the comparisons that speed-ups are of.
        against: the kind of opponent that none of the runs shown is compared with.
    """
    shown = view.experiments[view.experiments["state"] != "infeasible"]
    if shown.empty:
        return "The filter in the sidebar leaves no run that can run: take something out of it."
    return f"{' '.join(_reasons(view, report, against))} {_ways_out(view, report, against)}"


def _reasons(view: View, report: Report, against: str) -> Iterator[str]:
    """Which of the runs shown are the opponent itself, and which have none."""
    shown, name = view.experiments[view.experiments["state"] != "infeasible"], OPPONENTS[against]
    pairs = report.speedups[report.speedups["against"] == against]
    itself = shown["run_name"].isin(pairs["other_run"])
    if itself.any():
        labels = list(shown.loc[itself, "label"])
        article = "a" if against == "baseline" else "the"
        yield f"{_named(labels)} {f'is {article} {name}' if len(labels) == 1 else f'are {name}s'}."
    if not itself.all():
        labels = list(shown.loc[~itself, "label"])
        yield f"{_named(labels)} {'has' if len(labels) == 1 else 'have'} no {name} in this sweep."


def _ways_out(view: View, report: Report, against: str) -> str:
    pairs = report.speedups
    others = view.left(
        pairs[pairs["against"].isin(["baseline", "reference"]) & (pairs["against"] != against)]
    )
    there = [
        f"the {name}, with {counted(count, 'pair')},"
        for kind, name in OPPONENTS.items()
        if (count := int((others["against"] == kind).sum()))
    ]
    choose = f"Choose {' or '.join([*there, 'another run'])} under “Compared with”"
    left_out = len(report.experiments) - len(view.runs)
    if not left_out:
        return f"{choose}."
    return f"{choose}, or widen the filter in the sidebar, which leaves out {counted(left_out, 'run')}."


def _named(labels: Sequence[str]) -> str:
    """`Exp1, Exp2 and Exp3`; of more how many."""
    if len(labels) > _MOST_NAMED:
        return f"{len(labels):,} of the runs shown"
    return " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
