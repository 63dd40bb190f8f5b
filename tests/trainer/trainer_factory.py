"""Parts of a run, made small: groups, a task and an engine that live in the test's own process."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from device_under_test import DEVICE
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.__main__ import train_to_the_end
from trainer.config import Resources, RunFile
from trainer.engine.checksum import checksums
from trainer.engine.protocol import Completion, EngineCounters, GenerationAborted
from trainer.frontier import Prompt
from trainer.group import Group
from trainer.loop import Loop
from trainer.paths import RunPaths
from trainer.tasks import Problem
from trainer.trace import TraceWriter


def problem(number=0, answer="#### 1"):
    return Problem(f"p{number}", f"Q: what is {number}?\nA:", answer)


def completion(token_ids, logprobs=None, version=0, truncated=False):
    return Completion(
        token_ids=list(token_ids),
        logprobs=list(logprobs) if logprobs is not None else [-1.0] * len(token_ids),
        truncated=truncated,
        version_min=version,
        version_max=version,
    )


def group(number=0, *, version=0, prompt=(1, 2), completions=(), rewards=()):
    return Group(
        number=number,
        prompt=Prompt(ordinal=number, index=number, epoch=0),
        problem=problem(number),
        prompt_token_ids=list(prompt),
        version_min=version,
        dispatched_s=0.0,
        finished_s=1.0 if completions else None,
        finished_version=version if completions else None,
        verified_s=1.0 if completions else None,
        completions=list(completions),
        rewards=list(rewards),
        texts=["" for _ in completions],
    )


def lines(path: Path, kind=None):
    """The records of a JSONL file, or those of one kind."""
    records = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [record for record in records if kind is None or record["kind"] == kind]


class LocalEngine:
    """An honest engine without a process of its own: a transformers model in this one.

    `spoil` may change the completions of a request before they are handed back; `delays` are slept
    through in turn, so that answers overtake each other.
    """

    description = "local"
    takes_tensors = False

    def __init__(self, model: Path, *, delays=(0.0,), spoil=None):
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._delays, self._spoil = list(delays), spoil
        self._version = -1
        self._done = EngineCounters(0, 0, 0)
        self.requests = []
        self.loads = []
        self._abort = asyncio.Event()
        self.running = 0
        self.most_running_during_a_load = 0
        self.aborted = 0
        self.closed = False

    async def attach(self):
        pass

    async def generate(self, request):
        self.running += 1
        self.requests.append((self._version, request))
        began = self._version
        try:
            await asyncio.wait_for(
                self._abort.wait(), self._delays[len(self.requests) % len(self._delays)] + 1e-4
            )
            raise GenerationAborted([])
        except TimeoutError:
            rows = [replace(self._sample(request, i), version_min=began) for i in range(request.n)]
        finally:
            self.running -= 1
        done = self._done
        self._done = EngineCounters(
            done.requests + request.n,
            done.prompt_tokens + len(request.token_ids) * request.n,
            done.completion_tokens + sum(len(row.token_ids) for row in rows),
        )
        return self._spoil(self._version, request, rows) if self._spoil else rows

    async def load_weights(self, weights, version):
        self.most_running_during_a_load = max(self.most_running_during_a_load, self.running)
        tensors = load_file(weights) if isinstance(weights, Path) else dict(weights)
        self._model.load_state_dict(tensors, strict=False)
        self._version = version
        self.loads.append((version, tensors))
        return checksums(tensors)

    async def abort_all(self):
        self.aborted += 1
        self._abort.set()
        self._abort = asyncio.Event()

    async def counters(self):
        return self._done

    async def close(self):
        self.closed = True

    @torch.no_grad()
    def _sample(self, request, index):
        generator = torch.Generator().manual_seed(request.seed + index)
        tokens, logprobs = list(request.token_ids), []
        while len(logprobs) < request.max_tokens:
            logits = self._model(torch.tensor([tokens])).logits[0, -1]
            distribution = (logits / (request.temperature or 1.0)).log_softmax(-1)
            greedy = request.temperature == 0
            token = int(
                distribution.argmax() if greedy else distribution.exp().multinomial(1, generator=generator)
            )
            tokens.append(token)
            logprobs.append(float(distribution[token]))
            if token == self._tokenizer.eos_token_id:
                break
        new = tokens[len(request.token_ids) :]
        ended = new[-1] == self._tokenizer.eos_token_id
        return Completion(new, logprobs, not ended, self._version, self._version)


def run_loop(directory, config, engine, meanwhile=None):
    """What `python -m trainer` does with a configuration, without its process."""
    paths = RunPaths(directory)
    file = RunFile(
        sweep="s",
        run_name="r",
        run_id=config.run_id(),
        config=config,
        resources=Resources(device=str(DEVICE)),
    )
    heartbeat = SimpleNamespace(step=0)
    with TraceWriter(paths.trace) as trace:
        loop = Loop(file, paths, trace, heartbeat, lambda: engine)
        if meanwhile:
            threading.Thread(target=meanwhile, args=(loop,), daemon=True).start()
        train_to_the_end(loop, file, trace, heartbeat)
    paths.remove_resume()
    return paths


def step_fields(paths, *names):
    return [tuple(record[name] for name in names) for record in lines(paths.trace, "step")]
