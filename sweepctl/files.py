"""Writing files so that no reader ever sees half of one."""

import os
import tempfile
from pathlib import Path

PARTIAL = ".partial"
"""How a file ends that is still being written. One that stays so belonged to a killed process."""


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` as a whole; a crash leaves the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)  # or a power cut could leave the new name on nothing
        temporary.chmod(0o644)  # mkstemp's files are private, and others may serve the dashboard
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and below; while nobody writes there."""
    for path in folder.rglob(f"*{PARTIAL}"):
        path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def last_lines(path: Path, count: int) -> str:
    """The last lines of a log, or an empty text where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 32768))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""
