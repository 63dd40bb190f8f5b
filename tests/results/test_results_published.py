"""Published speed: what rounding allows, what was said of step times, and never beside measured figures."""

import json
import math

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.ingest import ingest
from results.store import Store, records
from results.tables.published import (
    published_speed_table,
    published_speedup_table,
    published_step_times_table,
)
from trainer.paths import SweepPaths

NAMES = [arm.run_name(0, False) for arm in REFERENCE_ARMS]


def published(runs_dir, figures):
    """A store of a sweep whose runs have published figures; the first is the reference."""
    runs = [
        {"run_name": name, "label": arm.label, "config": arm.config(100, 0), "published": each}
        for name, arm, each in zip(NAMES, REFERENCE_ARMS, figures, strict=False)
    ]
    sweep = SweepPaths(runs_dir / "other")
    sweep.root.mkdir(parents=True, exist_ok=True)
    reference = {"max_staleness": 0, "prompts_per_optim_step": 16}
    manifest = {"name": "other", "runs": runs, "baseline": "synchronous", "reference": reference}
    sweep.manifest.write_text(json.dumps(manifest))
    ingest(runs_dir)
    return Store(runs_dir)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(5, 90), st.floats(2, 60)), min_size=2, max_size=5))
def test_the_unrounded_figures_lie_within_the_ends(tmp_path, true):
    """Minutes and seconds printed to one decimal: the ratio before rounding is inside."""
    figures = [
        {"training_time_s": round(minutes, 1) * 60, "step_time_s": {"mean": round(mean, 1)}}
        for minutes, mean in true
    ]
    store = published(tmp_path, figures)
    speed = published_speed_table(store, "other")
    slack = 1e-9
    for row, (minutes, mean), arm in zip(records(speed), true, REFERENCE_ARMS, strict=False):
        first_minutes, first_mean = true[0]
        exact = {
            "training_time_s": 60 * minutes,
            "step_mean_s": mean,
            "prompts_per_s": arm.prompts_per_optim_step / mean,
            "training_time_ratio": first_minutes / minutes,
            "step_time_speedup": first_mean / mean,
            "prompts_per_s_speedup": first_mean / mean * arm.prompts_per_optim_step / 16,
        }
        for name, value in exact.items():
            assert row[f"{name}_low"] * (1 - slack) <= value <= row[f"{name}_high"] * (1 + slack), name
            if name.endswith(("ratio", "speedup")):
                half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
                assert row[f"{name}_decimals"] == 0 or half <= 10.0 ** -row[f"{name}_decimals"] * (1 + slack)
        assert row["step_time_comparable"] == (arm.prompts_per_optim_step == 16)


def test_all_step_times_bring_their_own_rounding(tmp_path):
    values = [14.2, 28.9, 14.3]
    times = {"values": values, "mean": sum(values) / 3, "steps": 3}
    store = published(tmp_path, [{"step_time_s": {"mean": 42.6}}, {"step_time_s": times}])
    first, second = records(published_speed_table(store, "other"))
    assert (first["step_mean_s_low"], first["step_mean_s_high"]) == pytest.approx((42.55, 42.65))
    assert second["step_mean_s_high"] - second["step_mean_s"] == pytest.approx(0.05)
    found = published_step_times_table(store, "other")
    assert found["values_s"].tolist() == [values]


def test_a_figure_that_was_computed_has_no_rounding(tmp_path):
    store = published(tmp_path, [{"training_time_s": math.pi * 1000, "step_time_s": {"mean": math.e}}])
    (row,) = records(published_speed_table(store, "other"))
    assert row["training_time_s_low"] == row["training_time_s_high"] == math.pi * 1000
    assert row["step_mean_s_low"] == row["step_mean_s_high"] == math.e


def test_what_was_not_published_stays_unknown(tmp_path):
    store = published(tmp_path, [{"step_time_s": {"mean": 42.6}}, {"training_time_s": 60.0}, None])
    first, second = records(published_speed_table(store, "other"))
    assert math.isnan(first["training_time_s"]) and math.isnan(second["step_time_speedup"])
    assert math.isnan(second["training_time_ratio"]) and math.isnan(second["prompts_per_s"])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ranges": [{"min": 28.0, "max": 29.1, "steps": 66}]}, "66 steps in 28.0-29.1 s"),
        ({"ranges": [{"min": 42.2, "max": 42.2, "steps": 1}]}, "1 step at 42.2 s"),
        ({"steps": 99, "ranges": [{"min": 14, "max": 15, "steps": 75}]}, "75 of 99 steps in 14-15 s"),
        (
            {"ranges": [{"min": 28, "max": 29, "steps": 45, "approximate": True}], "min": 12.5, "max": 31},
            "about 45 steps in 28-29 s; all steps in 12.5-31.0 s",
        ),
        ({"std": 1.53}, "standard deviation 1.53 s"),
    ],
)
def test_ranges_are_worded_as_published(tmp_path, given, text):
    (row,) = records(published_step_times_table(published(tmp_path, [{"step_time_s": given}]), "other"))
    assert row["text"] == text


def test_measured_and_published_runs_are_never_compared(tmp_path):
    root = write_synthetic_sweep(tmp_path, "own", steps=4)
    manifest = json.loads((root / "sweep.json").read_text())
    manifest["runs"][1]["published"] = {"step_time_s": {"mean": 29.1}}
    (root / "sweep.json").write_text(json.dumps(manifest))
    ingest(tmp_path)
    store = Store(tmp_path)
    assert published_speedup_table(store, "own").empty
    speed = published_speed_table(store, "own")
    assert speed["label"].tolist() == ["Exp2"]
    assert speed["step_mean_s"].tolist() == [29.1] and speed["step_time_speedup"].isna().all()


def test_a_sweep_without_published_figures_has_empty_tables(tmp_path):
    write_synthetic_sweep(tmp_path, "own", steps=2)
    ingest(tmp_path)
    for table in (published_speed_table, published_speedup_table, published_step_times_table):
        assert table(Store(tmp_path), "own").empty
