"""A sweep as its files say it is, written without running anything."""

import json
import os
import socket
import time
from pathlib import Path

import psutil

from trainer.paths import SweepPaths


def step_line(number, *, wall_s=2.0, reward=0.5, age=1.0, attempt=1):
    record = {"v": 1, "attempt": attempt, "t": 0.0, "kind": "step"}
    record |= {"step": number, "policy_version": number + 1}
    return json.dumps(record | {"wall_s": wall_s, "reward_mean": reward, "off_policy_steps_mean": age}) + "\n"


def resumed_line(from_step):
    return json.dumps({"v": 1, "attempt": 2, "t": 0.0, "kind": "resumed", "from_step": from_step}) + "\n"


class WrittenSweep:
    """`sweep.json` and what the runs' own processes would have written."""

    def __init__(self, runs_dir: Path, name: str = "demo", *, profile="cpu", max_steps=40, evaluation=None):
        self.runs_dir, self.paths, self.max_steps = runs_dir, SweepPaths(runs_dir / name), max_steps
        self.manifest = {
            "version": 1,
            "name": name,
            "profile": profile,
            "spec": {"file": f"sweeps/{name}.yaml", "overrides": {}, "eval": evaluation},
            "runs": [],
        }
        self.paths.root.mkdir(parents=True)
        self.write_manifest()

    def write_manifest(self):
        self.paths.manifest.write_text(json.dumps(self.manifest))

    def run(self, name, state=None, *, steps=0, log=None, devices=None, infeasible=None, **status):
        """Plan a run, and let it be in `state` after so many steps; None: nothing of it is there."""
        number = sum(run["state"] == "planned" for run in self.manifest["runs"]) + 1
        planned = {"run_name": name, "config": {"max_steps": self.max_steps}, "reason": infeasible}
        planned |= {"label": None, "state": "infeasible"} if infeasible else {}
        self.manifest["runs"].append({"label": f"Exp{number}", "state": "planned"} | planned)
        self.write_manifest()
        paths = self.paths.run(name)
        if state is not None:
            self.status(name, state, **({"step": steps} | status))
            paths.config.write_text("{}")
            paths.trace.write_text("".join(map(step_line, range(steps))))
        if devices is not None:
            record = {"event": "started", "unix_s": 1.0, "devices": devices}
            paths.attempts.write_text(json.dumps(record) + "\n")
        if log is not None:
            paths.log.write_bytes(log)
        return paths

    def status(self, name, state, **fields):
        """Replace a run's status; one that runs is this very process."""
        content = {"state": state, "attempt": 1, "heartbeat": time.time(), "max_steps": self.max_steps}
        if state == "running":
            content |= {"pid": os.getpid(), "pid_started": psutil.Process().create_time()}
        path = self.paths.run(name).status
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".new").write_text(json.dumps(content | fields))
        path.with_suffix(".new").replace(path)

    def hold(self, *, since_unix=None, **changes):
        """Say that this very process runs the sweep."""
        me = psutil.Process()
        holder = {"pid": me.pid, "pid_started": me.create_time(), "host": socket.gethostname()}
        holder |= {"since_unix": since_unix or time.time()} | changes
        self.paths.lock_holder.write_text(json.dumps(holder))

    def let_go(self):
        self.paths.lock_holder.unlink()
