"""Tables of a report: every figure says what it is of, once, in one format, and names stay readable."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from rich.console import Console

from results.ingest import ingest
from results.report.build import build_report
from results.report.compared import opponents
from results.report.document import Rows, Section, Sheet, shortened
from results.report.quality import undecided
from results.report.render import render_json, render_markdown, render_terminal
from results.report.sections.accuracy import absent_notes, questions_notes
from results.store import Store, records
from results.tables.accuracy import default_filter_rows


def report_of(runs_dir):
    ingest(runs_dir)
    return build_report(Store(runs_dir))


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory):
    """A run and its synchronous twin, which is the reference run as well."""
    runs = tmp_path_factory.mktemp("two")
    write_synthetic_sweep(runs, steps=16, questions=40, arms=REFERENCE_ARMS[:2])
    return report_of(runs)


@pytest.fixture(scope="module")
def five_arms(tmp_path_factory):
    runs = tmp_path_factory.mktemp("five")
    write_synthetic_sweep(runs, steps=16, questions=40, seeds=(0, 1))
    return report_of(runs)


class TestOfHowManyQuestions:
    @staticmethod
    def table(*counts):
        """Two shots of as many models as there are pairs of counts."""
        rows = [
            {"label": f"Exp{model}", "num_fewshot": shots, "questions": count}
            for model, pair in enumerate(counts, start=1)
            for shots, count in zip((0, 8), pair, strict=True)
        ]
        return pd.DataFrame(rows).astype({"questions": "Int64"})

    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            ([(1319, 1319), (1319, 1319)], ["Percentages of 1,319 questions."]),
            ([(1, 1)], ["Percentages of 1 question."]),
            (
                [(1319, 500), (1319, 500), (1319, 1319)],
                [
                    "Percentages of 1,319 questions, but for those below.",
                    "Of 500 questions: Exp1 8-shot, Exp2 8-shot.",
                ],
            ),
            (
                [(1319, 1319), (1319, 1319), (500, 500)],
                ["Percentages of 1,319 questions, but for those below.", "Of 500 questions: Exp3."],
            ),
            (
                [(1319, 1319), (1319, None), (1319, 500)],
                [
                    "Percentages of 1,319 questions, but for those below.",
                    "Of a number of questions that is not known: Exp2 8-shot.",
                    "Of 500 questions: Exp3 8-shot.",
                ],
            ),
            (
                [(10, 20)] * 9,
                ["Percentages of 10 questions, but for those below.", "Of 20 questions: 8-shot."],
            ),
            ([(None, None)], ["Percentages of a number of questions that is not known."]),
        ],
    )
    def test_those_of_another_number_are_named(self, counts, said):
        assert list(questions_notes(self.table(*counts))) == said

    def test_a_report_says_it_once_for_each_table(self, two_arms):
        page = render_markdown(two_arms)
        assert page.count("Percentages of 40 questions.") == page.count("### Exact match (%)") == 2


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["lm-eval", "lm-eval"], "2 of 3 models have no figure by this filter: Exp2, Exp3."),
        (
            ["published", "published"],
            "2 of 3 models have no figure by this filter: Exp2, Exp3; published was strict-match only.",
        ),
        (["published"], "1 of 2 models has no figure by this filter: Exp2; published was strict-match only."),
        ([], None),
    ],
)
def test_models_without_a_figure_by_a_filter_are_named(sources, said):
    both = [("Exp1", "strict-match", "lm-eval"), ("Exp1", "flexible-extract", "lm-eval")]
    others = [(f"Exp{n}", "strict-match", source) for n, source in enumerate(sources, start=2)]
    alike = pd.DataFrame([*both, *others], columns=["label", "filter", "source"])
    part = alike[alike["filter"] == "flexible-extract"]
    assert list(absent_notes(alike, part)) == ([said] if said else [])


def test_every_delta_has_its_adjusted_p_and_what_it_could_have_shown(five_arms):
    page = render_markdown(five_arms).split("## Deltas")[1].split("\n## ")[0]
    table = page.split("### Delta from the matched baseline")[1].split("###")[0]
    cells = {
        (line.split(" | ")[0].lstrip("| "), shots): cell.strip(" |").split("<br>")
        for line in table.splitlines()
        if line.startswith("| Exp")
        for shots, cell in zip((0, 4, 8), line.split(" | ")[2:], strict=True)
    }
    rows = records(default_filter_rows(five_arms.deltas.query("against == 'baseline'")))
    assert len(rows) == len(cells) == 18
    for row in rows:
        lines = cells[row["label"], row["num_fewshot"]]
        p = row["p_adjusted"]
        assert lines[2] == ("p &lt; 0.0001" if p < 1e-4 else f"p = {p:.2g}")
        detects = [f"detects ≥{row['detectable_points']:.1f}"]
        assert lines[3:] == (detects if row["verdict"] == "inconclusive" else [])


def test_an_equivalent_delta_has_the_p_that_made_it_so(two_arms):
    same = two_arms.deltas.assign(verdict="equivalent", p_adjusted=0.8, p_equivalent_adjusted=0.01)
    page = render_markdown(replace(two_arms, deltas=same))
    assert "<br>p = 0.8<br>equiv. p = 0.01 |" in page and "detects ≥" not in page.split("Delta of arms")[0]


class TestOneRunThatIsBaselineAndReference:
    def test_tables_and_sentences_stand_once_titled_for_both(self, two_arms):
        page = render_markdown(two_arms)
        both = "the matched baseline, which is also the reference run"
        assert page.count(f"### Speedup against {both}") == page.count(f"### Delta from {both} (points)") == 1
        assert "against the reference run\n" not in page and "Delta from the reference run" not in page
        said = (*two_arms.observations, *two_arms.conclusions)
        assert sum("speed-up in prompts a second" in each or "faster than" in each for each in said) == 1
        assert sum(each.startswith("Of 1 run compared with") for each in said) == 1
        assert not any("reference run" in each for each in said)

    def test_json_has_both(self, two_arms):
        content = json.loads(render_json(two_arms))
        assert {row["against"] for row in content["speedups"]} == {"baseline", "reference"}

    def test_other_runs_are_told_apart(self, five_arms):
        assert opponents(five_arms.speedups) == {"baseline": "matched baseline", "reference": "reference run"}
        page = render_markdown(five_arms)
        assert "which is also" not in page and "### Delta from the reference run (points)" in page

    def test_an_arm_that_one_of_them_has_fewer_seeds_of_is_another_comparison(self):
        rows = pd.DataFrame(
            {"against": ["baseline", "reference"], "label": "Exp2", "other_label": "Exp1", "seeds": [1, 2]}
        )
        assert list(opponents(rows)) == ["baseline", "reference"]
        assert list(opponents(rows.assign(seeds=2))) == ["baseline"]

    def test_three_of_a_kind_are_one(self):
        rows = pd.DataFrame(
            {"against": ["chosen", "reference", "baseline"], "label": "b", "other_label": "a"}
        )
        assert opponents(rows) == {
            "baseline": "matched baseline, which is also the reference run and the chosen run"
        }


@pytest.mark.parametrize("width", [80, 90, 100])
def test_a_long_name_is_broken_where_its_parts_meet(five_arms, width):
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        render_terminal(five_arms, console)
    table = capture.get().split("\nExperiments\n")[1].split("\nKey configuration\n")[0].splitlines()
    rule = next(line for line in table if "──" in line)
    head = table[table.index(rule) - 1]
    start, end = head.index("Run"), head.index("State")
    pieces = [line[start:end].strip() for line in table[table.index(rule) + 1 :] if line[start:end].strip()]
    names = list(five_arms.experiments["run_name"])
    assert "".join(pieces) == "".join(names)
    assert all(re.search(r"[-_]$|_seed[01]$|^seed[01]$|lr[\d.e-]+$", piece) for piece in pieces), pieces
    states = list(five_arms.experiments["state"])
    assert re.findall("succeeded|infeasible", "\n".join(table)) == states


def test_of_many_rows_only_those_shown_are_formatted():
    made = []

    def form(place):
        made.append(place)
        return (str(place),)

    rows = Rows(range(1000), form)
    ranks = tuple(float(place) for place in range(1000))
    sheets = (Sheet("", ("N",), rows), Sheet("", ("N",), rows, ranks=ranks))
    (section,) = shortened([Section("", sheets)], 3, "advice")
    assert [sheet.rows for sheet in section.blocks] == [
        (("0",), ("1",), ("2",)),
        (("997",), ("998",), ("999",)),
    ]
    assert len(made) == 6 and len(rows) == 1000
    assert list(rows[1:3]) == [("1",), ("2",)]


def test_one_figure_stands_for_a_range_that_is_printed_alike(two_arms):
    points = np.linspace(29.96, 30.04, len(two_arms.deltas))
    narrow = two_arms.deltas.assign(verdict="inconclusive", detectable_points=points)
    (said,) = undecided(narrow[narrow["against"] == "baseline"])
    assert "differences below about 30.0 points would" in said
