"""How long commands take before they do anything: python benchmarks/startup.py

Each beside `python -c pass`, in turns, so that whatever else runs on the machine slows all of them; medians.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
SPEC = str(ROOT / "sweeps" / "staleness.yaml")
REPEATS = 9
TARGET_S = 0.4
SWEEPCTL = [sys.executable, "-m", "sweepctl"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "--help": [*SWEEPCTL, "--help"],
    "validate": [*SWEEPCTL, "validate", SPEC],
    "plan": [*SWEEPCTL, "plan", SPEC],
    "status": [*SWEEPCTL, "status"],
}


def seconds(command: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:  # without runs: `status` says so
        for _ in range(REPEATS):
            for name, command in COMMANDS.items():
                times[name].append(seconds(command, folder))
    bare = median(times["python -c pass"])
    table = Table("command", "median s", "least s", "of python -c pass", box=None, pad_edge=False)
    for name, measured in times.items():
        middle = median(measured)
        table.add_row(name, f"{middle:.3f}", f"{min(measured):.3f}", f"{middle / bare:.1f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"--help and validate should stay below {TARGET_S} s on a machine that does nothing else")


if __name__ == "__main__":
    main()
