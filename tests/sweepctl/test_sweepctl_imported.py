"""What the commands say of imported runs: what is known of them, and never that they are to be run."""

import json

import pytest
from factories.sweep_factory import write_synthetic_sweep
from importing import REFERENCE, TABLE, take

from sweepctl.commands.export import export_sweep

TRAINED = "s0_opt16_sync16_lr0.0001"
NOT_BEGUN = "s1_opt8_sync16_lr5e-05"


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    """`table` and `bare`: the reference's results; `archive`: an exported sweep."""
    folder = tmp_path_factory.mktemp("imported")
    runs_dir = folder / "runs"
    take(REFERENCE / "eval_results", runs_dir, name="table", runs=TABLE)
    take(REFERENCE / "eval_results", runs_dir, name="bare")
    write_synthetic_sweep(folder / "elsewhere", steps=4, questions=5, finished=False)
    export_sweep(folder / "elsewhere", "staleness", folder / "away", checkpoints=False, as_json=False)
    take(folder / "away", runs_dir, name="archive")
    return runs_dir


@pytest.fixture
def ask(cli, runs_dir):
    """Run `sweepctl ARGUMENTS` on what was imported: exit code, stdout, stderr."""
    return lambda *arguments: cli(*arguments, "--runs-dir", runs_dir)


@pytest.fixture
def as_json(ask):
    def read(*arguments):
        code, out, _ = ask(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    return read


def test_status_calls_imported_runs_imported(ask, as_json):
    code, out, _ = ask("status", "table")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[2:7]]
    assert [row[2:4] for row in rows] == [["imported", "100/100"]] * 5
    assert [row[4:] for row in rows] == [["3"], ["3"], [], [], []], (
        "results that are there, of nobody knows how many"
    )
    assert out.splitlines()[7] == "imported from eval_results, not run here"
    found = as_json("status", "table")
    assert found["imported"]["from"] == "eval_results"
    assert {(run["state"], run["note"]) for run in found["runs"]} == {("succeeded", "imported")}


def test_status_of_an_exported_sweep_says_how_its_runs_were(ask):
    out = ask("status", "archive")[1]
    said = {line.split()[1]: line.split()[2:4] for line in out.splitlines()[2:8]}
    assert said[TRAINED][0] == "succeeded"
    assert said["s1_opt8_sync8_lr5e-05"][0] == "interrupted"
    assert said[NOT_BEGUN] == ["not", "begun"]
    total = "imported from away, not run here: 3 succeeded, 1 interrupted, 1 not begun, 1 infeasible"
    assert out.splitlines()[8] == total


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "table"),
        ("status", "archive"),
        ("status", "archive", "--watch"),
        ("logs", "table/Exp1"),
        ("logs", f"archive/{NOT_BEGUN}"),
        ("logs", f"archive/{NOT_BEGUN}", "-f"),
        ("doctor", "table/Exp1"),
        ("doctor", f"archive/{NOT_BEGUN}"),
        ("doctor", "archive/s1_opt8_sync8_lr5e-05"),
    ],
)
def test_nobody_is_told_to_run_what_cannot_be_run_here(ask, arguments):
    _, out, err = ask(*arguments)
    assert "sweepctl run" not in out + err
    assert "imported" in out + err or "exported" in out + err


def test_watching_ends_with_the_table_as_status_shows_it(ask):
    code, out, err = ask("status", "archive", "--watch")
    assert (code, out, err) == (0, ask("status", "archive")[1], "")
    lines = [json.loads(line) for line in ask("status", "table", "--watch", "--json")[1].splitlines()]
    assert lines[-1]["doing"] == "imported from eval_results, not run here"


def test_doctor_expects_no_records_of_results_and_no_weights_of_an_archive(as_json):
    found = as_json("doctor", "table/Exp1")["findings"]
    assert [(each["check"], each["status"]) for each in found] == [("config", "ok"), ("evaluations", "ok")]
    assert found[1]["found"] == "3 whole"
    found = as_json("doctor", f"archive/{TRAINED}")["findings"]
    assert {each["status"] for each in found} == {"ok"}
    assert {each["check"] for each in found} == {
        "config",
        "status",
        "conservation",
        "checkpoints",
        "evaluations",
    }
    for name in (NOT_BEGUN, "s0_opt8_sync16_lr5e-05"):  # the second is infeasible
        assert [each["status"] for each in as_json("doctor", f"archive/{name}")["findings"]] == ["ok"]


def test_what_is_wrong_with_an_imported_run_is_mended_by_another_import(ask, runs_dir):
    status = runs_dir / "archive" / TRAINED / "status.json"
    text = status.read_text()
    status.write_text("{}")
    try:
        code, out, _ = ask("doctor", f"archive/{TRAINED}")
        machine = ask("doctor", "--no-engine")[1]
    finally:
        status.write_text(text)
    assert code == 1
    assert "→ get away again, and import it anew: sweepctl import DIR --name NAME" in out
    assert f"not a run's status: {status}" in machine
    assert "→ get away again, and import it anew" in machine


def test_diff_shows_what_a_table_gave_and_no_default(ask, as_json):
    found = as_json("diff", "table/Exp1", "table/Exp5")
    assert found["configuration"] == {
        "max_staleness": {"first": 0, "second": 1},
        "prompts_per_optim_step": {"first": 16, "second": 8},
        "optim.lr": {"first": 1e-6, "second": 5e-7},
    }
    figures = {figure["name"]: (figure["first"], figure["second"]) for figure in found["results"]}
    assert figures == {"published step, s": (42.6, 21.1), "published training, s": (70.4 * 60, 34.9 * 60)}


def test_diff_says_what_is_not_given(ask, as_json):
    first, second = "table/Exp1", "bare/exp1"
    found = as_json("diff", first, second)["configuration"]
    assert found.pop("model")["second"] == "Qwen3-1.7B-Base"
    assert all(pair.keys() == {"first"} for pair in found.values())
    assert {"max_staleness", "loss.clip", "other.top_p"} <= found.keys(), (
        "also where it is the trainer's default"
    )
    rows = [line.split() for line in ask("diff", first, second)[1].splitlines()]
    assert ["max_staleness", "0", "not", "given"] in rows


def test_diff_of_an_imported_run_and_one_made_with_sweepctl(ask, as_json):
    """Of sixty settings those are shown that are no default; all are in the JSON."""
    first, second = "bare/exp1", f"archive/{TRAINED}"
    found = as_json("diff", first, second)["configuration"]
    assert found["max_staleness"] == {"second": 0}
    assert found["task.path"] == {"second": None}, "given as none is not the same as not given"
    out = ask("diff", first, second)[1]
    shown = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert "optim.lr" in shown
    assert "max_staleness" not in shown
    hidden = len(found.keys() - shown)
    assert f"{hidden} settings that one run left at their defaults are not given of the other" in out


def test_diff_of_runs_of_which_nothing_is_known(ask):
    code, out, _ = ask("diff", "bare/exp1", "bare/exp2")
    assert code == 0
    assert "Configuration: the same, as far as it is known\n" in out
    assert "Results: none\n" in out
    assert "not comparable" not in out
