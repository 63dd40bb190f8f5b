"""The worker process of the verifier: one completion in, one reward out. Imports no torch."""

import math
import numbers
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from trainer.orphans import end_with_parent
from trainer.rewards import Reward, load_reward

_LONGEST_MESSAGE = 500  # characters; one write to the pipe, so the other side never sees half of it


@dataclass(frozen=True)
class Call:
    """The arguments of a reward."""

    completion: str
    answer: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """Why there is no reward, in one line."""

    reason: str


def serve(pipe: Connection, reward: str, parent: int) -> None:
    """Answer each call with a float or a Refusal, until the pipe closes. Runs in the worker.

    The first message says, by None or a Refusal, whether the reward could be loaded.
    """
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us too; the run decides
    os.setpgid(0, 0)  # what the reward starts can then be killed with it
    try:
        function = load_reward(reward)
    except Exception as error:
        pipe.send(_refusal("could not be loaded", error))
        return
    pipe.send(None)
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return  # the other side has closed the pipe
        pipe.send(_outcome(function, call))


def _outcome(function: Reward, call: Call) -> float | Refusal:
    try:
        value: object = function(call.completion, call.answer, call.row)
        if isinstance(value, numbers.Real) and math.isfinite(value):
            return float(value)
        return Refusal(f"returned {value!r:.100}, which is no finite number")
    # A user's code, or computer algebra over what a model wrote: anything may come out, also sys.exit().
    except (Exception, SystemExit) as error:
        return _refusal("raised", error)


def _refusal(what: str, error: BaseException) -> Refusal:
    lines = str(error).strip().splitlines()
    return Refusal(f"{what} {type(error).__name__}: {lines[-1] if lines else ''}"[:_LONGEST_MESSAGE])
