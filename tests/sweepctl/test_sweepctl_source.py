"""Which finished runs costs are taken from, for which runs they hold, and for which nothing is known."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from factories.sweep_factory import Arm, write_synthetic_sweep

from results.ingest import ingest
from results.store import Store
from sweepctl.commands.plan import CostsRequest, known_costs
from sweepctl.plan.plan import load_plan
from sweepctl.planner import source
from sweepctl.planner.measured import measured
from sweepctl.running.slots import Share
from trainer.config import RunConfig
from trainer.errors import ConfigError

SHARE = Share("core", ("0",), 1, None)
HAND = {"generate_s": 14.0, "train_s_per_prompt": 1.75, "overhead_s": 0.6}


@dataclass(frozen=True)
class Changed(Arm):
    """An arm with settings of its own, told from others by its learning rate."""

    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    def config(self, steps: int, seed: int) -> dict[str, Any]:
        return super().config(steps, seed) | self.settings


def arm(place, **settings):
    return Changed(f"Arm{place}", 0, settings.pop("prompts_per_optim_step", 8), 8, place * 1e-6, settings)


def write(runs_dir, *arms, name="earlier", steps=6):
    return write_synthetic_sweep(runs_dir, name, steps=steps, questions=5, arms=arms)


def wanted(**settings):
    return RunConfig.model_validate(arm(9, **settings).config(12, 0))


@pytest.fixture
def runs_dir(tmp_path, monkeypatch):
    """Runs that other machines made are none of these: the synthetic ones name none."""
    monkeypatch.setattr(source, "environment", dict)
    return tmp_path


def likely(runs_dir, *configs, sweep="now"):
    ingest(runs_dir)
    return source.likely_costs(runs_dir, sweep, configs)


KINDS = [
    {"model": "Qwen/Qwen3-1.7B-Base"},
    {"sampling": {"max_completion_tokens": 2048}},
    {"updates_per_batch": 4},
    {"loss": {"beta": 0.05}},
    {"prompts_per_forward_backward": 2},
    {"completions_per_prompt": 16},
    {"held_out": {"every_steps": 5}},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nothing_is_said_of_a_run_that_none_is_like(runs_dir, kind):
    write(runs_dir, arm(1))
    known = likely(runs_dir, wanted(), wanted(**kind))
    assert known.source.startswith("fitted on earlier/")
    assert known.of(wanted()).source == known.source
    assert known.of(wanted(**kind)) is None
    assert source.likely_costs(runs_dir, "now", [wanted(**kind)]) is None


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_run_has_costs_of_its_own(runs_dir, kind):
    write(runs_dir, arm(1), arm(2, **kind))
    known = likely(runs_dir, wanted(**kind))
    names = {row.lr: f"fitted on earlier/{row.run_name}" for row in _runs(runs_dir)}
    assert known.source == known.of(wanted(**kind)).source == names[2e-6]
    both = source.likely_costs(runs_dir, "now", [wanted(), wanted(**kind)])
    assert names[2e-6] in both.source.split("; ")
    assert both.of(wanted(**kind)).source == names[2e-6]


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts_per_optim_step": 4, "prompts_per_rollout_sync": 4},
        {"prompts_per_forward_backward": 8},  # the whole batch, as without it
        {"loss": {"beta": 0.1}},
        {"in_flight": "keep"},
        {"optim": {"lr": 1e-3}},
    ],
    ids=str,
)
def test_what_decides_no_cost_needs_not_be_alike(runs_dir, settings):
    beta = {"loss": {"beta": 0.02}} if "loss" in settings else {}
    write(runs_dir, arm(1, **beta))
    assert likely(runs_dir, wanted(**settings)) is not None


def test_a_run_that_evaluates_tells_of_those_that_do_not_and_of_those_that_evaluate_as_many(runs_dir):
    write(runs_dir, arm(1, held_out={"every_steps": 5, "problems": 50}))
    known = likely(runs_dir, wanted())
    assert known.of(wanted(held_out={"every_steps": 2, "problems": 50})) is not None
    assert known.of(wanted(held_out={"every_steps": 5, "problems": 100})) is None


def test_an_arm_of_the_same_sweep_comes_first_then_the_most_groups_and_a_pilot_last(runs_dir):
    write(runs_dir, arm(1), name="now@pilot", steps=90)
    write(runs_dir, arm(2), name="small")
    write(runs_dir, arm(3), name="large", steps=30)
    assert "large/" in likely(runs_dir, wanted()).source
    assert "small/" in likely(runs_dir, wanted(), sweep="small").source


@pytest.mark.parametrize(("steps", "batch"), [(1, 32), (2, 4)])
def test_a_run_too_short_to_be_fitted_to_is_passed_over_and_no_error(runs_dir, steps, batch):
    write(runs_dir, arm(1, prompts_per_optim_step=batch, prompts_per_rollout_sync=batch), steps=steps)
    assert likely(runs_dir, wanted(), sweep="earlier") is None
    write(runs_dir, arm(2), name="long")
    assert "long/" in likely(runs_dir, wanted(), sweep="earlier").source
    (short,) = [row for row in _runs(runs_dir) if row.sweep == "earlier"]
    with pytest.raises(ConfigError, match=r"costs cannot be fitted to .* at least 2 and 16 are needed"):
        measured(Store(runs_dir), "earlier", short.run_name)


def test_a_configuration_of_another_release_is_passed_over(runs_dir):
    root = write(runs_dir, arm(1), name="old")
    for path in (root / "sweep.json", *root.glob("*/config.json")):
        path.write_text(path.read_text().replace('"max_staleness"', '"staleness_of_old"'))
    write(runs_dir, arm(2), name="new")
    assert "new/" in likely(runs_dir, wanted(), sweep="old").source
    stored = Store(runs_dir).query("SELECT config FROM runs WHERE sweep = 'old'")["config"]
    assert any("staleness_of_old" in str(config) for config in stored)


class TestWhatWasAskedFor:
    def plan(self, runs_dir, parameters):
        spec = runs_dir / "spec.yaml"
        settings = {key: value for key, value in arm(1).config(12, 0).items() if key not in parameters}
        base = {"version": 1, "name": "now", "base": settings, "parameters": parameters}
        spec.write_text(json.dumps(base))
        return load_plan(Path(spec), "auto", [], runs_dir)

    def known(self, plan, runs_dir, **request):
        return known_costs(CostsRequest(**request), plan, SHARE, runs_dir)

    def test_a_run_that_was_named_stands_for_all_because_the_user_says_so(self, runs_dir):
        write(runs_dir, arm(1))
        ingest(runs_dir)
        plan = self.plan(runs_dir, {"updates_per_batch": [1, 4]})
        (name,) = [row.run_name for row in _runs(runs_dir)]
        known = self.known(plan, runs_dir, from_run=f"earlier/{name}")
        assert known.source == f"fitted on earlier/{name}, unlike runs of this sweep in updates_per_batch"
        assert all(known.of(run.config).source == known.source for run in plan.feasible)
        default = self.known(plan, runs_dir)
        assert [default.of(run.config) is not None for run in plan.feasible] == [
            run.config.updates_per_batch == 1 for run in plan.feasible
        ]

    def test_costs_of_another_model_are_said_to_be(self, runs_dir):
        write(runs_dir, arm(1))
        ingest(runs_dir)
        plan = self.plan(runs_dir, {"model": ["org/other"]})
        (name,) = [row.run_name for row in _runs(runs_dir)]
        known = self.known(plan, runs_dir, from_run=f"earlier/{name}")
        assert (
            known.source == f"fitted on earlier/{name}, of builtin:tiny, unlike runs of this sweep in model"
        )
        assert self.known(
            self.plan(runs_dir, {"max_steps": [12]}), runs_dir, from_run=f"earlier/{name}"
        ).source == (f"fitted on earlier/{name}")

    def test_a_default_that_means_the_same_on_cpu_is_no_difference(self, runs_dir):
        write(runs_dir, arm(1))
        ingest(runs_dir)
        plan = self.plan(runs_dir, {"learner.gradient_checkpointing": [False]})
        assert all(self.known(plan, runs_dir).of(run.config) is not None for run in plan.feasible)

    def test_it_is_said_where_evaluations_that_there_will_be_are_left_out(self, runs_dir):
        write(runs_dir, arm(1))
        ingest(runs_dir)
        quiet, evaluates = (
            self.plan(runs_dir, {"held_out.every_steps": [every], "max_staleness": [0, 1]})
            for every in (None, 4)
        )
        for request in (HAND, {"from_run": f"earlier/{_runs(runs_dir)[0].run_name}"}):
            assert "held-out" not in self.known(quiet, runs_dir, **request).source
            known = self.known(evaluates, runs_dir, **request)
            assert known.source.endswith(", without held-out evaluations")
            assert known.of(evaluates.feasible[0].config).source == known.source

    def test_a_pilot_stands_for_the_runs_that_are_like_it(self, runs_dir, monkeypatch):
        write(runs_dir, arm(1), name="now@pilot")
        ingest(runs_dir)
        (name,) = [row.run_name for row in _runs(runs_dir)]
        monkeypatch.setattr("sweepctl.planner.pilot.pilot", lambda *_, **__: ("now@pilot", name))
        plan = self.plan(runs_dir, {"loss.beta": [0, 0.05], "max_staleness": [0, 1]})
        known = self.known(plan, runs_dir, pilot_steps=6)
        told = {run.config.loss.beta for run in plan.feasible if known.of(run.config) is not None}
        assert told == {0}
        assert sum(known.of(run.config) is not None for run in plan.feasible) == 2


def _runs(runs_dir):
    frame = Store(runs_dir).query(
        "SELECT sweep, run_name, lr FROM runs WHERE state = 'succeeded' ORDER BY sweep, position"
    )
    return list(frame.itertuples(index=False))
