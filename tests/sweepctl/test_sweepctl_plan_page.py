"""What `sweepctl plan` prints, to the letter."""

import os

import pytest
from factories.planned_sweep import PlannedSweep, fail

from sweepctl.plan.plan import Plan
from sweepctl.plan.show import print_plan
from sweepctl.provenance import environment_id
from trainer.records import RunState

TWO_BATCHES = """\
version: 1
name: planned
base: {max_steps: 40, prompts_per_rollout_sync: 16}
zip: [{prompts_per_optim_step: [16, 8]}]
parameters:
  optim.lr: [1e-6, 5e-7]
  max_staleness: [0, 1]
run_name: "B{prompts_per_optim_step}_s{max_staleness}_lr{optim.lr}"
"""
WIDE = """\
version: 1
name: planned
zip: [{loss.name: [grpo, dapo], correction.name: [none, token_tis], sampling.temperature: [0.9, 1.0]}]
parameters:
  optim.lr: [1e-6, 5e-7]
run_name: "{loss.name}_{correction.name}_temperature{sampling.temperature}_learning_rate{optim.lr}"
"""
SELECTED = """\
planned -> DIR/runs/planned
      run            state                       lr  s   B   P  k  age ≤  steps
Exp1  B16_s0_lr1e-6  interrupted at 12/40      1e-6  0  16  16  1      0     40
Exp2  B16_s1_lr1e-6  failed 2x                 1e-6  1  16  16  1      1     40
Exp3  B16_s0_lr5e-7  new                       5e-7  0  16  16  1      0     40
Exp4  B16_s1_lr5e-7  succeeded                 5e-7  1  16  16  1      1     40
      B8_s0_lr1e-6   infeasible                1e-6  0   8  16  2            40
Exp5  B8_s1_lr1e-6   interrupted at 7/40       1e-6  1   8  16  2      1     40
      B8_s0_lr5e-7   infeasible, not selected  5e-7  0   8  16  2            40
Exp6  B8_s1_lr5e-7   new, not selected         5e-7  1   8  16  2      1     40
5 of 6 runs selected by --only optim.lr == 1e-6 or prompts_per_optim_step == 16
1 finished run comes from other code: Exp4; `--rerun-on code` runs it again
no twin in this sweep for Exp5 (baseline: synchronous, that is max_staleness 0 and P = B, all else equal); \
it is compared with nothing, since there is no reference
B8_s0_lr1e-6, B8_s0_lr5e-7 are infeasible: k - 1 > max_staleness: \
k = prompts_per_rollout_sync / prompts_per_optim_step = 16 / 8 = 2, and 2 - 1 = 1 > 0
B8_s1_lr1e-6: comes back from copy
B16_s0_lr5e-7: its directory holds another run (aaaaaaaaaaaa), to be set aside
old (succeeded at 40/40): no run of this plan; stays as it is
run would train 1, go on with 2, retry 0; 1 is done; 1 failed: add --retry-failed
"""
RERUN = """\
planned -> DIR/runs/planned
      run            state                   lr  s   B   P  k  age ≤  steps
Exp1  B16_s0_lr1e-6  interrupted at 12/40  1e-6  0  16  16  1      0     40
Exp2  B16_s1_lr1e-6  failed 2x             1e-6  1  16  16  1      1     40
Exp3  B16_s0_lr5e-7  new                   5e-7  0  16  16  1      0     40
Exp4  B16_s1_lr5e-7  outdated (code)       5e-7  1  16  16  1      1     40
      B8_s0_lr1e-6   infeasible            1e-6  0   8  16  2            40
Exp5  B8_s1_lr1e-6   interrupted at 7/40   1e-6  1   8  16  2      1     40
      B8_s0_lr5e-7   infeasible            5e-7  0   8  16  2            40
Exp6  B8_s1_lr5e-7   new                   5e-7  1   8  16  2      1     40
1 finished run comes from other code: Exp4; set aside and run again, by --rerun-on code
no twin in this sweep for Exp5-Exp6 (baseline: synchronous, that is max_staleness 0 and P = B, all else \
equal); they are compared with nothing, since there is no reference
B8_s0_lr1e-6, B8_s0_lr5e-7 are infeasible: k - 1 > max_staleness: \
k = prompts_per_rollout_sync / prompts_per_optim_step = 16 / 8 = 2, and 2 - 1 = 1 > 0
B8_s1_lr1e-6: comes back from copy
B16_s0_lr5e-7: its directory holds another run (aaaaaaaaaaaa), to be set aside
old (succeeded at 40/40): no run of this plan; stays as it is
run would train 3, go on with 2, retry 0; 1 failed: add --retry-failed
"""
OVERRIDDEN = """\
planned -> DIR/runs/planned
      run        state    lr  s   B   P  k  age ≤  steps
Exp1  s0_lr1e-6  new    1e-6  0  16  16  1      0     20
Exp2  s1_lr1e-6  new    1e-6  1  16  16  1      1     20
Exp3  s0_lr5e-7  new    5e-7  0  16  16  1      0     20
Exp4  s1_lr5e-7  new    5e-7  1  16  16  1      1     20
changed by --set: max_steps=20, optim.warmup_steps=5
s0_lr1e-6: its directory holds another run ({}), to be set aside
s1_lr1e-6: its directory holds another run ({}), to be set aside
s0_lr5e-7: its directory holds another run ({}), to be set aside
s1_lr5e-7: its directory holds another run ({}), to be set aside
run would train 4, go on with 0, retry 0
"""


@pytest.fixture
def sweep(tmp_path):
    return PlannedSweep(tmp_path)


@pytest.fixture
def print_at(sweep, monkeypatch, capsys):
    def printed(width: int, plan: Plan, **options) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        print_plan(plan, **options)
        lines = capsys.readouterr().out.replace(str(sweep.folder), "DIR").splitlines()
        return [line.rstrip() for line in lines]

    return printed


def test_at_120_columns(sweep, print_at):
    sweep.write(TWO_BATCHES)
    sweep.leave_run(0, RunState.INTERRUPTED, step=12)
    fail(sweep.leave_run(1, RunState.FAILED, step=3), times=2)
    sweep.leave("B16_s0_lr5e-7", "a" * 12, RunState.SUCCEEDED)
    sweep.leave_finished(3, "0" * 12, environment_id())
    sweep.leave("old", "b" * 12, RunState.SUCCEEDED, step=40)
    sweep.leave("copy", sweep.plan().runs[5].run_id, RunState.INTERRUPTED, step=7)
    plan = sweep.plan(only="optim.lr == 1e-6 or prompts_per_optim_step == 16")
    assert print_at(120, plan) == SELECTED.splitlines()
    assert print_at(120, sweep.plan(rerun_on=frozenset({"code"}))) == RERUN.splitlines()


def test_directories_that_stay_are_listed_with_what_comes_first(sweep, print_at):
    ids = [run.run_id for run in sweep.plan().runs]
    sweep.leave("a", ids[0], RunState.INTERRUPTED, step=39)
    sweep.leave("b", ids[0], RunState.SUCCEEDED, step=40)
    sweep.leave("c", ids[1], RunState.PENDING, attempt=0)
    sweep.leave("d", ids[2], RunState.SUCCEEDED, step=40)
    sweep.leave_run(2, RunState.INTERRUPTED, step=3)
    lines = print_at(120, sweep.plan())
    assert lines[6:] == [
        "s0_lr1e-6: comes back from b",
        "a (interrupted at 39/40): the same run as b, which comes first; stays as it is",
        "c (pending at 0/40): the same run as s1_lr1e-6, which does not come back from it; stays as it is",
        "d (succeeded at 40/40): the same run as s0_lr5e-7, which comes first; stays as it is",
        "run would train 2, go on with 1, retry 0; 1 is done",
    ]


@pytest.mark.parametrize(
    ("many", "stay", "to_be_set_aside"),
    [
        (5, "... and 1 more directory that stays as it is", "... and 1 more directory to be set aside"),
        (6, "... and 2 more directories that stay as they are", "... and 2 more directories to be set aside"),
    ],
)
def test_what_is_too_much_to_be_named_is_counted(sweep, print_at, many, stay, to_be_set_aside):
    for number, run in enumerate(sweep.plan("seeds=[0, 1]").runs[:many]):
        sweep.leave(f"old{number}", "b" * 12, RunState.SUCCEEDED)
        sweep.leave(run.name, "a" * 12, RunState.SUCCEEDED)
    assert {stay, to_be_set_aside} <= set(print_at(120, sweep.plan("seeds=[0, 1]")))


def test_a_run_may_be_taken_from_the_place_of_one_that_is_not_selected(sweep, print_at):
    sweep.leave("s0_lr1e-6", sweep.plan().runs[1].run_id, RunState.SUCCEEDED)
    lines = print_at(120, sweep.plan(only="Exp2"))
    assert "s1_lr1e-6: comes back from s0_lr1e-6" in lines
    assert not any("which stay" in line for line in lines)
    assert any("which stays" in line for line in print_at(120, sweep.plan(only="Exp3")))


def test_what_is_overridden_at_120_columns(sweep, print_at):
    for index in range(4):
        sweep.leave_run(index, RunState.SUCCEEDED)
    ids = [run.run_id for run in sweep.plan().runs]
    lines = print_at(120, sweep.plan("max_steps=20", "optim.warmup_steps=5"))
    assert lines == OVERRIDDEN.format(*ids).splitlines()


def test_a_narrow_terminal_does_first_without_what_tells_no_runs_apart(sweep, print_at):
    sweep.write(WIDE)
    plan = sweep.plan()
    assert (
        "temperature  loss.name  correction.name    lr  s   B   P  k  age ≤  steps" in print_at(160, plan)[1]
    )
    lines = print_at(110, plan)
    assert lines[1].split()[2:] == ["temperature", "loss.name", "correction.name", "lr", "s"]
    assert "too narrow for B, P, k, age ≤, steps: see --json" in lines
    lines = print_at(90, plan)
    assert lines[1].split()[2:] == ["temperature", "loss.name"]
    assert "too narrow for correction.name, lr, s, B, P, k, age ≤, steps: see --json" in lines
    assert all(len(line) <= 90 for line in lines[1:6])


def test_of_s_b_p_and_k_those_stay_that_vary(sweep, print_at):
    sweep.write(TWO_BATCHES)
    lines = print_at(50, sweep.plan())
    assert lines[1].split() == ["run", "state", "lr", "s", "B", "k"]
    assert "too narrow for P, age ≤, steps: see --json" in lines


def test_a_name_is_never_cut_short(sweep, print_at):
    sweep.write(WIDE)
    plan = sweep.plan()
    lines = print_at(40, plan)
    names = "".join(line[6:35].strip() for line in lines[2:10])
    assert names == "".join(run.name for run in plan.runs)


def test_what_directories_hold_and_what_comes_back(sweep, print_at):
    for index, other in enumerate(("a" * 12, "b" * 12)):
        sweep.leave_set_aside(index, RunState.SUCCEEDED)
        sweep.leave(sweep.plan().runs[index].name, other, RunState.SUCCEEDED)
    sweep.leave("s0_lr5e-7", "c" * 12, RunState.SUCCEEDED)
    lines = print_at(120, sweep.plan(only="Exp2,Exp4"))
    assert [line.split("  ")[2].strip() for line in lines[2:6]] == [
        "succeeded, not selected",
        "succeeded",
        "new, not selected",
        "new",
    ]
    assert lines[7:] == [
        "s0_lr1e-6: would come back, if selected, from s0_lr1e-6.set-aside-20261123-101500",
        "s1_lr1e-6: comes back from s1_lr1e-6.set-aside-20261123-101500",
        "s1_lr1e-6: its directory holds another run (bbbbbbbbbbbb), to be set aside",
        "Exp1, Exp3: not selected; their directories hold other runs "
        "(aaaaaaaaaaaa, cccccccccccc), which stay",
        "run would train 1, go on with 0, retry 0; 1 is done",
    ]
    sets_aside = [run["sets_aside"] for run in sweep.plan(only="Exp2,Exp4").summary()["runs"]]
    assert sets_aside == [None, "b" * 12, None, None]
    forced = print_at(120, sweep.plan(only="Exp1"), force=True)
    assert not any("come" in line for line in forced)
    assert "s0_lr1e-6: its directory holds another run (aaaaaaaaaaaa), to be set aside" in forced


def test_what_is_not_selected_is_dim(sweep, print_at, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    lines = print_at(120, sweep.plan(only="Exp2"))
    assert [("\x1b[2m" in line) for line in lines[2:6]] == [True, False, True, True]


def test_a_thousand_runs(sweep, print_at):
    many = f"parameters: {{max_staleness: [0, 1], optim.warmup_steps: {list(range(500))}}}"
    sweep.write(f"version: 1\nname: planned\n{many}\nrun_name: 's{{max_staleness}}_{{optim.warmup_steps}}'\n")
    lines = print_at(120, sweep.plan())
    assert lines[-2:] == [
        "... and 950 more (--json lists all)",
        "run would train 1,000, go on with 0, retry 0",
    ]
    assert sum(line.startswith("Exp") for line in lines) == 50
    selected = print_at(120, sweep.plan(only="s1_7,s1_499"))
    assert [line.split()[0] for line in selected if line.startswith("Exp")] == ["Exp508", "Exp1000"]
    assert "2 of 1,000 runs selected by --only s1_7,s1_499" in selected


def test_the_last_line(sweep, print_at):
    assert print_at(120, sweep.plan())[-1] == "run would train 4, go on with 0, retry 0"
    fail(sweep.leave_run(0, RunState.FAILED), times=2)
    sweep.leave_run(1, RunState.RUNNING, pid=os.getpid())
    sweep.leave_run(2, RunState.SUCCEEDED)
    assert print_at(120, sweep.plan())[-1] == (
        "run would train 1, go on with 0, retry 0; 1 is done; 1 failed: add --retry-failed; "
        "1 being trained already"
    )
    assert print_at(120, sweep.plan(), retry_failed=True)[-1] == (
        "run would train 1, go on with 0, retry 1; 1 is done; 1 being trained already"
    )
