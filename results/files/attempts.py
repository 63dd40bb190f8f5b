"""attempts.jsonl of a run: which code and environment its last attempt came from, and what it ran on."""

import msgspec

from trainer.paths import RunPaths


class Started(msgspec.Struct):
    """A line of an attempt that began; a fingerprint that nobody wrote down is None."""

    event: str
    code: str | None = None
    environment: str | None = None
    devices: str | None = None


def last_started(run: RunPaths) -> Started | None:
    """Of the last attempt; None where there is no record of one.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        lines = run.attempts.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            found = _STARTED.decode(line)
        except (msgspec.MsgspecError, ValueError):
            continue  # the torn end of a killed writer
        if found.event == "started":
            return found
    return None


_STARTED = msgspec.json.Decoder(Started)
