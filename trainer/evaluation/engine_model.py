"""A rollout engine as an lm-eval model."""

import asyncio
from pathlib import Path
from typing import Any, Never

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainer.engine.protocol import (
    Completion,
    Engine,
    GenerationAborted,
    GenerationError,
    GenerationRequest,
)
from trainer.errors import ConfigError, EngineError

_CONCURRENCY = 256


class EngineModel(LM):  # type: ignore[misc] # lm-eval is not typed
    """Answers lm-eval's `generate_until` over a warm engine, whatever model that engine holds.

    Args:
        engine: a rollout engine.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._runner = asyncio.Runner()
        self._loaded = 0

    def attach(self) -> None:
        """Take the engine over."""
        self._runner.run(self._engine.attach())

    def use(self, model: Path) -> None:
        """Load the weights and the tokenizer of a folder in Hugging Face format.

        Raises:
            ConfigError: the folder holds no tokenizer that can be loaded.
            EngineError: the engine does not take the weights.
        """
        try:
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(f"the tokenizer of model {model} could not be loaded: {error}") from error
        self._loaded += 1
        self._runner.run(self._engine.load_weights(model, self._loaded))

    def close(self) -> None:
        """Let go of the engine."""
        self._runner.run(self._engine.close())
        self._runner.close()

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval records of the tokenizer."""
        return str(self._tokenizer.name_or_path)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy or sampled completions of all requests, in order."""
        return self._runner.run(self._all(requests))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> Never:
        """Not served: every task here is generative."""
        raise EngineError("this model answers generative tasks only; it computes no log-likelihoods")

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> Never:
        """Not served: every task here is generative."""
        raise EngineError("this model answers generative tasks only; it computes no log-likelihoods")

    async def _all(self, requests: list[Instance]) -> list[str]:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def one(instance: Instance) -> str:
            async with slots:
                return await self._one(*instance.args)

        return await asyncio.gather(*(one(instance) for instance in requests))

    async def _one(self, context: str, settings: dict[str, Any]) -> str:
        until = tuple(settings["until"])
        request = GenerationRequest(
            token_ids=self._tokenizer.encode(context),
            n=1,
            max_tokens=int(settings["max_gen_toks"]),
            temperature=float(settings["temperature"]) if settings.get("do_sample") else 0.0,
            seed=0,
            stop=until,
        )
        try:
            completion: Completion = (await self._engine.generate(request))[0]
        except (GenerationError, GenerationAborted) as error:
            raise EngineError(f"the engine could not answer an evaluation request: {error}") from error
        text = str(self._tokenizer.decode(completion.token_ids, skip_special_tokens=True))
        for stop in until:
            text = text.split(stop, maxsplit=1)[0]
        return text
