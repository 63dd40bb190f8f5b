"""The learner: the policy's weights, its optimizer, and the steps it takes.

A step is any number of `forward_backward` over some of its groups, and one `optimizer_step`. Gradients are
those of the sum over completions (or tokens, as the loss has it); what to divide by is known at the end.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from trainer.attention import attend_packed, packing_attentions
from trainer.batch import (
    MicroBatch,
    TrainedCompletion,
    Trajectory,
    micro_batch,
    micro_batches,
    trajectories,
)
from trainer.config import RunConfig
from trainer.errors import ConfigError, TrainingError
from trainer.group import Group
from trainer.logprobs import TokenLogprobs
from trainer.loss.objective import objective
from trainer.loss.tokens import Tokens
from trainer.out_of_memory import out_of_memory_explained, pass_remedies, weight_remedies
from trainer.policy import CPU, Policy, dtype_in
from trainer.reference import Reference
from trainer.step_metrics import Metrics, UpdateSums, importance_metrics, mean_over_updates

# As torch.nn.utils.clip_grad_norm_ has it.
_NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class _Scored:
    """A micro-batch with what stays the same over the updates of a step, [T] each."""

    batch: MicroBatch
    proximal_logprobs: Tensor
    reference_logprobs: Tensor | None


class Learner:
    """Owns the policy's float32 weights.

    Args:
        config: the run's configuration.
        device: where it computes.

    Raises:
        ConfigError: the model cannot be loaded, or not be trained as configured.
        TrainingError: it does not fit into memory.

    Attributes:
        device: where it computes.
        tokenizer: the model's.
        model: the model in training; `weights` has what others should see of it.
    """

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self._config = config
        self.device = device
        with self._weight_memory(f"loading model {config.model!r}"):
            self._policy = Policy(config, device)
            self._reference = Reference(self._policy) if config.loss.beta > 0 else None
            self.tokenizer, self.model = self._policy.tokenizer, self._policy.model
            self._token_logprobs = TokenLogprobs(self.model)
            attentions = packing_attentions(device.type, config.learner.compute_dtype)
            with self._autocast():
                self._packed = attend_packed(self.model, attentions)
        if not self._token_logprobs.plain_head:
            print(
                f"{type(self.model).__name__} does more than its head to the logits: they come from its own "
                "forward, and all of a micro-batch's are in memory at once",
                flush=True,
            )
        optim = config.optim
        self._parameters = list(self._policy.trainable.values())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay, fused=True
        )
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (step + 1) / (optim.warmup_steps + 1))
        )
        self.abandon_step()

    def forward_backward(self, groups: Sequence[Group]) -> dict[tuple[int, int], TrainedCompletion]:
        """Add the gradients of some groups of the current step.

        Returns:
            What was trained on, by number of the group and place in it.

        Raises:
            TrainingError: out of memory.
        """
        trained: dict[tuple[int, int], TrainedCompletion] = {}
        batches = micro_batches(
            trajectories(groups, self._config),
            self._config.learner.tokens_per_micro_batch,
            self._pad_token_id(),
            self.device,
            self._packed,
        )
        for batch in batches:
            with self._memory(batch):
                reference_logprobs = self._reference_logprobs(batch)
                learner_logprobs = self._backward(batch, None, reference_logprobs)
            self._log_ratios.append(learner_logprobs - batch.generator_logprobs)
            if self._config.updates_per_batch > 1:
                self._scored.append(_Scored(batch, learner_logprobs, reference_logprobs))
            trained |= batch.trained(learner_logprobs)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # else the last of it would pass for waiting
        return trained

    def abandon_step(self) -> None:
        """Forget what was added since the last step."""
        self._optimizer.zero_grad(set_to_none=True)
        self._sums = UpdateSums()
        self._log_ratios: list[Tensor] = []
        self._scored: list[_Scored] = []

    def optimizer_step(self) -> Metrics:
        """Finish the step: all of its `updates_per_batch` updates, and one step of the learning rate.

        Returns:
            Fields of a `Step` record: importance ratios and logprob gaps as they were before the first
            update, everything else the mean over the updates.

        Raises:
            TrainingError: there was nothing to train on, the loss or the gradient is not finite, or memory
                ran out. The step is abandoned; the weights are those before the update that failed.
        """
        try:
            updates = [self._update()]
            for _ in range(1, self._config.updates_per_batch):
                for scored in self._scored:
                    with self._memory(scored.batch):
                        self._backward(scored.batch, scored.proximal_logprobs, scored.reference_logprobs)
                updates.append(self._update())
            lr = float(self._scheduler.get_last_lr()[0])
            self._scheduler.step()
            return {
                **mean_over_updates(updates),
                **importance_metrics(torch.cat(self._log_ratios)),
                "lr": lr,
            }
        finally:
            self.abandon_step()

    def refresh_reference(self) -> None:
        """The reference of the KL penalty becomes the current policy."""
        if self._reference is not None:
            self._reference.refresh()

    def state_dict(self) -> dict[str, Any]:
        """Everything to continue with, bit for bit, between two steps.

        `torch.load(weights_only=True)` reads it. The tensors are the live ones: write them before the next
        step.
        """
        return {
            "weights": {name: parameter.detach() for name, parameter in self._policy.trainable.items()},
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "reference": None if self._reference is None else self._reference.state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, in a learner of the same configuration that was just made.

        Raises:
            ConfigError: the state is of another model.
            TrainingError: it does not fit into memory.
        """
        shapes = {name: parameter.shape for name, parameter in self._policy.trainable.items()}
        if {name: tensor.shape for name, tensor in state["weights"].items()} != shapes:
            raise ConfigError(
                f"the state to resume from has other weights than model {self._config.model!r} trains; "
                "remove the run's folder to start anew"
            )
        self.abandon_step()
        with self._weight_memory("loading the state to resume from"):
            with torch.no_grad():
                for name, parameter in self._policy.trainable.items():
                    parameter.copy_(state["weights"][name])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._reference is not None:
                self._reference.load_state(state["reference"])
        self._scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all([random.cpu() for random in state["random_cuda"]])

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Copies of every weight by its Hugging Face name, on CPU; tied ones once.

        Adapters are merged, base + delta in float32 before rounding to `dtype`.

        Raises:
            TrainingError: out of memory.
        """
        return {
            name: weight.to(CPU, dtype_in(dtype, weight), copy=True)
            for name, weight in self.live_weights(dtype).items()
        }

    def live_weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weights where they are, mostly in float32: who copies them casts them to `dtype`.

        They change with the next step.

        Raises:
            TrainingError: out of memory.
        """
        with self._weight_memory("merging the weights for the engine"):
            return self._policy.weights(dtype)

    def logprobs(
        self, prompt: list[int], completion: list[int], temperature: float | None = None
    ) -> list[float]:
        """The learner's log-probabilities of one completion, by default at the run's temperature.

        Raises:
            TrainingError: out of memory.
        """
        sequence = Trajectory(prompt + completion, len(prompt), [0.0] * len(completion), 0.0)
        doing = f"computing the logprobs of {len(sequence.token_ids)} tokens"
        with torch.no_grad(), out_of_memory_explained(doing, pass_remedies(self._config, 1)):
            batch = micro_batch([sequence], self._pad_token_id(), self.device, self._packed)
            scored, _ = self._score(batch, temperature)
            values: list[float] = scored.tolist()
        return values

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Other weights inside: every tensor moved by noise of a third of its mean magnitude.

        Raises:
            TrainingError: out of memory.
        """
        with ExitStack() as stack:
            with self._weight_memory("perturbing the weights"):
                stack.enter_context(self._policy.perturbed())
            yield

    def _backward(
        self, batch: MicroBatch, proximal_logprobs: Tensor | None, reference_logprobs: Tensor | None
    ) -> Tensor:
        """Add a micro-batch's gradients; returns the learner's logprobs [T].

        Args:
            batch: the micro-batch.
            proximal_logprobs: [T]; None in a step's first update, where they are the learner's own.
            reference_logprobs: [T] or None.
        """
        learner_logprobs, entropy = self._score(batch)
        detached = learner_logprobs.detach()
        tokens = Tokens(
            learner_logprobs=learner_logprobs,
            generator_logprobs=batch.generator_logprobs,
            proximal_logprobs=detached if proximal_logprobs is None else proximal_logprobs,
            reference_logprobs=reference_logprobs,
            advantages=batch.advantages,
            completion=batch.completion,
            completions=len(batch.sequences),
        )
        config = self._config
        result = objective(tokens, config.loss, config.correction, config.sampling.max_completion_tokens)
        result.total.backward()
        self._sums.add(result, entropy)
        return detached

    def _reference_logprobs(self, batch: MicroBatch) -> Tensor | None:
        if self._reference is None:
            return None
        with self._reference.active():
            return self._score(batch)[0]

    def _score(self, batch: MicroBatch, temperature: float | None = None) -> tuple[Tensor, Tensor]:
        with self._autocast():
            return self._token_logprobs(batch, temperature or self._config.sampling.temperature)

    def _update(self) -> Metrics:
        """One update with the gradients that were added; returns its metrics."""
        sums, self._sums = self._sums, UpdateSums()
        step = self._scheduler.last_epoch
        if sums.units == 0 or sums.tokens == 0:
            raise TrainingError(
                f"step {step} has no completion to train on: all were left out as truncated; "
                "raise sampling.max_completion_tokens or set sampling.truncated: keep"
            )
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        metrics = sums.read(get_total_norm(gradients))
        loss, norm = metrics["loss"], metrics["grad_norm"]
        if loss is None or norm is None or not math.isfinite(loss + norm):
            ratios = importance_metrics(torch.cat(self._log_ratios))
            raise TrainingError(
                f"step {step}: the loss ({loss}) or the gradient norm ({norm}) is not finite; the learner's "
                f"logprobs were up to {ratios['logprob_gap_max']:.3g} nats from the engine's. "
                "Lower optim.lr, or try learner.compute_dtype: float32"
            )
        clip = min(1.0, self._config.optim.max_grad_norm / (norm + _NORM_EPSILON))
        torch._foreach_mul_(gradients, clip / sums.units)
        with self._weight_memory("updating the weights"):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return metrics

    def _memory(self, batch: MicroBatch) -> AbstractContextManager[None]:
        rows, length = batch.input_ids.shape
        return out_of_memory_explained(
            f"training on a micro-batch of {rows} x {length} tokens, padding included",
            pass_remedies(self._config, len(batch.sequences)),
        )

    def _weight_memory(self, doing: str) -> AbstractContextManager[None]:
        return out_of_memory_explained(doing, weight_remedies(self._config))

    def _autocast(self) -> AbstractContextManager[None]:
        if self._config.learner.compute_dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _pad_token_id(self) -> int:
        # Any token will do, and a tokenizer need not have one of these: padding is never looked at.
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id or 0)
