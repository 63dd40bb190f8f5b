"""The trainer's own loop, with an engine whose completions have drawn lengths."""

from pathlib import Path

import torch

from benchmarks.gpu.lengths import DrawnLengths, LengthDistribution
from benchmarks.gpu.record import ArmRecord
from trainer.__main__ import train_to_the_end
from trainer.config import RunFile
from trainer.engine.start import start_engine
from trainer.loop import Loop
from trainer.paths import RunPaths
from trainer.records import RunState
from trainer.status import Heartbeat
from trainer.trace import TraceWriter


class LoopWithoutCheckpoints(Loop):
    """The last step's, 20 GB of optimizer state with it, would count in that step's time."""

    def _checkpoint_due(self, version: int) -> bool:
        return False


def train_arm(file: RunFile, paths: RunPaths, socket: Path | None, lengths: LengthDistribution) -> ArmRecord:
    """Train an arm as `python -m trainer` would.

    Args:
        file: its configuration and resources.
        paths: where its files go.
        socket: of a running `vllm serve`; None to start an engine.
        lengths: of its completions.

    Raises:
        SweepctlError: whatever ended it early.
    """
    engines: list[DrawnLengths] = []

    def start() -> DrawnLengths:
        config = file.config
        way = file.resources.weight_transfer
        engine = start_engine(config.model, config.engine, socket, paths.root, (), weight_transfer=way)
        engines.append(DrawnLengths(engine, lengths, config.sampling.max_completion_tokens))
        return engines[-1]

    with TraceWriter(paths.trace) as trace:
        heartbeat = Heartbeat(paths.status, trace.attempt, file.config.max_steps)
        state, reason = RunState.FAILED, None
        try:
            train_to_the_end(
                LoopWithoutCheckpoints(file, paths, trace, heartbeat, start), file, trace, heartbeat
            )
            state = RunState.SUCCEEDED
        except BaseException as error:
            reason = str(error)
            raise
        finally:
            heartbeat.finish(state, reason)
    device = torch.device(file.resources.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return ArmRecord(name, [completion for engine in engines for completion in engine.sampled])
