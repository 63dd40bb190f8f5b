"""`MANIFEST.sha256`: what every file of an archive held, in the format of `sha256sum -c`."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sweepctl.errors import Place, Problem
from sweepctl.exchange.layout import CHECKPOINTS, CHECKSUMS, NOTES, files_under

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write_checksums(archive: Path) -> None:
    """List all files but the list itself."""
    lines = [
        f"{_sha256(path)}  {path.relative_to(archive).as_posix()}\n"
        for path in files_under(archive)
        if path.name != CHECKSUMS or path.parent != archive
    ]
    (archive / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def listed_names(archive: Path) -> frozenset[PurePosixPath]:
    """What the list has, as far as it can be read."""
    try:
        return frozenset(name for _, _, name in _entries(archive) if name is not None)
    except (OSError, UnicodeDecodeError):
        return frozenset()


def check_files(archive: Path) -> Iterator[Problem]:
    """What differs from the list. The notes may be edited; whole checkpoints may be left out."""
    listing = archive / CHECKSUMS
    try:
        entries = list(_entries(archive))
    except (OSError, UnicodeDecodeError):
        yield Problem(Place(str(listing)), "cannot be read: the archive is not whole; get it again")
        return
    for number, digest, name in entries:
        if name is None:
            yield Problem(Place(str(listing), number), "not a checksum and a name; get the archive again")
            continue
        path = archive / name
        left_out = name.parts[0] == CHECKPOINTS and not (archive / PurePosixPath(*name.parts[:3])).exists()
        if name == PurePosixPath(NOTES) or left_out:
            continue
        try:
            found = _sha256(path)
        except OSError as error:
            yield Problem(Place(str(path)), f"cannot be read: {error.strerror}; get the archive again")
            continue
        if found != digest:
            yield Problem(Place(str(path)), "is not what was exported; get the archive again")


def _entries(archive: Path) -> Iterator[tuple[int, str, PurePosixPath | None]]:
    """Line number, checksum and name of each line; no name where a line is not like that."""
    lines = (archive / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        name = PurePosixPath(match[2]) if match else None
        yield number, match[1] if match else "", name if name is not None and _is_inside(name) else None


def _is_inside(name: PurePosixPath) -> bool:
    return bool(name.parts) and not name.is_absolute() and ".." not in name.parts and "\0" not in str(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
