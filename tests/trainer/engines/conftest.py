import asyncio

import psutil
import pytest
import torch
from engine_subject import PROMPT, Subject, mean_gap
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.builtin.tiny import write_tiny_model
from trainer.engine.start import start_engine
from trainer.engine.transformers_engine import TransformersEngine
from trainer.settings import EngineSettings


@pytest.fixture(scope="session")
def transformers_subject(tiny_model):
    with asyncio.Runner() as runner:
        engine = TransformersEngine(str(tiny_model), EngineSettings(dtype="float32"), (0,))
        child = psutil.Process(engine._process.pid)
        runner.run(engine.attach())
        yield Subject(engine, runner, tolerance=2e-4)
        runner.run(engine.close())
        assert not child.is_running()


@pytest.fixture(scope="session")
def deterministic_subject(tiny_model):
    """Serves one group at a time, and has little patience."""
    settings = EngineSettings(dtype="float32", deterministic=True, timeout_s=1)
    with asyncio.Runner() as runner:
        engine = TransformersEngine(str(tiny_model), settings, (0,))
        runner.run(engine.attach())
        yield Subject(engine, runner, tolerance=0)
        runner.run(engine.close())


@pytest.fixture(scope="session")
def vllm_subject(vllm_server, tiny_model, tmp_path_factory):
    with asyncio.Runner() as runner:
        directory = tmp_path_factory.mktemp("run")
        engine = start_engine(str(tiny_model), EngineSettings(name="vllm"), vllm_server.socket, directory, ())
        runner.run(engine.attach())
        yield Subject(engine, runner, tolerance=0.03)  # bfloat16 with kernels of its own
        runner.run(engine.close())
        assert vllm_server.healthy()  # it was not ours to stop


@pytest.fixture(params=["transformers", "vllm"])
def subject(request):
    return request.getfixturevalue(f"{request.param}_subject")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "other", seed=1)


@pytest.fixture(scope="session")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="session")
def prompt(tokenizer):
    return tokenizer.encode(PROMPT)


class Exact:
    """Log-probabilities of tokens after a prompt by each model, named by its folder, in float64."""

    def __init__(self, *folders):
        self._models = {
            folder: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64) for folder in folders
        }

    @torch.no_grad()
    def __call__(self, folder, prompt, answer, temperature=1.0):
        logits = self._models[folder](torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        return _chosen(logits / temperature, answer)

    @torch.no_grad()
    def with_stale_cache(self, old, new, before, after):
        """Of `after`, by `new` reading keys and values of `before` that `old` has computed."""
        stale = self._models[old](torch.tensor([before[:-1]]), use_cache=True).past_key_values
        inputs = torch.tensor([[before[-1], *after[:-1]]])
        return _chosen(self._models[new](inputs, past_key_values=stale).logits[0], after)


def _chosen(logits, tokens):
    return logits.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None])[:, 0].tolist()


@pytest.fixture(scope="session")
def exact(tiny_model, other_model, digit_model):
    return Exact(tiny_model, other_model, digit_model)


@pytest.fixture(scope="session")
def assert_computes_with(exact, prompt):
    """Checks that an engine samples with the weights of a folder."""

    def check(subject, folder):
        sampled = subject.generate(prompt)[0]
        assert mean_gap(sampled.logprobs, exact(folder, prompt, sampled.token_ids)) < subject.tolerance

    return check
