"""The inline executor, and displays that fail."""

import os
import signal
import sys

import pytest

from sweepctl.running import runner
from sweepctl.running.executor import InlineExecutor, Task
from sweepctl.watching.unbreakable import UnbreakableDisplay


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that `python -m` could run."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return Task(name, ("--config", "x.json"), tmp_path / "log.txt", {"INLINE_TEST": "yes"})

    return write


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("inline_ends", "pass", 0),
        ("inline_exits", "import sys; sys.exit(2)", 2),
        ("inline_complains", "import sys; sys.exit('no')", 1),
        ("inline_breaks", "1 / 0", 1),
        ("inline_stopped", "import os, signal; os.kill(os.getpid(), signal.SIGINT)", 130),
    ],
)
def test_a_task_ends_with_the_code_of_a_process(module, monkeypatch, name, text, code):
    monkeypatch.setenv("INLINE_TEST", "no")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with InlineExecutor().submit(module(name, text)) as job:
        assert job.wait(0) == code
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_task_finds_its_arguments_and_leaves_the_process_as_it_was(module, monkeypatch):
    monkeypatch.setenv("INLINE_TEST", "no")
    text = (
        "import os, sys; assert sys.argv[1:] == ['--config', 'x.json'] and os.environ['INLINE_TEST'] == 'yes'"
    )
    arguments, cores = list(sys.argv), os.sched_getaffinity(0)
    text += f"; os.sched_setaffinity(0, [{min(cores)}])"
    assert InlineExecutor().submit(module("inline_looks", text)).wait(0) == 0
    assert sys.argv == arguments
    assert os.sched_getaffinity(0) == cores


def test_an_interrupted_task_ends_the_sweep(fake_sweep, module):
    """Ctrl-C reaches the trainer, which runs in this process; the sweep is to end with it."""

    class Interrupted(InlineExecutor):
        def submit(self, task):
            return super().submit(module("inline_interrupted", "import sys; sys.exit(130)"))

    fake_sweep.executor = Interrupted()
    assert fake_sweep.run(resume_command="sweepctl run fake.yaml --executor inline") == 130
    assert fake_sweep.display.said[-1].endswith("--executor inline")


class Closed:
    """A terminal that has gone."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        raise OSError(5, "Input/output error")

    def say(self, message):
        raise BrokenPipeError

    def show(self, progress):
        raise BrokenPipeError


def test_a_display_that_fails_stops_nothing():
    with UnbreakableDisplay(Closed()) as display:
        display.say("once")
        display.show(None)
    with UnbreakableDisplay(Closed()):
        pass


def test_a_mistake_in_the_main_thread_ends_what_runs(fake_sweep, monkeypatch):
    """Rather than training all that is queued first, unseen."""
    fake_sweep.behave(s0="stubborn")

    def broken(self, doing):
        raise ZeroDivisionError

    monkeypatch.setattr(runner.SweepRunner, "_show", broken)
    with pytest.raises(ZeroDivisionError):
        fake_sweep.run()
    assert fake_sweep.calls() == ["s0"]
    assert all(server.stopped for server in fake_sweep.servers)
