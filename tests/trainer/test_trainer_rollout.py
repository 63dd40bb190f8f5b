"""The engine's lane over a scripted engine: verdicts, fates, seeds and syncs."""

import asyncio
import threading
import time
from collections import Counter
from itertools import pairwise

import pytest
from trainer_factory import completion, lines

from trainer.config import RunConfig
from trainer.conservation import violations
from trainer.engine.protocol import EngineCounters, GenerationAborted, GenerationError
from trainer.errors import EngineError, TrainingError
from trainer.group_log import GroupLog
from trainer.interrupt import Interrupted
from trainer.records import Fate
from trainer.rollout import Rollouts
from trainer.tasks import Problem, Task
from trainer.trace import TraceWriter


class Letters:
    """A tokenizer of one token a letter."""

    def decode(self, token_ids, skip_special_tokens):
        return "".join(map(chr, token_ids))


class Scripted:
    """Answers "#### 1" and "#### 0" in turn, after a delay that the prompt's text asks for in hundredths."""

    description = "scripted"
    takes_tensors = False

    def __init__(self, answers="10", failing=()):
        self.answers, self.failing = answers, failing
        self.version, self.running, self.overlaps, self.aborts = 0, 0, 0, 0
        self.requests = []
        self.aborted = asyncio.Event()

    async def attach(self):
        pass

    async def generate(self, request):
        self.requests.append(request)
        self.running += 1
        text = "".join(map(chr, request.token_ids))
        try:
            await asyncio.wait_for(self.aborted.wait(), int(text) / 100 + 1e-3)
            raise GenerationAborted([completion([65] * 3, version=self.version)] * request.n)
        except TimeoutError:
            pass
        finally:
            self.running -= 1
        if text in self.failing:
            raise self.failing[text]
        answers = (self.answers * request.n)[: request.n]
        return [completion(list(map(ord, f"#### {answer}")), version=self.version) for answer in answers]

    async def load_weights(self, weights, version):
        for _ in range(5):
            self.overlaps += self.running
            await asyncio.sleep(0.004)
        self.version = version
        return {}

    async def abort_all(self):
        self.aborts += 1
        self.aborted.set()
        self.aborted = asyncio.Event()

    async def counters(self):
        return EngineCounters(0, 0, 0)

    async def close(self):
        pass


class Run:
    """A rollout side with its log and trace, and the learner's part played by the test."""

    def __init__(self, directory, engine, *, prompts=("0",), **settings):
        self.path = directory / "trace.jsonl"
        self.config = RunConfig.model_validate(
            {"max_steps": 50, "prompts_per_optim_step": 2, "completions_per_prompt": 2, **settings}
        )
        self.trace = TraceWriter(self.path)
        self.log = GroupLog(self.trace, directory / "rollouts.jsonl", 0, lambda _: [])
        self.engine = engine
        task = Task(
            problems=[Problem(f"p{i}", prompt, "#### 1") for i, prompt in enumerate(prompts)],
            held_out=[],
            stop=("\n",),
            reward="exact_match",
            reward_timeout_s=10,
        )
        self.rollouts = Rollouts(
            config=self.config,
            engine=engine,
            task=task,
            prompt_token_ids=[[ord(letter) for letter in prompt] for prompt in prompts],
            tokenizer=Letters(),
            trace=self.trace,
            log=self.log,
        )
        self.rollouts.attach()
        self.rollouts.start()

    def step(self, number, sync=True):
        groups = self.rollouts.buffer.take(self.config.prompts_per_optim_step, number)
        for item in groups:
            self.log.write(item, Fate.TRAINED, step=number, consumed_s=self.trace.clock.now())
        if sync:
            self.rollouts.pause()
            if self.config.in_flight == "abort":
                self.rollouts.abort()
            if self.config.in_flight != "keep":
                self.rollouts.buffer.wait_drained()
            self.rollouts.load_weights(self.path, number + 1)
            self.rollouts.learner_is_at(number + 1)
            self.rollouts.resume(number + 1)
        return groups

    def end(self):
        self.rollouts.stop()
        self.rollouts.settle(saved=False)

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
            run.end()
            run.rollouts.close()
        run.log.close()
        run.trace.close()


def test_groups_are_trained_in_the_order_of_dispatch_whatever_order_they_finish_in(start):
    run = start(Scripted(), prompts=("9", "0", "4", "1"), max_staleness=1)
    numbers = [item.number for step in range(6) for item in run.step(step)]
    assert numbers == list(range(12))


def test_weights_are_never_loaded_while_the_engine_works_however_slow_a_dispatch_is(start):
    # Half of the groups fail, so that replacements are dispatched at any time, also when a sync is due.
    engine = Scripted(failing={"1": GenerationError("busy")})
    run = start(engine, prompts=("0", "1"), max_staleness=1, prompts_per_optim_step=1)
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
    run.end()
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
    with pytest.raises(TrainingError, match=r"40 groups in a row \(max_useless_batches\)"):
        run.rollouts.buffer.take(2, 0)


def test_an_engine_that_is_gone_ends_the_run(start):
    run = start(Scripted(failing={"0": EngineError("the engine has ended")}))
    with pytest.raises(EngineError, match="has ended"):
        run.rollouts.buffer.take(2, 0)


def test_an_engine_that_samples_with_another_version_than_it_was_given_ends_the_run(start):
    engine = Scripted()
    engine.version = 7
    run = start(engine)
    with pytest.raises(EngineError, match=r"dispatched at policy version 0, but .* sampled with \[7\]"):
        run.rollouts.buffer.take(2, 0)


def test_the_end_gives_every_group_a_fate_and_aborts_only_what_is_running(start):
    engine = Scripted()
    run = start(engine, prompts=("0", "0", "0", "9999"), max_staleness=3)
    run.step(0, sync=False)
    time.sleep(0.1)
    run.end()
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
    run.end()
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
    again.end()
    again.rollouts.close()
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
    run.end()
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
    run.end()
    dispatches = lines(run.path, "dispatch")
    assert [record["version"] for record in dispatches[:4]] == [0, 0, 0, 0]
    assert all(0 <= number // 2 - record["version"] <= 1 for number, record in enumerate(dispatches))
    assert len(dispatches) == 8
    # No step records were written here; everything else must hold.
    assert [text[:5] for text in violations(run.path, run.config)] == ["steps"]


def test_groups_that_run_at_a_sync_are_aborted_and_their_prompts_sent_again_first(start):
    run = start(Scripted(), prompts=("0", "0", "200", "200"), max_staleness=1, in_flight="abort")
    began = time.monotonic()
    run.step(0)
    assert time.monotonic() - began < 1.5  # none of the long ones was waited for
    aborted = [record for record in lines(run.path, "group") if record["fate"] == "aborted"]
    aborted.sort(key=lambda record: record["group"])
    assert aborted
    deadline = time.monotonic() + 10
    while sum(record["version"] == 1 for record in lines(run.path, "dispatch")) < len(aborted):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert all(record["completion_tokens"] == 6 and record["finished_s"] is None for record in aborted)
    sent = lines(run.path, "dispatch")
    again = [record for record in sent if record["version"] == 1][: len(aborted)]
    assert [r["prompt_id"] for r in again] == [r["prompt_id"] for r in aborted]
    assert {r["group"] for r in again}.isdisjoint(r["group"] for r in aborted)


def test_groups_that_go_on_under_new_weights_keep_the_version_of_their_dispatch(start):
    run = start(Scripted(), prompts=("0", "0", "30", "30"), max_staleness=1, in_flight="keep")
    first = run.step(0)
    assert "aborted" not in run.fates()
    second = run.step(1)
    assert [item.version_min for item in first + second] == [0, 0, 0, 0]
    assert [item.finished_version for item in second] == [1, 1]
    trained = {r["group"]: r for r in lines(run.path, "group") if r["fate"] == "trained"}
    assert [trained[n]["version_max"] for n in range(4)] == [0, 0, 1, 1]
    assert run.engine.overlaps > 0
    assert run.engine.aborts == 0


def test_a_kept_group_may_not_name_a_version_the_engine_was_never_given(start):
    engine = Scripted()
    run = start(engine, in_flight="keep", max_staleness=1)
    engine.version = 3
    with pytest.raises(EngineError, match=r"sampled with \[3\]"):
        for step in range(50):
            run.rollouts.buffer.take(2, step)


def test_too_old_groups_are_evicted_and_their_prompts_sent_again(start):
    run = start(Scripted(), prompts=tuple("0" * 9), staleness_policy="evict_requeue", max_inflight_groups=6)
    for step in range(8):
        run.step(step)
    run.end()
    groups = {record["group"]: record for record in lines(run.path, "group")}
    evicted = [record for record in groups.values() if record["fate"] == "evicted"]
    assert evicted
    assert all(record["completion_tokens"] == 12 for record in evicted)  # all that was generated for nothing
    trained = [record for record in groups.values() if record["fate"] == "trained"]
    assert all(record["step"] == record["version_min"] for record in trained)
    epochs = {
        record["group"]: (record["prompt_id"], record["epoch"]) for record in lines(run.path, "dispatch")
    }
    again = Counter(epochs.values())
    assert all(again[epochs[record["group"]]] >= 2 for record in evicted if record["version_min"] < 7)
    assert [text[:5] for text in violations(run.path, run.config)] == ["steps"]


def test_an_interruption_ends_what_runs_and_leaves_its_prompts_for_whoever_resumes(start):
    run = start(Scripted(), prompts=("0", "0", "900", "900"), max_staleness=1)
    run.step(0, sync=False)
    threading.Timer(0.1, run.rollouts.interrupt, [Interrupted("received SIGINT")]).start()
    with pytest.raises(Interrupted):
        run.rollouts.buffer.take(2, 1)
    run.rollouts.stop()
    state = run.rollouts.state()
    dispatched = lines(run.path, "dispatch")
    aborted = [record for record in lines(run.path, "group") if record["fate"] == "aborted"]
    assert len(aborted) == 2
    again = {run.rollouts._frontier.prompt(ordinal).index for ordinal in state["frontier"]["returned"]}
    assert {f"p{index}" for index in again} >= {record["prompt_id"] for record in aborted}
    assert state["next_group"] == len(dispatched)
