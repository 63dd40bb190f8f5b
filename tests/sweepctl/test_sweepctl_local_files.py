"""A sweep is the same from wherever it is run, and paths are meant from the spec's folder."""

import json
import shutil

import pytest

from sweepctl.plan.plan import load_plan
from trainer.models import model_path

ROW = json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A spec with a model and data beside it."""
    folder = tmp_path / "project"
    shutil.copytree(model_path("builtin:tiny"), folder / "models" / "mine")
    (folder / "train.jsonl").write_text(ROW)
    (folder / "test.jsonl").write_text(ROW)
    (folder / "spec.yaml").write_text(
        "version: 1\nname: here\n"
        "base: {task: {name: gsm8k, path: train.jsonl, held_out_path: test.jsonl}}\n"
        "parameters: {model: [models/mine, Qwen/Qwen3-1.7B-Base]}\n"
        "run_name: '{model}'\n"
        "eval: {tasks: [gsm8k_cot], data: test.jsonl}\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_runs_are_the_same_from_another_folder(project, tmp_path, monkeypatch):
    here = load_plan(project / "spec.yaml", "auto", [], tmp_path / "runs")
    relative = load_plan((project / "spec.yaml").relative_to(project), "auto", [], tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = load_plan(project / "spec.yaml", "auto", [], tmp_path / "runs")
    for plan in (relative, there):
        assert [run.run_id for run in plan.runs] == [run.run_id for run in here.runs]
        assert [run.config for run in plan.runs] == [run.config for run in here.runs]
        assert plan.resolved.evaluation == here.resolved.evaluation
    local, hub = here.runs
    assert local.config.model == str(project / "models" / "mine")
    assert local.config.task.path == str(project / "train.jsonl")
    assert local.config.task.held_out_path == str(project / "test.jsonl")
    assert here.resolved.evaluation.data == str(project / "test.jsonl")
    assert set(local.inputs) == {"model", "task.path"}
    assert hub.config.model == "Qwen/Qwen3-1.7B-Base"
    assert [run.name for run in here.runs] == ["models_mine", "Qwen_Qwen3-1.7B-Base"]  # as it was written


def test_where_it_lies_decides_nothing(project, tmp_path):
    before = load_plan(project / "spec.yaml", "auto", [], tmp_path / "runs")
    project.rename(tmp_path / "moved")
    after = load_plan(tmp_path / "moved" / "spec.yaml", "auto", [], tmp_path / "runs")
    assert [run.run_id for run in after.runs] == [run.run_id for run in before.runs]


def test_what_is_set_on_the_command_line_is_meant_from_where_one_is(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "other.jsonl").write_text(ROW)
    plan = load_plan(project / "spec.yaml", "auto", ["task.path=other.jsonl"], tmp_path / "runs")
    assert plan.runs[0].config.task.path == str(tmp_path / "elsewhere" / "other.jsonl")
