"""Published accuracies beside measured ones: the reference's page, cell by cell, for all five arms."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from results.ingest import ingest
from results.store import Store
from results.tables.accuracy import accuracy_table, default_filter_rows, delta_table
from sweepctl.commands.import_ import import_folder
from trainer.paths import SweepPaths

HERE = Path(__file__)
REFERENCE = HERE.parents[3] / "shared" / "reference"
TABLE = HERE.parents[1] / "sweepctl" / "reference_runs.yaml"
SHOTS = (0, 4, 8)


def take_in(runs_dir):
    import_folder(runs_dir, REFERENCE / "eval_results", name="gsm8k", runs=TABLE, as_json=False)
    return SweepPaths(runs_dir / "gsm8k")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("published") / "runs"
    take_in(runs_dir)
    ingest(runs_dir)
    return Store(runs_dir)


def page(heading):
    """A table of the reference's page: `Base`, `Exp1`, ... -> its cells by shots."""
    section = (
        (REFERENCE / "gsm8k-staleness-sweep.md").read_text().split(f"### {heading}\n")[1].split("\n##")[0]
    )
    found = re.findall(r"^\| (Base|Exp\d)\b[^|]*\| (.+) \|$", section, flags=re.MULTILINE)
    return {
        (label, shots): cell
        for label, row in found
        for shots, cell in zip(SHOTS, row.split(" | "), strict=True)
    }


def cells(frame, column, form):
    rows = default_filter_rows(frame)
    return {
        (label.capitalize(), shots): format(value, form)
        for label, shots, value in zip(rows["label"], rows["num_fewshot"], rows[column], strict=True)
    }


def test_every_accuracy_is_the_published_one(reference):
    published = page("Exact Match Accuracy (%)")
    assert len(published) == 18
    assert cells(accuracy_table(reference, "gsm8k"), "value_percent", ".2f") == published


def test_every_delta_from_base_is_the_published_one(reference):
    deltas = delta_table(reference, "gsm8k", 2.0)
    published = page("Delta from Base Model (%)")
    assert len(published) == 15
    assert cells(deltas[deltas["against"] == "base"], "delta_points", "+.2f") == published


def test_what_was_published_is_marked(reference):
    accuracy = accuracy_table(reference, "gsm8k").set_index("label")
    assert set(accuracy.loc[["base", "Exp1", "Exp2"], "source"]) == {"lm-eval"}
    assert set(accuracy.loc[["Exp3", "Exp4", "Exp5"], "source"]) == {"published"}
    assert set(accuracy.loc[["Exp3", "Exp4", "Exp5"], "filter"]) == {"strict-match"}
    assert set(accuracy.loc[["base", "Exp1"], "filter"]) == {"strict-match", "flexible-extract"}
    deltas = delta_table(reference, "gsm8k", 2.0)
    either = deltas["label"].isin(["Exp3", "Exp4", "Exp5"]) | deltas["other_label"].isin(["Exp3"])
    assert set(deltas.loc[either, "method"]) == {"unpaired, published"}
    assert set(deltas.loc[~either, "method"]) == {"unpaired"}
    assert set(deltas["verdict"]) == {"inconclusive"}


def test_of_a_published_share_the_error_follows_from_the_questions(reference):
    row = (
        delta_table(reference, "gsm8k", 2.0)
        .query("label == 'Exp4' and against == 'base' and num_fewshot == 4")
        .iloc[0]
    )
    shares = np.array([row["value_percent"], row["other_percent"]]) / 100
    errors = 100 * np.sqrt(shares * (1 - shares) / 1318)
    assert row["stderr_percent"] == pytest.approx(errors[0])
    assert row["p"] == pytest.approx(
        2 * stats.norm.sf(abs(row["delta_points"]) / np.hypot(*errors)), rel=1e-6
    )


def edited(tmp_path, edit):
    """The delta and accuracy tables of the same sweep with an edit to its first run's publication."""
    sweep = take_in(tmp_path / "runs")
    content = json.loads(sweep.manifest.read_text())
    edit({run["label"]: run["published"] for run in content["runs"]})
    sweep.manifest.write_text(json.dumps(content))
    ingest(tmp_path / "runs")
    store = Store(tmp_path / "runs")
    return accuracy_table(store, "gsm8k"), delta_table(store, "gsm8k", 2.0)


def test_a_runs_own_file_is_used_before_what_was_published_of_it(tmp_path):
    def edit(published):
        published["Exp1"]["accuracy"] = [
            {"task": "gsm8k_cot", "num_fewshot": shots, "percent": 99.0} for shots in (4, 5)
        ]

    accuracy, _ = edited(tmp_path, edit)
    mine = accuracy[(accuracy["label"] == "Exp1") & (accuracy["filter"] == "strict-match")]
    found = mine.set_index("num_fewshot")["source"].to_dict()
    assert found == {0: "lm-eval", 4: "lm-eval", 5: "published", 8: "lm-eval"}
    assert f"{mine.set_index('num_fewshot').loc[4, 'value_percent']:.2f}" == "51.78"


def test_another_number_of_questions_is_refused(tmp_path):
    def edit(published):
        published["Exp3"]["accuracy"][0]["questions"] = 1000
        del published["Exp4"]["accuracy"][0]["questions"]

    _, deltas = edited(tmp_path, edit)
    base = deltas[(deltas["against"] == "base") & (deltas["num_fewshot"] == 0)].set_index("label")
    assert base.loc["Exp3", ["verdict", "refusal"]].tolist() == ["refused", "questions: 1000 and 1319"]
    unknown = base.loc["Exp4"]
    assert unknown["verdict"] == "refused"
    assert f"{unknown['delta_points']:+.2f}" == "-0.08", "the difference is known, its error is not"
    assert np.isnan(unknown["p"])
