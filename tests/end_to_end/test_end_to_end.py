"""Spec -> runs -> evaluation -> store -> report -> page, on a model of a few thousand parameters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from results.report.build import build_report
from results.store import Store
from trainer.config import RunFile
from trainer.conservation import violations
from trainer.paths import SweepPaths

ROOT = Path(__file__).parents[2]
GSM8K_TEST = ROOT.parent / "shared" / "gsm8k" / "test.jsonl"

SPEC = """
version: 1
name: tiny
base:
  model: {model}
  task: {{name: gsm8k, path: {problems}}}
  engine: {{name: {engine}, max_model_len: 512}}
  max_steps: 8
  prompts_per_optim_step: 2
  completions_per_prompt: 4
  sampling: {{max_completion_tokens: 8}}
  optim: {{lr: 1e-3}}
zip:
  - max_staleness:            [0, 1, 0]
    prompts_per_rollout_sync: [2, 4, 4]
run_name: "s{{max_staleness}}_sync{{prompts_per_rollout_sync}}"
reference: {{max_staleness: 0, prompts_per_rollout_sync: 2}}
eval: {{tasks: [gsm8k_cot], data: {questions}, limit: 8, num_fewshot: [0], max_completion_tokens: 8}}
"""


def sweepctl(*arguments, runs_dir):
    return subprocess.run(
        [Path(sys.executable).with_name("sweepctl"), *map(str, arguments)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "SWEEPCTL_RUNS_DIR": str(runs_dir)},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize("engine", ["vllm", pytest.param("transformers", marks=pytest.mark.slow)])
def test_from_the_spec_to_the_page(engine, digit_model, digit_problems, tmp_path, monkeypatch):
    spec = tmp_path / "tiny.yaml"
    spec.write_text(
        SPEC.format(model=digit_model, problems=digit_problems, engine=engine, questions=GSM8K_TEST)
    )
    runs_dir = tmp_path / "runs"

    ran = sweepctl("run", spec, runs_dir=runs_dir)
    assert ran.returncode == 0, ran.stderr

    paths = SweepPaths(runs_dir / "tiny")
    names = ["s0_sync2", "s1_sync4"]
    for name in names:
        run = paths.run(name)
        file = RunFile.model_validate_json(run.config.read_bytes())
        assert violations(run.trace, file.config) == []
        assert run.last_checkpoint() == run.checkpoint(8)

    again = sweepctl("run", spec, runs_dir=runs_dir)
    assert again.returncode == 0, again.stderr
    starts = [
        line for name in names for line in lines(paths.run(name).trace) if line["kind"] == "run_started"
    ]
    assert len(starts) == len(names)  # nothing was trained twice

    report = build_report(Store(runs_dir), "tiny")
    by_name = report.experiments.set_index("run_name")
    assert list(by_name.loc[names, "state"]) == ["succeeded"] * 2
    assert by_name.loc["s0_sync4", "state"] == "infeasible"
    assert by_name.loc["s1_sync4", "off_policy_steps_max"] <= 1
    for name in names:  # the table's step time is that of the raw trace
        steps = [line["wall_s"] for line in lines(paths.run(name).trace) if line["kind"] == "step"]
        assert by_name.loc[name, "step_mean_s"] == pytest.approx(sum(steps) / len(steps))
    shown = sweepctl("report", "tiny", runs_dir=runs_dir)
    assert shown.returncode == 0, shown.stderr
    assert "k - 1 > max_staleness" in shown.stdout
    assert len(report.accuracy.query("num_fewshot == 0 and filter == 'strict-match'")) == 3

    monkeypatch.setenv("SWEEPCTL_RUNS_DIR", str(runs_dir))
    page = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60).run()
    assert not page.exception
    text = " ".join(element.value for element in [*page.markdown, *page.title, *page.caption])
    assert "tiny" in text


def lines(trace):
    return [json.loads(line) for line in trace.read_text().splitlines()]
