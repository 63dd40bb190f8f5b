"""The engine's lane over a scripted engine: verdicts, fates, seeds and syncs."""

import asyncio
import time
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest
from trainer_factory import completion, lines

from trainer.config import RunConfig
from trainer.conservation import violations
from trainer.engine.protocol import EngineCounters, GenerationError
from trainer.errors import ConfigError, EngineError, TrainingError
from trainer.group_log import GroupLog
from trainer.records import Fate
from trainer.rollout import Rollouts
from trainer.tasks import Problem
from trainer.trace import TraceWriter


class Letters:
    """A tokenizer of one token a letter."""

    def __init__(self, seconds=0.0):
        self._seconds = seconds

    def encode(self, text):
        time.sleep(self._seconds)
        return [ord(letter) for letter in text]

    def decode(self, token_ids, skip_special_tokens):
        return "".join(map(chr, token_ids))


class Scripted:
    """Answers "1" and "0" in turn, after a delay that the prompt's text asks for in hundredths."""

    description = "scripted"

    def __init__(self, answers="10", failing=()):
        self.answers, self.failing = answers, failing
        self.version, self.running, self.overlaps, self.aborts = 0, 0, 0, 0
        self.requests = []

    async def attach(self):
        pass

    async def generate(self, request):
        self.requests.append(request)
        self.running += 1
        text = "".join(map(chr, request.token_ids))
        try:
            await asyncio.sleep(int(text) / 100)
        finally:
            self.running -= 1
        if text in self.failing:
            raise self.failing[text]
        answers = (self.answers * request.n)[: request.n]
        return [completion([ord(answer)], version=self.version) for answer in answers]

    async def load_weights(self, weights, version):
        for _ in range(5):
            self.overlaps += self.running
            await asyncio.sleep(0.004)
        self.version = version
        return {}

    async def abort_all(self):
        self.aborts += 1

    async def counters(self):
        return EngineCounters(0, 0, 0)

    async def close(self):
        pass


def exact(problem, text):
    return float(text == problem.answer)


class Run:
    """A rollout side with its log and trace, and the learner's part played by the test."""

    def __init__(
        self, directory, engine, *, prompts=("0",), tokenizer=None, engine_settings=None, **settings
    ):
        self.path = directory / "trace.jsonl"
        self.config = RunConfig.model_validate(
            {"max_steps": 50, "prompts_per_optim_step": 2, "completions_per_prompt": 2, **settings}
            | {"engine": engine_settings or {}}
        )
        self.trace = TraceWriter(self.path)
        self.log = GroupLog(self.trace, directory / "rollouts.jsonl", keep=0)
        self.engine = engine
        task = SimpleNamespace(
            problems=[Problem(f"p{i}", prompt, "1") for i, prompt in enumerate(prompts)],
            stop=("\n",),
            reward=exact,
        )
        self.rollouts = Rollouts(
            config=self.config,
            engine=engine,
            task=task,
            tokenizer=tokenizer or Letters(),
            trace=self.trace,
            log=self.log,
        )
        self.rollouts.attach()
        self.rollouts.start()

    def step(self, number, sync=True):
        groups, _ = self.rollouts.buffer.take(self.config.prompts_per_optim_step)
        for item in groups:
            self.log.write(item, Fate.TRAINED, step=number, consumed_s=self.trace.clock.now())
        if sync:
            paused_s = self.trace.clock.now()
            self.rollouts.pause()
            self.rollouts.buffer.wait_drained()
            self.rollouts.load_weights(self.path, number + 1)
            self.rollouts.synced(paused_s, self.trace.clock.now())
            self.rollouts.buffer.resume(number + 1)
        return groups

    def fates(self):
        return Counter(record["fate"] for record in lines(self.path, "group"))


@pytest.fixture
def start(tmp_path):
    runs = []

    def make(engine, **settings):
        runs.append(Run(tmp_path, engine, **settings))
        return runs[-1]

    yield make
    for run in runs:
        if not run.rollouts._loop.is_closed():
            run.rollouts.stop()
        run.log.close()
        run.trace.close()


def test_groups_are_trained_in_the_order_of_dispatch_whatever_order_they_finish_in(start):
    run = start(Scripted(), prompts=("9", "0", "4", "1"), max_staleness=1)
    numbers = [item.number for step in range(6) for item in run.step(step)]
    assert numbers == list(range(12))


def test_weights_are_never_loaded_while_the_engine_works_however_slow_a_dispatch_is(start):
    # Half of the groups fail, so that replacements are dispatched at any time, also when a sync is due.
    engine = Scripted(failing={"1": GenerationError("busy")})
    run = start(
        engine, prompts=("0", "1"), tokenizer=Letters(0.01), max_staleness=1, prompts_per_optim_step=1
    )
    for step in range(40):
        time.sleep(step % 7 / 400)
        run.step(step)
    assert engine.overlaps == 0


def test_equal_rewards_and_failed_requests_are_not_trained_on_and_say_so(start):
    engine = Scripted(failing={"1": GenerationError("too long")})
    run = start(engine, prompts=("0", "1"))
    for step in range(3):
        run.step(step)
    engine.answers = "1"
    time.sleep(0.05)
    run.rollouts.stop()
    fates = run.fates()
    assert fates["trained"] == 6
    assert fates["failed"] >= 6
    assert fates["filtered"] >= 1
    assert "too long" in lines(run.path, "warning")[0]["message"]
    failed = next(record for record in lines(run.path, "group") if record["fate"] == "failed")
    assert failed["finished_s"] is None
    assert failed["completion_tokens"] == 0
    dispatched = [record["group"] for record in lines(run.path, "dispatch")]
    assert sorted(record["group"] for record in lines(run.path, "group")) == dispatched


def test_a_run_in_which_no_group_can_be_trained_on_ends_with_the_reason(start):
    run = start(Scripted(answers="0"))
    with pytest.raises(TrainingError, match=r"40 groups in a row.*filtered"):
        run.rollouts.buffer.take(2)


def test_an_engine_that_is_gone_ends_the_run(start):
    run = start(Scripted(failing={"0": EngineError("the engine has ended")}))
    with pytest.raises(EngineError, match="has ended"):
        run.rollouts.buffer.take(2)


def test_an_engine_that_samples_with_another_version_than_it_was_given_ends_the_run(start):
    engine = Scripted()
    engine.version = 7
    run = start(engine)
    with pytest.raises(EngineError, match=r"dispatched at policy version 0, but .* sampled with \[7\]"):
        run.rollouts.buffer.take(2)


def test_a_prompt_that_leaves_no_room_for_its_completions_is_named(start):
    run = start(Scripted(), prompts=("1" * 30,), engine_settings={"max_model_len": 150})
    with pytest.raises(ConfigError, match=r"p0 has 30 tokens.*room for 22"):
        run.rollouts.buffer.take(2)


def test_the_end_gives_every_group_a_fate_and_aborts_only_what_is_running(start):
    engine = Scripted()
    run = start(engine, prompts=("0", "0", "0", "9999"), max_staleness=3)
    run.step(0, sync=False)
    time.sleep(0.1)
    run.rollouts.stop()
    fates = run.fates()
    assert fates["trained"] == 2
    assert fates["leftover"] >= 1
    assert fates["aborted"] >= 1
    assert engine.aborts == 1
    assert engine.running == 0
    assert len(lines(run.path, "dispatch")) == fates.total()


def test_each_occurrence_of_a_prompt_has_a_seed_of_its_own_that_no_order_of_finishing_changes(
    start, tmp_path
):
    engine = Scripted()
    run = start(engine, prompts=("0", "1", "2"), max_staleness=1)
    for step in range(3):
        run.step(step)
    run.rollouts.stop()
    seeds = {}
    for record, request in zip(lines(run.path, "dispatch"), engine.requests, strict=False):
        seeds[record["prompt_id"], record["epoch"]] = request.seed
    assert len(set(seeds.values())) == len(seeds) >= 6
    # Completions use seed + 0, seed + 1, …: no two groups may come near each other.
    ordered = sorted(seeds.values())
    assert min(b - a for a, b in pairwise(ordered)) > 1000
    assert ordered[-1] < 2**62

    (tmp_path / "again").mkdir()
    other = Scripted(failing={"2": GenerationError("no")})
    again = Run(tmp_path / "again", other, prompts=("0", "1", "2"), max_staleness=0)
    again.step(0)
    again.rollouts.stop()
    for record, request in zip(lines(again.path, "dispatch"), other.requests, strict=False):
        if (key := (record["prompt_id"], record["epoch"])) in seeds:
            assert seeds[key] == request.seed
    again.log.close()
    again.trace.close()


def test_the_engines_spans_follow_each_other_without_gap_or_overlap(start):
    run = start(Scripted(), prompts=("1", "3", "0"), max_staleness=1)
    began = run.trace.clock.now()
    for step in range(5):
        run.step(step)
    run.rollouts.stop()
    spans = sorted(
        (span["start_s"], span["end_s"]) for span in lines(run.path, "span") if span["lane"] == "engine"
    )
    assert spans[0][0] <= began
    for (_, end), (start_s, _) in pairwise(spans):
        assert start_s == pytest.approx(end, abs=1e-6)


def test_what_was_dispatched_is_what_the_schedule_allows_and_the_trace_adds_up(start):
    run = start(Scripted(), prompts=("2", "0"), max_staleness=1, max_steps=4)
    for step in range(4):
        run.step(step)
    run.rollouts.stop()
    dispatches = lines(run.path, "dispatch")
    assert [record["version"] for record in dispatches[:4]] == [0, 0, 0, 0]
    assert all(0 <= number // 2 - record["version"] <= 1 for number, record in enumerate(dispatches))
    assert len(dispatches) == 8
    # No step records were written here; everything else must hold.
    assert [text[:5] for text in violations(run.path, run.config)] == ["steps"]
