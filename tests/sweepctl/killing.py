"""Kills parts of a sweep at random moments, as the out-of-memory killer, a colleague or a power cut would."""

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

VICTIMS = ("sweepctl", "run", "engine", "guard", "everything")


class Killer:
    """Runs sweepctl again and again, and kills something of it each time, until it is to end in peace."""

    def __init__(
        self,
        start: Callable[[], subprocess.Popen],
        is_run: Callable[[str], bool],
        is_engine: Callable[[str], bool],
        seed: int,
    ) -> None:
        """`is_run` and `is_engine` tell by a command line."""
        self._start = start
        self._is = {"run": is_run, "engine": is_engine}
        self._random = random.Random(seed)
        self.killed: list[str] = []

    def kill(self, victims: list[str], wait_s: tuple[float, float]) -> None:
        """Kill each of `victims` once, a random time within `wait_s` after it was first seen."""
        process = self._start()
        for victim in victims:
            process = self._await(process, victim)
            time.sleep(self._random.uniform(*wait_s))
            if chosen := self._chosen(process.pid, victim):
                for each in chosen:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
                self.killed.append(victim)
            if victim in {"sweepctl", "everything"}:
                process.wait()
                process = self._start()
        self._process = process

    def _await(self, process: subprocess.Popen, victim: str) -> subprocess.Popen:
        """Wait until there is such a victim; the sweepctl that has it, a new one if the last has ended."""
        for _ in range(2):
            while process.poll() is None:
                if self._chosen(process.pid, victim):
                    return process
                time.sleep(0.02)
            process = self._start()
        return process

    def finish(self, timeout_s: float, restarts: int) -> int:
        """Let it end in peace, started again as often as a user might; the last exit code."""
        code = self._process.wait(timeout_s)
        for _ in range(restarts):
            if code == 0:
                break
            self._process = self._start()
            code = self._process.wait(timeout_s)
        return code

    def _chosen(self, pid: int, victim: str) -> list[psutil.Process]:
        try:
            sweepctl = psutil.Process(pid)
            family = sweepctl.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        if victim == "everything":
            return [sweepctl, *family]
        if victim == "sweepctl":
            return [sweepctl]
        if victim == "guard":
            guards = [process for process in family if "guard.py" in command(process)]
            return [self._random.choice(guards)] if guards else []
        return [p for p in family if self._is[victim](command(p)) and "guard.py" not in command(p)]


def command(process: psutil.Process) -> str:
    """Its command line; empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def marked(variable: str, value: Path) -> list[psutil.Process]:
    """Every living process that has `variable` in its environment: what a sweep started, and its children."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(variable) == str(value):
                found.append(process)
    return [process for process in found if process.pid != psutil.Process().pid]
