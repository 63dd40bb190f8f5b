"""Reports of several seeds speak of arms, and never of the luckiest seed or of an arm against itself."""

import json

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest
from results.report.build import build_report
from results.report.chosen import compared_with
from results.report.compared import compared_speeds
from results.store import Store


def report_of(runs_dir):
    ingest(runs_dir)
    return build_report(Store(runs_dir))


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory):
    runs = tmp_path_factory.mktemp("seeds")
    write_synthetic_sweep(runs, steps=12, questions=100, arms=REFERENCE_ARMS[2:4], seeds=(0, 1, 2))
    return report_of(runs)


def test_the_speed_up_of_an_arm_is_told_and_not_that_of_its_luckiest_seed(three_seeds):
    arms = three_seeds.arm_speedups.set_index("against").loc["baseline"]
    luckiest = three_seeds.speedups["prompts_per_s_speedup"].max()
    assert f"{luckiest:.2f}" != f"{arms['prompts_per_s_speedup']:.2f}"
    said = next(each for each in three_seeds.observations if "against its matched baseline" in each)
    low, high = arms["prompts_per_s_low"], arms["prompts_per_s_high"]
    assert said == (
        f"Largest speed-up in prompts a second: {arms['prompts_per_s_speedup']:.2f}x "
        f"(95 % {low:.2f}–{high:.2f}, over 3 seeds), Exp4 against its matched baseline, Exp3."
    )


def test_conclusions_count_arms(three_seeds):
    speed = next(each for each in three_seeds.conclusions if "prompts a second" in each)
    assert speed.startswith("Of 1 arm compared with a matched baseline, 1 is shown")
    quality = three_seeds.conclusions[-1]
    assert "3 of 3 comparisons" in quality or "all 3 comparisons" in quality  # of 9 of runs
    assert any("2 evaluated arms" in each for each in three_seeds.observations)


def test_a_run_stands_for_itself_where_its_arm_has_no_other(three_seeds):
    one = three_seeds.arm_speedups.assign(seeds=1)
    rows = compared_speeds(three_seeds.experiments, three_seeds.speedups, one)
    assert list(rows["label"]) == list(three_seeds.speedups["label"])
    assert set(rows["interval_scope"]) == {"within this run"}


def test_an_arm_is_not_compared_with_itself(tmp_path):
    """The reference was trained with seed 0 only, as far as its runs' opponent goes."""
    folder = write_synthetic_sweep(tmp_path, steps=12, questions=50, arms=REFERENCE_ARMS[:2], seeds=(0, 1))
    ingest(tmp_path)
    reference = REFERENCE_ARMS[0].run_name(0, True)
    with compared_with(Store(tmp_path), folder.name, reference) as store:
        report = build_report(store)
    own = report.speedups[
        (report.speedups["against"] == "chosen") & report.speedups["run_name"].str.startswith(reference[:-1])
    ]
    assert len(own) == 1
    rows = compared_speeds(report.experiments, report.speedups, report.arm_speedups)
    assert set(rows.loc[rows["against"] == "chosen", "label"]) == {"Exp2-seed0", "Exp2-seed1"}
    counted = [each for each in report.observations if "comparisons with the chosen run" in each]
    assert all(" of 6 " in each for each in counted) and counted  # two runs at three numbers of shots


@pytest.mark.parametrize("form", ["{arm}-seed{seed}", "{arm} seed {seed}", "{arm}_seed{seed}"])
def test_the_arm_of_a_label_can_be_chosen_however_its_seed_is_written(tmp_path, form):
    folder = write_synthetic_sweep(tmp_path, steps=3, questions=5, arms=REFERENCE_ARMS[:2], seeds=(0, 1))
    path = folder / "sweep.json"
    content = json.loads(path.read_text())
    for run in content["runs"]:
        run["label"] = form.format(arm=run["label"].partition("-")[0], seed=run["config"]["seed"])
    path.write_text(json.dumps(content))
    ingest(tmp_path)
    assert form.format(arm="Exp1", seed=0) in set(Store(tmp_path).query("SELECT label FROM runs")["label"])
    with compared_with(Store(tmp_path), folder.name, "Exp1") as store:
        chosen = store.query("SELECT run_name, other_run FROM comparisons WHERE against = 'chosen'")
    assert all(run[-1] == other[-1] for run, other in chosen.itertuples(index=False)) and len(chosen) == 2
