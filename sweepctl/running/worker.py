"""What a slot does: takes a run, sees that its engine is warm, trains it, says what became of it; again."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweepctl.attempts import append_attempt, may_retry, read_attempts, retry_at_unix
from sweepctl.files import last_lines, size
from sweepctl.mirrors.companions import Companions
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.provenance import code_id, environment_id
from sweepctl.running.engine import WarmEngine, engine_key
from sweepctl.running.executor import Executor, Task
from sweepctl.running.prepare import write_config
from sweepctl.running.queue import RunQueue
from sweepctl.running.slots import Slot
from sweepctl.running.supervise import Cause, Limits, StopRequestedError, StopSignals, supervise
from sweepctl.running.timings import Timings
from sweepctl.running.verdict import INTERRUPTED, Outcome, verdict
from sweepctl.spec.model import Retry
from sweepctl.states import change_state, read_status, write_pending
from sweepctl.watching.progress import WAITING_FOR_ENGINE, SweepProgress, duration
from sweepctl.watching.show import in_brief
from trainer.errors import EngineError
from trainer.records import RunState


class Say(Protocol):
    """Says something that stays on the screen."""

    def __call__(self, message: str) -> None:
        """Say it."""


@dataclass
class Worker:
    """Trains runs on one slot."""

    slot: Slot
    engine: WarmEngine
    executor: Executor
    plan: Plan
    progress: SweepProgress
    stop: StopSignals
    timings: Timings
    say: Say
    run_ended: Callable[[], object]
    """Called after each attempt: there is something new to ingest."""
    waiting_for_engine: Callable[[str, str], AbstractContextManager[None]]
    """Has others know that a run (its name) waits for the engine on some devices."""

    def train_all(self, queue: RunQueue) -> None:
        """Train until nothing is left.

        Raises:
            StopRequestedError: sweepctl is asked to stop; the run that was being trained can be resumed.
        """
        while (run := queue.take(self.engine.key, self.stop)) is not None:
            outcome = self._attempt(run, queue)
            self.run_ended()
            self._settle(run, outcome, queue)

    def _attempt(self, run: PlannedRun, queue: RunQueue) -> Outcome:
        row = self.progress.row(run.name)
        row.device, row.note = self.slot.name, WAITING_FOR_ENGINE
        try:
            starting = self.waiting_for_engine(run.name, self.slot.name)
            socket = self.engine.socket_for(engine_key(run), self.stop.check, starting)
        except EngineError as error:
            reason = f"the engine did not start: {error}"
            return self._end(run, Outcome(RunState.FAILED, reason, log=self.engine.log))
        except StopRequestedError:
            queue.put_back(run)
            raise
        finally:
            row.note = None
        row.state = "running"
        resources = self.slot.learner_resources
        if socket is None:  # the transformers engine, which takes files only
            resources = resources.model_copy(update={"weight_transfer": "file"})
        write_config(self.plan, run, resources)
        # What an earlier attempt said must not be taken for this one's word, should it die without any.
        write_pending(run.paths, run.config.max_steps)
        append_attempt(
            run.paths, "started", code=code_id(), environment=environment_id(), devices=self.slot.name
        )
        began = time.monotonic()
        spec = self.plan.resolved.spec
        limits = Limits(spec.timeout.run, spec.timeout.idle)
        mirrors = Companions(spec.mirrors, run.paths, self.say, lambda: self.stop.count > 1)
        task = self.task("trainer", run.paths.config, socket, run.paths.log)
        with mirrors:
            code, cause = self.run_task(task, limits, lambda: size(run.paths.trace))
        outcome = self._end(run, verdict(read_status(run.paths), code, cause, limits))
        if outcome.state is not RunState.SUCCEEDED and self.slot.weight_transfer != "file":
            self.engine.stop()  # it may have been left amid a sync, which nobody can end
        self.timings.run(run.name, outcome.state, time.monotonic() - began)
        return outcome

    def task(self, module: str, config: Path, socket: Path | None, log: Path) -> Task:
        """One of the trainer's modules, to be run on this slot over the engine at `socket`."""
        arguments = ["--config", str(config)] + (["--engine", str(socket)] if socket else [])
        return Task(module, tuple(arguments), log, self.slot.learner_environment, self.engine.hold)

    def run_task(self, task: Task, limits: Limits, sign_of_life: Callable[[], object]) -> tuple[int, Cause]:
        """Run a task to its end; its exit code and why it ended."""
        with self.executor.submit(task) as job:
            code, cause = supervise(job, self.stop, limits, sign_of_life)
        if self.executor.blocking and code == INTERRUPTED:
            self.stop.request()  # the signal was for us, too
        return code, cause

    def _end(self, run: PlannedRun, outcome: Outcome) -> Outcome:
        """Put the end of an attempt on record."""
        change_state(run.paths, outcome.state, outcome.reason, run.config.max_steps)
        append_attempt(
            run.paths, "ended", state=outcome.state, reason=outcome.reason, retryable=outcome.retryable
        )
        row = self.progress.row(run.name)
        row.refresh()
        row.state, row.device = outcome.state.value, None
        return outcome

    def _settle(self, run: PlannedRun, outcome: Outcome, queue: RunQueue) -> None:
        """Say what is not well, and have it tried again where that may help."""
        if outcome.state is RunState.SUCCEEDED:
            queue.settle(failed=False)
            return
        retry = self.plan.resolved.spec.retry
        at = self._retry_at(run, outcome, retry, queue)
        row = self.progress.row(run.name)
        again = f"; trying again in {duration(max(0.0, at - time.time()))}" if at is not None else ""
        why = in_brief(str(outcome.reason))  # the end of its log follows
        self.say(f"{row.label} {run.name} {outcome.state.value}: {why}{again}")
        if outcome.state is RunState.FAILED:
            self.show_log(outcome.log or run.paths.log)
        if at is None:
            queue.settle(failed=outcome.state is RunState.FAILED)
            return
        row.state, row.note = "pending", "to be tried again"
        queue.retry(run, at)

    def show_log(self, log: Path) -> None:
        """Print where a log is and how it ends."""
        self.say("\n  | ".join([f"  log: {log}", *last_lines(log, 12).splitlines()]))

    def _retry_at(self, run: PlannedRun, outcome: Outcome, retry: Retry, queue: RunQueue) -> float | None:
        """When to try again, in seconds since the epoch; None: not in this invocation."""
        if self.stop.count:
            return None
        if outcome.killed:
            deaths = queue.died(run)
            backoff = retry.backoff * 2 ** (deaths - 1)
            return time.time() + backoff if deaths < retry.max_attempts else None
        attempts = read_attempts(run.paths)
        if outcome.state is not RunState.FAILED or not may_retry(attempts, retry.max_attempts):
            return None
        return retry_at_unix(attempts, retry.backoff)
