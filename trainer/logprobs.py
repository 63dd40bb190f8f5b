"""Log-probabilities and entropies of sampled tokens."""

import torch
from transformers import PreTrainedModel

from trainer.batch import MicroBatch


def token_logprobs(
    model: PreTrainedModel, batch: MicroBatch, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities [T] of the batch's completion tokens, and the entropy [T] (no gradient), in nats.

    Both are of the distribution at `temperature`, which is the one the engine sampled from. Only the
    hidden states that predict a completion token meet the vocabulary, in float32.
    """
    hidden = model.get_decoder()(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state
    wanted = hidden.flatten(0, 1).index_select(0, batch.positions)
    logits = model.get_output_embeddings()(wanted).float() / temperature
    logprobs = logits.log_softmax(-1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(-1, batch.targets[:, None]).squeeze(-1), entropy
