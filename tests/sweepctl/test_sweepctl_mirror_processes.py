"""Mirrors of the step records: the processes beside a run, which it never needs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mirroring import (
    READERS,
    alive,
    finish,
    in_tensorboard,
    in_trackio,
    in_wandb,
    mirror,
    step,
    wait_until,
)

from sweepctl.mirrors.companions import Companions, check
from trainer.records import RunState


def test_what_is_wrong_is_said_in_a_line(mirrored, tmp_path):
    none = tmp_path / "none"
    command = [sys.executable, "-m", "sweepctl.mirrors", "tensorboard", str(none)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: {none / 'config.json'} cannot be read")
    assert answer.stderr.count("\n") == 1
    folder = mirrored.paths.root / "mirrors"
    folder.mkdir()
    (folder / "tensorboard.json").write_text("{")
    assert "remove it to send the whole run again" in finish(mirror(mirrored, "tensorboard"), expected=2)


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    assert check(["wandb", "tensorboard", "trackio"]) == []
    (tmp_path / "wandb").mkdir()  # such as W&B leaves where it runs offline
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("wandb", "trackio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert check(["wandb", "trackio"]) == [
        f'the mirror {name} needs a package that is not installed: pip install "sweepctl[{name}]"'
        for name in ("wandb", "trackio")
    ]


class Said(list):
    def __call__(self, message: str) -> None:
        self.append(message)


def script(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "mirror.py"
    path.write_text(text)
    return (sys.executable, "-S", str(path))


def test_companions_send_what_is_there_when_the_run_ends_and_say_nothing(mirrored):
    mirrored.status(RunState.FAILED)  # of an earlier attempt: no reason to end
    said = Said()
    with Companions(["tensorboard", "trackio"], mirrored.paths, said) as companions:
        pids = [companion._process.pid for companion in companions._started]
        mirrored.attempt(start=0, until=2)
        wait_until(lambda: mirrored.progress("tensorboard")["step"] == 2)
        nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids} == {nice}
        mirrored.write(step(3, reward=2.03))
    assert said == []
    for name in ("tensorboard", "trackio"):
        assert READERS[name](mirrored) == [(1, 1.01), (2, 1.02), (3, 2.03)]
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_run_that_ends_before_its_mirrors_have_started_is_sent_all_the_same(mirrored):
    mirrored.attempt(start=0, until=2)
    said = Said()
    with Companions(["tensorboard", "trackio"], mirrored.paths, said):
        pass
    assert said == []
    assert in_tensorboard(mirrored) == in_trackio(mirrored) == [(1, 1.01), (2, 1.02)]


def test_a_mirror_that_hangs_is_ended_after_its_time_with_how_to_send_the_rest(mirrored, tmp_path):
    command = script(
        tmp_path,
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.path.join(sys.argv[2], 'pid'), 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n",
    )
    said, pid = Said(), mirrored.paths.root / "pid"
    with Companions(["wandb"], mirrored.paths, said, command=command, patience_s=0.3):
        wait_until(lambda: pid.exists() and pid.read_text())
        began = time.monotonic()
    assert 0.3 <= time.monotonic() - began < 5
    wait_until(lambda: not alive(int(pid.read_text())))
    assert said == [
        "the mirror wandb was ended before all was sent; to send it: "
        f"python -m sweepctl.mirrors wandb {mirrored.paths.root}"
    ]


def test_who_is_in_a_hurry_does_not_wait_for_mirrors(mirrored, tmp_path):
    ready = mirrored.paths.root / "ready"
    command = script(
        tmp_path,
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.path.join(sys.argv[2], 'ready'), 'w').close()\n"
        "time.sleep(600)\n",
    )
    said = Said()
    with Companions(["wandb"], mirrored.paths, said, hurry=lambda: True, command=command, patience_s=60):
        wait_until(ready.exists)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert len(said) == 1


def test_a_mirror_that_crashes_at_once_is_said_once_with_its_last_line(mirrored, tmp_path):
    command = script(tmp_path, "print('noise')\nraise SystemExit('no room at the inn')\n")
    said = Said()
    with Companions(["wandb", "wandb"], mirrored.paths, said, command=command):
        wait_until(lambda: len(said) == 2)
    log = mirrored.paths.root / "mirrors" / "wandb.log"
    assert said == [
        "the mirror wandb failed (exit code 1), the run does not need it: no room at the inn",
        f"  log: {log}",
    ]


def test_a_mirror_that_cannot_even_start_stops_nothing(mirrored):
    (mirrored.paths.root / "mirrors").write_text("a file where the folder should be")
    said, ran = Said(), False
    with Companions(["wandb"], mirrored.paths, said):
        ran = True
    assert ran
    assert len(said) == 1
    assert "did not start" in said[0]


def test_no_mirror_is_left_when_sweepctl_is_killed(mirrored, tmp_path):
    mirrored.attempt(start=0, until=2)
    text = (
        "import time\nfrom pathlib import Path\nfrom sweepctl.mirrors.companions import Companions\n"
        "from trainer.paths import RunPaths\n"
        f"with Companions(['wandb'], RunPaths(Path({str(mirrored.paths.root)!r})), print) as c:\n"
        "    print(c._started[0]._process.pid, flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    guard = int(process.stdout.readline())
    wait_until(lambda: mirrored.progress("wandb")["step"] == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not alive(guard))
    assert in_wandb(mirrored) == [(1, 1.01), (2, 1.02)]  # it was let finish
