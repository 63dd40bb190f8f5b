"""What earlier runs left behind, who is running now, and the store."""

import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from sweepctl.doctor.finding import Finding, ok, problem, warning
from sweepctl.holder import who_runs
from sweepctl.states import is_alive
from sweepctl.watching.status import read_manifest, sweeps
from trainer.errors import SweepctlError
from trainer.paths import SweepPaths, store_path
from trainer.records import RunState, RunStatus

_OWNED = re.compile(r"(?:sweepctl|weights|policy)[a-z-]*-(\d+)-")
"""A folder that carries the id of the process it belongs to; see `trainer.scratch`."""


def check_leftovers(runs_dir: Path, scratch: tuple[Path, ...] = ()) -> Iterator[Finding]:
    """Folders and sockets of processes that are gone, runs that only seem to run, locks, the store.

    Args:
        runs_dir: the runs directory.
        scratch: where processes keep what only they need; by default temporary folder and shared memory.
    """
    places = scratch or (Path(tempfile.gettempdir()), Path("/dev/shm"))
    left = sorted(path for place in places if place.is_dir() for path in place.iterdir() if _is_left(path))
    if left:
        names = " ".join(map(str, left))
        yield warning("scratch", f"{len(left)} folders of processes that are gone", f"rm -r {names}")
    else:
        yield ok("scratch", "nothing is left of processes that are gone")
    for sweep in sweeps(runs_dir):
        yield from _sweep(sweep)
    yield _store(runs_dir)


def _is_left(path: Path) -> bool:
    """Whether a scratch folder's owner is gone, or nobody listens on the socket in it."""
    if not path.name.startswith("sweepctl-") or not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return False
    if owned := _OWNED.match(path.name):
        return not psutil.pid_exists(int(owned[1]))
    return (path / "engine.sock").exists() and not _listens(path / "engine.sock")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _sweep(sweep: SweepPaths) -> Iterator[Finding]:
    """Who runs a sweep, and which of its runs say they run though their process is gone."""
    check = f"sweep {sweep.name}"
    try:
        planned = read_manifest(sweep)["runs"]
    except (SweepctlError, KeyError) as error:
        yield problem(check, str(error), "run the sweep's spec again: the manifest is written anew")
        return
    holder = who_runs(sweep)
    dead = [name for name in (run["run_name"] for run in planned) if _is_dead(sweep, name)]
    if dead and holder is None:
        yield warning(
            check,
            f"{', '.join(dead)}: said to be running, but the process is gone",
            "the same `sweepctl run` goes on from the last checkpoint",
        )
    elif holder is not None:
        yield ok(check, f"is being run by {holder}")


def _is_dead(sweep: SweepPaths, run_name: str) -> bool:
    try:
        status = RunStatus.model_validate_json(sweep.run(run_name).status.read_bytes())
    except (OSError, ValueError):
        return False
    return status.state is RunState.RUNNING and not is_alive(status)


def _store(runs_dir: Path) -> Finding:
    path = store_path(runs_dir)
    if not path.exists():
        return ok("store", f"none yet; `sweepctl ingest --runs-dir {runs_dir}` makes it")
    from results.store import Store, StoreError  # noqa: PLC0415 - duckdb is slow to import

    try:
        count = int(Store(runs_dir).sweeps()["sweep"].count())
    except StoreError as error:
        return problem("store", str(error).splitlines()[0], "run `sweepctl ingest --rebuild`")
    published = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))
    return ok("store", f"{path}: {count} sweeps, as of {published}")
