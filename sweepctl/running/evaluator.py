"""Evaluates what was trained, over the slots' warm engines: one process for each kind of engine."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from sweepctl.files import size
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.running.engine import EngineKey
from sweepctl.running.evaluate import config_path, evaluations, is_done, mark_done, missing, write_config
from sweepctl.running.supervise import Cause, Limits, StopRequestedError
from sweepctl.running.verdict import USAGE
from sweepctl.running.worker import Worker
from sweepctl.watching.progress import duration
from sweepctl.watching.show import in_brief
from trainer.errors import EngineError
from trainer.evaluation_config import EvaluationFile


@dataclass(frozen=True)
class _Batch:
    """What is evaluated over one kind of engine."""

    index: int
    key: EngineKey
    file: EvaluationFile
    config: Path
    log: Path


class _Result(Enum):
    """What became of an attempt to evaluate."""

    DONE = auto()
    FAILED = auto()
    HOPELESS = auto()
    """The configuration is wrong: another attempt would not end otherwise."""


class Evaluator:
    """All evaluations of a sweep that are not there yet."""

    def __init__(self, plan: Plan, succeeded: list[PlannedRun], *, trained: bool) -> None:
        """Find out what there is to evaluate.

        Args:
            plan: the sweep.
            succeeded: runs whose checkpoints are evaluated.
            trained: whether any of them may be newer than its evaluations.
        """
        self._lock = threading.Lock()
        self._waiting: list[_Batch] = []
        self.failed = False
        self.already: list[str] = []
        """What need not be done, in words."""
        for index, (key, file) in enumerate(evaluations(plan, succeeded).items()):
            config = config_path(plan, index)
            if not trained and is_done(config, file):
                self.already.append(f"all {len(file.evaluations)} evaluations of {key.model} are there")
            else:
                log = plan.paths.evaluation_log(index)
                self._waiting.append(_Batch(index, key, file, config, log))
        self._total = sum(len(batch.file.evaluations) for batch in self._waiting)
        self._batches = tuple(self._waiting)

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting)

    def doing(self) -> str:
        """How far it is, in words."""
        there = self._total - sum(missing(batch.file) for batch in self._batches)
        return f"evaluating, {there} of {self._total} results there"

    def work(self, worker: Worker) -> None:
        """Evaluate on one slot until nothing is left.

        Raises:
            StopRequestedError: sweepctl is asked to stop; results that are there stay.
        """
        while (batch := self._take(worker.engine.key)) is not None:
            worker.stop.check()
            if not self._evaluate_with_retries(batch, worker):
                self.failed = True
            worker.run_ended()

    def _take(self, warm: EngineKey | None) -> _Batch | None:
        with self._lock:
            chosen = next((batch for batch in self._waiting if batch.key == warm), None)
            if chosen is None and self._waiting:
                chosen = self._waiting[0]
            if chosen is not None:
                self._waiting.remove(chosen)
            return chosen

    def _evaluate_with_retries(self, batch: _Batch, worker: Worker) -> bool:
        retry = worker.plan.resolved.spec.retry
        for attempt in range(1, retry.max_attempts + 1):
            result = self._evaluate(batch, worker)
            if result is not _Result.FAILED:
                return result is _Result.DONE
            if attempt < retry.max_attempts:
                wait_s = retry.backoff * 2 ** (attempt - 1)
                worker.say(f"evaluating again in {duration(wait_s)}; results that are there stay")
                _wait(wait_s, worker.stop.check)
        return False

    def _evaluate(self, batch: _Batch, worker: Worker) -> "_Result":
        try:
            socket = worker.engine.socket_for(batch.key, worker.stop.check)
        except EngineError as error:
            worker.say(f"evaluation failed: the engine did not start: {in_brief(str(error))}")
            worker.show_log(worker.engine.log)
            return _Result.FAILED
        write_config(batch.config, batch.file)
        total = len(batch.file.evaluations)
        worker.say(f"evaluating {batch.key.model}: {total} evaluations (log: {batch.log})")
        began = time.monotonic()
        idle_s = worker.plan.resolved.spec.timeout.idle
        task = worker.task("trainer.evaluation", batch.config, socket, batch.log)
        code, cause = worker.run_task(
            task, Limits(None, idle_s), lambda: (missing(batch.file), size(batch.log))
        )
        worker.timings.evaluation(time.monotonic() - began)
        if worker.stop.count:
            raise StopRequestedError
        if code == 0 and not missing(batch.file):
            mark_done(batch.config, batch.file)
            return _Result.DONE
        there = total - missing(batch.file)
        why = (
            f"nothing new for timeout.idle = {duration(idle_s or 0)}"
            if cause is Cause.IDLE
            else f"exit code {code}"
        )
        worker.say(f"evaluation failed: {why}, {there} of {total} results there")
        worker.show_log(batch.log)
        return _Result.FAILED if code != USAGE else _Result.HOPELESS


def _wait(seconds: float, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check()
        time.sleep(0.2)
