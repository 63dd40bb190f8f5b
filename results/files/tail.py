"""Reads what was appended to a file since the last time: whole lines only, and notices a replacement."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

FINGERPRINT_BYTES = 4096
CHUNK_BYTES = 2**20


class Stamp(NamedTuple):
    """What the file system says of a file: when equal, the file is taken to be untouched.

    The change time is the kernel's own; so a file that was written and given its old size and modification
    time back, or written while the clock had jumped, does not pass for untouched.
    """

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "Stamp":
        """The stamp in a result of `stat`."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class Position(NamedTuple):
    """How far a file has been read, and what identifies the part that was."""

    stamp: Stamp
    """Of the file as it was when its end was reached; before that no file has it."""
    byte_offset: int
    head_sha256: str = ""
    tail_sha256: str = ""


@dataclass(frozen=True)
class Chunk:
    """Some whole lines, in order, and the position after them."""

    start: int
    """Byte offset of the first line."""
    lines: list[bytes]
    """Without their newlines."""
    position: Position
    from_start: bool
    """The first chunk of a file that is new or was replaced: earlier rows of it are void."""

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Each line with its byte offset."""
        offset = self.start
        for line in self.lines:
            yield offset, line
            offset += len(line) + 1


def read_new_lines(path: Path, known: Position | None, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Chunks of whole lines that `known` does not cover; a line without its newline waits.

    A file is read from the start when it is shorter than what was read, when the first or the last
    4096 bytes of that part are others, and when it was touched without growing, which an append-only
    file never is. Nothing is yielded for an untouched file; a touched one yields a chunk even when no
    whole line is new. At most a chunk, or one line that is longer, is held at a time.

    Raises:
        OSError: when it cannot be read.
    """
    # The size seen before reading: bytes that came later make the next call look again.
    stamp = Stamp.of(path.stat())
    if known is not None and stamp == known.stamp:
        return
    with path.open("rb") as file:
        continued = known is not None and stamp.size > known.stamp.size and _is_continuation(file, known)
        offset = known.byte_offset if known is not None and continued else 0
        from_start, at_end = not continued, False
        while not at_end:
            start = offset
            lines, offset, at_end = _whole_lines(file, start, chunk_bytes)
            # Short of its end the file must not pass for read: a crash may come before the next chunk.
            seen = stamp if at_end else Stamp(offset, 0, 0)
            position = Position(seen, offset, *_fingerprint(file, offset))
            yield Chunk(start, lines, position, from_start)
            from_start = False


def _whole_lines(file: BinaryIO, offset: int, chunk_bytes: int) -> tuple[list[bytes], int, bool]:
    """Lines of about a chunk from `offset`, the offset after the last, and whether the file ended."""
    file.seek(offset)
    block = file.read(chunk_bytes)
    at_end = len(block) < chunk_bytes
    end = block.rfind(b"\n") + 1
    if not end and not at_end:  # a line longer than a chunk
        end = _line_length(file, len(block), chunk_bytes)
        file.seek(offset)
        block, at_end = file.read(end), not end
    return block[:end].split(b"\n")[:-1], offset + end, at_end


def _line_length(file: BinaryIO, length: int, chunk_bytes: int) -> int:
    """Bytes of a line, newline included, of which `length` have been read; 0 while it has no end."""
    while block := file.read(chunk_bytes):
        if place := block.find(b"\n") + 1:
            return length + place
        length += len(block)
    return 0


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
