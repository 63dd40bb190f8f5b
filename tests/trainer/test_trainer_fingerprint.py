"""What a run trains on is part of its identity: contents count, names and places do not."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import fingerprint
from trainer.config import RunConfig
from trainer.fingerprint import file_fingerprint, folder_fingerprint, inputs

LARGE = (64 << 20) + 4321
"""Bytes of a file whose fingerprint is remembered."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A place to remember fingerprints that is not the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sweepctl" / "fingerprints.json"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A sparse file: it takes no space on disk."""
    path = tmp_path_factory.mktemp("large") / "weights.bin"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_files_have_the_same_fingerprint_if_and_only_if_they_hold_the_same(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("files")
    for name, content in (("a", first), ("b", second)):
        (folder / name).write_bytes(content)
    same = file_fingerprint(folder / "a") == file_fingerprint(folder / "b")
    assert same == (first == second)


def test_dates_do_not_count(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("{}")
    before = file_fingerprint(path)
    os.utime(path, (0, 0))
    assert file_fingerprint(path) == before


@pytest.mark.parametrize("position", [0, LARGE // 3, LARGE - 1])
def test_a_large_file_that_differs_anywhere(large, position):
    before = file_fingerprint(large)
    with large.open("r+b") as file:
        file.seek(position)
        file.write(b"x")
        file.flush()
        changed = file_fingerprint(large)
        file.seek(position)
        file.write(b"\0")
    assert changed != before
    assert file_fingerprint(large) == before


def test_a_large_file_is_read_once_until_it_changes(large, cache, monkeypatch):
    reads = []

    def read(path):
        reads.append(path)
        return f"{len(reads):016x}"

    monkeypatch.setattr(fingerprint, "_read", read)
    assert file_fingerprint(large) == file_fingerprint(large)
    assert len(reads) == 1
    os.utime(large, (1.0, 1.0))
    file_fingerprint(large)
    assert len(reads) == 2
    cache.write_text("{")  # damaged: it is only a memory
    file_fingerprint(large)
    assert len(reads) == 3


def test_without_a_place_to_remember_it_is_read_again(large, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/no")
    assert file_fingerprint(large) == file_fingerprint(large)


def test_a_large_file_of_another_size(large, tmp_path):
    longer = tmp_path / "longer.bin"
    with longer.open("wb") as file:
        file.truncate(LARGE + 1)
    assert file_fingerprint(longer) != file_fingerprint(large)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (model / "config.json").write_text("{ }"),
        lambda model: (model / "model.safetensors").write_bytes(b"Weights"),
        lambda model: (model / "config.json").rename(model / "other.json"),
        lambda model: (model / "more.json").write_text(""),
        lambda model: (model / "config.json").unlink(),
    ],
)
def test_a_folder_that_holds_something_else(model, change):
    before = folder_fingerprint(model)
    change(model)
    assert folder_fingerprint(model) != before


def test_names_and_contents_cannot_be_exchanged(tmp_path):
    """Two folders with the same names and the same contents, the other way round."""
    for name, contents in (("one", ("x", "y")), ("two", ("y", "x"))):
        (tmp_path / name).mkdir()
        for file, content in zip(("a", "b"), contents, strict=True):
            (tmp_path / name / file).write_text(content)
    assert folder_fingerprint(tmp_path / "one") != folder_fingerprint(tmp_path / "two")


def test_where_a_folder_lies_and_its_subfolders_do_not_count(model, tmp_path):
    before = folder_fingerprint(model)
    (model / "sub" / "notes.txt").write_text("read by nobody")
    assert folder_fingerprint(model) == before
    assert folder_fingerprint(shutil.copytree(model, tmp_path / "copy")) == before


def test_what_has_inputs(model, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("{}")
    local = {"name": "dataset", "path": str(data)}
    assert inputs(RunConfig()) == {}
    assert inputs(RunConfig(model="Qwen/Qwen3-1.7B-Base", task="gsm8k")) == {}
    assert inputs(RunConfig(task={"name": "dataset", "path": "openai/gsm8k"})) == {}
    assert inputs(RunConfig(model=str(model), task=local)) == {
        "model": folder_fingerprint(model),
        "task.path": file_fingerprint(data),
    }
    data.unlink()
    assert inputs(RunConfig(task=local)) == {}


def test_a_folder_named_like_a_model_on_the_hub_counts(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert inputs(RunConfig(model="model")) == {"model": folder_fingerprint(model)}


def test_the_content_takes_the_place_of_the_path_in_a_runs_identity(model, tmp_path):
    moved = shutil.copytree(model, tmp_path / "moved")
    here, there = RunConfig(model=str(model)), RunConfig(model=str(moved))
    assert here.run_id() != there.run_id()
    assert here.run_id(inputs(here)) == there.run_id(inputs(there)) != here.run_id()
    (moved / "model.safetensors").write_bytes(b"trained on")
    assert here.run_id(inputs(here)) != there.run_id(inputs(there))


def test_content_of_the_data_and_of_the_model_are_told_apart():
    config = RunConfig(task={"name": "dataset", "path": "data.jsonl"}, model="./model")
    ids = {
        config.run_id(given)
        for given in ({}, {"model": "a"}, {"task.path": "a"}, {"model": "a", "task.path": "b"},
                      {"model": "b", "task.path": "a"})
    }  # fmt: skip
    assert len(ids) == 5
