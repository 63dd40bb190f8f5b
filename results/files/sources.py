"""Finds the files of all sweeps, reads what is new in them and writes it into the working store."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from results.files.comparisons import comparisons
from results.files.evaluations import SAMPLES, evaluation_rows, is_result, sample_columns
from results.files.published import published_accuracy_rows, published_run_rows
from results.files.sweeps import (
    BASE_MODELS,
    BadFileError,
    Manifest,
    RunRecord,
    read_json_model,
    run_folders,
)
from results.files.tail import Position, read_new_lines
from results.files.trace_rows import BadLine, apply_records, forget_run, insert_rows, parse_lines, parse_trace
from trainer.config import RunFile
from trainer.paths import SweepPaths, metadata_path, samples_path
from trainer.records import RunStatus

Kind = Literal["sweep", "trace", "evaluation", "meta", "samples"]


@dataclass(frozen=True)
class Source:
    """One file of a sweep. `sweep` are the small files that decide the rows of `sweeps` and `runs`."""

    path: Path
    kind: Kind
    sweep: str
    run_name: str = ""


@dataclass
class Changes:
    """What was read."""

    files: int = 0
    lines: int = 0
    quarantined: int = 0


def read_sources(connection: duckdb.DuckDBPyConnection, runs_dir: Path) -> Changes:
    """Reads everything new under `runs_dir`, and drops what came from files that are gone."""
    return _Reader(connection, runs_dir).read()


def find_sources(runs_dir: Path) -> Iterator[Source]:
    """Every file the store is derived from, sweep by sweep."""
    for root in sorted(path for path in runs_dir.iterdir() if path.is_dir() and path.name[0] != "."):
        sweep = SweepPaths(root)
        try:
            manifest = read_json_model(sweep.manifest, Manifest)
        except BadFileError:
            manifest = None  # reported when the sweep's own rows are read
        if sweep.manifest.exists():
            yield Source(sweep.manifest, "sweep", sweep.name)
        yield from _evaluations(root / BASE_MODELS, sweep.name, "")
        for run in run_folders(sweep, manifest):
            name = run.root.name
            for path in (run.config, run.status):
                if path.exists():
                    yield Source(path, "sweep", sweep.name, name)
            if run.trace.exists():
                yield Source(run.trace, "trace", sweep.name, name)
            yield from _evaluations(run.root / "eval", sweep.name, name)


def _evaluations(folder: Path, sweep: str, run_name: str) -> Iterator[Source]:
    for result in sorted(path for path in folder.glob("*/*shot.json") if is_result(path)):
        yield Source(result, "evaluation", sweep, run_name)
        if metadata_path(result).exists():
            yield Source(metadata_path(result), "meta", sweep, run_name)
        if samples_path(result).exists():
            yield Source(samples_path(result), "samples", sweep, run_name)


class _Reader:
    """One pass over all files. Each method that writes does so in one transaction per chunk or file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, runs_dir: Path) -> None:
        self.connection = connection
        self.runs_dir = runs_dir
        self.changes = Changes()
        self.known: dict[str, tuple[str, Position]] = {
            path: (kind, Position(*position))
            for path, kind, *position in connection.execute(
                "SELECT path, kind, size, mtime_ns, byte_offset, head_sha256, tail_sha256 FROM files"
            ).fetchall()
        }

    def read(self) -> Changes:
        sources = {self._key(source.path): source for source in find_sources(self.runs_dir)}
        gone = self.known.keys() - sources.keys()
        for key in gone:
            self._forget(key)
        touched = {source.sweep for key, source in sources.items() if key not in self.known}
        touched |= {key.partition("/")[0] for key in gone}
        touched |= {s.sweep for s in sources.values() if s.kind == "sweep" and self._is_touched(s.path)}
        for sweep in sorted(touched):
            self._read_sweep(sweep, [s for s in sources.values() if s.sweep == sweep and s.kind == "sweep"])
        for source in sources.values():
            if source.kind == "trace":
                self._read_trace(source)
            elif source.kind == "samples":
                self._read_samples(source)
            elif source.kind == "evaluation":
                self._read_evaluation(source)
        return self.changes

    def _read_sweep(self, name: str, small_files: list[Source]) -> None:
        """The rows of `sweeps`, `runs` and `comparisons`: few, so all of a sweep are written again."""
        sweep = SweepPaths(self.runs_dir / name)
        positions = {self._key(source.path): _stat(source.path) for source in small_files}
        with self._transaction():
            for table in ("sweeps", "runs", "comparisons", "published_runs", "published_accuracy"):
                self.connection.execute(f"DELETE FROM {table} WHERE sweep = ?", [name])
            for key, position in positions.items():
                self._remember(key, "sweep", position)
            if not sweep.root.is_dir():
                return
            manifest = self._small(sweep.manifest, Manifest) or Manifest()
            runs = self._run_records(sweep, manifest)
            if not runs and not manifest.runs:
                return
            self._insert("sweeps", [_sweep_row(name, manifest)])
            self._insert("runs", [run.row(name) for run in runs])
            pairs = comparisons(runs, manifest.baseline, manifest.reference)
            self._insert("comparisons", [{"sweep": name, **pair} for pair in pairs])
            self._insert("published_runs", [row for run in runs for row in published_run_rows(name, run)])
            self._insert(
                "published_accuracy", [row for run in runs for row in published_accuracy_rows(name, run)]
            )

    def _run_records(self, sweep: SweepPaths, manifest: Manifest) -> list[RunRecord]:
        plan = {planned.run_name: (place, planned) for place, planned in enumerate(manifest.runs)}
        records = []
        for paths in run_folders(sweep, manifest):
            position, planned = plan.get(paths.root.name, (None, None))
            file, status = self._small(paths.config, RunFile), self._small(paths.status, RunStatus)
            records.append(RunRecord(paths.root.name, planned, position, file, status))
        return records

    def _read_trace(self, source: Source) -> None:
        key = self._key(source.path)
        for chunk in read_new_lines(source.path, self._position(key)):
            records, bad = parse_trace(chunk.lines)
            with self._transaction(changed=bool(chunk.lines) or chunk.from_start):
                if chunk.from_start:
                    forget_run(self.connection, source.sweep, source.run_name)
                    self._release(key)
                apply_records(self.connection, source.sweep, source.run_name, records)
                self._quarantine(key, bad)
                self._remember(key, source.kind, chunk.position)
            self._count(len(chunk.lines))

    def _read_samples(self, source: Source) -> None:
        if not self._is_touched(source.path):
            return
        key = self._key(source.path)
        result = source.path.with_name(source.path.name.replace(".samples.jsonl", ".json"))
        # From the start: samples are replaced whole, and two evaluations may differ in the middle only.
        for chunk in read_new_lines(source.path, None):
            samples, bad = parse_lines(chunk.lines, SAMPLES)
            with self._transaction():
                if chunk.from_start:
                    self._forget_samples(result)
                    self._release(key)
                if samples:
                    insert_rows(
                        self.connection, "eval_samples", sample_columns(samples, result, self.runs_dir)
                    )
                self._quarantine(key, bad)
                self._remember(key, source.kind, chunk.position)
            self._count(len(chunk.lines))

    def _read_evaluation(self, source: Source) -> None:
        meta = metadata_path(source.path)
        if not self._is_touched(source.path) and not (meta.exists() and self._is_touched(meta)):
            return
        key, position = self._key(source.path), _stat(source.path)
        with self._transaction():
            self.connection.execute("DELETE FROM evals WHERE path = ?", [key])
            self._release(key)
            if meta.exists():
                self._remember(self._key(meta), "meta", _stat(meta))
            try:
                self._insert("evals", evaluation_rows(source.path, self.runs_dir))
            except BadFileError as error:
                self._quarantine(key, [BadLine(0, str(error), "")])
            self._remember(key, source.kind, position)
        self._count(0)

    def _small(self, path: Path, model: type[Any]) -> Any:  # noqa: ANN401 - one of three models
        """A small file, or None where it is missing or unreadable; the latter is put on record."""
        key = self._key(path)
        self._release(key)
        try:
            return read_json_model(path, model)
        except BadFileError as error:
            self._quarantine(key, [BadLine(0, str(error), "")])
            return None

    def _forget(self, key: str) -> None:
        """Drops everything that came from a file that is gone."""
        kind, path = self.known[key][0], self.runs_dir / key
        with self._transaction():
            if kind == "trace":
                forget_run(self.connection, path.parent.parent.name, path.parent.name)
            elif kind == "evaluation":
                self.connection.execute("DELETE FROM evals WHERE path = ?", [key])
            elif kind == "samples":
                self._forget_samples(path.with_name(path.name.replace(".samples.jsonl", ".json")))
            self._release(key)
            self.connection.execute("DELETE FROM files WHERE path = ?", [key])

    def _forget_samples(self, result: Path) -> None:
        self.connection.execute("DELETE FROM eval_samples WHERE path = ?", [self._key(result)])

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            insert_rows(self.connection, table, {name: [row[name] for row in rows] for name in rows[0]})

    def _quarantine(self, key: str, bad: Iterable[BadLine]) -> None:
        rows = [{"path": key, **vars(line)} for line in bad]
        self._insert("quarantine", rows)
        self.changes.quarantined += len(rows)

    def _release(self, key: str) -> None:
        self.connection.execute("DELETE FROM quarantine WHERE path = ?", [key])

    def _remember(self, key: str, kind: str, position: Position) -> None:
        self.connection.execute("DELETE FROM files WHERE path = ?", [key])
        self.connection.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", [key, kind, *astuple(position)]
        )

    def _position(self, key: str) -> Position | None:
        return self.known[key][1] if key in self.known else None

    def _is_touched(self, path: Path) -> bool:
        known, now = self._position(self._key(path)), _stat(path)
        return known is None or (known.size, known.mtime_ns) != (now.size, now.mtime_ns)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.runs_dir).as_posix()

    def _count(self, lines: int) -> None:
        self.changes.files += 1
        self.changes.lines += lines

    @contextmanager
    def _transaction(self, *, changed: bool = True) -> Iterator[None]:
        """Rows and the offset they came from, together or not at all."""
        self.connection.begin()
        try:
            yield
            if changed:
                self.connection.execute("UPDATE store_state SET unpublished = true")
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise


def _stat(path: Path) -> Position:
    """What tells whether a small file was written again; it is read whole, so there is no offset."""
    stat = path.stat()
    return Position(stat.st_size, stat.st_mtime_ns, stat.st_size, "", "")


def _sweep_row(name: str, manifest: Manifest) -> dict[str, Any]:
    fields = ("baseline", "reference", "base_models", "spec", "environment", "git")
    return {
        "sweep": name,
        "profile": manifest.profile,
        "created_unix": manifest.created_unix,
        "margin": manifest.margin,
        **{field: json.dumps(getattr(manifest, field)) for field in fields},
    }
