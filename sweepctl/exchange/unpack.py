"""An archive -> a sweep's folder: the way back from `pack`."""

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from results.files.sweeps import BadFileError, Manifest, read_json_model
from sweepctl.errors import Place, Problem, SpecError
from sweepctl.exchange.building import building, copy, require_space
from sweepctl.exchange.checksums import check_files, listed_names
from sweepctl.exchange.layout import (
    CHECKSUMS,
    NOTES,
    SWEEP,
    Item,
    files_under,
    links_under,
    unpacked,
)
from sweepctl.files import write_atomically
from sweepctl.imported import imported_from
from trainer.paths import RunPaths, is_run_name
from trainer.records import RunState, RunStatus

_MOST_TOLD = 5


@dataclass(frozen=True)
class TakenIn:
    """What an import made."""

    directory: Path
    runs: tuple[str, ...]
    evaluations: int
    remarks: tuple[str, ...] = ()


def is_archive(folder: Path) -> bool:
    """Whether `sweepctl export` made a folder, of which something may be missing by now."""
    return (folder / SWEEP).is_file() or PurePosixPath(SWEEP) in listed_names(folder)


def unpack(archive: Path, directory: Path) -> TakenIn:
    """Copy an archive's files to where a sweep has them; what its list of checksums lacks is left out.

    Args:
        archive: a folder that `sweepctl export` wrote.
        directory: the sweep's folder, not there yet.

    Raises:
        SpecError: with everything that is wrong with the archive; nothing was written.
        StorageError: too little space, or the disk refuses.
    """
    if problems := list(_problems(archive)):
        raise SpecError(problems)
    manifest = read_json_model(archive / SWEEP, Manifest) or Manifest()
    there = {PurePosixPath(path.relative_to(archive).as_posix()): path for path in files_under(archive)}
    listed = listed_names(archive)
    items = [
        Item(path, target)
        for name, path in there.items()
        if name in listed and (target := unpacked(name)) is not None and target != PurePosixPath(SWEEP)
    ]
    require_space(items, directory)
    with building(directory) as folder:
        for item in items:
            copy(item, folder)
        for status in folder.glob("*/status.json"):
            _end_of_running(RunPaths(status.parent))
        # Last, for what has it is a sweep.
        _write_manifest(archive, folder / SWEEP, directory.name)
    planned = tuple(run.run_name for run in manifest.runs if run.state == "planned")
    unplanned = sorted(item.target.parts[0] for item in items if item.target.match("*/config.json"))
    evaluations = sum(item.target.match("*_*shot.json") for item in items)
    remarks = _unlisted(there.keys() - listed)
    return TakenIn(directory, planned or tuple(unplanned), evaluations, tuple(remarks))


def _problems(archive: Path) -> Iterator[Problem]:
    """What is wrong with an archive, told before anything is written."""
    if not (archive / CHECKSUMS).is_file():
        message = (
            f"no {CHECKSUMS}: not an exported sweep, or not the whole of one; make one with: sweepctl export"
        )
        yield Problem(Place(str(archive)), message)
        return
    yield from (Problem(Place(str(path)), "is a link; an archive has none") for path in links_under(archive))
    yield from check_files(archive)
    if PurePosixPath(SWEEP) not in listed_names(archive):
        yield Problem(Place(str(archive / CHECKSUMS)), f"does not list {SWEEP}; get the archive again")
    try:
        manifest = read_json_model(archive / SWEEP, Manifest) or Manifest()
    except BadFileError as error:
        yield Problem(Place(str(archive / SWEEP)), str(error).partition(": ")[2])
        return
    names = [run.run_name for run in manifest.runs]
    for name in dict.fromkeys(names):
        if not is_run_name(name):
            yield Problem(Place(str(archive / SWEEP)), f"a run cannot be called {name!r}")
        elif names.count(name) > 1:
            yield Problem(Place(str(archive / SWEEP)), f"two runs are called {name!r}")


def _unlisted(names: Set[PurePosixPath]) -> Iterator[str]:
    """What was put into the archive after it was made: nobody vouches for it."""
    added = sorted(str(name) for name in names if str(name) not in {NOTES, CHECKSUMS})
    for name in added[:_MOST_TOLD]:
        yield f"{name}: left out, {CHECKSUMS} does not list it"
    if len(added) > _MOST_TOLD:
        yield f"so are {len(added) - _MOST_TOLD:,} other files"


def _end_of_running(run: RunPaths) -> None:
    """Nobody here runs what was still running when it was exported."""
    try:
        status = RunStatus.model_validate_json(run.status.read_bytes())
    except ValidationError:
        return  # shown as unreadable wherever it is shown
    if status.state is RunState.RUNNING:
        changes = {"state": RunState.INTERRUPTED, "reason": "was still running when it was exported"}
        ended = status.model_copy(update={**changes, "pid": None, "pid_started": None})
        write_atomically(run.status, ended.model_dump_json())


def _write_manifest(archive: Path, target: Path, name: str) -> None:
    content = json.loads((archive / SWEEP).read_bytes())
    content |= {"name": name, "imported": imported_from(archive)}
    write_atomically(target, json.dumps(content, indent=2))
