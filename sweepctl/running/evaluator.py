"""Evaluates what was trained, over the slots' warm engines: one process for each kind of engine."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweepctl.files import last_lines
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.running.engine import EngineKey
from sweepctl.running.evaluate import config_path, evaluations, is_done, mark_done, missing, write_config
from sweepctl.running.executor import Task
from sweepctl.running.supervise import Limits, StopRequestedError, supervise
from sweepctl.running.worker import Worker
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
            if self._evaluate(batch, worker):
                return True
            if attempt < retry.max_attempts:
                worker.say(f"evaluating again in {retry.backoff:.0f} s; results that are there stay")
                _wait(retry.backoff, worker.stop.check)
        return False

    def _evaluate(self, batch: _Batch, worker: Worker) -> bool:
        try:
            socket = worker.engine.socket_for(batch.key, worker.stop.check)
        except EngineError as error:
            worker.say(f"evaluation failed: the engine did not start: {error}")
            return False
        write_config(batch.config, batch.file)
        arguments = ["--config", str(batch.config)] + (["--engine", str(socket)] if socket else [])
        total = len(batch.file.evaluations)
        worker.say(f"evaluating {batch.key.model}: {total} evaluations (log: {batch.log})")
        began = time.monotonic()
        task = Task("trainer.evaluation", tuple(arguments), batch.log, worker.slot.learner_environment)
        with worker.executor.submit(task) as job:
            code, _ = supervise(job, worker.stop, Limits(), lambda: None)
        worker.timings.evaluation(time.monotonic() - began)
        if worker.stop.count:
            raise StopRequestedError
        if code == 0 and not missing(batch.file):
            mark_done(batch.config, batch.file)
            return True
        there = total - missing(batch.file)
        worker.say(f"evaluation failed: exit code {code}, {there} of {total} results there")
        worker.say("\n  | ".join([f"  log: {batch.log}", *last_lines(batch.log, 12).splitlines()]))
        return False


def _wait(seconds: float, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check()
        time.sleep(0.2)
