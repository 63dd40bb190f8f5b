"""Finds the files that the store is made from, with little more than one look at every folder.

It runs every few seconds beside a sweep of perhaps a thousand runs.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from results.files.evaluations import is_result
from results.files.sweeps import BASE_MODELS
from results.files.tail import Stamp
from trainer.paths import RunPaths, SweepPaths, metadata_path, samples_path

Kind = Literal["manifest", "config", "status", "trace", "evaluation", "meta", "samples"]

_RUN_FILES: tuple[tuple[Kind, str], ...] = (
    ("config", RunPaths(Path()).config.name),
    ("status", RunPaths(Path()).status.name),
    ("trace", RunPaths(Path()).trace.name),
)
_EVALUATIONS = "eval"


class Source(NamedTuple):
    """One file of a sweep."""

    key: str
    """Its path, relative to the runs directory."""
    kind: Kind
    sweep: str
    run_name: str
    """Empty for a file of the whole sweep or of a base model."""
    stamp: Stamp


def find_sources(
    runs_dir: Path, run_names: Callable[[SweepPaths, Source | None], Sequence[str]]
) -> Iterator[Source]:
    """Every file the store is made from, sweep by sweep; one that vanishes meanwhile is left out.

    Args:
        runs_dir: the folder that holds the sweeps.
        run_names: the names of a sweep's runs, given its manifest if it has one.
    """
    for name in sorted(entry.name for entry in os.scandir(runs_dir) if entry.is_dir()):
        if name.startswith("."):
            continue
        sweep = SweepPaths(runs_dir / name)
        manifest = _source(name, "manifest", name, "", _entries(str(sweep.root)).get(sweep.manifest.name))
        if manifest is not None:
            yield manifest
        for model in sorted(_entries(f"{sweep.root}/{BASE_MODELS}")):
            yield from _evaluations(runs_dir, f"{name}/{BASE_MODELS}/{model}", name, "")
        for run_name in run_names(sweep, manifest):
            yield from _run_files(runs_dir, name, run_name)


def _run_files(runs_dir: Path, sweep: str, run_name: str) -> Iterator[Source]:
    folder = f"{sweep}/{run_name}"
    entries = _entries(f"{runs_dir}/{folder}")
    for kind, file_name in _RUN_FILES:
        source = _source(folder, kind, sweep, run_name, entries.get(file_name))
        if source is not None:
            yield source
    if _EVALUATIONS in entries:
        for checkpoint in sorted(_entries(f"{runs_dir}/{folder}/{_EVALUATIONS}")):
            yield from _evaluations(runs_dir, f"{folder}/{_EVALUATIONS}/{checkpoint}", sweep, run_name)


def _evaluations(runs_dir: Path, folder: str, sweep: str, run_name: str) -> Iterator[Source]:
    """lm-eval's results in a folder, each with what lies beside it."""
    entries = _entries(f"{runs_dir}/{folder}")
    for name in sorted(entries):
        result = Path(name)
        if not name.endswith("shot.json") or not is_result(result):
            continue
        files: tuple[tuple[Kind, str], ...] = (
            ("evaluation", name),
            ("meta", metadata_path(result).name),
            ("samples", samples_path(result).name),
        )
        for kind, file_name in files:
            source = _source(folder, kind, sweep, run_name, entries.get(file_name))
            if source is not None:
                yield source


def _source(
    folder: str, kind: Kind, sweep: str, run_name: str, entry: os.DirEntry[str] | None
) -> Source | None:
    if entry is None:
        return None
    try:
        return Source(f"{folder}/{entry.name}", kind, sweep, run_name, Stamp.of(entry.stat()))
    except OSError:  # gone since, or a link to nowhere
        return None


def _entries(folder: str) -> dict[str, os.DirEntry[str]]:
    """What is in a folder by name; nothing where it is none, or is not ours to read."""
    try:
        return {entry.name: entry for entry in os.scandir(folder)}
    except OSError:
        return {}
