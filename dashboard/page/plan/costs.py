"""The costs that a sweep was predicted from, in words and with their units."""

from typing import NamedTuple

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.data import View
from dashboard.shown import first_labels, show_table, text
from results.report.cells import significant
from results.store import records
from results.tables.plan import costs_table

_MOST_SETS = 3
"""Sets of costs that are shown in full: as a rule a sweep has one."""


class _Cost(NamedTuple):
    """How a cost is told."""

    words: str
    unit: str
    scale: float = 1.0


def show_costs(view: View, plan: pd.DataFrame) -> None:
    """The costs that the simulator was given; a column for each set of them, as a rule one."""
    st.subheader("Costs")
    costs = costs_table(view.store, view.sweep)
    costs = costs[costs["run_name"].isin(plan["run_name"])]
    sets = [part for _, part in costs.groupby(["cost_source", *_COSTS], sort=False)]
    table = pd.DataFrame({"cost": [cost.words for cost in _COSTS.values()]})
    columns: dict[str, str | ColumnConfig] = {"cost": text("Cost", width="large")}
    said = []
    for place, runs in enumerate(sets[:_MOST_SETS], start=1):
        values = records(runs.head(1))[0]
        name = f"value_{place}" if len(sets) > 1 else "value"
        table[name] = [cost.scale * values[key] for key, cost in _COSTS.items()]
        columns[name] = st.column_config.NumberColumn(f"Set {place}" if len(sets) > 1 else "Value")
        whose = f"set {place}, of {first_labels(runs['label'])}, " if len(sets) > 1 else ""
        said.append(f"{whose}{values['cost_source']}")
    table["unit"] = [cost.unit for cost in _COSTS.values()]
    columns["unit"] = text("Unit")
    rest = f" The first {_MOST_SETS} of {len(sets):,} sets." if len(sets) > _MOST_SETS else ""
    written = {name: written_cost for name in columns if name.startswith("value")}
    show_table(view, "plan-costs", table, columns, f"Source: {'; '.join(said)}.{rest}", written=written)


def written_cost(value: float) -> str:
    """Four significant digits, the last zeros too: without them a cost looks less exact than it is."""
    return f"{value:,.0f}" if value == round(value) or value >= 1000 else significant(value, 4)


_COSTS = {
    "cost_generate_s": _Cost("Generating a group that has the engine for itself, mean", "s"),
    "cost_crowding": _Cost(
        "Every other group on the engine slows a group down by, of its time alone", "%", 100
    ),
    "cost_verify_s": _Cost("Verifying a group", "ms", 1000),
    "cost_learn_s_per_prompt": _Cost("Forward and backward, by the prompt", "s a prompt"),
    "cost_learn_s_per_token": _Cost("Forward and backward, by the token", "ms a token", 1000),
    "cost_optimizer_s": _Cost("The optimizer", "ms a step", 1000),
    "cost_sync_s": _Cost("A sync of the weights", "ms", 1000),
    "cost_checkpoint_s": _Cost("A checkpoint", "ms", 1000),
    "cost_held_out_s": _Cost("An evaluation on held-out problems", "s"),
    "cost_other_s": _Cost("The rest of a step", "ms a step", 1000),
    "cost_groups": _Cost("Groups that generation was measured on; 1: given by hand", "groups"),
}
"""Columns of `results.tables.plan.costs_table`, in words."""
