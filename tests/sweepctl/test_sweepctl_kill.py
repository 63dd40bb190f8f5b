"""SIGKILL at random moments: of sweepctl, a run, an engine, a guard, of everything at once; then `run` again.

Every run ends once, none is trained twice, no process is left, no file is half-written. Here with fakes
that keep the same files; with the real ones in test_sweepctl_kill_real.py.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import VICTIMS, Killer, marked

FAKE_SWEEP = Path(__file__).with_name("fake_sweep.py")
RUNS, STEPS = 10, 12
SPEC = f"""\
version: 1
name: fake
base: {{max_steps: {STEPS}, completions_per_prompt: 2}}
parameters:
  max_staleness: [{", ".join(map(str, range(RUNS)))}]
run_name: "s{{max_staleness}}"
eval: {{num_fewshot: [0]}}
retry: {{max_attempts: 3, backoff: 0.1}}
"""


@pytest.mark.parametrize(("seed", "slots"), [(0, 1), (1, 2)])
def test_kills_lose_nothing_and_do_nothing_twice(fake_sweep, tmp_path, seed, slots):
    fake_sweep.spec.write_text(SPEC)
    fake_sweep.behave(**{f"s{i}": "slow" for i in range(RUNS)})
    log = (tmp_path / "said.txt").open("ab")

    def start():
        return subprocess.Popen([sys.executable, str(FAKE_SWEEP), str(tmp_path), str(slots)], stderr=log)

    killer = Killer(
        start, lambda line: "fake_trainer.py" in line, lambda line: "time.sleep(600)" in line, seed
    )
    victims = [*VICTIMS, *VICTIMS]
    random.Random(seed).shuffle(victims)
    killer.kill(victims, (0.0, 0.8))
    code = killer.finish(60, restarts=3)
    log.close()
    said = (tmp_path / "said.txt").read_text()
    assert code == 0, said
    assert "Traceback" not in said
    assert len(set(killer.killed)) == len(VICTIMS), f"only {killer.killed} were there to be killed"

    for index in range(RUNS):
        folder = fake_sweep.root / f"s{index}"
        assert json.loads((folder / "status.json").read_text())["state"] == "succeeded"
        steps = [json.loads(line)["step"] for line in (folder / "trace.jsonl").read_text().splitlines()]
        assert steps == list(range(STEPS)), f"s{index} has trained a step twice, or has lost one"
        ended = [
            json.loads(line).get("state")
            for line in (folder / "attempts.jsonl").read_text().splitlines()
            if json.loads(line)["event"] == "ended"
        ]
        assert ended.count("succeeded") <= 1  # none when sweepctl was killed before it could note it
        assert "succeeded" not in ended[:-1]
    assert_whole(fake_sweep.runs_dir)
    wait_for_silence(tmp_path / "leases")


def assert_whole(folder):
    """Every file can be read, and none is a leftover of being written."""
    assert list(folder.rglob("*.partial")) == []
    assert list(folder.rglob("*.set-aside-*")) == []
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in folder.rglob("*.jsonl"):
        assert all(json.loads(line) for line in path.read_text().splitlines())


def wait_for_silence(leases, timeout_s=20.0):
    """No process of the sweep is left: guards take a moment to end what they guard."""
    deadline = time.monotonic() + timeout_s
    while left := marked("SWEEPCTL_LEASE_DIR", leases):
        assert time.monotonic() < deadline, [(process.pid, process.cmdline()) for process in left]
        time.sleep(0.1)
