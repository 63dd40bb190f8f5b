"""The noise floor of a base model evaluated twice, and the questions that two results answer differently."""

import json
import shutil

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_lm_eval, write_synthetic_sweep

from results.ingest import ingest
from results.store import Store
from results.tables.accuracy import accuracy_table, delta_table
from results.tables.answers import flips_table
from results.tables.noise_floor import noise_floor_table
from trainer.paths import SweepPaths, base_repeat, metadata_path, samples_path

SHOTS = (0, 4, 8)


def repeat_base(folder, flips=0, repeat=2):
    """The base model's files once more, the first so many answers of each turned round."""
    sweep = SweepPaths(folder)
    for shots in SHOTS:
        first = sweep.base_evaluation("builtin:tiny", "arithmetic_cot", shots)
        again = sweep.base_evaluation("builtin:tiny", "arithmetic_cot", shots, repeat)
        answers = {name: right_of(first, name) for name in ("strict-match", "flexible-extract")}
        for right in answers.values():
            right[:flips] = ~right[:flips]
        write_lm_eval(again, "arithmetic_cot", shots, answers)
        content = json.loads(again.read_text())
        content["config"] = json.loads(first.read_text())["config"]
        again.write_text(json.dumps(content))


def right_of(result, filter_name):
    lines = map(json.loads, samples_path(result).open())
    return np.array([bool(s["exact_match"]) for s in lines if s["filter"] == filter_name])


@pytest.fixture
def folder(tmp_path):
    return write_synthetic_sweep(tmp_path, steps=4, questions=100, arms=REFERENCE_ARMS[:2])


def tables(folder):
    ingest(folder.parent)
    store = Store(folder.parent)
    return noise_floor_table(store, "staleness"), delta_table(store, "staleness", 2.0)


def test_base_evaluated_once_has_no_floor(folder):
    floor, deltas = tables(folder)
    assert floor.empty
    assert deltas["noise_points"].isna().all()
    assert not deltas["within_noise"].any()


def test_the_floor_is_recomputed_from_the_samples(folder):
    repeat_base(folder, flips=7)
    floor, deltas = tables(folder)
    assert len(floor) == len(SHOTS) * 2
    for row in floor.to_dict("records"):
        first = right_of(folder.parent / row["first_path"], row["filter"])
        again = right_of(folder.parent / row["path"], row["filter"])
        assert row["flipped"] == row["answers_changed"] == np.count_nonzero(first != again) == 7
        assert row["delta_points"] == pytest.approx(100 * (again.mean() - first.mean()))
        expected = max(abs(row["delta_points"]), 1.959964 * np.sqrt(7) / 100 * 100)
        assert row["noise_points"] == pytest.approx(expected)
        assert "7 of them from right to wrong or back" in row["sentence"]
    assert (deltas["within_noise"] == (deltas["delta_points"].abs() < deltas["noise_points"])).all()
    assert deltas["noise_points"].notna().all()


def test_a_deterministic_engine_has_no_noise_and_that_is_said(folder):
    repeat_base(folder)
    floor, deltas = tables(folder)
    assert not floor[["answers_changed", "flipped", "delta_points", "noise_points"]].any(axis=None)
    assert floor["sentence"].str.contains("gave all 100 answers again: no noise was seen").all()
    assert not deltas["within_noise"].any()


def test_a_repeat_is_never_the_base_itself(folder):
    ingest(folder.parent)
    store = Store(folder.parent)
    before = accuracy_table(store, "staleness"), delta_table(store, "staleness", 2.0)
    repeat_base(folder, flips=30)
    ingest(folder.parent)
    assert accuracy_table(store, "staleness").equals(before[0])
    columns = ["label", "other_label", "other_percent", "delta_points", "p_adjusted", "verdict", "other_path"]
    assert delta_table(store, "staleness", 2.0)[columns].equals(before[1][columns])


def test_a_lone_repeat_is_no_base(folder):
    repeat_base(folder)
    shutil.rmtree(folder / "base_models" / "builtin_tiny")
    floor, deltas = tables(folder)
    assert floor.empty
    assert "base" not in set(deltas["against"])


def test_several_repeats_give_the_largest_floor(folder):
    repeat_base(folder, flips=2)
    repeat_base(folder, flips=9, repeat=3)
    floor, deltas = tables(folder)
    assert sorted(floor["checkpoint"].unique()) == ["base_repeat_2", "base_repeat_3"]
    largest = floor.groupby(["filter", "num_fewshot"])["noise_points"].max()
    for row in deltas.to_dict("records"):
        assert row["noise_points"] == largest[row["filter"], row["num_fewshot"]]


@pytest.mark.parametrize("what", ["settings", "weights"])
def test_an_evaluation_of_something_else_is_no_repeat(folder, what):
    repeat_base(folder)
    for path in (folder / "base_models" / "builtin_tiny@repeat_2").glob("*shot.json"):
        if what == "settings":
            path.write_text(json.dumps({**json.loads(path.read_text()), "max_length": 7}))
        else:
            metadata_path(path).write_text(json.dumps({"evaluation_id": "another"}))
    assert tables(folder)[0].empty


def test_without_samples_only_the_difference_is_known(folder):
    repeat_base(folder, flips=5)
    for path in folder.glob("base_models/*repeat_2/*.samples.jsonl"):
        path.unlink()
    floor, _ = tables(folder)
    assert floor["flipped"].isna().all()
    assert (floor["noise_points"] == floor["delta_points"].abs()).all()
    assert floor["sentence"].str.contains("no samples of both").all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m", ("m", 1)),
        ("m@repeat_2", ("m", 2)),
        ("m@repeat_12", ("m", 12)),
        ("m@repeat_1", ("m@repeat_1", 1)),
        ("m@repeat_", ("m@repeat_", 1)),
        ("@repeat_2", ("@repeat_2", 1)),
    ],
)
def test_whose_evaluation_a_folder_holds(name, expected):
    assert base_repeat(name) == expected


def test_flips_are_those_of_the_samples(folder):
    _, deltas = tables(folder)
    row = deltas[(deltas["against"] == "base") & (deltas["filter"] == "strict-match")].iloc[0]
    flips = flips_table(Store(folder.parent), row["path"], row["other_path"], "strict-match")
    counts = flips["change"].value_counts()
    assert (counts["gained"], counts["lost"]) == (row["only_a"], row["only_b"])
    mine = right_of(folder.parent / row["path"], "strict-match")
    others = right_of(folder.parent / row["other_path"], "strict-match")
    assert sorted(flips["doc_id"]) == list(np.flatnonzero(mine != others))
    lost = flips[flips["change"] == "lost"]
    assert set(lost["answer"]) == {"[invalid]"}
    assert (lost["other_answer"] == lost["target"]).all()


def test_another_wrong_answer_is_told_apart(folder):
    repeat_base(folder)
    again = samples_path(SweepPaths(folder).base_evaluation("builtin:tiny", "arithmetic_cot", 0, 2))
    again.write_text(again.read_text().replace("[invalid]", "41"))
    floor, _ = tables(folder)
    row = floor[(floor["num_fewshot"] == 0) & (floor["filter"] == "strict-match")].iloc[0]
    assert row["flipped"] == 0
    assert row["answers_changed"] > 0
    assert f"{row['answers_changed']:.0f} of 100 answers otherwise, 0 of them" in row["sentence"]
    flips = flips_table(Store(folder.parent), row["path"], row["first_path"], "strict-match")
    assert set(flips["change"]) == {"reworded"}
    assert len(flips) == row["answers_changed"]
