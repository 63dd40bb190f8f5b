"""Evaluation on held-out problems during a run, through the run's own engine."""

from collections.abc import Sequence
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from trainer.answer import answer_text
from trainer.config import RunConfig
from trainer.engine.protocol import GenerationRequest
from trainer.group_log import GroupLog
from trainer.records import HeldOut
from trainer.rollout import Rollouts
from trainer.tasks import Task
from trainer.trace import TraceWriter
from trainer.verifier import VerificationError


class HeldOutEvaluation:
    """Greedy answers to the task's held-out problems, one each, and their rewards.

    The engine serves them beside the groups that are being generated, so it must hold the version that
    is evaluated and be given no other meanwhile.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        task: Task,
        prompt_token_ids: Sequence[list[int]],
        rollouts: Rollouts,
        tokenizer: PreTrainedTokenizerBase,
        trace: TraceWriter,
        log: GroupLog,
    ) -> None:
        self._every = config.held_out.every_steps
        self._max_tokens = config.sampling.max_completion_tokens
        self._task = task
        self._prompt_token_ids = prompt_token_ids
        self._rollouts = rollouts
        self._tokenizer = tokenizer
        self._trace = trace
        self._log = log

    def due(self, version: int) -> bool:
        """Whether this policy version is to be evaluated."""
        return self._every is not None and version % self._every == 0

    def evaluate(self, version: int) -> None:
        """Evaluate the policy that the engine holds, and write an `eval` record.

        A reward that cannot be had counts as 0, with a warning.
        """
        began = self._trace.clock.now()
        requests = [
            GenerationRequest(
                token_ids=tokens,
                n=1,
                max_tokens=self._max_tokens,
                temperature=0,
                seed=0,
                stop=self._task.stop,
            )
            for tokens in self._prompt_token_ids
        ]
        answers = [completions[0] for completions in self._rollouts.sample(requests)]
        rewards = []
        for problem, answer in zip(self._task.held_out, answers, strict=True):
            text = answer_text(self._tokenizer, answer.token_ids, self._task.stop)
            try:
                rewards.append(self._rollouts.reward(problem, text))
            except VerificationError as error:
                self._log.warn(f"held-out problem {problem.prompt_id} counts as wrong: {error}")
                rewards.append(0.0)
        self._trace.write(
            HeldOut,
            version=version,
            problems=len(rewards),
            accuracy=fmean(rewards),
            truncated_fraction=fmean(answer.truncated for answer in answers),
            completion_tokens=sum(len(answer.token_ids) for answer in answers),
            wall_s=self._trace.clock.now() - began,
        )
        print(f"version {version}: {fmean(rewards):.3f} on {len(rewards)} held-out problems", flush=True)
