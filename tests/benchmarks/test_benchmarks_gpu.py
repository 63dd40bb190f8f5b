"""The benchmark for GPUs, on CPU: two small layers, and what it prints against the traces it leaves."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
SYNC_STEPS = {"Exp1": 1, "Exp5": 2}
STEPS = 4


def bench(*arguments, gpus=None):
    environment = dict(os.environ) | ({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus})
    command = [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_without_a_gpu_it_says_in_one_line_what_it_needs():
    ended = bench(gpus="")
    assert (ended.returncode, ended.stderr) == (2, "")
    assert len(ended.stdout.splitlines()) == 1
    assert "needs an NVIDIA GPU" in ended.stdout and "--size tiny" in ended.stdout


def test_a_setting_that_does_not_exist_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "models" / "tiny-seed0").mkdir(parents=True)
    ended = bench("--size", "tiny", "--work", tmp_path, "--set", "engine.nane=vllm", gpus="")
    assert ended.returncode == 2
    assert "engine.nane" in ended.stderr and "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("runs-*"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What the benchmark printed of two arms, and the folder of its runs."""
    work = tmp_path_factory.mktemp("bench")
    few = ["--steps", STEPS, "--only", "Exp1,Exp5", "--set", "engine.name=transformers"]
    few += ["--set", "completions_per_prompt=2"]
    ended = bench("--size", "tiny", "--work", work, *few, gpus="")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout, next(work.glob("runs-*")) / "staleness"


def traces(sweep):
    """The records of each arm's trace by label."""
    plan = json.loads((sweep / "sweep.json").read_bytes())["runs"]
    names = {run["label"]: run["run_name"] for run in plan if run["label"] in SYNC_STEPS}
    return {
        label: [json.loads(line) for line in (sweep / name / "trace.jsonl").read_text().splitlines()]
        for label, name in names.items()
    }


def busy_s(spans):
    """Length of the union of spans."""
    total, reached = 0.0, 0.0
    for span in sorted(spans, key=lambda span: span["start_s"]):
        total += max(0.0, span["end_s"] - max(span["start_s"], reached))
        reached = max(reached, span["end_s"])
    return total


def expected_row(label, records):
    """The arm's line of the table, from its trace alone."""
    of = {kind: [record for record in records if record["kind"] == kind] for kind in ("step", "sync", "span")}
    groups = {record["group"]: record for record in records if record["kind"] == "group"}
    warm = of["step"][SYNC_STEPS[label] :]  # STEPS are whole sync cycles
    completions = warm[0]["completions"] // warm[0]["prompts"]
    learned = sum(step["prompt_tokens"] * completions + step["completion_tokens"] for step in warm)
    busy = busy_s([s for s in of["span"] if (s["lane"], s["name"]) == ("engine", "generate")])
    seconds = sum(step["wall_s"] for step in warm)
    learner_s = sum(step[phase] for step in of["step"] for phase in ("learn_s", "checkpoint_s", "other_s"))
    return [
        label,
        f"{sum(group['completion_tokens'] for group in groups.values()) / busy:,.0f}",
        f"{learned / sum(step['learn_s'] for step in warm):,.0f}",
        f"{median(sync['wall_s'] for sync in of['sync']) * 1e3:,.1f}",
        f"{median(sync['bytes'] / sync['wall_s'] for sync in of['sync']) / 1e9:.2f}",
        f"{seconds / len(warm):.3f}",
        f"{sum(step['prompts'] for step in warm) / seconds:.3f}",
        f"{max(busy, learner_s) / sum(step['wall_s'] for step in of['step']):.0%}",
    ]


@pytest.mark.slow
def test_the_table_has_each_arm_as_its_trace_does(ran):
    printed, sweep = ran
    rows = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    for label, records in traces(sweep).items():
        assert expected_row(label, records) in rows


@pytest.mark.slow
def test_no_group_is_lost_and_no_checkpoint_is_in_a_steps_time(ran):
    _, sweep = ran
    for records in traces(sweep).values():
        fates = {record["fate"] for record in records if record["kind"] == "group"}
        assert fates == {"trained"}
        steps = [record for record in records if record["kind"] == "step"]
        assert [step["step"] for step in steps] == list(range(STEPS))
        assert {step["checkpoint_s"] for step in steps} == {0}
        assert records[-1]["kind"] == "run_finished" and records[-1]["state"] == "succeeded"


@pytest.mark.slow
def test_the_logprob_gap_is_that_of_the_steps_at_staleness_0(ran):
    printed, sweep = ran
    steps = [
        record
        for records in traces(sweep).values()
        for record in records
        if record["kind"] == "step" and record["off_policy_steps_max"] == 0
    ]
    assert len(steps) < 2 * STEPS  # Exp5 has steps at staleness 1
    tokens = sum(step["completion_tokens"] for step in steps)
    mean = sum(step["logprob_gap_mean"] * step["completion_tokens"] for step in steps) / tokens
    p999 = median(step["logprob_gap_p999"] for step in steps)
    assert f"mean {mean:.4f} nats a token, 99.9 % within {p999:.4f} ({len(steps)} steps" in printed


@pytest.mark.slow
def test_every_completion_is_as_long_as_was_drawn_and_a_prompts_are_as_long_in_every_arm(ran):
    printed, sweep = ran
    arms = [json.loads(path.read_bytes())["sampled"] for path in sorted(sweep.glob("*/arm.json"))]
    lengths = [[(c["prompt"], c["got"]) for c in arm] for arm in arms]
    assert all(c["got"] == c["asked"] for arm in arms for c in arm)
    assert f"0 of {sum(map(len, arms)):,} ended early" in printed
    shorter, longer = sorted(lengths, key=len)  # Exp5 trains half as many prompts, the first of the same
    assert len({got for _, got in longer}) > 10
    assert Counter(shorter) <= Counter(longer)
    # The trace's tokens are these.
    for records, arm in zip(traces(sweep).values(), sorted(arms, key=len, reverse=True), strict=True):
        groups = [record for record in records if record["kind"] == "group"]
        assert sum(group["completion_tokens"] for group in groups) == sum(c["got"] for c in arm)
        assert sum(group["truncated"] for group in groups) == sum(c["got"] == 48 for c in arm)
