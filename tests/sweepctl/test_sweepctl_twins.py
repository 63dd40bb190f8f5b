"""Runs whose twin is not in the sweep: the plan names them, and agrees with what reports will compare."""

import time

import pytest
from factories.planned_sweep import PlannedSweep
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from results.files.comparisons import comparisons
from results.files.sweeps import PlannedRun, RunRecord
from sweepctl.plan.plan import Plan
from sweepctl.plan.twins import without_twin
from sweepctl.running.manifest import manifest
from sweepctl.spec.keys import flatten

HEAD = "version: 1\nname: planned\n"
SYNCHRONOUS = "(baseline: synchronous, that is max_staleness 0 and P = B, all else equal)"


@pytest.fixture
def notes(tmp_path):
    def of(spec: str, **options) -> list[str]:
        sweep = PlannedSweep(tmp_path)
        sweep.write(HEAD + spec)
        return [note for note in sweep.plan(**options).notes if "twin" in note]

    return of


def test_where_all_have_one_nothing_is_said(notes):
    assert notes("parameters: {max_staleness: [0, 1], optim.lr: [1e-6, 5e-7]}\nseeds: [0, 1]\n") == []


def test_one_that_is_its_own_needs_none(notes):
    assert notes("parameters: {optim.lr: [1e-6, 5e-7]}\n") == []
    assert notes("base: {max_staleness: 3}\nbaseline: {max_staleness: 3}\n") == []


def test_with_a_reference_and_without(notes):
    spec = "parameters: {max_staleness: [1, 2]}\n"
    assert notes(spec) == [
        f"no twin in this sweep for Exp1-Exp2 {SYNCHRONOUS}; "
        "they are compared with nothing, since there is no reference"
    ]
    assert notes(spec + "reference: {max_staleness: 1}\n", only="Exp2") == [
        f"no twin in this sweep for Exp2 {SYNCHRONOUS}; it is compared with the reference only"
    ]


def test_a_twin_has_the_same_p_as_b(notes):
    rows = "prompts_per_optim_step: [16, 8], prompts_per_rollout_sync: [16, 16]"
    assert notes(f"parameters: {{max_staleness: [0, 1]}}\nzip: [{{{rows}}}]\n") == [
        f"no twin in this sweep for Exp3 {SYNCHRONOUS}; "
        "it is compared with nothing, since there is no reference"
    ]
    rows = "prompts_per_optim_step: [16, 8, 8], prompts_per_rollout_sync: [16, 8, 16]"
    assert notes(f"parameters: {{max_staleness: [0, 1]}}\nzip: [{{{rows}}}]\n") == []


def test_a_map_of_overrides(notes):
    spec = "parameters: {max_staleness: [0, 1], optim.lr: [1e-6, 5e-7]}\n"
    spec += "exclude: [{max_staleness: 1, optim.lr: 1e-6}]\n"
    assert notes(spec + "baseline: {optim.lr: 1e-6}\n") == [
        "no twin in this sweep for Exp3 (baseline: optim.lr 1e-6, all else equal); "
        "it is compared with nothing, since there is no reference"
    ]
    assert notes(spec + "baseline: {optim.lr: 5e-7}\n") == []


def test_a_key_that_is_set_only_where_the_baseline_is_not(notes):
    spec = "parameters: {max_staleness: [0, 1], optim.lr: [1e-6, 5e-7]}\n"
    when = "when: [{if: {max_staleness: 1}, set: {correction.name: token_tis, correction.cap: 3.0}}]\n"
    assert notes(spec + when) == [
        f"no twin in this sweep for Exp3-Exp4 {SYNCHRONOUS}; "
        "they are compared with nothing, since there is no reference; "
        "Exp1 is no twin of Exp3 since correction.name, correction.cap differ, too"
    ]


def test_of_a_twin_that_could_never_make_progress(notes):
    spec = "base: {prompts_per_optim_step: 8, prompts_per_rollout_sync: 16, max_staleness: 1}\n"
    assert notes(spec + "baseline: {max_staleness: 0}\n") == [
        "no twin in this sweep for Exp1 (baseline: max_staleness 0, all else equal); "
        "it is compared with nothing, since there is no reference"
    ]


def has_opponent_or_is_its_own(plan: Plan) -> set[str]:
    """As a report finds it, by what the sweep's manifest says."""
    written = manifest(plan)
    records = [
        RunRecord(run["run_name"], PlannedRun.model_validate(run), position, None, None)
        for position, run in enumerate(written["runs"])
    ]
    compared = {row["run_name"] for row in comparisons(records, written["baseline"], None)}
    for record in records:
        values = flatten(record.config)
        if written["baseline"] == "synchronous":
            batch = values["prompts_per_optim_step"]
            own = (values["max_staleness"], values["prompts_per_rollout_sync"]) == (0, batch)
        else:
            own = all(values[key] == value for key, value in written["baseline"].items())
        if own:
            compared.add(record.name)
    return compared


@given(
    staleness=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
    batches=st.lists(st.sampled_from([(4, 8), (8, 8), (8, 16), (16, 16)]), min_size=1, unique=True),
    seeds=st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True),
    baseline=st.sampled_from(
        ["synchronous", "{max_staleness: 0}", "{prompts_per_optim_step: 8}", "{max_staleness: 1, seed: 0}"]
    ),
    when=st.sampled_from(["", "when: [{if: {seed: 0}, set: {optim.lr: 1e-3}}]\n"]),
)
@settings(max_examples=40, deadline=None)
def test_it_is_those_that_a_report_compares_with_no_baseline(
    tmp_path_factory, staleness, batches, seeds, baseline, when
):
    assume(any(per_sync // batch - 1 <= max(staleness) for batch, per_sync in batches))  # or none can run
    sweep = PlannedSweep(tmp_path_factory.mktemp("sweep"))
    prompts, per_sync = ([pair[number] for pair in batches] for number in (0, 1))
    sweep.write(
        f"{HEAD}parameters: {{max_staleness: {staleness}}}\nseeds: {seeds}\nbaseline: {baseline}\n"
        f"zip: [{{prompts_per_optim_step: {prompts}, prompts_per_rollout_sync: {per_sync}}}]\n"
        + (when if 0 in seeds else "")
    )
    plan = sweep.plan()
    without = set(without_twin(plan.resolved, plan.feasible))
    assert without == {run.name for run in plan.feasible} - has_opponent_or_is_its_own(plan)


def test_a_thousand_runs_are_looked_at_quickly(tmp_path):
    sweep = PlannedSweep(tmp_path)
    rates = ", ".join(f"{number}e-9" for number in range(1, 501))
    sweep.write(f"{HEAD}parameters: {{max_staleness: [1, 2], optim.lr: [{rates}]}}\n")
    plan = sweep.plan()
    began = time.process_time()
    assert len(without_twin(plan.resolved, plan.feasible)) == 1000
    assert time.process_time() - began < 2.0  # 0.2 s on a quiet machine; comparing all pairs takes minutes
