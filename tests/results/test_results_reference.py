"""The reference's own lm-eval output gives the reference's own tables, to the last digit."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from results.ingest import ingest
from results.report.build import build_report
from results.report.render import render_markdown, render_terminal
from results.store import Store
from results.tables.accuracy import default_filter_rows
from trainer.config import RunConfig
from trainer.paths import SweepPaths

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
MODEL = "Qwen/Qwen3-1.7B-Base"
ARMS = {"exp1": ("gsm8k_s0_opt16_lr1e6", 0), "exp2": ("gsm8k_s1_opt16_lr1e6", 1)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The reference's results where a sweep would have put them."""
    runs = tmp_path_factory.mktemp("reference")
    sweep = SweepPaths(runs / "gsm8k")
    planned = []
    for label, (name, staleness) in ARMS.items():
        config = RunConfig(model=MODEL, max_staleness=staleness)
        planned.append(
            {"run_name": name, "label": label.capitalize(), "config": config.model_dump(mode="json")}
        )
    for shots in (0, 4, 8):
        targets = {"base": sweep.base_evaluation(MODEL, "gsm8k_cot", shots)}
        targets |= {
            k: sweep.run(name).evaluation("step_000100", "gsm8k_cot", shots) for k, (name, _) in ARMS.items()
        }
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REFERENCE / "eval_results" / f"{source}_{shots}shot.json", target)
    sweep.manifest.write_text(
        json.dumps({"version": 1, "name": "gsm8k", "runs": planned, "baseline": "synchronous", "margin": 2.0})
    )
    ingest(runs)
    return build_report(Store(runs))


def published(heading):
    """A table of the reference's page: label -> cells, for the models whose lm-eval output is there."""
    page = (REFERENCE / "gsm8k-staleness-sweep.md").read_text()
    section = page.split(f"### {heading}")[1].split("###")[0]
    rows = {}
    for line in section.splitlines():
        match = re.match(r"\| (Base|Exp[12])\b[^|]*\| (.+) \|", line)
        if match:
            rows[match[1]] = match[2].split(" | ")
    assert len(rows) >= 2
    return rows


def by_label(frame, column, form):
    chosen = default_filter_rows(frame)
    return {
        label.capitalize(): [format(value, form) for value in part.sort_values("num_fewshot")[column]]
        for label, part in chosen.groupby("label")
    }


def test_exact_match_is_the_published_one(report):
    assert by_label(report.accuracy, "value_percent", ".2f") == published("Exact Match Accuracy (%)")


def test_delta_from_base_is_the_published_one(report):
    from_base = report.deltas[report.deltas["against"] == "base"]
    assert by_label(from_base, "delta_points", "+.2f") == published("Delta from Base Model (%)")


def test_verdicts_are_unpaired_and_no_arm_learned(report):
    assert set(report.deltas["method"]) == {"unpaired"}
    assert set(report.deltas["verdict"]) == {"inconclusive"}
    assert any("quality was not tested" in sentence for sentence in report.observations)


def test_the_report_shows_the_published_figures(report):
    console = Console(width=100, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        render_terminal(report, console)
    for text in (capture.get(), render_markdown(report)):
        for figure in ("56.03", "52.08", "64.67", "-0.38", "-0.99", "+0.23"):
            assert figure in text
