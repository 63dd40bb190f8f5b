"""An archive holds all of a sweep, says so, and gives it back."""

import errno
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.ingest import ingest
from results.report.build import build_report
from results.report.render import render_json, render_markdown
from results.report.sections import findings
from results.store import Store
from sweepctl.commands.export import export_sweep
from sweepctl.commands.import_ import import_folder
from sweepctl.exchange import building, pack
from sweepctl.exchange.building import copy
from sweepctl.exchange.json_lines import drop_torn_line
from sweepctl.exchange.layout import PurePosixPath, evaluation_items, run_items, unpacked
from trainer.errors import ConfigError, StorageError
from trainer.paths import SweepPaths, metadata_path, samples_path

FIRST = "s0_opt16_sync16_lr0.0001"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A synthetic sweep with everything a run can leave behind."""
    runs = tmp_path_factory.mktemp("source") / "runs"
    sweep = SweepPaths(write_synthetic_sweep(runs, steps=12, questions=10, arms=REFERENCE_ARMS[:2]))
    for folder in sorted(path.parent for path in sweep.root.glob("*/trace.jsonl")):
        paths = sweep.run(folder.name)
        paths.log.write_text("step 1\n")
        paths.rollouts.write_text('{"group": 0}\n')
        paths.attempts.write_text('{"event": "started", "unix_s": 1.0}\n')
        for step in (6, 12):
            (paths.checkpoint(step) / "resume").mkdir(parents=True)
            (paths.checkpoint(step) / "model.safetensors").write_bytes(bytes([step]) * 1000)
            (paths.checkpoint(step) / "resume" / "learner.pt").write_bytes(b"x" * 5000)
    sweep.spec.write_text("name: staleness\n")
    sweep.git_diff("0123456789ab").write_text("diff --git a b\n")
    return sweep


@pytest.fixture
def sweep(made, tmp_path):
    """A copy of it that a test may change."""
    return SweepPaths(Path(shutil.copytree(made.root, tmp_path / "runs" / "staleness")))


@pytest.fixture(scope="module")
def archive(made, tmp_path_factory):
    """What an export makes of it; tests only read it."""
    return export(made, tmp_path_factory.mktemp("archives") / "archive")


def export(sweep, destination, *, checkpoints=True, as_json=False):
    export_sweep(sweep.root.parent, sweep.name, destination, checkpoints=checkpoints, as_json=as_json)
    return destination


def bring_back(archive, runs_dir, name="staleness"):
    import_folder(runs_dir, archive, name=name, runs=None, as_json=False)
    return SweepPaths(runs_dir / name)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def report_of(runs_dir):
    ingest(runs_dir)
    return build_report(Store(runs_dir), "staleness")


def _ten_digits(text):
    return float(f"{float(text):.10g}")


def test_what_comes_back_gives_the_same_report(made, archive, tmp_path):
    back = bring_back(archive, tmp_path / "elsewhere")
    original = shutil.copytree(made.root.parent, tmp_path / "runs")
    before, after = report_of(original), report_of(back.root.parent)
    assert render_markdown(after) == render_markdown(before)
    # The store adds up in several threads, so the last bits of a mean depend on their order.
    exact, again = (json.loads(render_json(each), parse_float=_ten_digits) for each in (before, after))
    numbers = [{**each, "published_unix": None} for each in (exact, again)]
    assert numbers[0] == numbers[1]
    assert len(after.accuracy) > 0 and len(after.speedups) > 0


def test_every_file_comes_back_as_it_was_but_for_what_only_a_resume_needs(made, archive, tmp_path):
    back = bring_back(archive, tmp_path / "elsewhere")
    before = {name: content for name, content in files_of(made.root).items() if "/resume/" not in name}
    after = files_of(back.root)
    manifests = json.loads(before.pop("sweep.json")), json.loads(after.pop("sweep.json"))
    assert after == before
    imported = manifests[1].pop("imported")
    assert imported["from"] == "archive"
    assert manifests[1] == manifests[0]


def test_the_archive_has_the_references_folders(archive):
    found = files_of(archive)
    assert {name.split("/")[0] for name in found} == {
        "NOTES.md",
        "sweep.json",
        "spec.yaml",
        "git-0123456789ab.diff",
        "MANIFEST.sha256",
        "configs",
        "traces",
        "checkpoints",
        "eval_results",
    }
    assert f"configs/{FIRST}.json" in found
    assert f"traces/{FIRST}/trace.jsonl" in found
    assert f"checkpoints/{FIRST}/step_000012/model.safetensors" in found
    assert f"eval_results/arithmetic_cot/step_000012/{FIRST}_4shot.json" in found
    assert f"eval_results/arithmetic_cot/step_000012/{FIRST}_4shot.samples.jsonl" in found
    assert "eval_results/arithmetic_cot/base/builtin_tiny_8shot.json" in found


def test_checksums_are_those_of_sha256sum_and_cover_every_file(archive):
    checked = subprocess.run(
        ["sha256sum", "-c", "MANIFEST.sha256"], cwd=archive, capture_output=True, text=True, check=True
    )
    named = {line.rpartition(": ")[0] for line in checked.stdout.splitlines()}
    assert named == files_of(archive).keys() - {"MANIFEST.sha256"}


def test_the_source_is_only_read(sweep, tmp_path):
    def state():
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in runs.rglob("*")}

    runs = sweep.root.parent
    before = state()
    export(sweep, tmp_path / "archive")
    assert state() == before


def test_checkpoints_can_be_left_out(sweep, tmp_path, capsys):
    archive = export(sweep, tmp_path / "archive", checkpoints=False, as_json=True)
    assert not (archive / "checkpoints").exists()
    assert "checkpoints were left out" in (archive / "NOTES.md").read_text()
    summary = json.loads(capsys.readouterr().out)
    assert summary["files"] == len(files_of(archive))
    assert summary["size_bytes"] == sum(len(content) for content in files_of(archive).values())
    assert len(bring_back(archive, tmp_path / "elsewhere").run(FIRST).checkpoints()) == 0


def test_notes_say_what_was_run_what_came_out_and_how_to_do_it_again(sweep, tmp_path):
    manifest = json.loads(sweep.manifest.read_text())
    given = ["max_steps=12", "optim.betas=[0.9, 0.95]", "checkpoint.keep=null", "model=a b"]
    manifest["spec"] = {"file": "/home/someone/sweeps/staleness.yaml", "set": given}
    manifest["git"] = {"commit": "a" * 40, "dirty": True}
    manifest["environment"] = {"python": "3.11.9", "packages": {"torch": "2.13.0", "vllm": None}}
    sweep.manifest.write_text(json.dumps(manifest))
    notes = (export(sweep, tmp_path / "archive") / "NOTES.md").read_text()
    whole = report_of(sweep.root.parent)
    report = render_markdown(whole, findings(whole))
    assert report.split("\n\n", 1)[1].strip() in notes
    assert "2 runs of asynchronous GRPO, and 1 point that can never make progress." in notes
    settings = (
        "--set max_steps=12 --set 'optim.betas=[0.9, 0.95]' --set checkpoint.keep=null --set 'model=a b'\n"
    )
    assert f"sweepctl run spec.yaml --profile synthetic {settings}" in notes
    sweep.spec.unlink()  # as in sweeps of earlier versions
    earlier = (export(sweep, tmp_path / "earlier") / "NOTES.md").read_text()
    assert f"sweepctl run staleness.yaml --profile synthetic {settings}" in earlier
    assert "/home/someone" not in notes
    assert f"python -m trainer --config again/{FIRST}/config.json" in notes
    assert "| torch | 2.13.0 |" in notes and "| vllm | – |" in notes
    assert f"| git commit | {'a' * 40}, with changes on top |" in notes


def test_a_run_that_still_runs_is_exported_so_far_and_ends_where_it_is_imported(sweep, tmp_path):
    paths = sweep.run(FIRST)
    whole = paths.trace.read_bytes()
    paths.trace.write_bytes(whole + b'{"kind": "step", "st')
    status = json.loads(paths.status.read_text())
    status |= {"state": "running", "pid": None, "pid_started": None, "heartbeat": 4e9}
    paths.status.write_text(json.dumps(status))

    archive = export(sweep, tmp_path / "archive")
    assert (archive / "traces" / FIRST / "trace.jsonl").read_bytes() == whole
    assert f"Exported while {FIRST} was still running" in (archive / "NOTES.md").read_text()
    back = json.loads(bring_back(archive, tmp_path / "elsewhere").run(FIRST).status.read_text())
    assert back["state"] == "interrupted"
    assert back["reason"] == "was still running when it was exported"


def test_a_damaged_status_is_exported_as_it_is(sweep, tmp_path):
    sweep.run(FIRST).status.write_text("{")
    back = bring_back(export(sweep, tmp_path / "archive"), tmp_path / "elsewhere")
    assert back.run(FIRST).status.read_text() == "{"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "elsewhere", "runs"]


def test_a_checkpoint_that_its_run_removes_meanwhile_is_left_out(sweep, tmp_path, monkeypatch, capsys):
    def copy_late(item, folder):
        if item.checkpoint == PurePosixPath("checkpoints", FIRST, "step_000006"):
            shutil.rmtree(item.source.parent, ignore_errors=True)
        return copy(item, folder)

    monkeypatch.setattr(pack, "copy", copy_late)
    archive = export(sweep, tmp_path / "archive")
    assert sorted(path.name for path in (archive / "checkpoints" / FIRST).iterdir()) == ["step_000012"]
    remark = f"checkpoints/{FIRST}/step_000006 was removed by its run while it was copied: it is left out"
    assert remark in capsys.readouterr().out
    assert remark in (archive / "NOTES.md").read_text()


def test_a_checkpoint_removed_before_its_size_is_asked_for_is_left_out(sweep, tmp_path, monkeypatch, capsys):
    def require_late(items, target):
        shutil.rmtree(sweep.run(FIRST).checkpoint(6))
        return building.require_space(items, target)

    monkeypatch.setattr(pack, "require_space", require_late)
    archive = export(sweep, tmp_path / "archive")
    assert sorted(path.name for path in (archive / "checkpoints" / FIRST).iterdir()) == ["step_000012"]
    assert f"checkpoints/{FIRST}/step_000006 was removed by its run" in capsys.readouterr().out


def test_of_a_checkpoint_that_is_being_removed_no_part_is_exported(sweep, tmp_path, monkeypatch, capsys):
    checkpoint = sweep.run(FIRST).checkpoint(6)
    (checkpoint / "model.safetensors").unlink()  # the part that is gone when the files are listed
    (checkpoint / "tokenizer.json").write_text("{}")

    def copy_early(item, folder):
        copied = copy(item, folder)
        if item.source.parent == checkpoint:
            shutil.rmtree(checkpoint)
        return copied

    monkeypatch.setattr(pack, "copy", copy_early)
    archive = export(sweep, tmp_path / "archive")
    assert sorted(path.name for path in (archive / "checkpoints" / FIRST).iterdir()) == ["step_000012"]
    assert f"checkpoints/{FIRST}/step_000006 was removed by its run" in capsys.readouterr().out


def test_what_is_copied_from_read_only_files_can_be_written(sweep, tmp_path):
    def read_only(folder):
        return [path for path in folder.rglob("*") if path.is_file() and not path.stat().st_mode & 0o200]

    def make_read_only(folder):
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o444)

    make_read_only(sweep.root)
    archive = export(sweep, tmp_path / "archive")
    assert read_only(archive) == []
    make_read_only(archive)
    assert read_only(bring_back(archive, tmp_path / "elsewhere").root) == []


def test_nothing_is_left_of_an_export_that_fails(sweep, tmp_path, monkeypatch):
    def full(item, folder):
        copy(item, folder)
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / item.target))

    monkeypatch.setattr(pack, "copy", full)
    place = tmp_path / "place"
    with pytest.raises(StorageError, match="No space left on device; nothing was written"):
        export(sweep, place / "archive")
    assert list(place.iterdir()) == []


def test_too_little_space_is_found_before_anything_is_written(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 7))
    with pytest.raises(StorageError, match=r"needs .* and 7 bytes are free there; make room"):
        export(sweep, tmp_path / "place" / "archive")
    assert not (tmp_path / "place").exists()


def test_a_destination_that_exists_or_lies_among_the_sweeps_is_refused(sweep, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="there: is there already; name a folder that is not there yet"):
        export(sweep, tmp_path / "there")
    with pytest.raises(ConfigError, match="lies among the sweeps"):
        export(sweep, sweep.root.parent / "archive")
    assert sorted(path.name for path in sweep.root.parent.iterdir()) == ["staleness"]


def test_an_unknown_sweep_is_told_with_the_nearest_name(sweep, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'staleness'"):
        export_sweep(sweep.root.parent, "stalenes", tmp_path / "a", checkpoints=True, as_json=False)


OBJECT = (
    st.dictionaries(st.text(max_size=3), st.text(max_size=20), max_size=3).map(json.dumps).map(str.encode)
)


@given(lines=st.lists(OBJECT, max_size=4), last=OBJECT, cut=st.integers(0, 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_of_json_lines_a_torn_one_is_cut_and_one_that_lacks_only_its_newline_stays(
    lines, last, cut, tmp_path
):
    path = tmp_path / "trace.jsonl"
    whole = b"".join(line + b"\n" for line in lines)
    path.write_bytes(whole + last[:cut])
    drop_torn_line(path)
    assert path.read_bytes() == whole + (last if cut >= len(last) else b"")


@given(content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_what_is_no_json_at_the_end_is_cut_whatever_it_is(content, tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(content + b"\n" + b"\xff" * 70000)  # more than is read at once
    drop_torn_line(path)
    assert path.read_bytes() == content + b"\n"


NAMES = st.text(alphabet="ab0_.-", min_size=1, max_size=12).filter(lambda name: name.strip(".") != "")


@given(run=NAMES, task=NAMES, shots=st.integers(0, 25), step=st.integers(0, 10**6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_every_name_in_an_archive_can_be_read_back(run, task, shots, step, tmp_path_factory):
    sweep = SweepPaths(tmp_path_factory.mktemp("names"))
    paths = sweep.run(run)
    results = [
        paths.evaluation(f"step_{step:06d}", task, shots),
        sweep.base_evaluation(f"org/{run}", task, shots),
    ]
    others = [place(result) for result in results for place in (samples_path, metadata_path)]
    inside = [paths.checkpoint(step) / "model.json", paths.checkpoint(step) / "a" / "b.json"]
    for path in (paths.config, paths.trace, paths.status, *inside, *results, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    items = [*run_items(paths, checkpoints=True), *evaluation_items(sweep, [paths])]
    assert len(items) == 11
    for item in items:
        assert unpacked(item.target) == PurePosixPath(item.source.relative_to(sweep.root).as_posix())
