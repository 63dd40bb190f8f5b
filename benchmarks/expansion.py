"""How long `sweepctl validate` takes for large sweeps, and how much memory.

    python benchmarks/expansion.py

Each case runs in a process of its own, so that its peak memory is its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweepctl.plan.validate import validate_spec

CASES: dict[str, dict[str, object]] = {
    "grid of 5 axes of 10": {
        "parameters": {
            "max_staleness": {"range": [10]},
            "optim.lr": {"logspace": {"min": 1e-7, "max": 1e-4, "num": 10}},
            "loss.beta": {"linspace": {"min": 0, "max": 0.09, "num": 10}},
            "max_steps": {"range": [10, 110, 10]},
        },
        "seeds": list(range(10)),
    },
    "the same with zip, exclude, when and include": {
        "parameters": {
            "max_staleness": {"range": [10]},
            "optim.lr": {"logspace": {"min": 1e-7, "max": 1e-4, "num": 10}},
            "loss.beta": {"linspace": {"min": 0, "max": 0.09, "num": 10}},
        },
        "zip": [{"prompts_per_optim_step": [8] * 10, "prompts_per_rollout_sync": {"range": [8, 88, 8]}}],
        "exclude": [{"max_staleness": 3, "loss.beta": 0}],
        "include": [{"optim.lr": 1e-3}],
        "when": [{"if": {"max_staleness": [8, 9]}, "set": {"max_steps": 50}, "tags": ["old"]}],
        "seeds": list(range(10)),
    },
    "10,000 random draws": {
        "method": "random",
        "max_runs": 10_000,
        "parameters": {
            "max_staleness": {"range": [10]},
            "optim.lr": {"log_uniform": {"min": 1e-7, "max": 1e-4}},
            "loss.beta": {"uniform": {"min": 0, "max": 0.1}},
        },
    },
}


def measure(name: str) -> None:
    """Validate one case and print its time and the peak memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.yaml"
        path.write_text(json.dumps({"version": 1, "name": "large", **CASES[name]}))
        started = time.perf_counter()
        result = validate_spec(path, None, [])
        seconds = time.perf_counter() - started
    if result.error is not None:
        raise SystemExit(f"{name}: {result.error}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {result.lines()[0].partition(': ')[2]}; {seconds:.2f} s, {memory:.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        for case in CASES:
            subprocess.run([sys.executable, __file__, case], check=True)
