"""What stands on a terminal, or in a file, while a sweep runs."""

import io
import sys
import threading
import time

import pytest
from factories.written_sweep import WrittenSweep, step_line
from rich.console import Console

from sweepctl.watching.display import LiveDisplay, PlainDisplay, make_display
from sweepctl.watching.live_table import LiveTable, choose_rows
from sweepctl.watching.progress import RunProgress, SweepProgress
from sweepctl.watching.status import sweep_status


@pytest.fixture
def progress(tmp_path):
    """Two runs: one runs on two cores and is at step 10 of 40, one waits."""
    sweep = WrittenSweep(tmp_path)
    sweep.run("s0_lr1e-6", "running", steps=10, devices="cores 0,1")
    sweep.run("s1_lr1e-6", "pending")
    sweep.hold()
    return sweep_status(tmp_path, None).progress


def many(progress, states):
    first = progress.runs[0]
    runs = [RunProgress(f"Exp{i}", f"run{i}", 40, first.paths, state) for i, state in enumerate(states)]
    return SweepProgress("demo", None, runs)


def drawn(progress, width=120, height=25, **options):
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, **options)
    console.print(LiveTable(progress))
    return console.file.getvalue().splitlines()


def test_a_wide_table_shows_all_of_a_run(progress):
    header, running, waiting, empty, sweep, counts = drawn(progress)
    assert header.split() == ["run", "state", "step", "steps/min", "reward", "age", "left", "device"]
    assert running.split()[:3] == ["Exp1", "s0_lr1e-6", "running"]
    assert running.split()[4:] == ["10/40", "30.0", "0.50", "1.00", "1m", "00s", "cores", "0,1"]
    assert waiting.split() == ["Exp2", "s1_lr1e-6", "pending", "0/40"]
    assert empty.strip() == ""
    assert sweep.split() == ["demo", "[cpu]", "━━━", "0s", "so", "far,", "about", "2m", "20s", "left"]
    assert counts.strip() == "0 of 2 done, 1 running, 1 waiting; starting"


def test_the_bar_is_as_long_as_what_is_done(progress):
    running = progress.runs[0]
    full = {}
    for step in (0, 20, 40):
        running.step = step
        full[step] = drawn(progress)[1].count("━")
    assert full[0] == 0
    assert full[40] == 2 * full[20] > 0


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal_or_wraps(progress, width):
    progress.doing = "training " + ", ".join(f"Exp{number}" for number in range(30))
    lines = drawn(progress, width)
    assert len(lines) == 6
    assert max(map(len, lines)) <= width
    assert ("device" in lines[0]) == (width >= 100)
    assert "state" in lines[0]


@pytest.mark.parametrize(("width", "bar"), [(120, True), (50, True), (49, False), (40, False)])
def test_the_bar_of_the_sweep_makes_room_for_its_times(progress, width, bar):
    line = drawn(progress, width)[-2].rstrip()
    assert line.startswith("demo [cpu]  ")
    assert line.endswith("  0s so far, about 2m 20s left")
    assert ("━" in line) == bar


def test_a_narrow_table_keeps_what_matters_most(progress):
    assert drawn(progress, 60)[0].split() == ["run", "state", "step", "reward", "left"]
    progress.runs[0].name = "s0_opt16_sync16_lr1e-6"
    assert drawn(progress, 24)[1].split() == ["s0_opt16_sync1…", "running"]


def test_a_note_stands_for_the_state(progress):
    progress.runs[1].note = "retry in 8 s"
    assert "retry in 8 s" in drawn(progress)[2]
    assert "pending" not in drawn(progress)[2]


def test_what_is_urgent_is_shown_where_not_all_has_room(progress):
    states = ["succeeded"] * 10 + ["running", "failed"] + ["pending"] * 30 + ["running"]
    lines = drawn(many(progress, states), height=14)
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["Exp10", "run10", "running"],
        ["Exp42", "run42", "running"],
        ["Exp11", "run11", "failed"],
    ]
    assert lines[9].strip() == "… and 35 more: 25 waiting, 10 done"
    assert len(lines) <= 13  # and one for the cursor


def test_order_stays_where_all_have_room(progress):
    runs = many(progress, ["pending", "running", "succeeded"]).runs
    assert choose_rows(runs, 3) == (runs, [])


def test_names_are_not_markup(progress):
    progress.runs[0].name = "[red]s0[/]"
    assert "[red]s0[/]" in drawn(progress)[1]


def test_without_colour_nothing_is_coloured(progress, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    console.print(LiveTable(progress))
    colours = [code for code in console.file.getvalue().split("\x1b[")[1:] if code.startswith(("3", "9"))]
    assert colours == []


def live(**options):
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None, **options)
    return LiveDisplay(console), console.file


def test_the_live_table_stays_with_its_last_state(progress):
    display, screen = live()
    with display:
        display.show(progress)
        display.say("s9 failed: [not markup]")
        progress.runs[0].state = "succeeded"
        display.show(progress)  # too soon to be drawn by itself
    shown = screen.getvalue()
    assert "[not markup]" in shown
    assert "1 of 2 done" in shown[shown.rindex("Exp1") :]


def test_the_live_table_is_not_drawn_more_often_than_it_should(progress, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display, screen = live()
    with display:
        for _ in range(100):
            display.show(progress)
            now[0] += 0.01
        assert screen.getvalue().count("Exp1") in {4, 5}


def test_many_threads_may_show_and_say(progress):
    display, screen = live(height=60)
    console = Console(file=io.StringIO(), width=200)
    plain = PlainDisplay(console)
    errors = []

    def work(number):
        try:
            for turn in range(20):
                progress.runs[number % 2].refresh()
                for each in (display, plain):
                    each.say(f"thread {number} turn {turn}")
                    each.show(progress)
        except Exception as error:
            errors.append(error)

    with display:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    for text in (screen.getvalue(), console.file.getvalue()):
        assert all(f"thread {number} turn {turn}\n" in text for number in range(6) for turn in range(20))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def plain(clock):
    screen = io.StringIO()
    return PlainDisplay(Console(file=screen, width=300)), lambda: [
        line.partition(" ")[2] for line in screen.getvalue().splitlines()
    ]


def test_plain_lines_are_said_on_changes_and_now_and_then(progress, plain, clock):
    display, lines = plain
    display.show(progress)
    assert lines()[0] == (
        "Exp1 s0_lr1e-6: step 10/40, 30.0 steps/min, reward 0.50, age 1.00, about 1m 00s left"
    )
    display.show(progress)
    assert len(lines()) == 2  # too soon for another sign of life
    clock[0] += 11
    display.show(progress)
    assert len(lines()) == 4
    progress.runs[0].state, progress.runs[0].step = "succeeded", 40
    progress.runs[1].state, progress.runs[1].device = "running", "cores 2,3"
    display.show(progress)
    assert lines()[4:] == [
        "Exp1 s0_lr1e-6: succeeded; step 40/40, 30.0 steps/min, reward 0.50, age 1.00",
        "Exp2 s1_lr1e-6: running on cores 2,3",
    ]


def test_of_a_run_without_a_step_no_step_is_told(progress, plain, clock):
    """Its engine starts: a number of steps, a speed or a time would have nothing behind it."""
    display, lines = plain
    progress.runs[0].state, progress.runs[1].state = "pending", "running"
    display.show(progress)
    assert lines()[0] == "Exp2 s1_lr1e-6: no step yet"
    assert "left" not in lines()[1]
    run = progress.runs[1]
    run.paths.trace.write_text("".join(map(step_line, range(40))))
    run.take_in(None)
    run.state = "succeeded"  # before the next sign of life
    display.show(progress)
    assert lines()[2:] == ["Exp2 s1_lr1e-6: succeeded; step 40/40, 30.0 steps/min, reward 0.50, age 1.00"]


def test_a_note_that_counts_down_is_said_once(progress, plain):
    display, lines = plain
    display.show(progress)
    for seconds in (8, 7, 6):
        progress.runs[1].note = f"retry in {seconds} s"
        display.show(progress)
    assert lines()[2:] == ["Exp2 s1_lr1e-6: pending (retry in 8 s)"]


def test_what_the_runner_says_with_its_reason_is_not_said_twice(progress, plain):
    display, lines = plain
    display.show(progress)
    for state in ("failed", "interrupted", "skipped"):
        progress.runs[1].state = state
        display.show(progress)
    assert len(lines()) == 2


def test_a_hundred_runs_give_one_line_of_life(progress, plain, clock):
    display, lines = plain
    sweep = many(progress, ["running"] * 100)
    for _ in range(60):
        display.show(sweep)
        clock[0] += 1.0
    assert len(lines()) == 6
    assert "0 of 100 done, 100 running" in lines()[0]


@pytest.mark.parametrize(
    ("tty", "environment", "kind"),
    [
        (True, {"TERM": "xterm"}, LiveDisplay),
        (True, {"TERM": "dumb"}, PlainDisplay),
        (False, {"TERM": "xterm"}, PlainDisplay),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, PlainDisplay),
    ],
)
def test_only_a_terminal_that_can_move_its_cursor_gets_a_live_table(monkeypatch, tty, environment, kind):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: tty, raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert type(make_display()) is kind
