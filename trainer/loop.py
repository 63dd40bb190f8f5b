"""One run, wired together.

    prompts -> Rollouts -> GroupBuffer -> Learner -> WeightSync -> engine
               (thread)    (meeting)      (main thread)

Each step the learner waits for its groups (`take`: woken by the rollouts), trains, and after every
k-th step waits until the engine works on nothing (`wait_drained`: woken by the rollouts), loads the
new weights and lets dispatching go on (`resume`: wakes the rollouts).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from statistics import fmean, pstdev

import torch

from trainer.buffer import Group
from trainer.checkpoint import save_checkpoint
from trainer.clock import StepTimer
from trainer.config import RunFile
from trainer.engine.protocol import Engine, EngineCounters
from trainer.errors import EngineError
from trainer.group_log import GroupLog
from trainer.learner import Learner
from trainer.paths import RunPaths
from trainer.records import Checkpoint, Fate, Resumed, RunStarted, Span, Step, Sync
from trainer.rollout import Rollouts
from trainer.status import Heartbeat
from trainer.tasks import load_task
from trainer.trace import TraceWriter
from trainer.weight_sync import WeightSync


class Loop:
    """Runs the steps of one run. Use as: construct, `run`, `close`."""

    def __init__(
        self,
        file: RunFile,
        paths: RunPaths,
        trace: TraceWriter,
        heartbeat: Heartbeat,
        start_engine: Callable[[], Engine],
    ) -> None:
        config = file.config
        self._file = file
        self._config = config
        self._paths = paths
        self._trace = trace
        self._heartbeat = heartbeat
        self._dtype: torch.dtype = getattr(torch, config.engine.dtype)
        if file.resources.cores:
            torch.set_num_threads(len(file.resources.cores))
        # What can be wrong with a configuration is found before an engine is started for it.
        self._task = load_task(config.task)
        self._learner = Learner(config, torch.device(file.resources.device))
        self._log = GroupLog(trace, paths.rollouts, config.rollouts.keep)
        engine = start_engine()
        self._rollouts = Rollouts(
            config=config,
            engine=engine,
            task=self._task,
            tokenizer=self._learner.tokenizer,
            trace=trace,
            log=self._log,
        )
        self._sync = WeightSync(
            self._learner,
            self._rollouts,
            self._dtype,
            probe_prompt=self._learner.tokenizer.encode(self._task.problems[0].prompt),
            temperature=config.sampling.temperature,
        )
        self._timer = StepTimer(trace.clock)
        self._counters_before: EngineCounters | None = None
        trace.write(
            RunStarted,
            run_id=file.run_id,
            sweep=file.sweep,
            run_name=file.run_name,
            model=config.model,
            engine=engine.description,
            max_steps=config.max_steps,
            unix_time=time.time(),
        )
        if trace.attempt > 1:
            trace.write(Resumed, from_step=0)

    def fail(self, error: BaseException) -> None:
        """Make `run` raise `error` as soon as it waits; from any thread."""
        self._rollouts.buffer.fail(error)

    def run(self) -> None:
        """All steps, from base weights that are loaded into the engine and proved first.

        Raises:
            SweepctlError: whatever ended the run early.
        """
        self._rollouts.attach()
        self._counters_before = self._rollouts.counters()
        gap = self._sync.prove()
        print(f"the engine computes with the base weights (logprob gap {gap:.4f} nats a token)", flush=True)
        self._rollouts.start()
        self._timer = StepTimer(self._trace.clock)
        for step in range(self._config.max_steps):
            self._step(step)

    def close(self) -> dict[str, int | None]:
        """Give every group a fate, and let go of the engine and of shared memory.

        Returns:
            Requests and tokens of this attempt by the engine's own counters, by `RunFinished` field;
            None where the engine is gone.
        """
        work: dict[str, int | None] = dict.fromkeys(
            ("engine_requests", "engine_prompt_tokens", "engine_completion_tokens")
        )
        before = self._counters_before
        with suppress(EngineError):
            if before is not None:
                done = self._rollouts.counters().since(before).since(self._rollouts.sampled_outside)
                work = {
                    "engine_requests": done.requests,
                    "engine_prompt_tokens": done.prompt_tokens,
                    "engine_completion_tokens": done.completion_tokens,
                }
        self._rollouts.stop()
        self._sync.close()
        self._log.close()
        return work

    def _step(self, step: int) -> None:
        with self._phase("wait", step):
            groups, dropped = self._rollouts.buffer.take(self._config.prompts_per_optim_step)
        consumed_s = self._trace.clock.now()
        with self._phase("learn", step):
            try:
                metrics = self._learner.step(groups)
            except Exception:
                for group in groups:  # they have left the buffer, which would give them a fate
                    self._log.write(group, Fate.LEFTOVER)
                raise
        for group in groups:
            self._log.write(group, Fate.TRAINED, step=step, consumed_s=consumed_s)
        version = step + 1
        if self._config.schedule.sync_due(version):
            self._sync_weights(step)
        if self._checkpoint_due(version):
            self._save(step)
        rewards = _reward_metrics(groups + dropped)
        self._trace.write(
            Step,
            step=step,
            policy_version=version,
            filtered_groups=sum(bool(group.rewards) for group in dropped),
            **self._timer.finish(),
            **_group_metrics(groups, step),
            **rewards,
            **metrics,
        )
        self._heartbeat.step = version
        total = self._config.max_steps
        print(f"step {version}/{total}  reward {rewards['reward_mean']:.3f}", flush=True)

    def _sync_weights(self, step: int) -> None:
        paused_s = self._trace.clock.now()
        in_flight = self._rollouts.pause()
        with self._phase("drain", step):
            self._rollouts.buffer.wait_drained()
        began = self._trace.clock.now()
        with self._phase("sync", step):
            size = self._sync.push(step + 1)
        now = self._trace.clock.now()
        self._rollouts.synced(paused_s, now)
        self._rollouts.buffer.resume(step + 1)
        self._trace.write(Sync, version=step + 1, bytes=size, wall_s=now - began, in_flight=in_flight)

    def _checkpoint_due(self, version: int) -> bool:
        every = self._config.checkpoint.every_steps
        return version == self._config.max_steps or (every is not None and version % every == 0)

    def _save(self, step: int) -> None:
        began = self._trace.clock.now()
        path = self._paths.checkpoint(step + 1)
        with self._phase("checkpoint", step):
            size = save_checkpoint(self._learner, path, self._dtype)
        wall_s = self._trace.clock.now() - began
        self._trace.write(
            Checkpoint, step=step + 1, path=str(path.relative_to(self._paths.root)), bytes=size, wall_s=wall_s
        )

    @contextmanager
    def _phase(self, name: str, step: int) -> Iterator[None]:
        """A phase of a step: counted in its time, and a span in the trace."""
        began = self._trace.clock.now()
        with self._timer.phase(name):
            yield
        lane = "sync" if name == "sync" else "learner"
        now = self._trace.clock.now()
        self._trace.write(Span, lane=lane, name=name, start_s=began, end_s=now, step=step)


def _group_metrics(groups: Sequence[Group], step: int) -> dict[str, float]:
    completions = sum(len(group.completions) for group in groups)
    ages = [step - group.version_min for group in groups]
    return {
        "prompts": len(groups),
        "completions": completions,
        "prompt_tokens": sum(len(group.prompt_token_ids) for group in groups),
        "completion_tokens": sum(group.completion_tokens for group in groups),
        "off_policy_steps_mean": fmean(ages),
        "off_policy_steps_max": max(ages),
        "truncated_fraction": sum(group.truncated for group in groups) / completions,
    }


def _reward_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Over filtered groups too: leaving them out would hide what the policy has learned."""
    rewards = [reward for group in groups for reward in group.rewards]
    return {"reward_mean": fmean(rewards), "reward_std": pstdev(rewards)}
