"""Log-probabilities and entropies of sampled tokens, by any causal language model of transformers."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from trainer.batch import MicroBatch

LOGITS_BYTES = 2**28
"""Above this the float32 logits of a micro-batch are made in parts, and again in the backward pass."""
_PROBE_TOKENS = 8


class TokenLogprobs:
    """Scores completion tokens.

    Where the model's logits are its decoder's output through its head and nothing else, only the outputs
    that predict a completion token meet the vocabulary. Some models do more after the head (scaling,
    soft-capping); a forward pass over a few tokens finds out, and those go through the model's own forward.

    Args:
        model: any causal language model.
        logits_bytes: see `LOGITS_BYTES`.

    Attributes:
        plain_head: whether decoder and head alone give the model's logits.
    """

    def __init__(self, model: PreTrainedModel, logits_bytes: int = LOGITS_BYTES) -> None:
        self._model = model
        logits, self.plain_head = _probe(model)
        self._part_tokens = max(1, logits_bytes // (4 * logits.shape[-1]))
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    def __call__(self, batch: MicroBatch, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probabilities [T] of the batch's completion tokens, and the entropy [T] (no gradient), in nats.

        Both are of the distribution at `temperature`, which is the one the engine sampled from.
        """
        outputs, head = self._outputs(batch)

        def score(part: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            return _score(head(part), targets, temperature)

        if len(outputs) <= self._part_tokens:
            return score(outputs, batch.targets)
        parts = [
            checkpoint(score, part, targets, use_reentrant=False, preserve_rng_state=False)
            for part, targets in zip(
                outputs.split(self._part_tokens), batch.targets.split(self._part_tokens), strict=True
            )
        ]
        return torch.cat([logprobs for logprobs, _ in parts]), torch.cat([entropy for _, entropy in parts])

    def _outputs(self, batch: MicroBatch) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """What predicts the T tokens, hidden states or logits, and what makes logits of it."""
        # With a cache, transformers would not look for where packed sequences start.
        inputs = {**batch.inputs, "use_cache": False}
        if self.plain_head:
            hidden = self._model.get_decoder()(**inputs).last_hidden_state
            wanted = hidden.flatten(0, 1).index_select(0, batch.positions)
            return wanted, self._model.get_output_embeddings()
        length = batch.input_ids.shape[1]
        keep = {"logits_to_keep": length - batch.first} if self._keeps_logits else {}
        logits = self._model(**inputs, **keep).logits
        left_out = length - logits.shape[1]
        positions = batch.positions - (batch.positions // length + 1) * left_out
        return logits.flatten(0, 1).index_select(0, positions), torch.nn.Identity()


def _score(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logprobs = (logits.float() / temperature).log_softmax(-1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(-1, targets[:, None]).squeeze(-1), entropy


@torch.no_grad()
def _probe(model: PreTrainedModel) -> tuple[Tensor, bool]:
    """The model's logits of a few tokens, and whether decoder and head give the very same."""
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.arange(_PROBE_TOKENS, device=model.device)[None] % vocabulary
    logits: Tensor = model(input_ids=tokens, use_cache=False).logits
    output = model.get_decoder()(input_ids=tokens, use_cache=False)
    hidden, head = getattr(output, "last_hidden_state", None), model.get_output_embeddings()
    if hidden is None or head is None:
        return logits, False
    # Equal to the last bit: soft-capping hardly moves the small logits of an untrained model.
    return logits, torch.equal(head(hidden), logits)
