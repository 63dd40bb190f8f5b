"""What `sweepctl plan` prints of its predictions, at every width."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_sweepctl_predict import drawn

from results.files.predictions import PredictedMode
from sweepctl.plan.plan import load_plan
from sweepctl.planner.costs import KnownCosts, by_hand
from sweepctl.planner.outlook import look_ahead
from sweepctl.planner.recommend import recommend
from sweepctl.planner.show import print_outlook, print_recommendation

HAND = by_hand(generate_s=14, train_s_per_prompt=1.75, overhead_s=0.6)
SEEDS = "base: {max_steps: 20}\nparameters: {max_staleness: [0, 1]}\nseeds: [0, 1, 2, 3]\n"
WIDTHS = [40, 60, 80, 100, 120]


@pytest.fixture
def seeds(tmp_path):
    """Plans two arms of four seeds, or of those given."""

    def planned(seeds="[0, 1, 2, 3]", **options):
        spec = tmp_path / "spec.yaml"
        spec.write_text(f"version: 1\nname: planned\n{SEEDS.replace('[0, 1, 2, 3]', seeds)}")
        return load_plan(spec, "auto", [], tmp_path, **options)

    return planned


@pytest.fixture
def page(monkeypatch, capsys):
    """Prints at a width; the header's two lines, the rows, and the notes below."""

    def printed(width, plan, outlook):
        monkeypatch.setenv("COLUMNS", str(width))
        print_outlook(plan, outlook, slots=1)
        _, _, *lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        rows = [line for line in lines[2:] if re.match(r"Exp\d+[-,]?( seeds|seed| +[\d.])", line)]
        return lines[:2], rows, lines[2 + len(rows) :]

    return printed


def foreseen(plan, costs=None):
    """By costs that leave something to chance, unless others are given."""
    return look_ahead(plan, KnownCosts.alike_for_all(costs or drawn()))


class TestRows:
    def labels(self, page, plan):
        return [re.split(r" {2,}", row)[0] for row in page(200, plan, foreseen(plan))[1]]

    def test_seeds_that_share_a_prediction_share_a_row(self, seeds, page):
        assert self.labels(page, seeds()) == ["Exp1, seeds 0-3", "Exp2, seeds 0-3"]

    @pytest.mark.parametrize(
        ("given", "label"),
        [
            ("[0, 1, 5]", "Exp1, seeds 0-1, 5"),
            ("[7, 3, 4]", "Exp1, seeds 3-4, 7"),
            ("[1, 3, 5, 7, 9]", "Exp1, 5 seeds"),
            ("[4]", "Exp1"),
        ],
    )
    def test_which_seeds_a_row_is_of(self, seeds, page, given, label):
        assert self.labels(page, seeds(given))[0] == label

    def test_what_is_selected_stands_apart_from_what_is_not(self, seeds, page):
        assert self.labels(page, seeds(only="seed < 3")) == [
            "Exp1, seeds 0-2",
            "Exp1-seed3",
            "Exp2, seeds 0-2",
            "Exp2-seed3",
        ]

    def test_of_a_seed_that_is_predicted_otherwise_there_is_a_row(self, seeds, page):
        plan = seeds()
        outlook = foreseen(plan)
        first = plan.feasible[0].name
        slower = outlook.predictions[first].model_copy(update={"wall_s": 7200.0})
        changed = replace(outlook, predictions={**outlook.predictions, first: slower})
        rows = page(200, plan, changed)[1]
        assert [row.split("  ")[0] for row in rows[:2]] == ["Exp1-seed0", "Exp1, seeds 1-3"]
        assert rows[0].endswith("2h 00m")

    def test_all_runs_count_for_how_long_it_takes(self, seeds, page):
        plan = seeds()
        outlook = foreseen(plan)
        total = sum(outlook.predictions[run.name].wall_s for run in plan.feasible)
        minutes, seconds = divmod(round(total), 60)
        assert (
            f"training what is left takes about {minutes}m {seconds:02d}s, one run after the other"
            in (page(200, plan, outlook)[2])
        )


class TestWidth:
    @pytest.mark.parametrize("width", WIDTHS)
    def test_nothing_wraps_and_nothing_is_cut(self, seeds, page, width):
        plan = seeds()
        outlook = foreseen(plan)
        times = {
            run.name: outlook.predictions[run.name].model_copy(update={"wall_s": 754.0 + place})
            for place, run in enumerate(plan.feasible)
        }
        header, rows, _ = page(width, plan, replace(outlook, predictions=times))
        assert len(rows) == 8
        assert max(map(len, [*header, *rows])) <= width
        assert all(re.search(r" 12m \d\ds$", row) for row in rows)
        assert not any("…" in row for row in rows)

    @pytest.mark.parametrize("width", WIDTHS)
    def test_what_has_no_room_is_said(self, seeds, page, width):
        plan = seeds()
        header, _, notes = page(width, plan, foreseen(plan))
        titles = " ".join(header)
        hidden = next((note for note in notes if note.startswith("too narrow for ")), "")
        for word in ("chance", "modes", "age", "wasted", "engine", "learner", "wall"):
            assert (word in titles) != (word in hidden)
        assert ("learner idle" in hidden) == (width < 100)
        meanings = next(note for note in notes if note.startswith("step: "))
        for word in ("chance", "modes", "wasted"):
            assert (f"{word}: " in meanings) == (word in titles)

    def test_a_column_of_which_nothing_is_known_is_not_there(self, seeds, page):
        """Costs by hand leave nothing to chance and know of no tokens; without twins nothing is sped up."""
        plan = seeds(only="max_staleness == 0")
        synchronous = KnownCosts("hand", lambda config: None if config.max_staleness else HAND)
        header, rows, notes = page(200, plan, look_ahead(plan, synchronous))
        titles = " ".join(" ".join(header).split())
        assert titles == "step modes prompts engine learner s s /s age idle idle wall"
        assert len(rows) == 1
        assert not any("too narrow" in note or "chance" in note for note in notes)


def test_numbers_of_a_column_keep_their_last_zeros(seeds, page):
    plan = seeds("[0]")
    outlook = foreseen(plan, HAND)
    speeds = dict(zip((run.name for run in plan.feasible), (0.28, 0.3761), strict=True))
    rounded = {
        name: found.model_copy(
            update={"prompts_per_s": speeds[name], "modes": (PredictedMode(seconds=8, weight=1),)}
        )
        for name, found in outlook.predictions.items()
    }
    rows = page(200, plan, replace(outlook, predictions=rounded))[1]
    assert [row.split()[2:4] for row in rows] == [["8.00", "0.280"], ["8.00", "0.376"]]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_recommendation_does_not_wrap_and_names_arms(seeds, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    plan = seeds()
    print_recommendation(recommend(plan, foreseen(plan, HAND)))
    _, title, *lines = capsys.readouterr().out.splitlines()
    rows = [line.rstrip() for line in lines if re.match(r"(Exp\d|not in the sweep) ", line)]
    assert title.startswith("settings by the age")
    assert "Exp1" in {row.split("  ")[0] for row in rows}
    assert max(map(len, rows)) <= width
    assert any(
        note.startswith("next knob, from Exp2: ") or "from Exp2, the fastest" in note for note in lines
    )
    assert any(note.startswith("too narrow for") for note in lines) == (width == 60)


def test_the_reference_sweep_has_all_its_columns_at_80(tmp_path, page):
    plan = load_plan(Path("sweeps/staleness.yaml"), "gpu", [], tmp_path)
    header, rows, notes = page(80, plan, foreseen(plan, HAND))
    assert [row.split()[0] for row in rows] == ["Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]
    assert rows[4].split()[2:4] == ["14.6,", "28.6"]
    assert "learner" in header[0]
    assert not any("too narrow" in note for note in notes)
