"""`MANIFEST.sha256`: what every file of an archive held, in the format of `sha256sum -c`."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sweepctl.errors import Place, Problem
from sweepctl.exchange.layout import CHECKPOINTS, CHECKSUMS, NOTES, files_under

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write_checksums(archive: Path) -> int:
    """List all files but the list itself; how many there are."""
    lines = [
        f"{_sha256(path)}  {path.relative_to(archive).as_posix()}\n"
        for path in files_under(archive)
        if path.name != CHECKSUMS or path.parent != archive
    ]
    (archive / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def check_files(archive: Path) -> Iterator[Problem]:
    """What differs from the list. The notes may be edited; whole checkpoints may be left out."""
    listing = archive / CHECKSUMS
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        yield Problem(Place(str(listing)), "cannot be read: the archive is not whole; get it again")
        return
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or not _is_inside(PurePosixPath(match[2])):
            yield Problem(Place(str(listing), number), "not a checksum and a name; get the archive again")
            continue
        name = PurePosixPath(match[2])
        path = archive / name
        left_out = name.parts[0] == CHECKPOINTS and not (archive / PurePosixPath(*name.parts[:3])).exists()
        if name == PurePosixPath(NOTES) or left_out:
            continue
        try:
            found = _sha256(path)
        except OSError as error:
            yield Problem(Place(str(path)), f"cannot be read: {error.strerror}; get the archive again")
            continue
        if found != match[1]:
            yield Problem(Place(str(path)), "is not what was exported; get the archive again")


def _is_inside(name: PurePosixPath) -> bool:
    return not name.is_absolute() and ".." not in name.parts


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
