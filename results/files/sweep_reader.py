"""The small files of a sweep -> rows of `sweeps`, `runs`, and what is compared, predicted and published."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from results.files.comparisons import comparisons
from results.files.ledger import Ledger
from results.files.prediction_rows import prediction_rows
from results.files.published import published_accuracy_rows, published_run_rows
from results.files.rows import Row, column_types, insert_rows, storable
from results.files.sources import Source
from results.files.sweeps import BadFileError, Manifest, RunRecord, read_json_model, run_folders
from results.files.trace_decoder import BadLine
from trainer.config import RunFile
from trainer.paths import SweepPaths
from trainer.records import RunStatus

_TABLES = ("sweeps", "runs", "comparisons", "predictions", "published_runs", "published_accuracy")

_M = TypeVar("_M", bound=BaseModel)


def read_sweep(ledger: Ledger, name: str, sources: Iterable[Source]) -> None:
    """Writes all of a sweep's rows again: who is compared with whom depends on every run.

    Args:
        ledger: of the working store.
        name: the sweep's.
        sources: its small files that are there.
    """
    found = {source.key: source for source in sources}
    with ledger.transaction():
        for table in _TABLES:
            ledger.connection.execute(f"DELETE FROM {table} WHERE sweep = ?", [name])
        for source in found.values():
            ledger.release(source)
            ledger.remember(source)
        manifest_file = found.get(f"{name}/{SweepPaths(ledger.runs_dir / name).manifest.name}")
        tables, complaints = _rows(ledger, name, found)
        for table, rows in tables.items():
            kept, unfit = storable(column_types(ledger.connection, table), rows)
            insert_rows(ledger.connection, table, kept)
            complaints += unfit
        if manifest_file is not None:
            ledger.quarantine(manifest_file, [BadLine(0, complaint, "") for complaint in complaints])


def update_status(ledger: Ledger, statuses: Sequence[Source]) -> set[str]:
    """Writes what a run's `status.json` decides, and nothing else: the heartbeat changes every few seconds.

    Returns:
        The sweeps that must be read again instead, because a status cannot be read or could not before.
    """
    unread = set()
    with ledger.transaction():
        for source in statuses:
            try:
                status = read_json_model(ledger.path(source), RunStatus)
            except BadFileError:
                status = None
            if status is None or ledger.is_quarantined(source):
                unread.add(source.sweep)
                continue
            ledger.connection.execute(
                "UPDATE runs SET state = ?, reason = ?, attempt = ?, heartbeat_unix = ? "
                "WHERE sweep = ? AND run_name = ?",
                [
                    *(status.state.value, status.reason, status.attempt, status.heartbeat),
                    *(source.sweep, source.run_name),
                ],
            )
            ledger.remember(source)
    return unread


def _rows(ledger: Ledger, name: str, found: Mapping[str, Source]) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each table, none of a folder that is no sweep, and what in the manifest cannot be read."""
    sweep = SweepPaths(ledger.runs_dir / name)
    manifest = _read(ledger, found, f"{name}/{sweep.manifest.name}", Manifest) or Manifest()
    runs = _run_records(ledger, found, sweep, manifest)
    if not runs and not manifest.runs:
        return {}, []
    pairs = comparisons(runs, manifest.baseline, manifest.reference)
    predictions, complaints = prediction_rows(name, manifest.runs)
    tables: dict[str, list[Row]] = {
        "sweeps": [_sweep_row(name, manifest)],
        "runs": [run.row(name) for run in runs],
        "comparisons": [{"sweep": name, **pair} for pair in pairs],
        "predictions": predictions,
        "published_runs": [row for run in runs for row in published_run_rows(name, run)],
        "published_accuracy": [row for run in runs for row in published_accuracy_rows(name, run)],
    }
    return tables, complaints


def _run_records(
    ledger: Ledger, found: Mapping[str, Source], sweep: SweepPaths, manifest: Manifest
) -> list[RunRecord]:
    plan = {planned.run_name: (place, planned) for place, planned in enumerate(manifest.runs)}
    records = []
    for paths in run_folders(sweep, manifest) if sweep.root.is_dir() else ():
        position, planned = plan.get(paths.root.name, (None, None))
        folder = f"{sweep.name}/{paths.root.name}"
        file = _read(ledger, found, f"{folder}/{paths.config.name}", RunFile)
        status = _read(ledger, found, f"{folder}/{paths.status.name}", RunStatus)
        records.append(RunRecord(paths.root.name, planned, position, file, status))
    return records


def _read(ledger: Ledger, found: Mapping[str, Source], key: str, model: type[_M]) -> _M | None:
    """A small file, or None where it is missing or unreadable; the latter is put on record."""
    source = found.get(key)
    if source is None:
        return None
    try:
        return read_json_model(ledger.path(source), model)
    except (BadFileError, OSError) as error:
        ledger.quarantine(source, [BadLine(0, str(error), "")])
        return None


def _sweep_row(name: str, manifest: Manifest) -> dict[str, Any]:
    fields = ("baseline", "reference", "base_models", "spec", "environment", "git")
    return {
        "sweep": name,
        "profile": manifest.profile,
        "created_unix": manifest.created_unix,
        "margin": manifest.margin,
        **{field: json.dumps(getattr(manifest, field)) for field in fields},
    }
