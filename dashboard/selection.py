"""Which runs of a sweep the pages show: the sidebar's filter, kept in the address."""

from collections.abc import Mapping

import streamlit as st

from results.report.build import Report
from results.report.cells import value_text
from results.report.knobs import Flat

SWEEP_KEY = "sweep"
"""Of the sidebar's choice, which the table of sweeps on the Overview sets, too."""
KNOBS_KEY, RUNS_KEY = "only", "run"
VALUES_PREFIX = "only."
"""Of the query parameter with a knob's chosen values: `only.optim.lr`."""


def chosen_runs(report: Report) -> tuple[str, ...]:
    """Draws the filter; the names of the runs it leaves, in the plan's order.

    A run is left when it has one of the values chosen of every knob, and is among the runs chosen; nothing
    chosen is no condition.
    """
    with st.expander("Filter", icon=":material/filter_alt:", expanded=_is_set()):
        knobs = st.multiselect(
            "By knob",
            list(report.varying),
            key=KNOBS_KEY,
            bind="query-params",
            persist_state="session",
            placeholder="all that varies",
        )
        wanted = {knob: set(_values(report.configurations, knob)) for knob in knobs}
        names = list(report.experiments["run_name"])
        runs = st.multiselect(
            "By run",
            names,
            key=RUNS_KEY,
            bind="query-params",
            persist_state="session",
            placeholder="all runs",
        )
    left = tuple(
        run
        for run in names
        if (not runs or run in runs) and _matches(report.configurations.get(run, {}), wanted)
    )
    if len(left) < len(names):
        st.caption(f":material/filter_alt: {len(left)} of {len(names)} runs are shown.")
    return left


def _is_set() -> bool:
    return bool(st.query_params.get(KNOBS_KEY) or st.query_params.get(RUNS_KEY))


def _values(configurations: Mapping[str, Flat], knob: str) -> list[str]:
    """Draws the choice of a knob's values; those chosen, as text."""
    found = {value_text(flat[knob]): flat[knob] for flat in configurations.values() if knob in flat}
    numbers = all(isinstance(value, int | float) for value in found.values())
    options = sorted(found, key=found.__getitem__) if numbers else list(found)
    return st.multiselect(
        f"`{knob}`",
        options,
        key=VALUES_PREFIX + knob,
        bind="query-params",
        persist_state="session",
        placeholder="any value",
    )


def _matches(flat: Flat, wanted: Mapping[str, set[str]]) -> bool:
    return all(
        not values or (knob in flat and value_text(flat[knob]) in values) for knob, values in wanted.items()
    )
