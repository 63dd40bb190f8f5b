"""What stands in place of a page that has nothing to show, with the command that helps."""

import os
import shlex
from pathlib import Path

import streamlit as st

from dashboard.data import RUNS_DIR_VARIABLE

RUN = "sweepctl run sweeps/staleness.yaml"
REBUILD = "sweepctl ingest --rebuild"


def no_store(runs_dir: Path) -> None:
    """Nothing has been published."""
    st.title("No results yet")
    st.markdown(
        f"There is no store under `{runs_dir.absolute()}`. This page shows results as soon as "
        f"there are some. To make some:"
    )
    show_command(RUN, runs_dir)
    st.markdown("If there are finished runs in that folder already, read them in:")
    show_command("sweepctl ingest", runs_dir)
    if RUNS_DIR_VARIABLE not in os.environ:
        st.caption(
            f"Results elsewhere? Set `{RUNS_DIR_VARIABLE}` to their folder and start the dashboard again."
        )


def broken_store(runs_dir: Path, error: Exception) -> None:
    """The snapshot cannot be read. It is derived: nothing is lost."""
    st.title("The store cannot be read")
    st.markdown("It is made from the runs' own files, so nothing is lost. To make it again:")
    show_command(REBUILD, runs_dir)
    with st.expander("What was found"):
        st.code(str(error), language=None, wrap_lines=True)


def empty_store(runs_dir: Path) -> None:
    """The snapshot holds no sweep."""
    st.title("No sweep yet")
    st.markdown(f"The store under `{runs_dir.absolute()}` holds no sweep. To run one:")
    show_command(RUN, runs_dir)


def show_command(command: str, runs_dir: Path) -> None:
    """The command as it has to be typed for this folder."""
    st.code(
        command if runs_dir == Path("runs") else f"{command} --runs-dir {shlex.quote(str(runs_dir))}",
        language="bash",
        wrap_lines=True,
    )
