"""A tiny engine round trip, as a run would make it, in a process of its own."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sweepctl.doctor.finding import Finding, ok, problem
from sweepctl.files import last_lines
from sweepctl.running.process import GuardedProcess
from sweepctl.running.slots import Slot, machine_devices, machine_kind

TIMEOUT_S = 660.0
_CHECK = (sys.executable, "-m", "trainer.engine.check")


def check_engine(command: Sequence[str] = _CHECK, timeout_s: float = TIMEOUT_S) -> Finding:
    """Start the engine on the devices of a run, sample from it, and end it; nothing of it stays.

    Args:
        command: what does it, given `--output FILE --cores LIST`.
        timeout_s: it is ended after so long.
    """
    kind = machine_kind()
    slot = Slot(0, kind, machine_devices(kind))
    device = {} if slot.engine_device is None else {"CUDA_VISIBLE_DEVICES": slot.engine_device}
    # Removed last: the engine's log is read before.
    with tempfile.TemporaryDirectory(prefix="sweepctl-doctor-") as folder:
        output, log = Path(folder) / "result.json", Path(folder) / "check.log"
        arguments = ["--output", str(output), "--cores", ",".join(map(str, slot.engine_cores))]
        with GuardedProcess([*command, *arguments], log, device) as process:
            code = process.wait(timeout_s)
        if code is None:
            return _failure(Path(folder), f"no answer after {timeout_s:.0f} s")
        if code != 0 or not output.exists():
            return _failure(Path(folder), f"exit code {code}")
        return _judge(json.loads(output.read_bytes()))


def _judge(result: dict[str, float | str]) -> Finding:
    """Speed, and whether the engine counts what it gave: runs are checked by its counters."""
    tokens, seconds = float(result["completion_tokens"]), float(result["generate_s"])
    found = (
        f"{result['engine']}: ready after {float(result['start_s']):.0f} s, "
        f"{tokens / seconds:,.0f} tokens/s with log-probabilities"
    )
    if result["counted_tokens"] != result["completion_tokens"]:
        counted = f"it gave {tokens:.0f} tokens and counted {result['counted_tokens']}"
        return problem("engine", f"{found}; {counted}", "install the version of vLLM that the lock names")
    return ok("engine", found)


def _failure(folder: Path, what: str) -> Finding:
    """With the last words of the check and of the engine, which go when the folder goes."""
    words = [last_lines(folder / name, 5) for name in ("check.log", "engine.log")]
    said = "\n".join(text for text in words if text)
    return problem(
        "engine",
        f"the round trip failed, {what}. Last lines:\n{said}",
        "see what it says; `engine: {name: transformers}` in the spec does without vLLM",
    )
