"""The learner: weights, optimizer, and one optimizer step over a batch of groups."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from trainer.batch import MicroBatch, micro_batches, trajectories
from trainer.buffer import Group
from trainer.config import RunConfig
from trainer.errors import ConfigError, TrainingError
from trainer.logprobs import token_logprobs
from trainer.loss.grpo import grpo_loss
from trainer.models import model_path
from trainer.step_metrics import TokenMetrics


class Learner:
    """Owns the policy's float32 weights.

    Args:
        config: the run's configuration.
        device: where it computes.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self._config = config
        self._device = device
        self.tokenizer, self.model = _load(config.model, device)
        self._reference = _frozen_copy(self.model) if config.loss.beta > 0 else None
        optim = config.optim
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay
        )
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (step + 1) / (optim.warmup_steps + 1))
        )

    def step(self, groups: Sequence[Group]) -> dict[str, float | None]:
        """One optimizer step on these groups.

        Returns:
            The token metrics, `grad_norm` and `lr` of a `Step` record.

        Raises:
            TrainingError: the loss or the gradient is not finite; the weights are unchanged.
        """
        batches = micro_batches(
            trajectories(groups),
            self._config.learner.tokens_per_micro_batch,
            self._pad_token_id(),
            self._device,
        )
        metrics = TokenMetrics()
        self._optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            self._backward(batch, metrics)
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.optim.max_grad_norm)
        )
        if not metrics.finite() or not math.isfinite(norm):
            raise TrainingError(
                f"the loss ({metrics.result()['loss']}) or the gradient norm ({norm}) is not finite; "
                "lower optim.lr or try learner.compute_dtype: float32"
            )
        lr = self._scheduler.get_last_lr()[0]
        self._optimizer.step()
        self._scheduler.step()
        return {**metrics.result(), "grad_norm": norm, "lr": float(lr)}

    def logprobs(self, prompt: list[int], completion: list[int]) -> list[float]:
        """The learner's log-probabilities of one completion, at the run's temperature."""
        batch = MicroBatch(
            input_ids=torch.tensor([prompt + completion], device=self._device),
            attention_mask=torch.ones(
                (1, len(prompt) + len(completion)), dtype=torch.long, device=self._device
            ),
            positions=torch.arange(len(prompt) - 1, len(prompt) + len(completion) - 1, device=self._device),
            targets=torch.tensor(completion, device=self._device),
            generator_logprobs=torch.zeros(len(completion)),
            advantages=torch.zeros(len(completion)),
            weights=torch.zeros(len(completion)),
        )
        with torch.no_grad(), self._autocast():
            values: list[float] = token_logprobs(self.model, batch, self._config.sampling.temperature)[
                0
            ].tolist()
        return values

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Other weights inside: every tensor moved by noise of a third of its mean magnitude."""
        generator = torch.Generator(self._device).manual_seed(0)
        kept = [parameter.detach().clone() for parameter in self.model.parameters()]
        with torch.no_grad():
            for parameter in self.model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, device=self._device)
                parameter.add_(noise * parameter.abs().mean() / 3)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.model.parameters(), kept, strict=True):
                    parameter.copy_(value)

    def weights(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Every weight by its Hugging Face name, as the engine should hold it; tied ones once."""
        tied = {"lm_head.weight"} if self.model.config.tie_word_embeddings else set()
        return {
            name: tensor.detach().to("cpu", dtype).contiguous()
            for name, tensor in self.model.state_dict().items()
            if name not in tied
        }

    def _backward(self, batch: MicroBatch, metrics: TokenMetrics) -> None:
        settings = self._config.loss
        temperature = self._config.sampling.temperature
        with self._autocast():
            learner_logprobs, entropy = token_logprobs(self.model, batch, temperature)
            reference_logprobs = None
            if self._reference is not None:
                with torch.no_grad():
                    reference_logprobs, _ = token_logprobs(self._reference, batch, temperature)
        loss = grpo_loss(
            learner_logprobs,
            batch.generator_logprobs,
            batch.advantages,
            batch.weights,
            clip=settings.clip,
            beta=settings.beta,
            reference_logprobs=reference_logprobs,
        )
        loss.loss.backward()
        metrics.add(loss, learner_logprobs, batch.generator_logprobs, entropy)

    def _autocast(self) -> AbstractContextManager[None]:
        if self._config.learner.compute_dtype == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _pad_token_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)


def _load(model: str, device: torch.device) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    path = model_path(model)
    # On CPU explicit attention is 1.5-2.5 times as fast as the fused kernel's backward for short
    # sequences; elsewhere the fused kernel saves the memory of the attention matrix.
    attention = "eager" if device.type == "cpu" else "sdpa"
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        loaded = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation=attention
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model {model!r} could not be loaded: {error}\nGive a local folder in Hugging Face format, "
            "or a name that the hub or its local cache holds"
        ) from error
    return tokenizer, loaded.to(device)  # type: ignore[arg-type] # transformers annotates a decorator


def _frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    frozen = copy.deepcopy(model)
    frozen.requires_grad_(False)
    frozen.eval()
    return frozen
