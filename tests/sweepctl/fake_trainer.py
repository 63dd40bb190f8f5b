"""Stands in for `python -m trainer` and `python -m trainer.evaluation`: the files, and nothing else.

What a run does is in `behaviours.json` beside the sweep's folder: `succeed` (also when it is not named),
`fail`, `hang` (until a signal), `stubborn` (ignores signals), `vanish` (no last word),
`stillborn` (no word at all), `slow` (a step each 50 ms), `once:X` (X at the first attempt only),
`misconfigured` (exit code 2).
It goes on after the steps its trace has, as a run with a checkpoint at each step would.
An evaluation does so as `evaluation`: `succeed`, or `fail` with half of its results written.
Standard library only, so that it starts in milliseconds.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import_time = time.time()
FAILURES = {"fail": (1, "the loss is not finite"), "misconfigured": (2, "task.path: no such file")}


def main() -> int:
    arguments = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))  # after the module
    config = Path(arguments["--config"])
    content = json.loads(config.read_text())
    if "evaluations" in content:
        return evaluate(content, config.parent.parent, arguments)
    return train(content, config.parent, arguments)


def evaluate(content: dict, runs_dir: Path, arguments: dict) -> int:
    call(runs_dir, "evaluation", arguments)
    evaluations = content["evaluations"]
    action = behaviour(runs_dir, "evaluation")
    if action.startswith("once:"):
        calls = (runs_dir / "calls.jsonl").read_text().count('"evaluation"')
        action = "succeed" if calls > 1 else action.removeprefix("once:")
    if action == "misconfigured":
        return 2
    if action == "hang":
        time.sleep(600)
    fails = action == "fail"
    for evaluation in evaluations[: len(evaluations) // 2] if fails else evaluations:
        output = Path(evaluation["output"])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"label": evaluation["label"]}))
    return int(fails)


def behaviour(runs_dir: Path, who: str) -> str:
    path = runs_dir / "behaviours.json"
    return json.loads(path.read_text()).get(who, "succeed") if path.exists() else "succeed"


def train(content: dict, folder: Path, arguments: dict) -> int:
    runs_dir = folder.parent.parent
    action = behaviour(runs_dir, content["run_name"])
    run = Run(folder, content["config"]["max_steps"])
    if action.startswith("once:"):
        action = "succeed" if run.attempt > 1 else action.removeprefix("once:")
    call(runs_dir, content["run_name"], arguments)
    print(f"training {content['run_name']}: {action}", flush=True)
    if action == "stillborn":
        return 1
    if run.step == run.max_steps:  # killed before its status said so
        run.status("succeeded")
        return 0
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: stopped.append(n))
    run.status("running")
    if action == "slow":
        run.slowly(stopped)
    run.steps(2)
    if action in FAILURES:
        code, reason = FAILURES[action]
        print(f"RuntimeError: {reason}", flush=True)
        run.status("failed", reason)
        return code
    if action == "vanish":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "grandchild":
        if os.fork() == 0:
            (folder / "grandchild.pid").write_text(str(os.getpid()))
            while True:
                time.sleep(0.05)
        action = "hang"
    while action == "stubborn" or (action == "hang" and not stopped):
        time.sleep(0.02)
    if stopped:
        run.status("interrupted", "asked to stop")
        return 130
    run.steps(run.max_steps)
    run.status("succeeded")
    return 0


def call(runs_dir: Path, what: str, arguments: dict) -> None:
    with (runs_dir / "calls.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, "engine": arguments.get("--engine"), "pid": os.getpid()}) + "\n")


class Run:
    def __init__(self, folder: Path, max_steps: int) -> None:
        self.folder, self.max_steps = folder, max_steps
        trace = folder / "trace.jsonl"
        lines = trace.read_text().splitlines(keepends=True) if trace.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        trace.write_text("".join(line for line in lines if line.endswith("\n")))
        self.step = max((record["step"] + 1 for record in whole), default=0)
        self.attempt = max((record["attempt"] for record in whole), default=0) + 1

    def status(self, state: str, reason: str | None = None) -> None:
        content = {
            "state": state,
            "attempt": self.attempt,
            "pid": os.getpid(),
            "pid_started": import_time,
            "heartbeat": time.time(),
            "step": self.step,
            "max_steps": self.max_steps,
            "reason": reason,
        }
        temporary = self.folder / ".status"
        temporary.write_text(json.dumps(content))
        temporary.replace(self.folder / "status.json")

    def slowly(self, stopped: list[int]) -> None:
        while self.step < self.max_steps and not stopped:
            self.steps(self.step + 1)
            time.sleep(0.05)

    def steps(self, until: int) -> None:
        with (self.folder / "trace.jsonl").open("a") as trace:
            while self.step < min(until, self.max_steps):
                self.step += 1
                record = {"v": 1, "attempt": self.attempt, "t": float(self.step), "kind": "step"}
                record |= {
                    "step": self.step - 1,
                    "policy_version": self.step,
                    "wall_s": 0.5,
                    "reward_mean": 0.25,
                }
                record |= {"off_policy_steps_mean": 1.0}
                if self.step == self.max_steps:
                    (self.folder / "checkpoints" / f"step_{self.step:06d}").mkdir(parents=True, exist_ok=True)
                trace.write(json.dumps(record) + "\n")
                trace.flush()


sys.exit(main())
