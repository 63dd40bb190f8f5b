"""`sweepctl doctor RUN`: what can be wrong with a run's records is found, and nothing where all is well."""

import json
import shutil
import struct
from pathlib import Path

import pytest
from doctoring import statuses
from factories.sweep_factory import write_synthetic_sweep

from sweepctl.doctor.finding import Status
from sweepctl.doctor.records import check_records
from trainer.builtin import MODEL_DIR
from trainer.paths import RunPaths, metadata_path

RUN = "s0_opt16_sync16_lr0.0001"
STEPS = 4


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of a synthetic sweep, made whole: a checkpoint, and counters as an engine has them."""
    root = write_synthetic_sweep(tmp_path_factory.mktemp("whole") / "runs", steps=STEPS, questions=5)
    paths = RunPaths(root / RUN)
    shutil.copytree(MODEL_DIR, paths.checkpoint(STEPS))
    *lines, last = [json.loads(line) for line in paths.trace.read_text().splitlines()]
    prompts = [line["prompt_tokens"] for line in lines if line["kind"] == "group"]
    last["engine_prompt_tokens"] = 8 * sum(prompts)  # once for every completion
    paths.trace.write_text("".join(json.dumps(line) + "\n" for line in [*lines, last]))
    return paths


@pytest.fixture
def run(whole_run, tmp_path):
    shutil.copytree(whole_run.root.parent, tmp_path / "runs" / "staleness")
    return RunPaths(tmp_path / "runs" / "staleness" / RUN)


def test_a_whole_run_has_no_finding(run):
    assert set(statuses(check_records(run)).items()) == {
        (check, Status.OK) for check in ("config", "status", "conservation", "checkpoints", "evaluations")
    }


def lose_a_fate(run):
    lines = run.trace.read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if '"kind":"group"' in line.replace(" ", ""))
    run.trace.write_text("\n".join(lines[:first] + lines[first + 1 :]) + "\n")


def cut_weights(run):
    weights = run.checkpoint(STEPS) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def garble_weights(header):
    def garble(run):
        weights = run.checkpoint(STEPS) / "model.safetensors"
        weights.write_bytes(struct.pack("<Q", len(header)) + header)

    return garble


def own_result_without_metadata(run):
    result = run.evaluation(f"step_{STEPS:06d}", "arithmetic_cot", 0)
    edit(result, config={"model": "EngineModel"})
    metadata_path(result).unlink(missing_ok=True)


BROKEN = {
    "config.json was edited": (
        lambda run: edit(run.config, config={"max_steps": STEPS, "seed": 7}),
        "config",
        Status.PROBLEM,
        "it was edited after the run",
    ),
    "config.json is no configuration": (
        lambda run: run.config.write_text('{"sweep": "x"}'),
        "config",
        Status.PROBLEM,
        "run the spec again",
    ),
    "config.json is gone": (lambda run: run.config.unlink(), "config", Status.WARNING, "has not begun"),
    "status.json is none": (lambda run: run.status.write_text("{}"), "status", Status.PROBLEM, "remove it"),
    "status.json is gone": (lambda run: run.status.unlink(), "status", Status.WARNING, "has not begun"),
    "its process is gone": (
        lambda run: edit(run.status, state="running", heartbeat=1.0),
        "status",
        Status.WARNING,
        "the same `sweepctl run` goes on",
    ),
    "succeeded without an end": (
        lambda run: run.trace.write_text("\n".join(run.trace.read_text().splitlines()[:-1]) + "\n"),
        "status",
        Status.PROBLEM,
        "--force --only",
    ),
    "no last checkpoint": (
        lambda run: shutil.rmtree(run.checkpoint(STEPS)),
        "status",
        Status.PROBLEM,
        "--force --only",
    ),
    "a group without a fate": (lose_a_fate, "conservation", Status.PROBLEM, "do not publish"),
    "weights cut short": (cut_weights, "checkpoints", Status.PROBLEM, "remove it"),
    **{
        f"weights whose header is {header.decode()}": (
            garble_weights(header),
            "checkpoints",
            Status.PROBLEM,
            "remove it",
        )
        for header in (
            b"{nonsense",
            b"[]",
            b'{"x": 3}',
            b'{"x": {}}',
            b'{"x": {"data_offsets": [0]}}',
            b'{"x": {"data_offsets": [0, null]}}',
            b'{"x": {"data_offsets": {"1": 1}}}',
        )
    },
    "no config.json in a checkpoint": (
        lambda run: (run.checkpoint(STEPS) / "config.json").unlink(),
        "checkpoints",
        Status.PROBLEM,
        "remove it",
    ),
    "a half-written checkpoint": (
        lambda run: (run.root / "checkpoints" / "step_000003.partial").mkdir(),
        "checkpoints",
        Status.WARNING,
        "rm -r",
    ),
    "a result that is no JSON": (
        lambda run: run.evaluation(f"step_{STEPS:06d}", "arithmetic_cot", 0).write_text("{"),
        "evaluations",
        Status.WARNING,
        "evaluates it again",
    ),
    "a result of our own without metadata": (
        own_result_without_metadata,
        "evaluations",
        Status.WARNING,
        "evaluates it again",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_with_a_run_is_found_and_nothing_else(run, what):
    breaking, check, status, advice = BROKEN[what]
    breaking(run)
    findings = list(check_records(run))
    bad = [finding for finding in findings if finding.status is not Status.OK]
    assert {(finding.check, finding.status) for finding in bad} == {(check, status)}
    assert advice in bad[0].advice


def test_an_unfinished_run_need_not_add_up_yet(tmp_path):
    root = write_synthetic_sweep(tmp_path, steps=STEPS, questions=5, finished=False)
    running = RunPaths(root / "s1_opt8_sync8_lr5e-05")
    assert statuses(check_records(running)) == {
        "config": Status.OK,
        "status": Status.WARNING,  # it says it runs, and has not for months
        "conservation": Status.OK,
        "checkpoints": Status.OK,
        "evaluations": Status.OK,
    }


def test_a_run_as_json(cli, run):
    code, out, _ = cli("doctor", "Exp1", "--json", "--runs-dir", run.root.parents[1])
    assert (code, json.loads(out)["healthy"]) == (0, True)


def test_a_problem_is_exit_code_1_with_its_advice(cli, run):
    cut_weights(run)
    code, out, _ = cli("doctor", "Exp1", "--runs-dir", run.root.parents[1])
    assert code == 1
    assert "→ remove it; if it is the last, run it again: `sweepctl run SPEC --force --only" in out
    assert out.splitlines()[-1] == "1 problem, 0 warnings, 5 ok"
