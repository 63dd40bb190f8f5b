"""Runs a plan: every run on some slot over its warm engine, then all evaluations.

lock -> what is to be done -> directories ready -> devices leased -> on each slot: runs -> evaluations
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from results.files.predictions import Prediction
from sweepctl.attempts import read_attempts, retry_at_unix
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.select import due
from sweepctl.running.engine import EngineKind, WarmEngine
from sweepctl.running.evaluator import Evaluator
from sweepctl.running.executor import Executor, LocalExecutor
from sweepctl.running.ingesting import BackgroundIngest
from sweepctl.running.lease import lease_devices
from sweepctl.running.lock import sweep_lock
from sweepctl.running.manifest import write_manifest
from sweepctl.running.prepare import ORPHAN_PATIENCE_S, prepare, wait_for_orphans
from sweepctl.running.queue import RunQueue
from sweepctl.running.slots import Share
from sweepctl.running.supervise import DRAIN_S, StopRequestedError, StopSignals
from sweepctl.running.timings import Timings
from sweepctl.running.worker import Worker
from sweepctl.states import change_state, read_status
from sweepctl.watching.display import Display
from sweepctl.watching.progress import RunProgress, SweepProgress, duration
from sweepctl.watching.show import retry_command
from trainer.records import RunState

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_TICK_S = 1.0


@dataclass(frozen=True)
class Options:
    """What the command line asks of a run."""

    retry_failed: bool = False
    force: bool = False
    evaluate: bool = True
    resume_command: str = "sweepctl run"
    """What to type to go on after an interruption."""
    command: tuple[str, ...] = ()
    """The same in words, without --runs-dir, to go on record."""
    report_command: str = "sweepctl report"
    """What to type to see the results."""
    orphan_patience_s: float = ORPHAN_PATIENCE_S


Predictor = Callable[[Plan, Callable[[str], None]], Mapping[str, Prediction]]
"""Says by name what the runs of a plan will do, to be put on record before the first step."""


def _unpredicted(plan: Plan, say: Callable[[str], None]) -> Mapping[str, Prediction]:
    return {}


@dataclass
class SweepRunner:
    """One invocation of `sweepctl run`."""

    plan: Plan
    options: Options
    display: Display
    share: Share
    ingest: Callable[[], object]
    predict: Predictor = _unpredicted
    executor: Executor = field(default_factory=LocalExecutor)
    engines: EngineKind = field(default_factory=EngineKind)
    _announced: int = field(default=0, init=False)
    """How many requests to stop were answered in words."""

    def run(self) -> int:
        """Run everything there is to run; the exit code.

        Raises:
            SweepLockedError: somebody else runs this sweep.
            ConfigError: something the spec asks for is not there, or nothing can be written.
        """
        say, patience_s = self.display.say, self.options.orphan_patience_s
        with StopSignals() as self._stop:
            try:
                with sweep_lock(self.plan.paths, say, self._stop.check, patience_s) as self._lock:
                    return self._run_locked()
            except StopRequestedError:
                say(f"interrupted; go on with: {self.options.resume_command}")
                return EXIT_INTERRUPTED

    def _run_locked(self) -> int:
        say = self.display.say
        self.plan = wait_for_orphans(self.plan, say, self._stop.check, self.options.orphan_patience_s)
        retry = self.plan.resolved.spec.retry
        todo = due(
            self.plan,
            retry_failed=self.options.retry_failed,
            force=self.options.force,
            max_attempts=retry.max_attempts,
        )
        self._timings = Timings(self.plan.paths.root / "timings.json")
        with self.display:
            # Before directories are renamed: the store knows runs by the names that they have now.
            predictions = self.predict(self.plan, say)
            prepare(self.plan, todo, say, retry_failed=self.options.retry_failed, force=self.options.force)
            write_manifest(
                self.plan, trains=bool(todo), command=self.options.command, predictions=predictions
            )
            # Not earlier: a folder must not be renamed while it is read.
            with BackgroundIngest(self.ingest, say) as self._background:
                return self._run_shown(todo)

    def _run_shown(self, todo: tuple[PlannedRun, ...]) -> int:
        """Run all, with the progress on display; the exit code."""
        self._progress = _initial_progress(self.plan, todo)
        self.display.say(f"{self.plan.name}: {len(todo)} of {len(self.plan.feasible)} runs to train")
        self.display.show(self._progress)
        try:
            if not todo and (nothing := self._evaluator(trained=False)) and not nothing.needed:
                for line in nothing.already:
                    self.display.say(line)
                return self._conclude(evaluated=True)
            with self._workers() as workers:
                self._train_all(todo, workers)
                evaluated = self._evaluate_all(workers, trained=bool(todo))
            return self._conclude(evaluated=evaluated)
        finally:
            self.display.show(self._progress)

    @contextmanager
    def _workers(self) -> Iterator[tuple[Worker, ...]]:
        """One for each slot, with devices of its own and an engine that is started when first needed."""
        share = self.share
        with (
            lease_devices(
                share.kind,
                share.devices,
                at_least=share.at_least,
                sweep=self.plan.name,
                say=self.display.say,
                while_waiting=self._stop.check,
            ) as leased,
            ExitStack() as engines,
        ):
            workers = []
            hold = (self._lock.descriptor, *leased.descriptors)
            for slot in share.slots(leased.devices):
                log = self.plan.paths.engine_log(slot.index)
                engine = WarmEngine(slot, log, self.engines, self.display.say, hold)
                engines.enter_context(engine)
                engines.callback(self._timings.engine_starts, engine.start_seconds)
                workers.append(
                    Worker(
                        slot=slot,
                        engine=engine,
                        executor=self.executor,
                        plan=self.plan,
                        progress=self._progress,
                        stop=self._stop,
                        timings=self._timings,
                        say=self.display.say,
                        run_ended=self._background.soon,
                        waiting_for_engine=self._lock.waiting_for_engine,
                    )
                )
            self._progress.slots = len(workers)
            yield tuple(workers)

    def _train_all(self, todo: tuple[PlannedRun, ...], workers: Sequence[Worker]) -> None:
        spec = self.plan.resolved.spec
        not_before = {run.name: retry_at_unix(read_attempts(run.paths), spec.retry.backoff) for run in todo}
        queue = RunQueue(todo, spec.stop_after_consecutive_failures, not_before)
        self._on_all(workers, lambda worker: worker.train_all(queue), self._training)
        if queue.exhausted:
            self._skip(queue.left, f"{spec.stop_after_consecutive_failures} runs failed one after the other")

    def _training(self) -> str:
        labels = [row.label for row in self._progress.runs if row.state == "running"]
        return f"training {', '.join(labels)}" if labels else "starting"

    def _skip(self, runs: tuple[PlannedRun, ...], reason: str) -> None:
        skipped = 0
        for run in runs:
            status = read_status(run.paths)
            if status is not None and status.state is RunState.FAILED:
                continue  # it waited for a retry: how it failed is not to be forgotten
            change_state(run.paths, RunState.SKIPPED, reason, run.config.max_steps)
            self._progress.row(run.name).state = "skipped"
            skipped += 1
        if skipped:
            self.display.say(f"the other {skipped} runs are skipped: {reason}")

    def _evaluator(self, *, trained: bool) -> Evaluator | None:
        if not self.options.evaluate:
            return None
        self.plan = self.plan.refreshed()
        # Not only the selected ones: what is evaluated is on record as one list. Those stay set aside.
        succeeded = [run for run in self.plan.feasible if run.state == "succeeded" and not run.comes_back]
        return Evaluator(self.plan, succeeded, trained=trained)

    def _evaluate_all(self, workers: Sequence[Worker], *, trained: bool) -> bool:
        """Everything there is to evaluate; False when some evaluation failed."""
        evaluator = self._evaluator(trained=trained)
        if evaluator is None:
            return True
        for line in evaluator.already:
            self.display.say(line)
        self._on_all(workers, evaluator.work, evaluator.doing)
        return not evaluator.failed

    def _on_all(
        self, workers: Sequence[Worker], work: Callable[[Worker], None], doing: Callable[[], str]
    ) -> None:
        """Have all slots work, showing the progress from here, where signals arrive."""
        if self.executor.blocking:
            self._show(doing())
            work(workers[0])
            return
        with ThreadPoolExecutor(len(workers), thread_name_prefix="slot") as pool:
            working = {pool.submit(work, worker) for worker in workers}
            ended: set[Future[None]] = set()
            try:
                while working:
                    done, working = wait(working, _TICK_S, FIRST_COMPLETED)
                    ended |= done
                    if not self._stop.count and any(future.exception() for future in done):
                        self._stop.request(now=True)  # a sweep does not carry on with half of its slots
                    self._announce_stop(working=bool(working))
                    self._show(doing())
            except BaseException:
                self._stop.request(now=True)  # or leaving here would wait for all that is queued
                raise
        errors = [error for future in ended if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, StopRequestedError)):
            raise error
        self._stop.check()

    def _announce_stop(self, *, working: bool) -> None:
        """Say once that jobs are asked to end, and once that they are killed."""
        count = min(self._stop.count, 2)
        if working and count > self._announced:
            wait_s = (
                f"up to {duration(DRAIN_S)} for runs to write a checkpoint; Ctrl-C again ends them at once"
            )
            self.display.say(f"stopping: {wait_s}" if count == 1 else "ending everything at once")
        self._announced = max(count, self._announced)

    def _show(self, doing: str) -> None:
        self._progress.doing = doing
        for row in self._progress.runs:
            if row.state == "running":
                row.refresh()
        self.display.show(self._progress)

    def _conclude(self, *, evaluated: bool) -> int:
        runs = [run for run in self.plan.refreshed().feasible if run.selected]
        succeeded = [run for run in runs if run.state == "succeeded"]
        self._progress.doing = ""
        after = f"; next: {self.options.report_command}" if succeeded else ""
        self.display.say(f"{len(succeeded)} of {len(runs)} runs succeeded{after}")
        if failed := [run for run in runs if run.state == "failed"]:
            names = ", ".join(run.name for run in failed)
            again = retry_command(self.options.resume_command, self.plan.name)
            self.display.say(f"failed: {names}; once the cause is gone: {again}")
        return EXIT_OK if evaluated and len(succeeded) == len(runs) else EXIT_FAILED


def _initial_progress(plan: Plan, todo: tuple[PlannedRun, ...]) -> SweepProgress:
    waiting = {run.name for run in todo}
    rows = [
        RunProgress(
            label=run.label or "",
            name=run.name,
            max_steps=run.config.max_steps,
            paths=run.paths,
            state="pending" if run.name in waiting else run.state,
        )
        for run in plan.feasible
        if run.selected
    ]
    for row in rows:
        row.refresh()
    return SweepProgress(plan.name, plan.resolved.profile, rows)
