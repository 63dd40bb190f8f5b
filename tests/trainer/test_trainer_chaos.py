"""SIGKILL at random moments, again and again: every dispatch is accounted for and nothing trained twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from trainer_factory import lines

from trainer.config import RunFile
from trainer.conservation import SurvivingTrace, violations
from trainer.frontier import PromptFrontier
from trainer.paths import RunPaths

KILLS = 20
STEP_BYTES = 8000
"""About what a step adds to the trace."""
TESTS = Path(__file__).parent


class Attempts:
    """Starts attempts at one run, one after the other."""

    def __init__(self, directory, config):
        self.paths, self.config = RunPaths(directory), config
        directory.mkdir()
        file = RunFile(sweep="chaos", run_name="run", run_id=config.run_id(), config=config)
        self.paths.config.write_text(file.model_dump_json())
        self._starter = subprocess.Popen(
            [sys.executable, str(TESTS / "chaos_run.py"), str(self.paths.config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(TESTS.parents[1])},
        )

    def start(self):
        self._starter.stdin.write("run\n")
        self._starter.stdin.flush()
        return int(self._starter.stdout.readline())

    def wait(self):
        return int(self._starter.stdout.readline())

    def close(self):
        self._starter.stdin.close()
        self._starter.wait(30)


@pytest.fixture
def attempts(tmp_path):
    made = []

    def make(name, config):
        made.append(Attempts(tmp_path / name, config))
        return made[-1]

    yield make
    for each in made:
        each.close()


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_again_and_again(attempts, rng):
    """Kill as many attempts as asked at any moment from their start on; returns how many died so."""
    killed = 0
    for _ in range(KILLS):
        size = size_of(attempts.paths.trace)
        pid = attempts.start()
        if rng.random() < 0.8:  # most moments of interest come after its first line
            # By what it has done, not by time: on a busy machine it would die before its first checkpoint.
            size += 1 + rng.uniform(0.0, 6.0) * STEP_BYTES
            while size_of(attempts.paths.trace) < size and not has_ended(pid):
                time.sleep(0.001)
        else:
            time.sleep(rng.uniform(0.0, 0.5))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        killed += attempts.wait() == -signal.SIGKILL
    return killed


def occurrences(trace, config):
    """Every place in the order of prompts that was dispatched, with the fates of its groups."""
    frontier = PromptFrontier(40, config.seed)
    places = {}
    for ordinal in range(4000):
        prompt = frontier.prompt(ordinal)
        places[f"gsm8k-{prompt.index}", prompt.epoch] = ordinal
    fates = {}
    for number, dispatch in trace.dispatches.items():
        place = places[dispatch["prompt_id"], dispatch["epoch"]]
        fates.setdefault(place, []).append(trace.groups[number]["fate"])
    return fates


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param({"max_staleness": 0}, id="synchronous", marks=pytest.mark.slow),
        pytest.param(
            {
                "max_staleness": 2,
                "prompts_per_rollout_sync": 4,
                "in_flight": "keep",
                "prompts_per_forward_backward": 1,
            },
            id="keep",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"max_staleness": 1, "staleness_policy": "evict_requeue", "in_flight": "abort"}, id="evict"
        ),
    ],
)
def test_twenty_kills_lose_no_prompt_and_train_none_twice(attempts, config, ways):
    settings = config(max_steps=60, checkpoint={"every_steps": 2, "keep": 2}, **ways)
    run = attempts("chaos", settings)
    killed = kill_again_and_again(run, random.Random(7))
    run.start()
    assert run.wait() == 0, run.paths.log.read_text()[-3000:]
    assert killed >= 15  # not all, should one have ended before

    assert violations(run.paths.trace, settings) == []
    surviving = SurvivingTrace.of(lines(run.paths.trace))
    assert list(surviving.steps) == list(range(60))
    starts = lines(run.paths.trace, "run_started")
    assert len(starts) > 10
    resumed = [record["from_step"] for record in lines(run.paths.trace, "resumed")]
    assert resumed == sorted(resumed)
    assert resumed[-1] > 0

    fates = occurrences(surviving, settings)
    assert sorted(fates) == list(range(len(fates)))  # no prompt was passed over
    for place, its in fates.items():
        decided = Counter(fate for fate in its if fate in ("trained", "filtered", "failed"))
        assert decided.total() <= 1, (place, its)
        if not decided:  # only those that the end of the run cut off
            assert place > len(fates) - 20
            assert set(its) <= {"leftover", "aborted", "evicted", "discarded"}
    left = sorted(path.name for path in (run.paths.root / "checkpoints").iterdir())
    assert left == ["step_000058", "step_000060"]

    if settings.max_staleness == 0:
        whole = attempts("whole", settings)
        whole.start()
        assert whole.wait() == 0
        expected = load_file(whole.paths.checkpoint(60) / "model.safetensors")
        found = load_file(run.paths.checkpoint(60) / "model.safetensors")
        assert all(torch.equal(found[name], expected[name]) for name in expected)
