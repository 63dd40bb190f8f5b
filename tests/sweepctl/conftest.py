"""A sweep whose trainer, evaluation and engine are fakes that obey the same files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweepctl.machine import Placement
from sweepctl.plan.plan import load_plan
from sweepctl.running.engine import SharedEngine
from sweepctl.running.runner import Commands, Options, SweepRunner
from sweepctl.watching.display import PlainDisplay

HERE = Path(__file__).parent
FAKE = (sys.executable, "-S", str(HERE / "fake_trainer.py"))

SPEC = """\
version: 1
name: fake
base: {max_steps: 4, completions_per_prompt: 2}
parameters:
  max_staleness: [0, 1, 2, 3, 4]
run_name: "s{max_staleness}"
reference: {max_staleness: 0}
eval: {num_fewshot: [0, 4]}
"""


class FakeServer:
    """A process that sleeps, in place of vLLM."""

    def __init__(self, model, *, settings, socket, log, cores, device):
        self.model, self.socket, self.cores = model, socket, cores
        self.process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        self.stopped = False

    def healthy(self):
        return self.process.poll() is None

    def stop(self):
        self.stopped = True
        self.process.kill()
        self.process.wait()


class RecordingDisplay(PlainDisplay):
    """Remembers what was said."""

    def __init__(self):
        self.said = []
        self._states, self._last = {}, 0.0

    def say(self, message):
        self.said.append(message)
        print(message, file=sys.stderr, flush=True)


class FakeSweep:
    """A spec in a temporary runs directory, run with fakes."""

    def __init__(self, folder: Path, spec: str = SPEC) -> None:
        self.runs_dir = folder / "runs"
        self.runs_dir.mkdir(parents=True, exist_ok=True)
        self.spec = folder / "fake.yaml"
        if not self.spec.exists():
            self.spec.write_text(spec)
        self.root = self.runs_dir / "fake"
        self.servers: list[FakeServer] = []
        self.display = RecordingDisplay()
        self.vllm = True

    def behave(self, **behaviours: str) -> None:
        (self.runs_dir / "behaviours.json").write_text(json.dumps(behaviours))

    def run(self, **options) -> int:
        self.display = RecordingDisplay()
        plan = load_plan(self.spec, "auto", [], self.runs_dir)
        engine = SharedEngine(
            log=plan.paths.engine_log,
            placement=Placement((0,), None, (1,), "cpu"),
            available=lambda: self.vllm,
            start=self._start,
        )
        runner = SweepRunner(
            plan, Options(**options), self.display, engine, lambda: None, Commands(FAKE, FAKE)
        )
        return runner.run()

    def _start(self, model, **keywords):
        server = FakeServer(model, **keywords)
        self.servers.append(server)
        with (self.runs_dir / "engines.txt").open("a") as file:
            file.write(f"{server.process.pid}\n")
        return server

    def calls(self) -> list[str]:
        path = self.runs_dir / "calls.jsonl"
        if not path.exists():
            return []
        return [json.loads(line)["what"] for line in path.read_text().splitlines()]

    def call_records(self) -> list[dict]:
        return [json.loads(line) for line in (self.runs_dir / "calls.jsonl").read_text().splitlines()]

    def state(self, run_name: str) -> str:
        return json.loads((self.root / run_name / "status.json").read_text())["state"]


@pytest.fixture
def fake_sweep(tmp_path: Path) -> FakeSweep:
    return FakeSweep(tmp_path)


if __name__ == "__main__":  # as a process of its own, to be interrupted or killed: conftest.py FOLDER
    sys.exit(FakeSweep(Path(sys.argv[1])).run(resume_command="sweepctl run fake.yaml"))
