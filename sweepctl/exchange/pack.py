"""A sweep's folder -> an archive. The sweep is only read; it may still be running."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from results.files.sweeps import Manifest, read_json_model, run_folders
from sweepctl.exchange.building import building, copy, refuse_existing, require_space
from sweepctl.exchange.checksums import write_checksums
from sweepctl.exchange.json_lines import drop_torn_line
from sweepctl.exchange.layout import NOTES, Item, evaluation_items, files_under, run_items, sweep_items
from sweepctl.exchange.notes import Contents, notes
from sweepctl.states import read_status
from trainer.errors import ConfigError
from trainer.paths import RunPaths, SweepPaths
from trainer.records import RunState

Advance = Callable[[int], None]
"""Told the bytes of each file that was copied."""


@dataclass(frozen=True)
class Packed:
    """What an export wrote."""

    destination: Path
    files: int
    size_bytes: int
    remarks: tuple[str, ...]


def pack(
    sweep: SweepPaths, destination: Path, *, checkpoints: bool, advance: Callable[[int], Advance]
) -> Packed:
    """Write a sweep's archive.

    Args:
        sweep: where it lies.
        destination: the archive's folder, not there yet and not among the sweeps.
        checkpoints: whether the weights go along.
        advance: given the bytes there are to copy, what to tell of each file's.

    Raises:
        ConfigError: a destination that will not do, or a manifest that is none.
        StorageError: too little space.
    """
    refuse_existing(destination)
    if sweep.root.resolve().parent in destination.resolve().parents:
        raise ConfigError(
            f"{destination}: lies among the sweeps and would be taken for one; name another place"
        )
    manifest = read_json_model(sweep.manifest, Manifest) or Manifest()
    runs = list(run_folders(sweep, manifest))
    items = list(sweep_items(sweep))
    items += [item for run in runs for item in run_items(run, checkpoints=checkpoints)]
    items += evaluation_items(sweep, runs)
    needed = require_space(items, destination)
    with building(destination) as archive:
        gone = _copy_all(items, archive, advance(needed))
        remarks = [f"{place} was removed by its run while it was copied: it is left out" for place in gone]
        contents = Contents(
            sweep=sweep.name,
            manifest=manifest,
            report_markdown=_report(sweep, archive.parent),
            archive=archive,
            running=_running(archive),
            checkpoints=checkpoints,
            remarks=tuple(remarks),
        )
        (archive / NOTES).write_text(notes(contents), encoding="utf-8")
        write_checksums(archive)
        sizes = [path.stat().st_size for path in files_under(archive)]
    return Packed(destination, len(sizes), sum(sizes), tuple(remarks))


def _copy_all(items: list[Item], archive: Path, advance: Advance) -> list[PurePosixPath]:
    """Copy the files; the checkpoints that a run which keeps only a few removed meanwhile."""
    for item in items:
        try:
            copied = copy(item, archive)
        except FileNotFoundError:
            if item.checkpoint is None or item.source.exists():
                raise
            continue
        if copied.suffix == ".jsonl":
            drop_torn_line(copied)
        advance(copied.stat().st_size)
    # Asked at the end: of one that was being removed when it was listed, only some files may be known.
    gone = dict.fromkeys(item.checkpoint for item in items if item.checkpoint and not item.source.exists())
    for place in gone:
        shutil.rmtree(archive / place, ignore_errors=True)
    return list(gone)


def _report(sweep: SweepPaths, scratch: Path) -> str:
    """The report over this sweep alone, from a store of its own: nothing is written beside the sweep."""
    from results.ingest import ingest  # noqa: PLC0415 - duckdb and scipy are slow to import
    from results.report.build import build_report  # noqa: PLC0415
    from results.report.markdown import render_markdown  # noqa: PLC0415
    from results.report.sections import findings  # noqa: PLC0415
    from results.store import Store  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=".report.", dir=scratch) as folder:
        runs_dir = Path(folder)
        (runs_dir / sweep.name).symlink_to(sweep.root.resolve(), target_is_directory=True)
        ingest(runs_dir)
        report = build_report(Store(runs_dir), sweep.name)
        return render_markdown(report, findings(report))


def _running(archive: Path) -> tuple[str, ...]:
    """The runs that were still running, by the status that was copied."""
    found = []
    for path in sorted(archive.glob("traces/*/status.json")):
        try:
            status = read_status(RunPaths(path.parent))
        except ConfigError:
            continue  # damaged, and copied as it is: whoever shows it says so
        if status is not None and status.state is RunState.RUNNING:
            found.append(path.parent.name)
    return tuple(found)
