"""What the app makes of stores that are missing, broken, empty, partial, or hold several sweeps."""

from pathlib import Path

import pytest
from factories.page_factory import draw_page
from streamlit.testing.v1 import AppTest

from dashboard.live import age
from results.files.comparisons import OPPONENTS
from results.ingest import ingest

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")


@pytest.fixture
def open_app(monkeypatch):
    def run(runs_dir, **query):
        monkeypatch.setenv("SWEEPCTL_RUNS_DIR", str(runs_dir))
        app = AppTest.from_file(APP, default_timeout=120)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        return app

    return run


def commands(app):
    return [block.value for block in app.code]


def test_without_a_store_it_says_how_to_get_one(open_app, tmp_path):
    app = open_app(tmp_path / "absent")
    assert app.title[0].value == "No results yet"
    assert f"sweepctl run sweeps/staleness.yaml --runs-dir {tmp_path / 'absent'}" in commands(app)


def test_the_default_folder_needs_no_option(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEPCTL_RUNS_DIR", raising=False)
    app = AppTest.from_file(APP, default_timeout=120).run()
    assert commands(app) == ["sweepctl run sweeps/staleness.yaml", "sweepctl ingest"]
    assert any("SWEEPCTL_RUNS_DIR" in caption.value for caption in app.caption)


@pytest.mark.parametrize("content", [b"", b"not a database" * 500])
def test_a_broken_store_names_the_command_that_mends_it(open_app, tmp_path, content):
    (tmp_path / "results.duckdb").write_bytes(content)
    app = open_app(tmp_path)
    assert app.title[0].value == "The store cannot be read"
    assert commands(app)[0] == f"sweepctl ingest --rebuild --runs-dir {tmp_path}"


def test_a_store_without_a_sweep_says_how_to_run_one(open_app, tmp_path):
    ingest(tmp_path)
    app = open_app(tmp_path)
    assert app.title[0].value == "No sweep yet"
    assert commands(app) == [f"sweepctl run sweeps/staleness.yaml --runs-dir {tmp_path}"]


def test_the_address_chooses_the_sweep_and_follows_the_choice(open_app, runs_dir):
    app = open_app(runs_dir, sweep="partial")
    assert app.selectbox(key="sweep").value == "partial"
    assert app.selectbox(key="sweep").options == ["fresh", "partial", "staleness"]
    app.selectbox(key="sweep").set_value("staleness").run()
    assert app.query_params["sweep"] == "staleness"
    assert not app.exception
    assert any("staleness" in caption.value for caption in app.caption)


def test_an_unknown_sweep_in_the_address_is_said_and_replaced(open_app, runs_dir):
    app = open_app(runs_dir, sweep="gone")
    assert app.selectbox(key="sweep").value == "fresh"
    assert app.query_params["sweep"] == "fresh"
    assert any("no sweep gone" in warning.value for warning in app.warning)


def test_model_profile_and_observations_are_shown(open_app, runs_dir, report):
    app = open_app(runs_dir, sweep="staleness")
    shown = "\n".join(block.value for block in app.markdown).replace("\\", "")
    assert "built-in model (builtin:tiny), profile synthetic" in shown
    for sentence in report.observations:
        assert sentence in shown
    assert any("All 5 runs have finished" in caption.value for caption in app.caption)


def test_a_running_sweep_shows_how_far_it_has_come(open_app, runs_dir):
    app = open_app(runs_dir, sweep="partial")
    assert any("Exp4 running, step 8 of 16; no sign of life" in warning.value for warning in app.warning)


@pytest.mark.parametrize("page", ["overview", "step_times", "quality.page"])
@pytest.mark.parametrize("sweep", ["partial", "fresh"])
def test_every_page_shows_a_partial_sweep(page, sweep, runs_dir):
    app = draw_page(page, runs_dir, sweep)
    unevaluated = any("Nothing has been evaluated yet" in info.value for info in app.info)
    assert unevaluated == (page == "quality.page" and sweep == "fresh")


def test_before_the_first_step_pages_say_so(tmp_path, runs_dir):
    planned = tmp_path / "partial"
    planned.mkdir()
    (planned / "sweep.json").write_bytes((runs_dir / "partial" / "sweep.json").read_bytes())
    ingest(tmp_path)
    draw_page("overview", tmp_path, "partial")
    for page in ("step_times", "quality.page"):
        app = draw_page(page, tmp_path, "partial")
        assert any("No run has finished a step yet" in info.value for info in app.info)


def test_the_steps_page_has_the_sentences_of_the_tests(runs_dir, report):
    app = draw_page("step_times", runs_dir, "staleness")
    shown = "\n".join(block.value for block in app.markdown).replace("\\", "")
    for sentence in report.modes["sentence"]:
        assert sentence in shown


def test_choosing_the_opponent_and_the_filter_changes_the_verdicts(runs_dir, report):
    app = draw_page("quality.page", runs_dir, "staleness")

    def verdicts():
        return next(table.value for table in app.dataframe if "verdict" in table.value)

    for opponent, against in (("base model", "base"), ("reference run", "reference")):
        app.segmented_control(key="against").set_value(opponent).run()
        expected = report.deltas[
            (report.deltas["against"] == against) & (report.deltas["filter"] == "strict-match")
        ].sort_values(["num_fewshot", "position", "run_name"])
        assert list(verdicts()["delta_points"]) == list(expected["delta_points"])
        assert list(verdicts()["verdict"]) == list(expected["verdict"])
    app.selectbox(key="measure").set_value("arithmetic_cot · exact_match · flexible-extract").run()
    assert not app.exception
    flexible = report.deltas[(report.deltas["against"] == "reference")]
    flexible = flexible[flexible["filter"] == "flexible-extract"]
    assert sorted(verdicts()["delta_points"]) == sorted(flexible["delta_points"])


def test_opponents_are_called_as_in_the_report(runs_dir, monkeypatch):
    monkeypatch.setitem(OPPONENTS, "reference", "yardstick")
    quality = draw_page("quality.page", runs_dir, "staleness")
    assert quality.segmented_control(key="against").options == [
        *("base model", "matched baseline", "yardstick", "chosen run")
    ]
    speed = draw_page("speed.page", runs_dir, "staleness")
    assert "yardstick" in speed.selectbox(key="baseline").options


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (12, "12 s"), (300, "5 min"), (10_800, "3 h"), (172_800, "2 days")]
)
def test_ages(seconds, words):
    assert age(seconds) == words
