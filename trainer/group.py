"""A group: one prompt's completions on their way from dispatch to training."""

from dataclasses import asdict, dataclass, field
from typing import Any

from trainer.engine.protocol import Completion
from trainer.frontier import Prompt
from trainer.tasks import Problem


@dataclass
class Group:
    """The completions of one dispatch. Times are run time.

    Attributes:
        number: unique within the run; a prompt may come again, a group never does.
        prompt: its place in the order of prompts.
        version_min: the engine's policy version at dispatch.
        finished_version: the learner's policy version when generation ended.
    """

    number: int
    prompt: Prompt
    problem: Problem
    prompt_token_ids: list[int]
    version_min: int
    dispatched_s: float
    finished_s: float | None = None
    finished_version: int | None = None
    verified_s: float | None = None
    completions: list[Completion] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def completion_tokens(self) -> int:
        """Tokens sampled, over all completions."""
        return sum(len(completion.token_ids) for completion in self.completions)

    @property
    def truncated(self) -> int:
        """Completions cut off by their limit."""
        return sum(completion.truncated for completion in self.completions)

    def trainable(self, mask_truncated: bool) -> bool:
        """Whether some completion has an advantage and counts in the loss."""
        counts = not mask_truncated or self.truncated < len(self.completions)
        return counts and len(set(self.rewards)) > 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON; the problem is found again by the prompt's place."""
        kept = asdict(self)
        del kept["problem"], kept["prompt"], kept["prompt_token_ids"]
        return {**kept, "ordinal": self.prompt.ordinal}

    @classmethod
    def restore(
        cls, state: dict[str, Any], prompt: Prompt, problem: Problem, prompt_token_ids: list[int]
    ) -> "Group":
        """The group that `state` was taken of."""
        kept = {key: value for key, value in state.items() if key not in {"ordinal", "completions"}}
        completions = [Completion(**completion) for completion in state["completions"]]
        return cls(
            prompt=prompt,
            problem=problem,
            prompt_token_ids=prompt_token_ids,
            completions=completions,
            **kept,
        )
