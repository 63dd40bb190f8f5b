"""A sweep whose trainer, evaluation and engine are fakes that obey the same files."""

import json
import sys
import time
from pathlib import Path

from sweepctl.plan.plan import load_plan
from sweepctl.running.engine import EngineKind
from sweepctl.running.executor import Executor, LocalExecutor
from sweepctl.running.process import GuardedProcess
from sweepctl.running.runner import Options, Predictor, SweepRunner
from sweepctl.running.slots import Share
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
retry: {max_attempts: 1}
"""


class FakeServer:
    """A guarded process that sleeps, in place of vLLM."""

    def __init__(self, model, *, settings, socket, log, weight_transfer, cores, device, while_waiting, hold):
        while_waiting()
        self.model, self.socket, self.cores = model, socket, cores
        self.weight_transfer, self.device = weight_transfer, device
        self.process = GuardedProcess(
            [sys.executable, "-S", "-c", "import time; time.sleep(600)"], log, hold=hold
        )
        self.stopped = False

    def healthy(self):
        return self.process.poll() is None

    def stop(self):
        self.stopped = True
        self.process.kill()


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
        self.kind = "core"
        self.executor: Executor = LocalExecutor(FAKE)
        self.predict: Predictor = lambda plan, say: {}

    def behave(self, **behaviours: str) -> None:
        (self.runs_dir / "behaviours.json").write_text(json.dumps(behaviours))

    def run(self, *, concurrency=1, only=None, patience=0.0, **options) -> int:
        chosen = self.runs_dir / "devices.json"
        devices = tuple(json.loads(chosen.read_text())) if chosen.exists() else ("0", "1")
        self.display = RecordingDisplay()
        return SweepRunner(
            plan=load_plan(self.spec, "auto", [], self.runs_dir, only=only),
            options=Options(orphan_patience_s=patience, **options),
            display=self.display,
            share=Share(self.kind, devices, len(devices), concurrency),
            ingest=lambda: None,
            predict=self.predict,
            executor=self.executor,
            engines=EngineKind(lambda: self.vllm, self._start),
        ).run()

    def _start(self, model, **keywords):
        server = FakeServer(model, **keywords)
        self.servers.append(server)
        with (self.runs_dir / "engines.txt").open("a") as file:
            file.write(f"{server.process.pid}\n")
        slow = self.runs_dir / "slow_engine"
        try:
            while slow.exists() and slow.read_text() == "True":
                keywords["while_waiting"]()
                time.sleep(0.02)
        except BaseException:
            server.stop()
            raise
        return server

    def calls(self) -> list[str]:
        path = self.runs_dir / "calls.jsonl"
        if not path.exists():
            return []
        return [record["what"] for record in self.call_records()]

    def call_records(self) -> list[dict]:
        return [json.loads(line) for line in (self.runs_dir / "calls.jsonl").read_text().splitlines()]

    def state(self, run_name: str) -> str:
        return json.loads((self.root / run_name / "status.json").read_text())["state"]


# As a process of its own, to be interrupted or killed: fake_sweep.py FOLDER [SLOTS]
if __name__ == "__main__":
    slots = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    sweep = FakeSweep(Path(sys.argv[1]))
    sys.exit(sweep.run(resume_command="sweepctl run fake.yaml", patience=30.0, concurrency=slots))
