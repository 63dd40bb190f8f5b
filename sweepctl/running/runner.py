"""Runs a plan: one run after the other over one shared engine, then all evaluations.

lock -> prepare directories -> for each run: engine, trainer -> evaluation -> exit code
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sweepctl.files import last_lines
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.running.engine import EngineKey, SharedEngine
from sweepctl.running.evaluate import config_path, evaluations, is_done, mark_done, missing, write_config
from sweepctl.running.ingesting import BackgroundIngest
from sweepctl.running.manifest import Timings, write_manifest
from sweepctl.running.prepare import prepare, refuse_running, select, sweep_lock
from sweepctl.running.process import GuardedProcess
from sweepctl.running.supervise import Cause, StopRequestedError, StopSignals, supervise
from sweepctl.states import change_state, read_status, write_pending
from sweepctl.watching.display import Display
from sweepctl.watching.progress import RunProgress, SweepProgress, duration
from trainer.errors import EngineError
from trainer.evaluation_config import EvaluationFile
from trainer.records import RunState

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Options:
    """What the command line asks of a run."""

    retry_failed: bool = False
    force: bool = False
    evaluate: bool = True
    resume_command: str = "sweepctl run"
    """What to type to go on after an interruption."""


@dataclass(frozen=True)
class Commands:
    """The processes that do the work."""

    trainer: tuple[str, ...] = (sys.executable, "-m", "trainer")
    evaluation: tuple[str, ...] = (sys.executable, "-m", "trainer.evaluation")


@dataclass
class SweepRunner:
    """One invocation of `sweepctl run`."""

    plan: Plan
    options: Options
    display: Display
    engine: SharedEngine
    ingest: Callable[[], object]
    commands: Commands = field(default_factory=Commands)

    def run(self) -> int:
        """Run everything there is to run; the exit code.

        Raises:
            SweepLockedError: somebody else runs this sweep.
            ConfigError: something the spec asks for is not there, or nothing can be written.
        """
        with sweep_lock(self.plan.paths), StopSignals() as self._stop:
            self.plan = self.plan.refreshed()
            refuse_running(self.plan)
            todo = select(self.plan, retry_failed=self.options.retry_failed, force=self.options.force)
            self._timings = Timings(self.plan.paths.root / "timings.json")
            with self.display:
                prepare(self.plan, todo, self.engine.placement, self.display.say, force=self.options.force)
                write_manifest(self.plan, trains=bool(todo))
                # Not earlier: a folder must not be renamed while it is read.
                with BackgroundIngest(self.ingest, self.display.say) as self._background:
                    return self._run_shown(todo)

    def _run_shown(self, todo: tuple[PlannedRun, ...]) -> int:
        """Run all over one engine, with the progress on display; the exit code."""
        self._progress = self._initial_progress(todo)
        self.display.say(f"{self.plan.name}: {len(todo)} of {len(self.plan.feasible)} runs to train")
        self.display.show(self._progress)
        self.engine.announce = self.display.say
        try:
            with self.engine:
                return self._run_all(todo)
        except StopRequestedError:
            self.display.say(f"interrupted; go on with: {self.options.resume_command}")
            return EXIT_INTERRUPTED
        finally:
            self._timings.engine_starts(self.engine.start_seconds)
            self.display.show(self._progress)

    def _run_all(self, todo: tuple[PlannedRun, ...]) -> int:
        self._train_all(todo)
        finished = self.plan.refreshed().feasible
        succeeded = [run for run in finished if run.state == "succeeded"]
        evaluated = not self.options.evaluate or self._evaluate_all(succeeded, trained=bool(todo))
        self._progress.doing = "done"
        return self._conclude(finished, succeeded, evaluated=evaluated)

    def _train_all(self, todo: tuple[PlannedRun, ...]) -> None:
        limit = self.plan.resolved.spec.stop_after_consecutive_failures
        failures = 0
        for index, run in enumerate(todo):
            self._stop.check()
            failures = 0 if self._train(run) is RunState.SUCCEEDED else failures + 1
            self._background.soon()
            if limit is not None and failures >= limit and todo[index + 1 :]:
                self._skip(todo[index + 1 :], f"{failures} runs before it failed one after the other")
                return

    def _train(self, run: PlannedRun) -> RunState:
        """One run, to its end; the state it is left in."""
        try:
            with self._stop.breaking_in():
                socket = self.engine.socket_for(EngineKey(run.config.model, run.config.engine))
        except EngineError as error:
            return self._end(run, RunState.FAILED, f"the engine did not start: {error}")
        command = [*self.commands.trainer, "--config", str(run.paths.config)]
        command += ["--engine", str(socket)] if socket else []
        self._progress.doing = f"training {run.label}"
        self._row(run).state = "running"
        # What an earlier attempt said must not be taken for this one's word, should it die without any.
        write_pending(run.paths, run.config.max_steps)
        began = time.monotonic()
        with GuardedProcess(command, run.paths.log) as process:
            timeout = self.plan.resolved.spec.timeout.run
            code, cause = supervise(process, self._stop, lambda: self._tick(run), self.display.say, timeout)
        state = self._end(run, *self._verdict(run, code, cause))
        self._timings.run(run.name, state, time.monotonic() - began)
        if cause is Cause.STOPPED:
            raise StopRequestedError
        return state

    def _verdict(self, run: PlannedRun, code: int, cause: Cause) -> tuple[RunState, str | None]:
        """What became of a run: what it says itself, corrected by how its process ended."""
        status = read_status(run.paths)
        said = status.state if status else RunState.PENDING
        if said is RunState.SUCCEEDED and code == 0:
            return said, None
        if cause is Cause.TIMEOUT:
            limit = duration(self.plan.resolved.spec.timeout.run or 0)
            return RunState.FAILED, f"it took longer than timeout.run = {limit}"
        if cause is Cause.STOPPED:
            return RunState.INTERRUPTED, "sweepctl was asked to stop"
        if said in {RunState.FAILED, RunState.INTERRUPTED} and status and code not in {0, 128 + 9}:
            return said, status.reason
        if code > 128:
            return RunState.INTERRUPTED, f"its process was ended by signal {code - 128}"
        return RunState.FAILED, f"its process ended with exit code {code} and no word of success"

    def _end(self, run: PlannedRun, state: RunState, reason: str | None) -> RunState:
        """Put the end of a run on record and say it if it is not a good one."""
        change_state(run.paths, state, reason, run.config.max_steps)
        row = self._row(run)
        row.refresh()
        row.state = state.value
        self.display.show(self._progress)
        if state is not RunState.SUCCEEDED:
            self.display.say(f"{run.label} {run.name} {state.value}: {reason}")
        if state is RunState.FAILED:
            lines = last_lines(run.paths.log, 12)
            self.display.say(
                f"  log: {run.paths.log}" + "".join(f"\n  | {line}" for line in lines.splitlines())
            )
        return state

    def _skip(self, runs: tuple[PlannedRun, ...], reason: str) -> None:
        for run in runs:
            change_state(run.paths, RunState.SKIPPED, reason, run.config.max_steps)
            self._row(run).state = "skipped"
        self.display.say(f"the other {len(runs)} runs are skipped: {reason}")

    def _evaluate_all(self, succeeded: list[PlannedRun], *, trained: bool) -> bool:
        """Everything there is to evaluate; False when some evaluation failed."""
        files = evaluations(self.plan, succeeded)
        ok = True
        for index, (key, file) in enumerate(files.items()):
            path = config_path(self.plan, index)
            if not trained and is_done(path, file):
                self.display.say(f"all {len(file.evaluations)} evaluations of {key.model} are there")
                continue
            ok = self._evaluate(key, file, path) and ok
        return ok

    def _evaluate(self, key: EngineKey, file: EvaluationFile, path: Path) -> bool:
        try:
            with self._stop.breaking_in():
                socket = self.engine.socket_for(key)
        except EngineError as error:
            self.display.say(f"evaluation failed: the engine did not start: {error}")
            return False
        write_config(path, file)
        command = [*self.commands.evaluation, "--config", str(path)]
        command += ["--engine", str(socket)] if socket else []
        log, total = self.plan.paths.evaluation_log, len(file.evaluations)

        def tick() -> None:
            self._progress.doing = f"evaluating, {total - missing(file)} of {total} results there"
            self.display.show(self._progress)

        self.display.say(f"evaluating {key.model}: {total} evaluations (log: {log})")
        began = time.monotonic()
        with GuardedProcess(command, log) as process:
            code, cause = supervise(process, self._stop, tick, self.display.say)
        self._timings.evaluation(time.monotonic() - began)
        self._background.soon()
        if cause is Cause.STOPPED:
            raise StopRequestedError
        if code == 0 and not missing(file):
            mark_done(path, file)
            return True
        there = total - missing(file)
        self.display.say(f"evaluation failed: exit code {code}, {there} of {total} results there")
        self._show_log(log)
        return False

    def _show_log(self, log: Path) -> None:
        lines = last_lines(log, 12).splitlines()
        self.display.say("\n  | ".join([f"  log: {log}", *lines]))

    def _conclude(self, runs: tuple[PlannedRun, ...], succeeded: list[PlannedRun], *, evaluated: bool) -> int:
        self.display.say(
            f"{len(succeeded)} of {len(runs)} runs succeeded; next: sweepctl report {self.plan.name}"
        )
        failed = [run for run in runs if run.state == "failed"]
        if failed:
            names = ", ".join(run.name for run in failed)
            self.display.say(
                f"failed: {names}; once the cause is gone: {self.options.resume_command} --retry-failed"
            )
        return EXIT_OK if evaluated and len(succeeded) == len(runs) else EXIT_FAILED

    def _initial_progress(self, todo: tuple[PlannedRun, ...]) -> SweepProgress:
        waiting = {run.name for run in todo}
        rows = [
            RunProgress(
                label=run.label or "",
                name=run.name,
                max_steps=run.config.max_steps,
                paths=run.paths,
                state="pending" if run.name in waiting else run.state,
            )
            for run in self.plan.feasible
        ]
        for row in rows:
            row.refresh()
        return SweepProgress(self.plan.name, self.plan.resolved.profile, rows)

    def _row(self, run: PlannedRun) -> RunProgress:
        return next(row for row in self._progress.runs if row.name == run.name)

    def _tick(self, run: PlannedRun) -> None:
        self._row(run).refresh()
        self.display.show(self._progress)
