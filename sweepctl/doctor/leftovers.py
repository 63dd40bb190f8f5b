"""What earlier runs left behind, who is running now, and the store."""

import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from sweepctl.doctor.finding import Finding, counted, ok, problem, warning
from sweepctl.holder import who_runs
from sweepctl.imported import origin
from sweepctl.states import is_alive
from sweepctl.watching.status import read_manifest, sweeps
from trainer.errors import SweepctlError
from trainer.paths import SweepPaths, store_path
from trainer.records import RunState, RunStatus

_OWNED = re.compile(r"(?:sweepctl-[a-z-]+|\.writing)-(\d+)-")
"""A folder that carries the id of the process it belongs to; see `trainer.scratch`."""
_WRITING = ("*/eval/*/.writing-*", "base_models/*/.writing-*")
"""Where evaluations are written before they are whole; see `trainer.evaluation.harness`."""
_REMOVE = "remove it, and run the spec again: the run goes on"


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
        yield warning(
            "scratch", f"{counted(len(left), 'folder')} of processes that are gone", f"rm -r {names}"
        )
    else:
        yield ok("scratch", "nothing is left of processes that are gone")
    for sweep in sweeps(runs_dir):
        yield from _sweep(sweep)
    yield _store(runs_dir)


def _is_left(path: Path) -> bool:
    """Whether a scratch folder's owner is gone, or nobody listens on the socket in it."""
    if not path.name.startswith("sweepctl-") or not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return False
    if _OWNED.match(path.name):
        return _owner_is_gone(path)
    return (path / "engine.sock").exists() and not _listens(path / "engine.sock")


def _owner_is_gone(path: Path) -> bool:
    owned = _OWNED.match(path.name)
    return owned is not None and not psutil.pid_exists(int(owned[1]))


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _sweep(sweep: SweepPaths) -> Iterator[Finding]:
    """Who runs a sweep, and what of its files is not as a process that ended well leaves it."""
    check = f"sweep {sweep.name}"
    try:
        manifest = read_manifest(sweep)
    except SweepctlError as error:
        yield problem(check, str(error), "run the sweep's spec again: the manifest is written anew")
        return
    holder = who_runs(sweep)
    dead, unreadable = _unwell(sweep, [run["run_name"] for run in manifest["runs"]])
    if unreadable:
        found = f"not a run's status: {', '.join(map(str, unreadable))}"
        source = origin(manifest)
        advice = f"get {source} again, and import it anew" if source else _REMOVE
        yield problem(check, found, advice)
    if holder is not None:
        yield ok(check, f"is being run by {holder}")
        return
    if dead:
        yield warning(
            check,
            f"{', '.join(dead)}: said to be running, but the process is gone",
            "the same `sweepctl run` goes on from the last checkpoint",
        )
    cut_off = sorted(path for place in _WRITING for path in sweep.root.glob(place) if _owner_is_gone(path))
    if cut_off:
        found = f"{counted(len(cut_off), 'evaluation')} cut off while being written"
        yield warning(check, found, f"rm -r {' '.join(map(str, cut_off))}")


def _unwell(sweep: SweepPaths, run_names: list[str]) -> tuple[list[str], list[Path]]:
    """The runs that only seem to run, and statuses that are none."""
    dead, unreadable = [], []
    for name in run_names:
        path = sweep.run(name).status
        try:
            status = RunStatus.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            unreadable.append(path)
            continue
        if status.state is RunState.RUNNING and not is_alive(status):
            dead.append(name)
    return dead, unreadable


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
    return ok("store", f"{path}: {counted(count, 'sweep')}, as of {published}")
