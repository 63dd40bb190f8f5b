"""What pages read, cached on the snapshot's mtime: a page asks the store again only when it has changed.

Frames and reports are shared by all sessions and never copied: pages treat them as read-only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from results.report.build import Report, build_report
from results.report.chosen import compared_with
from results.report.snapshot import snapshot
from results.store import Store, StoreError
from results.tables.accuracy import delta_table
from results.tables.arms_accuracy import arm_delta_table
from results.tables.curves import reward_curves_table
from results.tables.steps import mode_curves_table, positions_table, steps_table
from results.tables.sweeps import sweeps_table
from results.tables.timeline import Timeline, fitting_last, timeline

RUNS_DIR_VARIABLE = "SWEEPCTL_RUNS_DIR"
_REPORTS = 3
"""Snapshots times sweeps whose reports stay in memory, tens of megabytes each for a thousand runs. While a
sweep runs, each new snapshot puts an old one's report out."""
_ENTRIES = 8
"""The same of small frames: what a few open tabs look at."""


class SnapshotReplacedError(Exception):
    """Another snapshot was published while a page was being made of this one: it has to be made again."""


@dataclass(frozen=True)
class View:
    """One sweep in one published snapshot, and the runs that the filter leaves: what a page shows."""

    runs_dir: Path
    mtime: float
    sweep: str
    runs: tuple[str, ...]
    """Names of the runs that the sidebar's filter leaves, in the plan's order."""

    @property
    def store(self) -> Store:
        """The results."""
        return Store(self.runs_dir)

    @property
    def report(self) -> Report:
        """Everything the report says of the whole sweep."""
        return load_report(self.runs_dir, self.mtime, self.sweep)

    def compared_with(self, run: str) -> Report:
        """The report with every run compared with `run`, too: opponent `chosen` in each table."""
        return _compared(self.runs_dir, self.mtime, self.sweep, run)

    def deltas_from(self, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Only `deltas` and `arm_deltas` of that report, in much less time, and of opponent `chosen` only."""
        return _deltas_from(self.runs_dir, self.mtime, self.sweep, run, self.report.margin_points)

    @property
    def experiments(self) -> pd.DataFrame:
        """View `run_summary` of the runs that the filter leaves."""
        return self.left(self.report.experiments)

    def left(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of `frame` whose `run_name` the filter leaves, and those of no run, as of base models."""
        names = frame["run_name"]
        return frame[names.isin(self.runs) | names.isna()]

    def steps(self, runs: tuple[str, ...]) -> pd.DataFrame:
        """Table `steps` of some runs with `label`, `position`, `sync_interval_steps`, in the plan's order."""
        return _steps(self.runs_dir, self.mtime, self.sweep, runs)

    def mode_curves(self, runs: tuple[str, ...], width_s: float) -> pd.DataFrame:
        """The fitted modes of some runs, for a histogram with bins of this width."""
        return _mode_curves(self.runs_dir, self.mtime, self.sweep, runs, width_s)

    def reward_curves(self, runs: tuple[str, ...], window: int) -> pd.DataFrame:
        """`results.tables.curves.reward_curves_table`."""
        return _reward_curves(self.runs_dir, self.mtime, self.sweep, runs, window)

    def timelines(self, runs: tuple[str, ...], first: int, last: int, most: int) -> tuple[Timeline, ...]:
        """The steps from `first` to `last` of some runs, or as many as have at most `most` spans together."""
        return _timelines(self.runs_dir, self.mtime, self.sweep, runs, first=first, last=last, most=most)

    def step_positions(self, runs: tuple[str, ...]) -> pd.DataFrame:
        """View `step_positions` of some runs with the same columns of the run."""
        return _step_positions(self.runs_dir, self.mtime, self.sweep, runs)


def runs_dir_from_environment() -> Path:
    """Where the results are: SWEEPCTL_RUNS_DIR, by default `runs` in the working directory."""
    return Path(os.environ.get(RUNS_DIR_VARIABLE) or "runs")


def published_at(runs_dir: Path) -> float | None:
    """When the snapshot was published, in unix seconds; None while there is none."""
    try:
        return Store(runs_dir).mtime
    except StoreError:
        return None


@contextmanager
def _published(runs_dir: Path, mtime: float) -> Iterator[Store]:
    """The store, for what is cached as of `mtime`: never with rows of a later snapshot.

    Raises:
        SnapshotReplacedError: they may be of another one.
    """
    store = Store(runs_dir)
    yield store
    if store.mtime != mtime:
        raise SnapshotReplacedError


@st.cache_data(max_entries=_ENTRIES, show_spinner=False)
def sweep_names(runs_dir: Path, mtime: float) -> list[str]:
    """Sweeps in the store, the most recent first.

    Raises:
        StoreError: the store cannot be read.
    """
    with _published(runs_dir, mtime) as store:
        return [str(name) for name in store.sweeps()["sweep"]]


@st.cache_resource(max_entries=_ENTRIES, show_spinner=False)
def sweeps(runs_dir: Path, mtime: float) -> pd.DataFrame:
    """`results.tables.sweeps.sweeps_table`."""
    with _published(runs_dir, mtime) as store:
        return sweeps_table(store)


@st.cache_resource(max_entries=_REPORTS, show_spinner=False)
def load_report(runs_dir: Path, mtime: float, sweep: str) -> Report:
    """The report of a sweep.

    Raises:
        StoreError: the store cannot be read, or has no such sweep.
    """
    with _published(runs_dir, mtime) as store:
        return build_report(store, sweep)


@st.cache_resource(max_entries=_REPORTS, show_spinner="Comparing …")
def _compared(runs_dir: Path, mtime: float, sweep: str, run: str) -> Report:
    with _published(runs_dir, mtime) as published, compared_with(published, sweep, run) as store:
        return build_report(store, sweep)


@st.cache_resource(max_entries=_ENTRIES, show_spinner="Comparing …")
def _deltas_from(
    runs_dir: Path, mtime: float, sweep: str, run: str, margin_points: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    with _published(runs_dir, mtime) as published, compared_with(published, sweep, run) as store:
        deltas = delta_table(store, sweep, margin_points)
        chosen = deltas[deltas["against"] == "chosen"]
        return chosen, arm_delta_table(store, sweep, chosen, margin_points)


@st.cache_resource(max_entries=_ENTRIES, show_spinner=False)
def _reward_curves(
    runs_dir: Path, mtime: float, sweep: str, runs: tuple[str, ...], window: int
) -> pd.DataFrame:
    with _published(runs_dir, mtime) as store:
        return reward_curves_table(store, sweep, runs, window)


@st.cache_resource(max_entries=_ENTRIES, show_spinner=False)
def _steps(runs_dir: Path, mtime: float, sweep: str, runs: tuple[str, ...]) -> pd.DataFrame:
    with _published(runs_dir, mtime) as store:
        return steps_table(store, sweep, runs)


@st.cache_resource(max_entries=_ENTRIES, show_spinner=False)
def _step_positions(runs_dir: Path, mtime: float, sweep: str, runs: tuple[str, ...]) -> pd.DataFrame:
    with _published(runs_dir, mtime) as store:
        return positions_table(store, sweep, runs)


@st.cache_resource(max_entries=_ENTRIES, show_spinner=False)
def _mode_curves(
    runs_dir: Path, mtime: float, sweep: str, runs: tuple[str, ...], width_s: float
) -> pd.DataFrame:
    modes = load_report(runs_dir, mtime, sweep).modes
    return mode_curves_table(_steps(runs_dir, mtime, sweep, runs), modes, width_s)


@st.cache_resource(max_entries=_ENTRIES, show_spinner=False)
def _timelines(
    runs_dir: Path, mtime: float, sweep: str, runs: tuple[str, ...], *, first: int, last: int, most: int
) -> tuple[Timeline, ...]:
    with _published(runs_dir, mtime) as published, snapshot(published) as store:
        last = fitting_last(store, sweep, runs, first=first, last=last, most=most)
        return tuple(timeline(store, sweep, run, first, last) for run in runs)
