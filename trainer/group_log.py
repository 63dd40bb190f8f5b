"""What became of every group: its trace line, and for some its text."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from trainer.append import AppendFile
from trainer.batch import TrainedCompletion
from trainer.group import Group
from trainer.records import Fate, RolloutCompletion, RolloutGroup, Warned
from trainer.records import Group as GroupRecord
from trainer.trace import TraceWriter

NOTHING_TRAINED: Mapping[tuple[int, int], TrainedCompletion] = MappingProxyType({})


class GroupLog:
    """Writes one trace line per group, and `keep` of the groups whole into rollouts.jsonl.

    Which groups are kept depends on their number alone, so it is the same for every run.

    Args:
        trace: of the run.
        rollouts: file of the groups kept.
        keep: share of them.
        pieces: text of each of some tokens by itself.
    """

    def __init__(
        self, trace: TraceWriter, rollouts: Path, keep: float, pieces: Callable[[list[int]], list[str]]
    ) -> None:
        self._trace = trace
        self._keep = keep
        self._pieces = pieces
        self._file = AppendFile(rollouts)

    def write(
        self,
        group: Group,
        fate: Fate,
        step: int | None = None,
        consumed_s: float | None = None,
        trained: Mapping[tuple[int, int], TrainedCompletion] = NOTHING_TRAINED,
    ) -> None:
        """Write the group's fate; `step`, `consumed_s` and what the learner made of it for a trained one."""
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
            self._write_text(group, fate, step, trained)

    def warn(self, message: str) -> None:
        """Tell the user something that stops nothing."""
        self._trace.write(Warned, message=message)
        print(f"warning: {message}", flush=True)

    def close(self) -> None:
        """Close the file of texts."""
        self._file.close()

    def _write_text(
        self,
        group: Group,
        fate: Fate,
        step: int | None,
        trained: Mapping[tuple[int, int], TrainedCompletion],
    ) -> None:
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
                self._completion(group, place, trained.get((group.number, place)))
                for place in range(len(group.completions))
            ],
        )
        self._file.write_line(line.model_dump_json().encode())

    def _completion(self, group: Group, place: int, trained: TrainedCompletion | None) -> RolloutCompletion:
        completion = group.completions[place]
        return RolloutCompletion(
            text=group.texts[place],
            token_ids=completion.token_ids,
            tokens=self._pieces(completion.token_ids),
            generator_logprobs=completion.logprobs,
            learner_logprobs=trained.learner_logprobs.tolist() if trained else None,
            advantage=trained.advantage if trained else None,
            reward=group.rewards[place],
            truncated=completion.truncated,
        )
