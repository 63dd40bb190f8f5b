"""One pass over all files under the runs directory: what is new in them goes into the working store."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import duckdb

from results.files.evaluation_reader import forget_results, forget_samples, read_evaluations, read_samples
from results.files.ledger import Changes, Ledger
from results.files.sources import Source, find_sources
from results.files.sweep_reader import read_sweep, update_status
from results.files.sweeps import BadFileError, Manifest, read_json_model, run_folders
from results.files.trace_decoder import BadLine
from results.files.trace_reader import read_traces
from results.files.trace_rows import forget_runs
from trainer.paths import SweepPaths

_SMALL = frozenset({"manifest", "config", "status"})
"""What decides the rows of a sweep and its runs; without a plan, a trace makes its folder a run too."""

_FOLDERS = frozenset({"unreadable", "misnamed"})


def read_sources(connection: duckdb.DuckDBPyConnection, runs_dir: Path) -> Changes:
    """Reads everything new under `runs_dir`, and drops what came from files that are gone."""
    ledger = Ledger(connection, runs_dir)
    sources = {source.key: source for source in find_sources(runs_dir, _RunNames(ledger))}
    unseen = {source.sweep for source in sources.values() if source.kind == "unreadable"}
    gone = {
        key
        for key in ledger.known.keys() - sources.keys()
        if key.partition("/")[0] not in unseen or ledger.known[key][0] in _FOLDERS
    }
    to_read = _sweeps_to_read(ledger, sources) | {
        key.partition("/")[0] for key in gone if ledger.known[key][0] in _SMALL | {"trace"}
    }
    # Rows of a sweep are written all anew, for which all of it must be seen; until then the old ones stand.
    to_read -= unseen & {key.partition("/")[0] for key, known in ledger.known.items() if known[0] in _SMALL}
    touched = [s for s in sources.values() if ledger.is_touched(s)]
    statuses = [s for s in touched if s.kind == "status" and s.sweep not in to_read]
    if statuses:
        to_read |= update_status(ledger, statuses) - unseen
    small = (s for s in sources.values() if s.sweep in to_read and s.kind in _SMALL)
    by_sweep = {sweep: list(group) for sweep, group in groupby(small, key=lambda source: source.sweep)}
    for sweep in sorted(to_read):
        read_sweep(ledger, sweep, by_sweep.get(sweep, []))
    read_traces(ledger, (s for s in touched if s.kind == "trace"))
    read_evaluations(ledger, sources, gone)
    read_samples(ledger, (s for s in touched if s.kind == "samples"))
    _set_aside(ledger, [s for s in touched if s.kind in _FOLDERS])
    _forget(ledger, sorted(gone))  # at the end: until then the next ingest would find them gone again
    return ledger.changes


def _sweeps_to_read(ledger: Ledger, sources: Mapping[str, Source]) -> set[str]:
    """Sweeps of which more has changed than heartbeats."""
    return {
        source.sweep
        for source in sources.values()
        if (source.key not in ledger.known and source.kind in _SMALL | {"trace"})
        or (source.kind in {"manifest", "config"} and ledger.is_touched(source))
    }


def _set_aside(ledger: Ledger, folders: Sequence[Source]) -> None:
    """Puts folders of which nothing was read on record, until they are found no more."""
    if not folders:
        return
    with ledger.transaction():
        for folder in folders:
            ledger.release(folder)
            ledger.remember(folder)
            ledger.quarantine(folder, [BadLine(0, folder.reason, "")])


def _forget(ledger: Ledger, keys: Sequence[str]) -> None:
    """Drops everything that came from files that are gone."""
    if not keys:
        return
    with ledger.transaction():
        for key in keys:
            kind, path = ledger.known[key][0], Path(key)
            if kind == "trace":
                forget_runs(ledger.connection, [(path.parent.parent.name, path.parent.name)])
            elif kind == "evaluation":
                forget_results(ledger.connection, [key])
            elif kind == "samples":
                forget_samples(ledger.connection, key)
            ledger.forget(key)


class _RunNames:
    """The names of a sweep's runs: from the store where its manifest has been read, else from the files."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._planned: dict[str, list[str]] = {}
        for sweep, run_name in ledger.connection.execute(
            "SELECT sweep, run_name FROM runs WHERE position IS NOT NULL ORDER BY sweep, position"
        ).fetchall():
            self._planned.setdefault(sweep, []).append(run_name)

    def __call__(self, sweep: SweepPaths, source: Source | None) -> Sequence[str]:
        if source is not None and not self._ledger.is_touched(source) and sweep.name in self._planned:
            return self._planned[sweep.name]
        try:
            manifest = read_json_model(sweep.manifest, Manifest) if source is not None else None
        except (BadFileError, OSError):
            manifest = None  # put on record when the sweep's own rows are read
        return [paths.root.name for paths in run_folders(sweep, manifest)]
