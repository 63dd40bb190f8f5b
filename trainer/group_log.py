"""What became of every group: its trace line, and for some its text."""

import random
from pathlib import Path

from trainer.append import AppendFile
from trainer.group import Group
from trainer.records import Fate, RolloutCompletion, RolloutGroup, Warned
from trainer.records import Group as GroupRecord
from trainer.trace import TraceWriter


class GroupLog:
    """Writes one trace line per group, and `keep` of the groups whole into rollouts.jsonl.

    Which groups are kept depends on their number alone, so it is the same for every run.
    """

    def __init__(self, trace: TraceWriter, rollouts: Path, keep: float) -> None:
        self._trace = trace
        self._keep = keep
        self._file = AppendFile(rollouts)

    def write(
        self, group: Group, fate: Fate, step: int | None = None, consumed_s: float | None = None
    ) -> None:
        """Write the group's fate; `step` and `consumed_s` for a trained one."""
        sampled = [completion for completion in group.completions if completion.token_ids]
        finished = group.finished_s is not None
        self._trace.write(
            GroupRecord,
            group=group.number,
            prompt_id=group.problem.prompt_id,
            version_min=group.version_min,
            version_max=max((c.version_max for c in sampled), default=None),
            finished_version=group.finished_version,
            dispatched_s=group.dispatched_s,
            finished_s=group.finished_s,
            verified_s=group.verified_s,
            consumed_s=consumed_s,
            step=step,
            fate=fate,
            reward_mean=sum(group.rewards) / len(group.rewards) if group.rewards else None,
            prompt_tokens=len(group.prompt_token_ids),
            completion_tokens=group.completion_tokens,
            truncated=group.truncated if finished else 0,
        )
        if group.rewards and random.Random(group.number).random() < self._keep:
            self._write_text(group, fate, step)

    def warn(self, message: str) -> None:
        """Tell the user something that stops nothing."""
        self._trace.write(Warned, message=message)
        print(f"warning: {message}", flush=True)

    def close(self) -> None:
        """Close the file of texts."""
        self._file.close()

    def _write_text(self, group: Group, fate: Fate, step: int | None) -> None:
        line = RolloutGroup(
            attempt=self._trace.attempt,
            group=group.number,
            prompt_id=group.problem.prompt_id,
            fate=fate,
            step=step,
            version_min=group.version_min,
            prompt=group.problem.prompt,
            answer=group.problem.answer,
            completions=[
                RolloutCompletion(
                    text=text,
                    token_ids=completion.token_ids,
                    generator_logprobs=completion.logprobs,
                    reward=reward,
                    truncated=completion.truncated,
                )
                for completion, text, reward in zip(
                    group.completions, group.texts, group.rewards, strict=True
                )
            ],
        )
        self._file.write_line(line.model_dump_json().encode())
