"""The model that the KL penalty keeps the policy near."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from trainer.policy import Policy


class Reference:
    """The policy's trained weights as they once were; what is not trained is shared with the policy.

    With adapters, which start as nothing, the first reference is the base model at the cost of a second
    set of adapters.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._weights = policy.copy()
        self._refreshed = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the model computes as the reference and without gradient."""
        with torch.no_grad(), self._policy.using(self._weights):
            yield

    def refresh(self) -> None:
        """Become the current policy."""
        for name, parameter in self._policy.trainable.items():
            self._weights[name].copy_(parameter.detach())
        self._refreshed = True

    def state(self) -> dict[str, Tensor] | None:
        """The weights, or None as long as they are those that training began with."""
        return self._weights if self._refreshed else None

    def load_state(self, state: Mapping[str, Tensor] | None) -> None:
        """Continue from what `state` gave, in a reference that was just made."""
        if state is not None:
            for name, tensor in state.items():
                self._weights[name].copy_(tensor)
            self._refreshed = True
