"""Which runs `--only` means, and what there is to do for them."""

import os

import pytest
from factories.planned_sweep import SPEC, PlannedSweep, fail

from sweepctl.attempts import append_attempt
from sweepctl.plan.select import DueCounts, count_due, due, matching
from trainer.errors import ConfigError
from trainer.records import RunState

THERE = "there are Exp1 (s0_lr1e-6) to Exp4 (s1_lr5e-7)"


@pytest.fixture
def sweep(tmp_path):
    return PlannedSweep(tmp_path)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("Exp1", ["Exp1"]),
        ("Exp1,Exp3", ["Exp1", "Exp3"]),
        (" Exp3 , s0_lr1e-6,", ["Exp1", "Exp3"]),
        ("s0_*", ["Exp1", "Exp3"]),
        ("*_lr5e-7,Exp1", ["Exp1", "Exp3", "Exp4"]),
        ("Exp[!12]", ["Exp3", "Exp4"]),
        ("s1_lr1e-6", ["Exp2"]),
        ("max_staleness==1", ["Exp2", "Exp4"]),
        ("max_staleness == 1 and optim.lr < 1e-6", ["Exp4"]),
        ("not max_staleness", ["Exp1", "Exp3"]),
        ("optim.lr in [5e-7, 3]", ["Exp3", "Exp4"]),
        ("0 < max_staleness <= 1 or label == 'Exp3'", ["Exp2", "Exp3", "Exp4"]),
        ("run_name != 's0_lr1e-6'", ["Exp2", "Exp3", "Exp4"]),
        ("held_out.every_steps == null", ["Exp1", "Exp2", "Exp3", "Exp4"]),
        ("prompts_per_rollout_sync == 16 and max_staleness < 1", ["Exp1", "Exp3"]),
    ],
)
def test_what_is_selected(sweep, only, expected):
    runs = sweep.plan(only=only).runs
    assert [run.label for run in runs if run.selected] == expected


def test_by_state(sweep):
    sweep.leave_run(1, RunState.FAILED)
    sweep.leave_run(2, RunState.SUCCEEDED)
    assert [run.label for run in matching(sweep.plan().runs, "state in ['failed', 'new']")] == [
        "Exp1",
        "Exp2",
        "Exp4",
    ]


def test_by_tag(sweep):
    sweep.write(SPEC + "tags: [pilot, small]\n")
    assert len(matching(sweep.plan().runs, "'pilot' in tags")) == 4
    with pytest.raises(ConfigError, match=r"there is tags: 'pilot', 'small'"):
        sweep.plan(only="'large' in tags")
    with pytest.raises(ConfigError, match=r"no run 'pilot'; .* give the condition \"'pilot' in tags\"$"):
        sweep.plan(only="pilot")


def test_by_profile(sweep):
    sweep.write(SPEC + "profiles: {small: {base: {max_steps: 3}}}\n")
    assert len(matching(sweep.plan().runs, "profile == 'small'")) == 4


def test_an_arm_means_all_its_seeds(sweep):
    sweep.write(SPEC + "seeds: [0, 7]\n")
    for only, expected in [
        ("Exp2", ["Exp2-seed0", "Exp2-seed7"]),
        ("Exp2-seed7", ["Exp2-seed7"]),
        ("*-seed7", ["Exp1-seed7", "Exp2-seed7", "Exp3-seed7", "Exp4-seed7"]),
        ("Exp[12]", ["Exp1-seed0", "Exp2-seed0", "Exp1-seed7", "Exp2-seed7"]),
        ("seed > 0 and label != 'Exp1-seed7'", ["Exp2-seed7", "Exp3-seed7", "Exp4-seed7"]),
    ]:
        assert [run.label for run in sweep.plan(only=only).runs if run.selected] == expected


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("Exp5", f": no run 'Exp5'; did you mean 'Exp4'? ({THERE})"),
        ("Exp1,zzz", f": no run 'zzz'; {THERE}"),
        ("new", ": no run 'new'; to select by state, give the condition \"state == 'new'\""),
        (
            "loss.clip",
            ": no run 'loss.clip'; to select by loss.clip, give a condition, such as \"loss.clip == 0.2\"",
        ),
        (" , ", f": nothing is given; name labels or runs: {THERE}"),
        (
            "max_staleness == 9",
            " `max_staleness == 9` selects none of 4 runs; there is max_staleness: 0, 1",
        ),
        ("1 == 2", f" `1 == 2` selects none of 4 runs; {THERE}"),
        ("lr == 1e-6", " `lr == 1e-6`, character 1: unknown name 'lr'; did you mean 'optim.lr'?"),
        (
            "seed < 1 and max_stal",
            " `seed < 1 and max_stal`, character 14: unknown name 'max_stal'; did you mean 'max_staleness'?",
        ),
        ("seed = 0", " `seed = 0`, character 6: a single = compares nothing; write =="),
        (
            "held_out.every_steps > 5",
            " `held_out.every_steps > 5`, character 1: None > 5: held_out.every_steps has no value here; "
            "put `held_out.every_steps != None and` before it",
        ),
    ],
)
def test_what_cannot_be_selected_is_said(sweep, only, message):
    with pytest.raises(ConfigError) as error:
        sweep.plan(only=only)
    assert str(error.value) == f"--only{message}"


def test_of_infeasible_points_alone_nothing_can_be_run(sweep):
    sweep.write(SPEC + "zip: [{prompts_per_optim_step: [8], prompts_per_rollout_sync: [16]}]\n")
    with pytest.raises(ConfigError, match=r"^--only s0_lr1e-6: s0_lr1e-6 is infeasible: .* 2 - 1 = 1 > 0$"):
        sweep.plan(only="s0_lr1e-6")
    plan = sweep.plan(only="*lr1e-6")
    assert [(run.feasible, run.selected) for run in plan.runs] == [
        (False, True),
        (True, True),
        (False, False),
        (True, False),
    ]
    assert plan.notes[0] == "1 of 2 runs selected by --only *lr1e-6"


def test_without_any_runs_that_is_said():
    with pytest.raises(ConfigError, match="there are no runs"):
        matching((), "Exp1")


class TestDue:
    @pytest.fixture(autouse=True)
    def states(self, sweep):
        """Exp1 is new, Exp2 interrupted, Exp3 failed twice, Exp4 succeeded."""
        sweep.leave_run(1, RunState.INTERRUPTED, step=12)
        fail(sweep.leave_run(2, RunState.FAILED), times=2)
        sweep.leave_finished(3, "0" * 12, None)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"max_attempts": 2}, ["Exp1", "Exp2"]),
            ({"max_attempts": 3}, ["Exp1", "Exp2", "Exp3"]),
            ({"max_attempts": 2, "retry_failed": True}, ["Exp1", "Exp2", "Exp3"]),
            ({"max_attempts": 2, "force": True}, ["Exp1", "Exp2", "Exp3", "Exp4"]),
        ],
    )
    def test_what_is_run(self, sweep, options, expected):
        assert [run.label for run in due(sweep.plan(), **options)] == expected

    def test_a_wrong_configuration_is_not_tried_again(self, sweep):
        append_attempt(sweep.plan().runs[2].paths, "reset")
        fail(sweep.plan().runs[2].paths, times=1, retryable=False)
        assert [run.label for run in due(sweep.plan(), max_attempts=9)] == ["Exp1", "Exp2"]

    def test_a_run_that_is_being_trained_is_not_due(self, sweep):
        sweep.leave_run(0, RunState.RUNNING, pid=os.getpid())
        assert [run.label for run in due(sweep.plan(), retry_failed=True, max_attempts=2)] == ["Exp2", "Exp3"]

    def test_only_what_is_selected(self, sweep):
        assert [run.label for run in due(sweep.plan(only="Exp2,Exp4"), max_attempts=2)] == ["Exp2"]
        assert [run.label for run in due(sweep.plan(only="Exp4"), force=True, max_attempts=2)] == ["Exp4"]

    def test_outdated_runs(self, sweep):
        plan = sweep.plan(rerun_on=frozenset({"code"}))
        assert [run.label for run in due(plan, max_attempts=2)] == ["Exp1", "Exp2", "Exp4"]

    def test_in_numbers(self, sweep):
        assert count_due(sweep.plan()) == DueCounts(train=1, go_on=1, retry=0, done=1, waiting=1, running=0)
        assert count_due(sweep.plan(), retry_failed=True).retry == 1
        assert count_due(sweep.plan(), force=True) == DueCounts(4, 0, 0, 0, 0, 0)
        assert count_due(sweep.plan(only="Exp4")) == DueCounts(0, 0, 0, done=1, waiting=0, running=0)
