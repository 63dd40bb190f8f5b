"""One run, wired together.

    prompts -> Rollouts -> GroupBuffer -> Learner -> WeightSync -> engine
               (thread)    (meeting)      (main thread)

Each step the learner waits for its groups (`take`: woken by the rollouts), trains, and after every
k-th step gives the engine the new weights: with `in_flight: wait` or `abort` once it works on nothing
(`wait_drained`: woken by the rollouts), with `keep` at once. Then dispatching goes on (`resume`: wakes
the rollouts).

A checkpoint is written before its step's record and counts from after it, so that whatever moment a
process is killed at, the trace holds the records of all steps a checkpoint has seen.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from trainer.answer import token_texts
from trainer.batch import TrainedCompletion
from trainer.checkpoint import export_policy
from trainer.clock import StepTimer
from trainer.config import RunFile
from trainer.device_fit import fitted
from trainer.engine.protocol import Engine
from trainer.group import Group
from trainer.group_log import GroupLog
from trainer.held_out import HeldOutEvaluation
from trainer.interrupt import Interrupted
from trainer.learner import Learner
from trainer.paths import RunPaths
from trainer.records import Checkpoint, Fate, Resumed, RunStarted, Span, Step, Sync
from trainer.resume import CheckpointFolder, ResumeState, discard_lost
from trainer.rollout import Rollouts
from trainer.status import Heartbeat
from trainer.step_record import group_fields, reward_fields
from trainer.tasks import load_task, token_ids
from trainer.trace import TraceWriter
from trainer.weight_sync import WeightSync


class Loop:
    """Runs the steps of one run. Use as: construct, `run`, `close`.

    Args:
        file: what the run is.
        paths: where it lies.
        trace: open, for this attempt.
        heartbeat: likewise.
        start_engine: gives the engine, when everything else has been found to be right.
        engine_runs: whether that only connects to one.
    """

    def __init__(
        self,
        file: RunFile,
        paths: RunPaths,
        trace: TraceWriter,
        heartbeat: Heartbeat,
        start_engine: Callable[[], Engine],
        *,
        engine_runs: bool = False,
    ) -> None:
        config = file.config
        self._file = file
        self._config = config
        self._trace = trace
        self._heartbeat = heartbeat
        self._dtype: torch.dtype = getattr(torch, config.engine.dtype)
        if file.resources.cores:
            torch.set_num_threads(len(file.resources.cores))
        # What can be wrong with a configuration is found before an engine is started for it.
        task = load_task(config.task, config.held_out.problems if config.held_out.every_steps else 0)
        fitting = fitted(config, file.resources, engine_runs=engine_runs)
        self._learner = Learner(fitting, torch.device(file.resources.device))
        tokenizer = self._learner.tokenizer
        room = config.engine.max_model_len - config.sampling.max_completion_tokens
        prompt_token_ids = token_ids(task.problems, tokenizer, room)
        held_out_token_ids = token_ids(task.held_out, tokenizer, room)
        self._checkpoints = CheckpointFolder(paths, file.run_id, config.checkpoint.keep)
        self._resumed = self._checkpoints.newest()
        if self._resumed:
            self._learner.load_state_dict(dict(self._resumed.learner))
        self._log = GroupLog(trace, paths.rollouts, config.rollouts.keep, token_texts(tokenizer))
        engine = start_engine()
        self._rollouts = Rollouts(
            config=config,
            engine=engine,
            task=task,
            prompt_token_ids=prompt_token_ids,
            tokenizer=tokenizer,
            trace=trace,
            log=self._log,
        )
        self._sync = WeightSync(
            self._learner,
            self._rollouts,
            self._dtype,
            probe_prompt=prompt_token_ids[0],
            max_completion_tokens=config.sampling.max_completion_tokens,
        )
        self._held_out = HeldOutEvaluation(
            config=config,
            task=task,
            prompt_token_ids=held_out_token_ids,
            rollouts=self._rollouts,
            tokenizer=tokenizer,
            trace=trace,
            log=self._log,
        )
        self._timer = StepTimer(trace.clock)
        self._engine_description = engine.description
        self._saved = False
        self._idle_before_s = 0.0
        self._newest: int | None = self._resumed.version if self._resumed else None

    def interrupt(self, interruption: BaseException) -> None:
        """Make `run` end where it waits next, leaving a checkpoint; from any thread."""
        self._rollouts.interrupt(interruption)

    def run(self) -> None:
        """All steps, from weights that are loaded into the engine and proved first.

        Raises:
            SweepctlError: whatever ended the run early.
            Interrupted: it was asked to end; it can go on from where it was.
        """
        first = self._begin()
        version = first
        try:
            self._evaluate(version)
            self._rollouts.start()
            self._timer, self._idle_before_s = StepTimer(self._trace.clock), self._rollouts.idle_s()
            for step in range(first, self._config.max_steps):
                self._step(step)
                version = step + 1
                self._evaluate(version)
        except Interrupted:
            self._rollouts.stop()
            self._save_interrupted(version)
            self._saved = True
            raise

    def close(self) -> dict[str, int | None]:
        """Give every group a fate, and let go of the engine and of shared memory.

        Returns:
            Requests and tokens of this attempt by the engine's own counters, by `RunFinished` field;
            None where they cannot be told.
        """
        with ExitStack() as last:
            last.callback(self._log.close)
            last.callback(self._sync.close)
            last.callback(self._rollouts.close)
            self._rollouts.stop()
            self._rollouts.settle(saved=self._saved)
            done = self._rollouts.groups_counters()
        return {
            "engine_requests": done.requests if done else None,
            "engine_prompt_tokens": done.prompt_tokens if done else None,
            "engine_completion_tokens": done.completion_tokens if done else None,
        }

    def _begin(self) -> int:
        """Announce the attempt, give the engine its weights, and take up the state to resume from.

        Returns:
            The first step to do.
        """
        file, trace, resumed = self._file, self._trace, self._resumed
        trace.write(
            RunStarted,
            run_id=file.run_id,
            sweep=file.sweep,
            run_name=file.run_name,
            model=file.config.model,
            engine=self._engine_description,
            max_steps=file.config.max_steps,
            unix_time=time.time(),
        )
        version, engine_version = (resumed.version, resumed.engine_version) if resumed else (0, 0)
        if trace.attempt > 1:
            trace.write(Resumed, from_step=version)
            lost = discard_lost(trace, resumed)
            print(f"resuming at step {version}; {lost} groups of earlier attempts are discarded", flush=True)
        self._heartbeat.step = version
        self._rollouts.learner_is_at(version)
        self._rollouts.attach()
        proof = self._sync.prove(engine_version)
        print(
            f"the engine computes with the weights it got (logprob gap {proof.gap:.4f} nats a token, "
            f"{proof.limit:.4f} would be too much)",
            flush=True,
        )
        if resumed:
            if resumed.engine_weights:
                self._sync.push_file(resumed.engine_weights, engine_version)
            consumed = version * self._config.prompts_per_optim_step
            self._rollouts.restore(dict(resumed.rollouts), consumed, engine_version)
        self._rollouts.resume(engine_version)
        return version

    def _step(self, step: int) -> None:
        version = step + 1
        groups, consumed_s, trained, metrics = self._train(step)
        for group, taken_s in zip(groups, consumed_s, strict=True):
            self._log.write(group, Fate.TRAINED, step=step, consumed_s=taken_s, trained=trained)
        dropped = self._rollouts.buffer.dropped()
        self._rollouts.learner_is_at(version)
        if self._config.schedule.reference_sync_due(version, self._config.prompts_per_reference_sync):
            self._learner.refresh_reference()
        if self._config.schedule.sync_due(version):
            self._sync_weights(step)
        saving = self._checkpoint_due(version)
        if saving:
            with self._phase("checkpoint", step):
                self._write_checkpoint(version)
        rewards = reward_fields(groups, dropped)
        idle_before_s, self._idle_before_s = self._idle_before_s, self._rollouts.idle_s()
        self._trace.write(
            Step,
            step=step,
            policy_version=version,
            engine_idle_s=self._idle_before_s - idle_before_s,
            **self._timer.finish(),
            **group_fields(groups, step, consumed_s),
            **rewards,
            **metrics,
        )
        if saving:
            self._commit_checkpoint(version)
        self._heartbeat.step = version
        total = self._config.max_steps
        print(f"step {version}/{total}  reward {rewards['reward_mean']:.3f}", flush=True)

    def _train(
        self, step: int
    ) -> tuple[list[Group], list[float], dict[tuple[int, int], TrainedCompletion], dict[str, float | None]]:
        """Take the groups of a step as they come and train on them.

        Returns:
            The groups, when each was taken, what the learner made of their completions, and the metrics.
        """
        groups: list[Group] = []
        consumed_s: list[float] = []
        trained: dict[tuple[int, int], TrainedCompletion] = {}
        chunk = self._config.forward_backward_prompts
        try:
            while len(groups) < self._config.prompts_per_optim_step:
                with self._phase("wait", step):
                    taken = self._rollouts.buffer.take(chunk, step)
                groups += taken
                consumed_s += [self._trace.clock.now()] * len(taken)
                with self._phase("learn", step):
                    # In the prompts' order, so that sums do not depend on which was dispatched again.
                    in_order = sorted(taken, key=lambda group: group.prompt.ordinal)
                    trained |= self._learner.forward_backward(in_order)
            with self._phase("learn", step):
                metrics = self._learner.optimizer_step()
        except BaseException:
            self._learner.abandon_step()
            self._rollouts.buffer.put_back(groups)
            raise
        return groups, consumed_s, trained, metrics

    def _sync_weights(self, step: int) -> None:
        in_flight = self._rollouts.pause()
        with self._phase("drain", step):
            if self._config.in_flight == "abort":
                self._rollouts.abort()
            if self._config.in_flight != "keep":
                self._rollouts.buffer.wait_drained()
        began = self._trace.clock.now()
        with self._phase("sync", step):
            size = self._sync.push(step + 1)
        now = self._trace.clock.now()
        self._rollouts.resume(step + 1)
        self._trace.write(Sync, version=step + 1, bytes=size, wall_s=now - began, in_flight=in_flight)

    def _evaluate(self, version: int) -> None:
        if self._held_out.due(version):
            with self._phase("held_out", step=None):
                self._held_out.evaluate(version)

    def _checkpoint_due(self, version: int) -> bool:
        every = self._config.checkpoint.every_steps
        return version == self._config.max_steps or (every is not None and version % every == 0)

    def _write_checkpoint(self, version: int) -> None:
        """Everything a checkpoint holds, in a folder that does not count yet."""
        began = self._trace.clock.now()
        engine_version = self._rollouts.buffer.engine_version
        state = ResumeState(
            version=version,
            engine_version=engine_version,
            rollouts=self._rollouts.state(),
            learner=self._learner.state_dict(),
            engine_weights=None if engine_version == version else self._sync.handed_over(),
        )
        with self._checkpoints.writing(version) as folder:
            export_policy(self._learner, folder, self._dtype)
            self._policy_bytes = sum(path.stat().st_size for path in folder.iterdir())
            self._checkpoints.write_resume(folder, state)
        self._checkpoint_s = self._trace.clock.now() - began

    def _save_interrupted(self, version: int) -> None:
        """A checkpoint of this moment; where one of this version is there, only what has changed since."""
        if self._newest == version:
            self._checkpoints.update(version, self._rollouts.state())
            return
        self._write_checkpoint(version)
        self._commit_checkpoint(version)

    def _commit_checkpoint(self, version: int) -> None:
        self._trace.flush()
        path = self._checkpoints.commit(version)
        self._newest = version
        self._trace.write(
            Checkpoint,
            step=version,
            path=f"{path.parent.name}/{path.name}",
            bytes=self._policy_bytes,
            wall_s=self._checkpoint_s,
        )

    @contextmanager
    def _phase(self, name: str, step: int | None) -> Iterator[None]:
        """A phase of a step: counted in its time, and a span in the trace."""
        began = self._trace.clock.now()
        with self._timer.phase(name):
            yield
        lane = "sync" if name == "sync" else "learner"
        now = self._trace.clock.now()
        self._trace.write(Span, lane=lane, name=name, start_s=began, end_s=now, step=step)
