"""Archives that are not what was exported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from importing import (
    TABLE,
    refusal,
    take,
)

from sweepctl.commands.export import export_sweep


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    runs = tmp_path_factory.mktemp("source") / "runs"
    write_synthetic_sweep(runs, steps=12, questions=5, arms=REFERENCE_ARMS[:2])
    archive = tmp_path_factory.mktemp("archive") / "staleness"
    export_sweep(runs, "staleness", archive, checkpoints=True, as_json=False)
    return archive


@pytest.fixture
def archive(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "archive"))


def first_trace(archive):
    return min(archive.glob("traces/*/trace.jsonl"))


def test_a_changed_or_missing_file_of_an_archive_is_named(archive, tmp_path):
    changed, missing = first_trace(archive), min(archive.glob("configs/*.json"))
    changed.write_bytes(changed.read_bytes()[:-10])
    missing.unlink()
    message = refusal(archive, tmp_path / "runs")
    assert f"{changed}: is not what was exported" in message
    assert f"{missing}: cannot be read: No such file" in message


def test_notes_may_be_edited_and_whole_checkpoints_left_out(archive, tmp_path):
    (archive / "NOTES.md").write_text("mine")
    listing = archive / "MANIFEST.sha256"
    listing.write_text(listing.read_text() + f"{'0' * 64}  checkpoints/a/step_000001/model.safetensors\n")
    assert len(list(take(archive, tmp_path / "runs").root.glob("*/trace.jsonl"))) == 2


def test_what_was_added_to_an_archive_is_left_out_and_said(archive, tmp_path, capsys):
    run = first_trace(archive).parent.name
    added = [
        "configs/evil.json",
        "traces/evil/trace.jsonl",
        f"traces/{run}/extra.log",
        f"eval_results/arithmetic_cot/step_000012/{run}_7shot.json",
    ]
    for name in added:
        (archive / name).parent.mkdir(exist_ok=True)
        (archive / name).write_text("{}")
    sweep = take(archive, tmp_path / "runs")
    shown = capsys.readouterr().out
    for name in added:
        assert f"note: {name}: left out, MANIFEST.sha256 does not list it" in shown
    assert not (sweep.root / "evil").exists()
    assert not (sweep.run(run).root / "extra.log").exists()
    assert list(sweep.root.rglob("*_7shot.json")) == []


def test_a_file_whose_name_is_no_text_can_be_spoken_of(archive, tmp_path):
    name = os.fsdecode(b"added-\xff.json")
    (archive / name).write_text("{}")
    command = [sys.executable, "-m", "sweepctl", "import", str(archive), "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run([*command, "--name", "taken"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: added-?.json: left out" in done.stdout


def test_of_many_added_files_a_few_are_named(archive, tmp_path, capsys):
    for number in range(1200):
        (archive / "traces" / f"{number:04d}.txt").write_text("")
    take(archive, tmp_path / "runs")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 6
    assert notes[-1] == "note: so are 1,195 other files"


def unlist(archive, name):
    listing = archive / "MANIFEST.sha256"
    lines = listing.read_text().splitlines(keepends=True)
    listing.write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))


def test_a_manifest_that_the_checksums_do_not_have_is_refused(archive, tmp_path):
    unlist(archive, "sweep.json")
    message = refusal(archive, tmp_path / "runs")
    assert message == f"{archive / 'MANIFEST.sha256'}: does not list sweep.json; get the archive again"


def test_an_archive_without_its_checksums_or_its_manifest_is_refused(archive, tmp_path):
    (archive / "sweep.json").unlink()
    assert f"{archive / 'sweep.json'}: cannot be read: No such file" in refusal(archive, tmp_path / "runs")
    (archive / "sweep.json").write_text("{}")
    (archive / "MANIFEST.sha256").unlink()
    assert "no MANIFEST.sha256: not an exported sweep" in refusal(archive, tmp_path / "runs")


@pytest.mark.parametrize("name", [".", "a\0b", "/etc/hostname", "a/../../b"])
def test_a_listed_name_that_is_none_is_told(name, archive, tmp_path):
    listing = archive / "MANIFEST.sha256"
    count = len(listing.read_text().splitlines())
    listing.write_text(listing.read_text() + f"{'0' * 64}  {name}\n")
    message = refusal(archive, tmp_path / "runs")
    assert message == f"{listing}:{count + 1}: not a checksum and a name; get the archive again"


def test_an_archive_reaches_nothing_outside_itself(archive, tmp_path):
    manifest = json.loads((archive / "sweep.json").read_text())
    manifest["runs"][0]["run_name"] = "../../evil"
    manifest["runs"][1]["run_name"] = "sweep.json"
    (archive / "sweep.json").write_text(json.dumps(manifest))
    listing = archive / "MANIFEST.sha256"
    listing.write_text(listing.read_text() + f"{'0' * 64}  ../secret\n")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    link = first_trace(archive).with_name("attempts.jsonl")
    link.symlink_to(secret)
    message = refusal(archive, tmp_path / "runs")
    assert "a run cannot be called '../../evil'" in message
    assert "a run cannot be called 'sweep.json'" in message
    assert f"{link}: is a link; an archive has none" in message
    assert "not a checksum and a name" in message


def test_a_manifest_that_is_none_is_told(archive, tmp_path):
    (archive / "sweep.json").write_text('{"runs": 3}')
    message = refusal(archive, tmp_path / "runs")
    assert "sweep.json: is not what was exported" in message
    assert "sweep.json: runs: Input should be a valid array" in message


def test_a_table_beside_an_archive_is_refused(archive, tmp_path):
    assert "says itself what its runs were" in refusal(archive, tmp_path / "runs", runs=TABLE)
