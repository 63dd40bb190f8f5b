import pytest
import torch
from device_under_test import DEVICE
from strict_device import STRICT, StrictDevice

from trainer.config import RunConfig


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The models here are so small that a second thread only waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=DEVICE == STRICT)
def _strict_device():
    with StrictDevice():
        yield


@pytest.fixture
def config(digit_model, digit_problems):
    """Makes run configurations: four short steps of the digit model, and whatever a test sets."""

    def make(**fields):
        defaults = {
            "model": str(digit_model),
            "task": {"name": "gsm8k", "path": str(digit_problems), "reward": "exact_match"},
            "max_steps": 4,
            "prompts_per_optim_step": 2,
            "completions_per_prompt": 4,
            "sampling": {"max_completion_tokens": 8},
            "optim": {"lr": 1e-3},
            "learner": {"compute_dtype": "float32"},
            "rollouts": {"keep": 1.0},
        }
        return RunConfig.model_validate({**defaults, **fields})

    return make
