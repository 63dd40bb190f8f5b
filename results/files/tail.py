"""Reads what was appended to a file since the last time: whole lines only, and notices a replacement."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

FINGERPRINT_BYTES = 4096
CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Position:
    """How far a file has been read, and what identifies the part that was."""

    size: int
    mtime_ns: int
    byte_offset: int
    head_sha256: str
    tail_sha256: str


@dataclass(frozen=True)
class Chunk:
    """Some whole lines, in order, and the position after them."""

    lines: list[tuple[int, bytes]]
    """Byte offset and content without the newline; blank lines are left out."""
    position: Position
    from_start: bool
    """The first chunk of a file that is new or was replaced: earlier rows of it are void."""


def read_new_lines(path: Path, known: Position | None, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Chunks of whole lines that `known` does not cover; a line without its newline waits.

    A file shorter than what was read, or whose read part has changed, is read from the start. Nothing
    is yielded for an untouched file; a touched one yields a chunk even when no whole line is new.
    """
    stat = path.stat()
    if known is not None and (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns):
        return
    with path.open("rb") as file:
        continued = known is not None and _is_continuation(file, known)
        offset = known.byte_offset if known is not None and continued else 0
        from_start, at_end = not continued, False
        while not at_end:
            lines, offset, at_end = _whole_lines(file, offset, chunk_bytes)
            # The size seen before reading: bytes that came later make the next call look again.
            position = Position(stat.st_size, stat.st_mtime_ns, offset, *_fingerprint(file, offset))
            yield Chunk(lines, position, from_start)
            from_start = False


def _whole_lines(file: BinaryIO, offset: int, chunk_bytes: int) -> tuple[list[tuple[int, bytes]], int, bool]:
    """Lines of about a chunk from `offset`, the offset after the last, and whether the file ended."""
    file.seek(offset)
    block = file.read(chunk_bytes)
    at_end = len(block) < chunk_bytes
    while b"\n" not in block and not at_end:  # a line longer than a chunk
        more = file.read(chunk_bytes)
        at_end = len(more) < chunk_bytes
        block += more
    lines: list[tuple[int, bytes]] = []
    for line in block.split(b"\n")[:-1]:
        if stripped := line.strip():
            lines.append((offset, stripped))
        offset += len(line) + 1
    return lines, offset, at_end


def _is_continuation(file: BinaryIO, known: Position) -> bool:
    """Whether the part that was read is still there, by the hashes of its two ends."""
    return _fingerprint(file, known.byte_offset) == (known.head_sha256, known.tail_sha256)


def _fingerprint(file: BinaryIO, end: int) -> tuple[str, str]:
    """Hashes of the first and of the last bytes before `end`; of fewer bytes where the file is shorter."""
    file.seek(0)
    head = file.read(min(end, FINGERPRINT_BYTES))
    start = max(0, end - FINGERPRINT_BYTES)
    file.seek(start)
    tail = file.read(end - start)
    return hashlib.sha256(head).hexdigest(), hashlib.sha256(tail).hexdigest()
