"""The kill test with the real parts: ten runs of the built-in model, vLLM, lm-eval. Ten minutes or so."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from killing import VICTIMS, Killer
from test_sweepctl_kill import assert_whole, wait_for_silence

from trainer.config import RunFile
from trainer.conservation import violations
from trainer.paths import RunPaths
from trainer.trace import read_records

ROOT = Path(__file__).parents[2]
RUNS, STEPS, BATCH = 10, 6, 2
SPEC = f"""\
version: 1
name: killed
base:
  model: builtin:tiny
  task: arithmetic
  max_steps: {STEPS}
  prompts_per_optim_step: {BATCH}
  completions_per_prompt: 4
  sampling: {{max_completion_tokens: 64}}
  checkpoint: {{every_steps: 1}}
parameters:
  max_staleness: [{", ".join(map(str, range(RUNS)))}]
run_name: "s{{max_staleness}}"
eval: {{num_fewshot: [0], limit: 8}}
retry: {{max_attempts: 4, backoff: 1s}}
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_real_runs_survive_kills_of_every_part(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path / "leases"))
    spec, runs = tmp_path / "killed.yaml", tmp_path / "runs"
    spec.write_text(SPEC)
    log = (tmp_path / "said.txt").open("ab")
    command = [sys.executable, "-m", "sweepctl", "run", str(spec), "--runs-dir", str(runs)]

    def start():
        return subprocess.Popen(command, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    killer = Killer(start, lambda line: "-m trainer --config" in line, is_engine, seed=1)
    victims = list(VICTIMS)
    random.Random(1).shuffle(victims)
    killer.kill(victims, (0.0, 25.0))
    code = killer.finish(1500, restarts=2)
    log.close()
    said = (tmp_path / "said.txt").read_text()
    print(said)
    assert code == 0, said
    assert "Traceback (most recent call last)" not in said.replace("  | Traceback", "")
    assert set(killer.killed) == set(VICTIMS)
    for index in range(RUNS):
        check_run(RunPaths(runs / "killed" / f"s{index}"))
    assert_whole(runs)
    wait_for_silence(tmp_path / "leases")


def is_engine(line: str) -> bool:
    return "vllm serve" in line or "VLLM::EngineCore" in line


def check_run(run: RunPaths) -> None:
    """It has ended well, once, and its records say that no prompt was trained twice."""
    file = RunFile.model_validate_json(run.config.read_bytes())
    assert json.loads(run.status.read_text())["state"] == "succeeded"
    records = list(read_records(run.trace))
    finished = [record for record in records if record["kind"] == "run_finished"]
    assert [record["state"] for record in finished].count("succeeded") == 1
    assert finished[-1]["state"] == "succeeded"
    assert violations(run.trace, file.config) == []
    assert run.checkpoint(STEPS).is_dir()
    assert len(list(run.root.rglob("arithmetic_cot_0shot.json"))) == 1
