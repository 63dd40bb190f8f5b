"""What pages read, cached on the snapshot's mtime: a page asks the store again only when it has changed."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from results.report.build import Report, build_report
from results.store import Store, StoreError
from results.tables.steps import positions_table, steps_table

RUNS_DIR_VARIABLE = "SWEEPCTL_RUNS_DIR"
_ENTRIES = 8
"""Snapshots times sweeps that stay in memory: what a few open tabs look at."""


@dataclass(frozen=True)
class View:
    """One sweep in one published snapshot: what a page shows."""

    runs_dir: Path
    mtime: float
    sweep: str

    @property
    def report(self) -> Report:
        """Everything the report says of the sweep."""
        return _report(self.runs_dir, self.mtime, self.sweep)

    @property
    def steps(self) -> pd.DataFrame:
        """Table `steps` with `label`, `position`, `sync_interval_steps` of the run, in the plan's order."""
        return _steps(self.runs_dir, self.mtime, self.sweep)

    @property
    def step_positions(self) -> pd.DataFrame:
        """View `step_positions` with the same columns of the run."""
        return _step_positions(self.runs_dir, self.mtime, self.sweep)


def runs_dir_from_environment() -> Path:
    """Where the results are: SWEEPCTL_RUNS_DIR, by default `runs` in the working directory."""
    return Path(os.environ.get(RUNS_DIR_VARIABLE) or "runs")


def published_at(runs_dir: Path) -> float | None:
    """When the snapshot was published, in unix seconds; None while there is none."""
    try:
        return Store(runs_dir).mtime
    except StoreError:
        return None


@st.cache_data(max_entries=_ENTRIES, show_spinner=False)
def sweep_names(runs_dir: Path, mtime: float) -> list[str]:
    """Sweeps in the store, the most recent first.

    Raises:
        StoreError: the store cannot be read.
    """
    return [str(name) for name in Store(runs_dir).sweeps()["sweep"]]


@st.cache_data(max_entries=_ENTRIES, show_spinner="Computing intervals and tests …")
def _report(runs_dir: Path, mtime: float, sweep: str) -> Report:
    return build_report(Store(runs_dir), sweep)


@st.cache_data(max_entries=_ENTRIES, show_spinner=False)
def _steps(runs_dir: Path, mtime: float, sweep: str) -> pd.DataFrame:
    return steps_table(Store(runs_dir), sweep)


@st.cache_data(max_entries=_ENTRIES, show_spinner=False)
def _step_positions(runs_dir: Path, mtime: float, sweep: str) -> pd.DataFrame:
    return positions_table(Store(runs_dir), sweep)
