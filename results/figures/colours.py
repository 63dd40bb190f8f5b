"""Who has which colour: one an arm on every page, and other sets for other meanings.

Arms have the colours of Okabe & Ito (2008), which colour-blind readers tell apart; black is left out, it
would vanish on a dark page. Parts of a step and positions in the sync cycle have sets of Paul Tol's, so
that no colour on a page means two things.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999", "#F0E442")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "cross", "star")
_DASHES = ("solid", "dash", "dot", "dashdot")

BASE_COLOUR = "#7F7F7F"
"""The base model, and whatever is a line to compare with."""
POSITION_COLOURS = ("#44AA99", "#AA4499", "#DDCC77", "#6699CC", "#882255", "#117733")
FIRST_CYCLE_COLOUR = "#AAAAAA"
PART_COLOURS: Mapping[str, str] = {
    "wait": "#EE8866",
    "drain": "#FFAABB",
    "learn": "#77AADD",
    "sync": "#44BB99",
    "checkpoint": "#EEDD88",
    "other": "#BBBBBB",
}


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn. The symbol says the same as the colour; past eight arms the dash differs too."""

    colour: str
    symbol: str
    dash: str


def arm_styles(experiments: pd.DataFrame) -> dict[str, ArmStyle]:
    """Styles by run name; the runs of one arm share theirs.

    Colours go by place in the plan, runs that have not started included, so none changes as results arrive.

    Args:
        experiments: view `run_summary`, in the plan's order.
    """
    planned = experiments[experiments["state"] != "infeasible"]
    arms = planned["arm_id"].fillna(planned["run_name"])
    places = {arm: place for place, arm in enumerate(arms.unique())}
    return {run: _style(places[arm]) for run, arm in zip(planned["run_name"], arms, strict=True)}


def _style(place: int) -> ArmStyle:
    lap, turn = divmod(place, len(OKABE_ITO))
    # The symbols go round at another pace than the colours, or the ninth arm would look like the first.
    return ArmStyle(OKABE_ITO[turn], SYMBOLS[(turn + lap) % len(SYMBOLS)], _DASHES[lap % len(_DASHES)])
