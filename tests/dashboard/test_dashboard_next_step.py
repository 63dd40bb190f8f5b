"""What the Overview says is to be done next: the first thing that the sweep leaves open."""

from dataclasses import replace

import pytest

from dashboard.next_step import next_step
from results.report.build import build_report
from results.store import Store


def test_runs_that_have_not_finished_come_first(runs_dir):
    said = next_step(build_report(Store(runs_dir), "partial"))
    assert said.startswith("2 runs of 5 have not finished.")
    assert "`sweepctl status`" in said


@pytest.mark.parametrize(
    ("spec", "how"),
    [({"eval": {"limit": 5}}, "and without `--no-eval`"), ({"eval": None}, "a section `eval`")],
)
def test_then_accuracy_that_was_not_tested(report, spec, how):
    base = report.accuracy[report.accuracy["run_name"].isna()]
    assert len(base), "the base model alone says nothing of what speed costs"
    said = next_step(replace(report, accuracy=base, spec=spec))
    assert said.startswith("no run has been evaluated")
    assert how in said


@pytest.mark.parametrize(
    ("seeds", "wanted"), [([0] * 6, "[0,1,2]"), ([1, 5] * 3, "[1,5,0]"), ([4, 0, 7] * 2, "[0,4,7]")]
)
def test_then_seeds_too_few_for_an_interval(report, seeds, wanted):
    said = next_step(replace(report, experiments=report.experiments.assign(seed=seeds)))
    assert said.startswith("5 of 5 settings have fewer than 3 seeds")
    assert f"`--set seeds={wanted}`" in said


def test_then_settings_that_the_sweep_does_not_have(report):
    assert "`--recommend`" in next_step(replace(report, arms=report.arms.assign(seeds=3)))


def test_nothing_can_be_done_from_here_with_runs_made_elsewhere(report):
    assert next_step(replace(report, experiments=report.experiments.assign(profile=None))) is None
