"""Groups, learners and tiny models of several architectures, and what is known of them exactly.

What is taken out of a learner to look at lies on CPU, wherever the learner computes.
"""

import random

import numpy as np
import torch
from device_under_test import DEVICE
from trainer_factory import completion, group
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from trainer.learner import Learner

CPU = torch.device("cpu")
TEMPERATURE = 0.7
VOCABULARY = 512

_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
ARCHITECTURES = {
    "llama": _SMALL,
    "qwen3": {**_SMALL, "tie_word_embeddings": True},
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
    "gemma2": {**_SMALL, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 16},
    "granite": {**_SMALL, "logits_scaling": 2.0},
    "cohere": {**_SMALL, "logit_scale": 0.25},
    "opt": {**_SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.1},
    "qwen3_moe": {**_SMALL, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}


def random_model(name, seed=0):
    """A causal language model of this architecture whose logits are several nats apart."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(name, **ARCHITECTURES[name]), attn_implementation="eager"
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * (0.2 if parameter.ndim > 1 else 0.05))
    return model.eval()


def write_model(name, directory, tokenizer, **changes):
    """Such a model in a folder, with a tokenizer from another."""
    model = random_model(name)
    for key, value in changes.items():
        setattr(model.config, key, value)
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(directory)
    return directory


def naive_logprobs(model, prompt, answer, temperature=TEMPERATURE):
    """One sequence, no padding: the full log-softmax at every position, in numpy float64."""
    with torch.no_grad():
        tokens = torch.tensor([[*prompt, *answer]], device=model.device)
        logits = model(tokens).logits[0].double().cpu().numpy() / temperature
    result = []
    for i, token in enumerate(answer):
        row = logits[len(prompt) - 1 + i]
        result.append(row[token] - row.max() - np.log(np.exp(row - row.max()).sum()))
    return result


def random_groups(model=None, seed=0, count=3, completions=4, off=0.0):
    """Groups of all lengths; with a model the generator's logprobs are its own, `off` by some noise."""
    rng = random.Random(seed)
    groups = []
    for number in range(count):
        prompt = [rng.randrange(2, 500) for _ in range(rng.randrange(3, 20))]
        answers = []
        for _ in range(completions):
            tokens = [rng.randrange(2, 500) for _ in range(rng.randrange(1, 15))]
            exact = naive_logprobs(model, prompt, tokens) if model else [-1.0] * len(tokens)
            answers.append(completion(tokens, [value + rng.gauss(0, off) for value in exact]))
        rewards = [1.0] + [float(rng.random() < 0.5) for _ in range(completions - 2)] + [0.0]
        groups.append(group(number, prompt=prompt, completions=answers, rewards=rewards))
    return groups


def learner_for(config, **fields):
    """A learner at `TEMPERATURE`, on the device under test."""
    sampling = {"temperature": TEMPERATURE, **fields.pop("sampling", {})}
    return Learner(config(sampling=sampling, **fields), DEVICE)


def on_cpu(tensors):
    """Copies."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def step(learner, groups):
    """A whole step in one piece."""
    learner.forward_backward(groups)
    return learner.optimizer_step()


def trained(learner):
    """Copies of what is trained."""
    return on_cpu({name: p for name, p in learner.model.named_parameters() if p.requires_grad})


def gradients(learner):
    """Copies of what was added up so far."""
    return on_cpu({n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None})


def largest_difference(one, other):
    """Over all tensors, relative to the largest value of each pair."""
    assert one.keys() == other.keys()
    return max(((one[n] - other[n]).abs().max() / other[n].abs().max()).item() for n in one)
