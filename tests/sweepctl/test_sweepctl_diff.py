"""`sweepctl diff`: only what differs, and no verdict that the sweep's own tests do not give."""

import json
import sys

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from results.store import Store
from results.tables.accuracy import delta_table
from sweepctl.attempts import append_attempt
from sweepctl.cli import main
from trainer.paths import RunPaths


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff") / "runs"
    write_synthetic_sweep(folder, steps=12, questions=60)
    write_synthetic_sweep(folder, name="later", steps=12, questions=60, seed=3, finished=False)
    manifest = folder / "later" / "sweep.json"
    content = json.loads(manifest.read_text())
    content["environment"] = {"note": "synthetic", "packages": {"torch": "9.9"}}
    content["git"] = {"commit": "abc", "dirty": True}
    manifest.write_text(json.dumps(content))
    run = RunPaths(folder / "later" / "s0_opt16_sync16_lr0.0001")
    for code in ("older", "newer"):
        append_attempt(run, "started", code=code, environment="e1", devices="cores 0,1")
    return folder


@pytest.fixture
def diff(runs_dir, monkeypatch, capsys):
    """Run `sweepctl diff ARGUMENTS`: exit code, stdout, stderr."""

    def run(*arguments: str, width: int = 120) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweepctl", "diff", *arguments, "--runs-dir", str(runs_dir)])
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def as_json(diff, first, second):
    code, out, _ = diff(first, second, "--json")
    assert code == 0
    return json.loads(out)


def test_only_keys_that_differ_are_shown(diff):
    found = as_json(diff, "staleness/Exp1", "staleness/Exp5")
    assert found["configuration"] == {
        "max_staleness": {"first": 0, "second": 1},
        "prompts_per_optim_step": {"first": 16, "second": 8},
        "optim.lr": {"first": 0.0001, "second": 0.00005},
    }
    assert found["environment"] == {}
    _, out, _ = diff("staleness/Exp1", "staleness/Exp5")
    assert [line.split() for line in out.splitlines()[3:7]] == [
        ["Configuration", "A", "B"],
        ["max_staleness", "0", "1"],
        ["prompts_per_optim_step", "16", "8"],
        ["optim.lr", "0.0001", "5e-05"],
    ]


def test_runs_of_two_sweeps_with_their_code_and_environment(diff):
    found = as_json(diff, "staleness/Exp1", "later/Exp1")
    assert found["configuration"] == {}
    assert found["environment"] == {
        "packages.torch": {"first": None, "second": "9.9"},
        "git.commit": {"first": None, "second": "abc"},
        "git.dirty": {"first": None, "second": True},
        "environment_id": {"first": None, "second": "e1"},
        "code_id": {"first": None, "second": "newer"},
        "devices": {"first": None, "second": "cores 0,1"},
    }
    assert all(row["verdict"] is None for row in found["accuracy"])
    assert any("The accuracies are not tested" in note for note in found["notes"])


def test_the_same_run_twice_is_identical(diff):
    _, out, _ = diff("staleness/Exp2", "staleness/s1_opt16_sync16_lr0.0001")
    assert out == "identical: both are the run staleness/s1_opt16_sync16_lr0.0001\n"
    assert as_json(diff, "staleness/Exp2", "staleness/Exp2")["identical"] is True


def test_figures_are_those_of_the_trace(diff, runs_dir):
    """Steps after the first cycle, from the trace's own lines."""
    found = as_json(diff, "staleness/Exp1", "staleness/Exp4")
    figures = {figure["name"]: figure for figure in found["results"]}
    for place, name in (("first", "s0_opt16_sync16_lr0.0001"), ("second", "s1_opt8_sync8_lr5e-05")):
        lines = (runs_dir / "staleness" / name / "trace.jsonl").read_text().splitlines()
        steps = [record for record in map(json.loads, lines) if record["kind"] == "step"]
        warm = [step for step in steps if step["step"] >= 1]
        seconds = sum(step["wall_s"] for step in warm)
        assert figures["step, s"][place] == pytest.approx(seconds / len(warm))
        assert figures["prompts/s"][place] == pytest.approx(sum(step["prompts"] for step in warm) / seconds)
        assert figures["steps"][place] == len(steps) == 12
    ratio = figures["prompts/s"]["second"] / figures["prompts/s"]["first"]
    assert figures["prompts/s"]["low"] < ratio < figures["prompts/s"]["high"]
    assert any("not comparable" in note for note in found["notes"])


def test_verdicts_are_the_reports_and_turn_with_the_order_of_the_runs(diff, runs_dir):
    ingest(runs_dir)
    table = delta_table(Store(runs_dir), "staleness", 2.0)
    own = table[(table["run_name"] == "s1_opt16_sync16_lr0.0001") & (table["against"] == "baseline")]
    expected = {f"{row.task}, {row.num_fewshot}-shot, {row.filter}": row for row in own.itertuples()}
    forward = as_json(diff, "staleness/Exp1", "staleness/Exp2")["accuracy"]
    backward = as_json(diff, "staleness/Exp2", "staleness/Exp1")["accuracy"]
    assert len(forward) == len(expected) == 6
    turned = {"better": "worse", "worse": "better"}
    for there, back in zip(forward, backward, strict=True):
        row = expected[there["name"]]
        assert (
            there["delta_points"] == pytest.approx(row.delta_points) == pytest.approx(-back["delta_points"])
        )
        assert (there["low"], there["high"]) == (pytest.approx(row.low), pytest.approx(row.high))
        assert (back["low"], back["high"]) == (pytest.approx(-row.high), pytest.approx(-row.low))
        assert there["verdict"] == row.verdict
        assert back["verdict"] == turned.get(row.verdict, row.verdict)


def test_a_run_that_has_not_begun_is_compared_by_its_plan(diff):
    """Of an infeasible run, the plan names some keys only; the others have their defaults."""
    found = as_json(diff, "staleness/Exp3", "staleness/Exp6")
    changed = {key for key in found["configuration"] if not key.startswith("resources.")}  # it has none yet
    assert changed == {"prompts_per_rollout_sync"}
    assert found["configuration"]["prompts_per_rollout_sync"] == {"first": 8, "second": 16}
    steps = next(figure for figure in found["results"] if figure["name"] == "steps")
    assert (steps["first"], steps["second"]) == (12.0, 0.0)


def test_runs_without_results_have_none(diff):
    _, out, _ = diff("later/Exp5", "staleness/Exp6", width=80)
    assert "Accuracy (%): none" in out


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": 3}'])
def test_a_broken_configuration_is_said(tmp_path, monkeypatch, capsys, text):
    folder = write_synthetic_sweep(tmp_path, steps=2, questions=5)
    config = folder / "s0_opt16_sync16_lr0.0001" / "config.json"
    config.write_text(text)
    monkeypatch.setattr(sys, "argv", ["sweepctl", "diff", "Exp1", "Exp2", "--runs-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"error: {config}: not what sweepctl wrote" in capsys.readouterr().err


def test_a_run_that_is_not_there(diff):
    code, out, err = diff("staleness/Exp1", "staleness/Exp9")
    assert (code, out) == (2, "")
    assert "Exp9" in err
