"""The tokens that a loss is computed on."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """The T completion tokens of S completions.

    A completion is never split over two of these; its tokens may lie in any order.

    Attributes:
        learner_logprobs: [T], with gradient.
        generator_logprobs: [T], by the engine that sampled them.
        proximal_logprobs: [T], by the learner before the step's first update, no gradient.
        reference_logprobs: [T], by the reference model, no gradient; None without one.
        advantages: [T], of the completion each belongs to.
        completion: [T] int64, which of the S completions each belongs to, 0 to S - 1.
        completions: S. A completion without tokens counts, but adds nothing.
    """

    learner_logprobs: Tensor
    generator_logprobs: Tensor
    proximal_logprobs: Tensor
    reference_logprobs: Tensor | None
    advantages: Tensor
    completion: Tensor
    completions: int

    def share_of_completion(self) -> Tensor:
        """[T]: 1 / the number of tokens of the completion each belongs to."""
        lengths = torch.bincount(self.completion, minlength=self.completions)
        return 1 / lengths.to(self.advantages.dtype)[self.completion]

    def completion_sums(self, values: Tensor) -> Tensor:
        """[T]: for each token the sum of `values`, [T], over the completion it belongs to."""
        sums = values.new_zeros(self.completions).index_add(0, self.completion, values)
        return sums[self.completion]
