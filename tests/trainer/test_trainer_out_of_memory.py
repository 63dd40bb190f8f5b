"""Running out of memory becomes advice, with the allocators' own errors."""

import subprocess
import sys

import pytest
import torch
from learner_factory import learner_for, random_groups
from torch.optim.optimizer import register_optimizer_step_pre_hook
from trainer_factory import completion, group

from trainer.errors import TrainingError
from trainer.out_of_memory import out_of_memory_explained

# A process that may hold little more than torch itself meets a micro-batch of 32 x 1000 tokens.
IN_LITTLE_MEMORY = """
import re, resource, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, "tests/trainer")
from trainer_factory import completion, group
from trainer.config import RunConfig
from trainer.errors import TrainingError
from trainer.learner import Learner

learner = Learner(
    RunConfig.model_validate({"model": sys.argv[1], "learner": {"tokens_per_micro_batch": 50_000}}),
    torch.device("cpu"),
)
used = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, resource.getrlimit(resource.RLIMIT_AS)[1]))
rewards = [i % 2 for i in range(32)]
step = [group(prompt=[5] * 100, completions=[completion([7] * 900) for _ in rewards], rewards=rewards)]
try:
    learner.forward_backward(step)
except TrainingError as error:
    print(error)
"""


def test_a_micro_batch_larger_than_memory_says_what_to_lower(tiny_model):
    script = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tiny_model)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=100, check=True)
    assert "out of memory while training on a micro-batch of 32 x 1000 tokens" in done.stdout
    assert "lower learner.tokens_per_micro_batch (now 50000)" in done.stdout
    assert "learner.gradient_checkpointing: true" in done.stdout
    assert "lora.rank" in done.stdout
    assert "allocate" in done.stdout


def test_the_allocators_refusal_in_the_middle_of_a_step_is_explained(config, monkeypatch):
    learner = learner_for(config, lora={"rank": 2}, learner={"gradient_checkpointing": True})
    answers = [completion([7] * 5)]
    monkeypatch.setattr("trainer.learner.objective", lambda *_: torch.empty(2**50))
    with pytest.raises(TrainingError) as caught:
        learner.forward_backward([group(completions=answers, rewards=[1.0])])
    message = str(caught.value)
    assert "a micro-batch of 1 x 7 tokens" in message
    assert "lower sampling.max_completion_tokens (now 128)" in message
    assert "lower lora.rank (now 2)" in message
    assert "gradient_checkpointing" not in message
    assert "can't allocate memory" in message


def test_an_optimizer_state_that_does_not_fit_is_explained(config):
    learner = learner_for(config)
    learner.forward_backward(random_groups())
    hook = register_optimizer_step_pre_hook(lambda *_: torch.empty(2**50))
    try:
        with pytest.raises(TrainingError, match="out of memory while updating the weights; train adapters"):
            learner.optimizer_step()
    finally:
        hook.remove()


def too_much(*_args, **_options):
    return torch.empty(2**50)


@pytest.mark.parametrize(
    "where", ["trainer.policy.AutoModelForCausalLM.from_pretrained", "trainer.learner.TokenLogprobs"]
)
def test_a_model_that_does_not_fit_is_explained(config, monkeypatch, where):
    monkeypatch.setattr(where, too_much)
    with pytest.raises(TrainingError, match=r"out of memory while loading model '.*'; train adapters only"):
        learner_for(config)


@pytest.mark.parametrize(
    ("where", "use", "message"),
    [
        (
            "trainer.learner.micro_batch",
            lambda it: it.logprobs([5, 6], [7]),
            "the logprobs of 3 tokens; lower",
        ),
        ("trainer.policy.merged", lambda it: it.weights(torch.float32), "merging the weights"),
        (
            "torch.optim.AdamW.load_state_dict",
            lambda it: it.load_state_dict(it.state_dict()),
            "loading the state to resume from",
        ),
        ("torch.randn", lambda it: it.perturbed().__enter__(), "perturbing the weights"),
    ],
    ids=["logprobs", "weights", "resume", "perturbed"],
)
def test_other_work_that_does_not_fit_is_explained(config, monkeypatch, where, use, message):
    learner = learner_for(config)
    monkeypatch.setattr(where, too_much)
    with pytest.raises(TrainingError, match=f"out of memory while .*{message}"):
        use(learner)


def test_what_runs_out_of_memory_beside_perturbed_weights_is_not_blamed_on_them(config):
    learner = learner_for(config)
    with pytest.raises(RuntimeError, match="can't allocate memory"), learner.perturbed():
        too_much()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MemoryError(), r"lower this\n\(MemoryError\)"),
        (torch.OutOfMemoryError("CUDA out of memory."), r"lower this, or lower engine\.memory_utilization"),
        (RuntimeError("std::bad_alloc"), r"lower this\n\(std::bad_alloc\)"),
        (torch.AcceleratorError("CUDA error: out of memory\nsee"), r"lower this, or lower engine\.memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "lower this, or lower engine"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "lower this, or lower engine"),
    ],
)
def test_other_ways_to_say_it_are_understood(error, advice):
    with pytest.raises(TrainingError, match=f"out of memory while testing; {advice}"):  # noqa: SIM117
        with out_of_memory_explained("testing", ["lower this"]):
            raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_explained("testing", []):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
