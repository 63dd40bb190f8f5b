"""Pages Runs and Rollouts: what they make of choices, of text by models, and of what is not there."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from factories.colour_contrast import contrast
from factories.page_factory import draw_page
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from results.figures.rollouts import MOST_TOKENS, TOKENS_A_ROW, token_strip
from results.ingest import ingest
from results.report.build import build_report
from results.store import Store

FIVE = "s1_opt8_sync16_lr5e-05"
ONE = "s0_opt16_sync16_lr0.0001"
HOSTILE = "<img src=x onerror=alert(1)> **bold** `code` %{y} [link](http://x)"


@pytest.fixture
def draw(runs_dir):
    """One page by itself, as an address asks for it."""

    def go(page, sweep="staleness", runs=None, root=runs_dir, **query):
        return draw_page(page, root, sweep, runs, **query)

    return go


@pytest.fixture
def mine(tmp_path, runs_dir):
    """A copy of the finished sweep that a test may change."""
    shutil.copytree(runs_dir / "staleness", tmp_path / "staleness")
    ingest(tmp_path)
    return tmp_path


def table_with(app, column):
    return next(table.value for table in app.dataframe if column in table.value)


def said(app):
    shown = "\n".join(block.value for kind in (app.info, app.caption, app.warning) for block in kind)
    return shown.replace("\\", "")


def rollout_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_run_is_listed_and_the_filter_is_honoured(draw, report):
    assert list(table_with(draw("runs.page"), "state")["label"]) == list(report.experiments["label"])
    assert list(table_with(draw("runs.page", runs=[FIVE, ONE]), "state")["label"]) == ["Exp1", "Exp5"]


def test_differences_only_hides_what_all_runs_share(draw):
    app = draw("runs.page", runs=[ONE, "s1_opt16_sync16_lr0.0001"])
    assert {"state", "optim.lr", "max_staleness"} <= {*table_with(app, "label")}
    app.toggle(key="differences").set_value(True).run()
    shown = {*table_with(app, "label")}
    assert {"label", "max_staleness"} <= shown
    assert not {"state", "optim.lr", "prompts_per_optim_step"} & shown


def test_differences_only_says_what_it_hides_and_what_a_run_has_not_is_no_difference(draw):
    app = draw("runs.page", runs=[ONE, "s1_opt16_sync16_lr0.0001"], differences="true")
    # Only one of the two has an opponent and thus a verdict.
    assert "verdict" not in table_with(app, "max_staleness")
    assert "The same in all and hidden: State succeeded, B 16, P 16, LR 0.0001, " in said(app)


def test_a_sixth_knob_that_differs_takes_the_place_of_those_that_agree(draw, mine):
    for path in mine.glob("staleness/*/config.json"):
        file = json.loads(path.read_text())
        file["config"]["loss"] = {"clip": 0.1 if path.parent.name == ONE else 0.2, "beta": 0.5}
        path.write_text(json.dumps(file))
    ingest(mine, rebuild=True)
    pair = [ONE, "s1_opt16_sync16_lr0.0001"]
    app = draw("runs.page", root=mine, runs=pair, differences="true")
    assert "loss.clip" in table_with(app, "max_staleness")


def test_accuracy_and_verdicts_are_of_the_shots_chosen(draw, report):
    app = draw("runs.page")
    assert app.selectbox(key="accuracy").value.endswith(" · strict-match · 8-shot")
    chosen = "arithmetic_cot · exact_match · flexible-extract · 0-shot"
    app = draw("runs.page", accuracy=chosen)
    table = table_with(app, "accuracy_percent").set_index("label")
    wanted = report.accuracy[
        (report.accuracy["filter"] == "flexible-extract") & (report.accuracy["num_fewshot"] == 0)
    ].set_index("label")
    for label in wanted.index.drop("base"):
        assert table.loc[label, "accuracy_percent"] == wanted.loc[label, "value_percent"]
    headings = json.loads(next(each for each in app.dataframe if "verdict" in each.value).proto.columns)
    assert headings["accuracy_percent"]["label"] == "0-shot (%)"
    assert headings["verdict"]["label"] == "Verdict, 0-shot"


def test_learning_rates_are_written_as_in_a_spec_and_sorted_as_numbers(draw):
    app = draw("runs.page", runs=[FIVE, ONE])
    shown = next(each for each in app.dataframe if "optim.lr" in each.value)
    assert shown.value["optim.lr"].tolist() == [1e-4, 5e-5]
    words = convert_arrow_bytes_to_pandas_df(shown.proto.arrow_data.styler.display_values)
    place = list(shown.value.columns).index("optim.lr")
    assert words.iloc[:, place].tolist() == ["0.0001", "5e-05"]
    # A format would take the place of these words.
    assert "format" not in json.loads(shown.proto.columns)["optim.lr"]["type_config"]


def test_groups_say_how_many_runs_they_are_of(draw, report):
    app = draw("runs.page")
    assert "seed" not in app.selectbox(key="group_by").options
    app.selectbox(key="group_by").set_value("max_staleness").run()
    grouped = table_with(app, "finished")
    assert grouped["finished"].tolist() == [2, 3]
    finished = report.experiments[report.experiments["state"] == "succeeded"]
    means = finished.groupby("max_staleness")["prompts_per_s"].mean()
    assert grouped["prompts_per_s"].tolist() == pytest.approx(means.tolist())
    assert "may differ in other knobs" in said(app)


def test_a_run_in_full(draw, report):
    app = draw("runs.page", show=FIVE)
    headers = [header.value.replace("\\", "") for header in app.subheader]
    assert f"Exp5: {FIVE}" in headers
    figures = next(table.value for table in app.dataframe if "steps done" in table.value.iloc[:, 0].tolist())
    overlap = report.experiments.set_index("run_name").loc[FIVE, "overlap_efficiency"]
    assert float(figures.set_index("key")["value"]["overlap efficiency"]) == pytest.approx(overlap, rel=1e-5)
    configuration = table_with(app, "departs").set_index("key")
    assert configuration.loc["max_staleness", ["value", "default", "departs"]].tolist() == ["1", "0", "yes"]
    assert configuration.loc["loss.clip", "departs"] == "no"
    assert set(configuration.index) == set(report.configurations[FIVE])
    commands = [block.value for block in app.code]
    assert any(command.startswith(f"sweepctl logs -f staleness/{FIVE} --runs-dir ") for command in commands)
    assert any(command.splitlines()[-1].startswith("step 16/16  reward ") for command in commands)
    assert table_with(app, "began")["steps"].tolist() == [16]
    app.text_input(key="configuration_text").set_value("MAX_STALE").run()
    assert table_with(app, "departs")["key"].tolist() == ["max_staleness"]
    app.text_input(key="configuration_text").set_value("").run()
    app.toggle(key="departs").set_value(True).run()
    assert set(table_with(app, "departs")["departs"].dropna()) == {"yes"}


def test_a_run_that_left_nothing_says_so(draw):
    app = draw("runs.page", sweep="partial", show=FIVE)
    assert "There is no train.log: the run is pending" in said(app)
    assert "No attempt is on record" in said(app)


def test_two_runs_beside_each_other(draw, runs_dir):
    app = draw("runs.page", show=[ONE, FIVE])
    changes = table_with(app, "key").set_index("key")
    expected = {"max_staleness": ("0", "1"), "prompts_per_optim_step": ("16", "8")}
    assert {key: tuple(changes.loc[key, ["first", "second"]]) for key in expected} == expected
    results = table_with(app, "ratio").set_index("name")
    summary = build_report(Store(runs_dir), "staleness").experiments.set_index("run_name")
    rates = summary.loc[[ONE, FIVE], "prompts_per_s"].tolist()
    assert results.loc["prompts/s", ["first", "second"]].tolist() == rates
    assert results.loc["prompts/s", "ratio"] == pytest.approx(rates[1] / rates[0])
    assert results["verdict"].notna().sum() == 6  # three numbers of shots, two filters
    assert any(f"sweepctl diff staleness/{ONE} staleness/{FIVE}" in block.value for block in app.code)


def test_a_point_that_cannot_run_is_compared_by_its_settings_alone(draw):
    app = draw("runs.page", show=[ONE, "s0_opt8_sync16_lr5e-05"])
    assert "has no results to compare" in said(app)
    assert "prompts_per_optim_step" in table_with(app, "key")["key"].tolist()


def test_groups_are_found_by_fate_step_reward_age_and_text(draw, runs_dir):
    run = "s1_opt8_sync8_lr5e-05"
    lines = rollout_lines(runs_dir / "staleness" / run / "rollouts.jsonl")
    app = draw("rollouts", rollouts=run)

    def groups():
        return set(table_with(app, "version_min")["group"])

    def expect(wanted):
        app.run()
        assert not app.exception
        assert groups() == {line["group"] for line in lines if wanted(line)}

    expect(lambda line: True)
    app.multiselect(key="fate").set_value(["trained"])
    expect(lambda line: line["fate"] == "trained")
    app.number_input(key="step_from").set_value(3)
    app.number_input(key="step_to").set_value(9)
    expect(lambda line: line["step"] is not None and 3 <= line["step"] <= 9)
    app.number_input(key="step_from").set_value(None)
    app.multiselect(key="age").set_value([0])
    expect(lambda line: line["step"] == 0)
    app.multiselect(key="age").set_value([])
    app.multiselect(key="fate").set_value([])
    app.number_input(key="step_to").set_value(None)
    app.number_input(key="reward_mean_from").set_value(0.9)
    expect(lambda line: line["fate"] == "filtered")
    app.number_input(key="reward_mean_from").set_value(None)
    wanted = lines[3]["prompt"].split("is ")[1][:7].upper()
    app.text_input(key="text").set_value(wanted)
    expect(lambda line: wanted in line["prompt"])
    app.text_input(key="text").set_value("no such text").run()
    assert f"None of the {len(lines)} groups that were kept" in said(app)


def test_a_link_opens_a_completion(draw, runs_dir):
    lines = rollout_lines(runs_dir / "staleness" / ONE / "rollouts.jsonl")
    line = next(line for line in lines if line["fate"] == "trained" and line["group"] > 0)
    app = draw("rollouts", rollouts=ONE, group=str(line["group"]), completion="2")
    completion = line["completions"][1]
    texts = [line["prompt"], line["answer"], completion["text"]]
    assert [block.value for block in app.code] == [text.strip() for text in texts]
    tokens = table_with(app, "generator_logprob")
    gap = np.subtract(completion["learner_logprobs"], completion["generator_logprobs"])
    assert tokens["gap"].tolist() == pytest.approx(gap.tolist())
    assert table_with(app, "advantage")["reward"].tolist() == [
        completion["reward"] for completion in line["completions"]
    ]


def test_what_a_group_was_not_trained_with_is_said(draw, runs_dir):
    lines = rollout_lines(runs_dir / "staleness" / ONE / "rollouts.jsonl")
    filtered = next(line["group"] for line in lines if line["fate"] == "filtered")
    app = draw("rollouts", rollouts=ONE, group=str(filtered), fate="filtered")
    assert "This group is filtered: it was not trained on" in said(app)


def test_files_of_older_releases_and_damage_are_said(draw, mine):
    path = mine / "staleness" / ONE / "rollouts.jsonl"
    lines = rollout_lines(path)
    for completion in lines[0]["completions"]:
        del completion["tokens"], completion["learner_logprobs"], completion["advantage"]
    path.write_text(json.dumps(lines[0]) + "\nno group\n")
    app = draw("rollouts", root=mine, rollouts=ONE)
    assert "trained by an older release" in said(app)
    assert "are left out: 1." in said(app)


def test_without_rollouts_the_page_says_why(draw, mine):
    for path in mine.glob("staleness/*/rollouts.jsonl"):
        path.unlink()
    app = draw("rollouts", root=mine)
    assert "`rollouts.keep`" in said(app)
    assert not app.dataframe


def test_text_of_a_model_is_never_markdown(draw, mine):
    path = mine / "staleness" / ONE / "rollouts.jsonl"
    lines = rollout_lines(path)[:1]
    lines[0]["prompt"] = lines[0]["answer"] = lines[0]["completions"][0]["text"] = HOSTILE
    lines[0]["completions"][0]["tokens"][0] = "<b>%{y}"
    path.write_text(json.dumps(lines[0]) + "\n")
    app = draw("rollouts", root=mine, rollouts=ONE)
    assert [block.value for block in app.code] == [HOSTILE] * 3
    for kind in (app.markdown, app.caption, app.info, app.subheader, app.title):
        assert not any("onerror" in block.value or "<b>" in block.value for block in kind)


def tokens_of(count, token="word", gap=0.1):
    return pd.DataFrame(
        {
            "place": range(1, count + 1),
            "token": [token] * count,
            "generator_logprob": -1.0,
            "learner_logprob": -1.0 + gap,
            "gap": gap,
        }
    )


def test_tokens_are_drawn_in_reading_order_without_markup():
    tokens = tokens_of(TOKENS_A_ROW + 2)
    tokens.loc[0, "token"] = "<b>%{y}"
    tokens.loc[1, "token"] = "a\nb c"
    (strip,) = token_strip(tokens).data
    assert [len(row) for row in strip.text] == [TOKENS_A_ROW, TOKENS_A_ROW]
    assert strip.text[0][:2] == ["&lt;b&gt;%{y}", "a↵b·c"]
    assert strip.text[1][2] == ""
    drawn = [value for row in strip.z for value in row if value is not None]
    assert drawn == [0.1] * len(tokens)
    assert (strip.zmin, strip.zmax) == (-0.1, 0.1)


def test_tokens_are_read_on_every_gap_and_where_both_agree_no_page_is_outshone():
    (strip,) = token_strip(tokens_of(2, gap=0.0)).data
    scale = dict(strip.colorscale)
    assert [round(contrast(colour, strip.textfont.color), 1) >= 4.2 for colour in scale.values()] == [
        True
    ] * 3
    light, dark = (contrast(scale[0.5], page) for page in ("#FFFFFF", "#191816"))
    assert 3 < dark < 7
    assert 3 < light < 7


def test_without_gaps_the_colour_is_the_generators_own():
    (strip,) = token_strip(tokens_of(3, gap=np.nan)).data
    assert strip.z[0][:3] == [-1.0, -1.0, -1.0]
    assert (strip.zmin, strip.zmax) == (-1.0, 0.0)


def test_a_long_completion_is_cut():
    (strip,) = token_strip(tokens_of(3 * MOST_TOKENS)).data
    assert len(strip.z) == MOST_TOKENS // TOKENS_A_ROW
