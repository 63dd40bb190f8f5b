"""What a report says of speed that was published elsewhere: no more than rounded figures allow."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.ingest import ingest
from results.report.build import build_report
from results.report.gate import check_gate
from results.report.gate_reader import read_gate
from results.report.published import (
    flattering_step_times,
    largest_published,
    published_as_slower,
    published_observations,
)
from results.report.render import render_markdown
from results.statistics.rounding import resolution
from results.store import Store
from sweepctl.commands.import_ import import_folder

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
RUN_TABLE = Path(__file__).parents[1] / "sweepctl" / "reference_runs.yaml"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The reference as `sweepctl import --runs` takes it in."""
    runs = tmp_path_factory.mktemp("imported") / "runs"
    import_folder(runs, REFERENCE / "eval_results", name="gsm8k", runs=RUN_TABLE, as_json=False)
    ingest(runs)
    return build_report(Store(runs))


def ratios(*rows, against="reference"):
    """Rows of (label, ratio of prompts/s with its two ends, ratio of step times); Exp0 is the opponent."""
    return pd.DataFrame(
        [
            {
                **{"label": label, "run_name": f"run_{label}", "against": against},
                **{"other_label": "Exp0", "other_run": "run_Exp0"},
                **{"prompts_per_s_speedup": value, "prompts_per_s_speedup_decimals": 2},
                **{"prompts_per_s_speedup_low": low, "prompts_per_s_speedup_high": high},
                **{"step_time_speedup": step_time, "step_time_speedup_decimals": 1},
                **{"step_time_speedup_low": step_time, "step_time_speedup_high": step_time},
                "step_time_comparable": bool(np.isclose(value, step_time)),
            }
            for label, (value, low, high), step_time in rows
        ]
    )


FAST, FASTER, EVEN, SLOW = (1.4, 1.395, 1.408), (1.405, 1.4, 1.41), (1.001, 0.99, 1.01), (0.74, 0.735, 0.744)


class TestSentences:
    def test_the_largest_ratio_and_what_rounding_cannot_tell_from_it(self):
        (said,) = largest_published(ratios(("Exp1", FAST, 1.4), ("Exp2", SLOW, 0.74)))
        assert said == (
            "Largest published speed-up in prompts a second: 1.40x (rounding allows 1.395–1.408; no "
            "confidence interval), Exp1 against the reference run, Exp0."
        )
        (said,) = largest_published(ratios(("Exp1", FAST, 1.4), ("Exp2", FASTER, 1.4)))
        assert "Exp2 against the reference run, Exp0; rounding cannot tell it from that of Exp1." in said

    def test_what_may_be_no_difference_by_rounding_is_not_called_faster(self):
        (said,) = largest_published(ratios(("Exp1", EVEN, 1.0), ("Exp2", SLOW, 0.74)))
        assert said.startswith("No run is published as faster than the reference run: the best, Exp1, ")

    def test_steps_of_unlike_work_are_told_where_they_flatter(self):
        (said,) = flattering_step_times(ratios(("Exp1", FAST, 2.8), ("Exp2", FASTER, 1.405)))
        assert "2.8x, Exp1 against the reference run, Exp0, is of steps" in said
        assert said.endswith("in prompts a second it is 1.40x (rounding allows 1.395–1.408).")
        assert list(flattering_step_times(ratios(("Exp1", SLOW, 1.48), ("Exp2", FAST, 1.4)))) != []
        assert list(flattering_step_times(ratios(("Exp1", SLOW, 1.3), ("Exp2", FAST, 1.4)))) == []

    def test_slower_is_what_is_slower_however_it_was_rounded(self):
        part = ratios(("Exp1", EVEN, 1.0), ("Exp2", SLOW, 0.74), against="baseline")
        assert list(published_as_slower(part)) == [
            "Published as slower than its matched baseline: Exp2, 0.74x the prompts a second (rounding "
            "allows 0.735–0.744)."
        ]
        assert list(published_as_slower(part.head(1))) == []

    def test_without_figures_nothing_is_said(self):
        assert list(published_observations(ratios(("Exp1", (np.nan,) * 3, np.nan)))) == []


def test_the_references_headline_is_set_right(report):
    """Its 2.8x compares steps that train half as many prompts."""
    (said,) = [each for each in report.speed_observations if "2.8x" in each]
    assert "Exp4 against the reference run, Exp1" in said and "1.40x (rounding allows 1.395–1.408)" in said
    largest = [each for each in report.speed_observations if each.startswith("Largest published")]
    assert [re.search(r"(\d\.\d+)x.*(Exp\d) against .*, (Exp\d)\.", each).groups() for each in largest] == [
        ("1.89", "Exp4", "Exp3"),
        ("1.46", "Exp2", "Exp1"),
    ]


def test_the_tables_have_one_format_and_heads_that_tell_them_apart(report):
    speed = render_markdown(report).split("\n## Training speed\n")[1].split("\n## ")[0]
    assert speed.count("1.00x (ref.)") == 2 and not re.search(r"[| ]1x", speed)
    assert "| Step-time speedup, published |" in speed and "| 0.550 |" in speed
    page = render_markdown(report)
    assert page.count("Percentages of 1,319 questions.") == 2
    absent = "3 of 6 models have no figure by this filter: Exp3, Exp4, Exp5; published was strict-match only."
    assert page.count(absent) == 1


@pytest.mark.parametrize(
    ("gate", "passed", "reason"),
    [
        ("all(published.prompts_per_s > 1.3)", True, ""),
        ("count(published.prompts_per_s_low > 1, where=against == reference) == 3", True, ""),
        ("max(published.prompts_per_s, where=against == reference) > 2", False, "1.464, Exp2 against Exp1"),
        ("all(published.step_time > 1)", True, ""),
        (
            "all(published.step_time > 1, where=against == reference)",
            False,
            "Exp4 against Exp1: published.step_time is missing: the two runs' steps train different",
        ),
        (
            "any(published.training_time > 2, where=against == reference)",
            False,
            "published.training_time is missing: the two runs' steps train different numbers of prompts",
        ),
    ],
)
def test_a_gate_can_ask_for_published_speed(report, gate, passed, reason):
    outcome = check_gate(read_gate(gate, ("max_staleness",)), report)
    assert outcome.passed is passed
    assert any(reason in each for each in outcome.reasons) or passed


def test_a_gate_does_not_pass_over_a_run_without_published_figures(report):
    without = report.published_speedups.query("label != 'Exp4'")
    outcome = check_gate(
        read_gate("all(published.prompts_per_s > 1.3)", ()), replace(report, published_speedups=without)
    )
    assert outcome.reasons == (
        "Exp4 against Exp3: published.prompts_per_s is missing: no speed of both was published",
    )


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=20),
    st.integers(0, 6),
    st.sampled_from([1.0, 60.0, 3600.0]),
)
def test_a_resolution_is_the_coarsest_that_all_figures_are_multiples_of(counts, places, unit):
    figures = np.array([count / 10**places * unit for count in counts])
    spare = next((n for n in range(places) if any(count % 10 ** (n + 1) for count in counts)), places)
    found = resolution(np.append(figures, np.nan), unit, decimals=6)
    assert found == pytest.approx(unit * 10.0 ** (spare - places))
