"""Finds the files that the store is made from, with little more than one look at every folder.

It runs every few seconds beside a sweep of perhaps a thousand runs. A folder that cannot be read is a source
of its own: what is below it is not seen, and not gone either.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from results.files.evaluations import is_result
from results.files.sweeps import BASE_MODELS, is_utf8
from results.files.tail import Stamp
from trainer.paths import RunPaths, SweepPaths, metadata_path, samples_path

Kind = Literal[
    "manifest", "config", "status", "trace", "evaluation", "meta", "samples", "unreadable", "misnamed"
]

_RUN_FILES: tuple[tuple[Kind, str], ...] = (
    ("config", RunPaths(Path()).config.name),
    ("status", RunPaths(Path()).status.name),
    ("trace", RunPaths(Path()).trace.name),
)
_EVALUATIONS = "eval"


class Source(NamedTuple):
    """One file of a sweep, or a folder of which nothing could be read."""

    key: str
    """Its path, relative to the runs directory."""
    kind: Kind
    sweep: str
    run_name: str
    """Empty for a file of the whole sweep or of a base model."""
    stamp: Stamp
    reason: str = ""
    """Why a folder is unreadable, or that its name is."""


def find_sources(
    runs_dir: Path, run_names: Callable[[SweepPaths, Source | None], Sequence[str]]
) -> Iterator[Source]:
    """Every file the store is made from, sweep by sweep; one that vanishes meanwhile is left out.

    After the files of a sweep come its folders that cannot be read, and those whose name is not UTF-8,
    which no table holds.

    Args:
        runs_dir: the folder that holds the sweeps.
        run_names: the names of a sweep's runs, given its manifest if it has one.
    """
    for name in sorted(entry.name for entry in os.scandir(runs_dir) if _is_folder(entry)):
        if name.startswith("."):
            continue
        if is_utf8(name):
            yield from _Sweep(runs_dir, name).sources(run_names)
        else:
            yield _misnamed("", name, _printable(name))


class _Sweep:
    """One look at every folder of a sweep, keeping those that could not be read."""

    def __init__(self, runs_dir: Path, name: str) -> None:
        self._runs_dir = runs_dir
        self._name = name
        self._set_aside: dict[str, Source] = {}

    def sources(self, run_names: Callable[[SweepPaths, Source | None], Sequence[str]]) -> Iterator[Source]:
        """All of the sweep's."""
        name, sweep = self._name, SweepPaths(self._runs_dir / self._name)
        entries = self._entries(name)
        manifest = self._source(name, "manifest", "", entries.get(sweep.manifest.name))
        if manifest is not None:
            yield manifest
        if BASE_MODELS in entries:
            for model in sorted(self._entries(f"{name}/{BASE_MODELS}")):
                yield from self._evaluations(f"{name}/{BASE_MODELS}/{model}", "")
        if not self._set_aside.get(name):
            for run_name in run_names(sweep, manifest):
                yield from self._run_files(run_name)
        yield from self._set_aside.values()

    def _run_files(self, run_name: str) -> Iterator[Source]:
        folder = f"{self._name}/{run_name}"
        entries = self._entries(folder)
        for kind, file_name in _RUN_FILES:
            source = self._source(folder, kind, run_name, entries.get(file_name))
            if source is not None:
                yield source
        if _EVALUATIONS in entries:
            for checkpoint in sorted(self._entries(f"{folder}/{_EVALUATIONS}")):
                yield from self._evaluations(f"{folder}/{_EVALUATIONS}/{checkpoint}", run_name)

    def _evaluations(self, folder: str, run_name: str) -> Iterator[Source]:
        """lm-eval's results in a folder, each with what lies beside it."""
        entries = self._entries(folder)
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
                source = self._source(folder, kind, run_name, entries.get(file_name))
                if source is not None:
                    yield source

    def _source(
        self, folder: str, kind: Kind, run_name: str, entry: os.DirEntry[str] | None
    ) -> Source | None:
        if entry is None:
            return None
        try:
            return Source(f"{folder}/{entry.name}", kind, self._name, run_name, Stamp.of(entry.stat()))
        except (FileNotFoundError, NotADirectoryError):  # gone since, or a link to nowhere
            return None
        except OSError as error:  # a folder that may be listed but not entered
            self._refuse(folder, error)
            return None

    def _entries(self, folder: str) -> dict[str, os.DirEntry[str]]:
        """What is in a folder by name; nothing where it is none, and where it is not ours to read."""
        try:
            found = {entry.name: entry for entry in os.scandir(f"{self._runs_dir}/{folder}")}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self._refuse(folder, error)
            return {}
        for name in [name for name in found if not is_utf8(name)]:
            key = f"{folder}/{_printable(name)}"
            self._set_aside[key] = _misnamed(self._name, name, key)
            del found[name]
        return found

    def _refuse(self, folder: str, error: OSError) -> None:
        reason = f"cannot be read: {error.strerror}; what was known below it stays"
        stamp = Stamp(0, 0, 0)
        with suppress(OSError):
            stamp = Stamp.of((self._runs_dir / folder).stat())
        self._set_aside[folder] = Source(folder, "unreadable", self._name, "", stamp, reason)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to what may not be looked at: the look into it says so
        return True


def _misnamed(sweep: str, name: str, key: str) -> Source:
    reason = f"passed over: its name, {_printable(name)}, is not UTF-8; rename it"
    return Source(key, "misnamed", sweep, "", Stamp(0, 0, 0), reason)


def _printable(name: str) -> str:
    """A file name with its bytes that are not UTF-8 written out, as in `caf\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
