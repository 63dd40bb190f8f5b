"""Accuracy of arms with several seeds: seeds and questions are both a sample."""

import json

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from results.ingest import ingest
from results.statistics.crossed import (
    SeedSample,
    detectable,
    half_width,
    p_value,
    paired_sample,
    seed_differences,
    unpaired_sample,
)
from results.store import Store
from results.tables.accuracy import delta_table
from results.tables.arms_accuracy import ONE_SEED, arm_delta_table, learned_arms
from trainer.paths import samples_path

MARGIN = 2.0


def sample_of(differences):
    """The sufficient statistics of `(arms, seeds, questions)` differences in {-1, 0, 1}."""
    d = np.asarray(differences, dtype=float)
    questions = np.full(len(d), float(d.shape[2]))
    return paired_sample(
        d.mean(axis=2), (d.mean(axis=1) ** 2).sum(axis=1), (d**2).sum(axis=(1, 2)), questions
    )


def draw(rng, seeds, questions, discordance, delta, *, seed_spread=0.0, shared=0.7, arms=1000):
    """Differences with a true mean, most discordant questions being so for every seed."""
    own = rng.normal(0, seed_spread, (arms, seeds, 1))
    better, worse = (np.clip((discordance + side * (delta + own)) / 2, 0, 1) for side in (1, -1))
    together = rng.random((arms, 1, questions)) < shared
    where = np.where(together, rng.random((arms, 1, questions)), rng.random((arms, seeds, questions)))
    return (where < better).astype(int) - (where > 1 - worse)


def test_the_two_variances_are_those_of_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    d = draw(rng, 4, 300, 0.3, 0.05, seed_spread=0.1, arms=1)[0].astype(float)
    seeds, questions = d.shape
    found = sample_of(d[None])
    rest = d - d.mean(axis=0) - d.mean(axis=1, keepdims=True) + d.mean()
    of_rest = (rest**2).sum() / ((seeds - 1) * (questions - 1))
    assert found.mean[0] == pytest.approx(d.mean())
    assert found.var_seeds[0] == pytest.approx(d.mean(axis=1).var(ddof=1) / seeds)
    expected = d.mean(axis=0).var(ddof=1) / questions - of_rest / (seeds * questions)
    assert found.var_questions[0] == pytest.approx(expected, rel=0.1)  # but for the questions added


def test_the_variance_is_no_larger_than_that_of_resampling_both():
    """The pigeonhole bootstrap (Owen 2007) draws both with replacement; it is known to be too large."""
    rng = np.random.default_rng(1)
    d = draw(rng, 5, 400, 0.3, 0.0, seed_spread=0.1, arms=1)[0].astype(float)
    drawn = [d[rng.integers(0, 5, 5)][:, rng.integers(0, 400, 400)].mean() for _ in range(2000)]
    found = sample_of(d[None])
    total = found.var_seeds[0] * 4 / 5 + found.var_questions[0]  # drawing five shows 4/5 of theirs
    assert 0.8 * total < np.var(drawn) < 1.8 * total


@example(8.018158855912607e-12, 0.0078125, 0.0078125, 5, 1.0)
@given(st.floats(-0.3, 0.3), st.floats(0, 1e-2), st.floats(1e-6, 1e-2), st.integers(2, 8), st.floats(0.5, 20))
def test_tests_and_interval_say_the_same(mean, var_seeds, var_questions, seeds, margin):
    sample = SeedSample(*(np.array([x]) for x in (mean, var_seeds, var_questions, seeds)))
    found = seed_differences(sample, margin)
    p = found.p_different[0]
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (found.low[0] > 0 or found.high[0] < 0)
    if 1e-12 < p < 1:
        # scipy's t quantile is exact to about 1e-8 near 0; one answer more or less is much more.
        assert half_width(sample, np.array([p]))[0] == pytest.approx(abs(mean), rel=1e-4, abs=1e-8)
    edge = 100 * (abs(mean) + half_width(sample, np.array([0.1]))[0])
    if abs(edge - margin) > 1e-5:
        assert (found.p_equivalent[0] < 0.05) == (edge < margin)


def test_seeds_alone_are_a_t_test_and_questions_alone_a_normal_one():
    rng = np.random.default_rng(2)
    by_seed = rng.normal(0.02, 0.02, (1, 5))
    none = np.zeros(1)
    expected = stats.ttest_1samp(by_seed[0], 0)
    alone = seed_differences(unpaired_sample(by_seed, none, none), MARGIN)
    assert alone.p_different[0] == pytest.approx(expected.pvalue, rel=1e-5)
    interval = expected.confidence_interval(0.95)
    assert (alone.low[0] / 100, alone.high[0] / 100) == pytest.approx((interval.low, interval.high))
    same = np.full((1, 5), 0.02)
    questions = seed_differences(unpaired_sample(same, none + 0.01, none), MARGIN)
    assert questions.p_different[0] == pytest.approx(2 * stats.norm.sf(2))


def test_seeds_that_all_agree_are_not_certain():
    found = seed_differences(sample_of(np.zeros((1, 3, 50))), MARGIN)
    assert found.p_different[0] == 1
    assert found.high[0] > 100 * 3 / 50 * 0.9, "the rule of three"
    assert found.p_equivalent[0] > 0.05
    nothing = SeedSample(*(np.array([x]) for x in (0.0, 0.0, 0.0, 3)))
    assert p_value(nothing, np.array([0.0]))[0] == 1
    assert p_value(nothing, np.array([0.1]))[0] == 0


def test_a_detectable_difference_has_about_the_power_it_says():
    rng = np.random.default_rng(3)
    sample = sample_of(draw(rng, 5, 1319, 0.1, 0.0, seed_spread=0.01, arms=400))
    for tests in (1, 6):
        points = np.median(detectable(sample, np.full(400, tests)))
        shown = sample_of(draw(rng, 5, 1319, 0.1, points / 100, seed_spread=0.01, arms=400))
        assert np.mean(p_value(shown, shown.mean) < 0.05 / tests) == pytest.approx(0.8, abs=0.1)


def coverage(rng, seeds, questions, discordance, *, spread, arms):
    """Coverage at a true difference; false positives at 5 % and at Holm's first step of 15, over 5 % / 15."""
    delta = discordance / 2
    at = seed_differences(
        sample_of(draw(rng, seeds, questions, discordance, delta, seed_spread=spread, arms=arms)), MARGIN
    )
    none = sample_of(draw(rng, seeds, questions, discordance, 0.0, seed_spread=spread, arms=arms))
    p = p_value(none, none.mean)
    covered = np.mean((at.low <= 100 * delta) & (100 * delta <= at.high))
    return covered, np.mean(p < 0.05), np.mean(p < 0.05 / 15) / (0.05 / 15)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.025, 0.1])
def test_intervals_cover_and_tests_keep_their_level(seeds, spread):
    rng = np.random.default_rng(seeds)
    covered, level, _ = coverage(rng, seeds, 500, 0.2, spread=spread, arms=1500)
    assert 0.93 <= covered <= 0.985
    assert level <= 0.065


def test_the_level_holds_where_holm_looks():
    """With three seeds their variance is now and then estimated as nearly none: not at the price of p."""
    rng, arms, questions = np.random.default_rng(4), 200_000, 1000
    for ratio in (0, 1, 10):  # of the seeds' variance to the questions'
        of_question, of_rest = 0.1, 0.1
        of_seed = 3 * ratio * of_question / questions
        by_seed = rng.normal(0, np.sqrt(of_question / questions), (arms, 1)) + rng.normal(
            0, np.sqrt(of_seed + of_rest / questions), (arms, 3)
        )
        # What `paired_sample` estimates, of normal differences: drawing the questions would take hours.
        between, mean = by_seed.var(axis=1, ddof=1), by_seed.mean(axis=1)
        of_questions = np.full(arms, of_question / questions)
        sample = SeedSample(mean, between / 3, of_questions, np.full(arms, 3))
        p = p_value(sample, mean)
        for level in (0.05, 0.05 / 15, 0.05 / 60):
            assert np.mean(p < level) < 1.1 * level + 3 * np.sqrt(level / arms)
    # The rest taken out of the seeds' variance instead gives shorter intervals, and fails just here.
    less = np.maximum(between - of_rest / questions, 0) / 3
    sample = SeedSample(mean, less, of_questions + of_rest / (3 * questions), np.full(arms, 3))
    assert np.mean(p_value(sample, mean) < 0.05 / 15) > 2 * 0.05 / 15


@pytest.mark.slow
def test_coverage_of_arms_over_the_whole_grid():
    """The table of docs/statistics_accuracy.md: `pytest -m slow -s -k coverage_of_arms`."""
    rng = np.random.default_rng(0)
    print("\n| seeds | questions | discordant | spread of seeds | covered | level 5 % | level 0.33 % |")
    for seeds in (3, 5):
        for questions in (50, 200, 1319):
            for discordance in (0.02, 0.1, 0.3):
                for spread in (0.0, discordance / 8, discordance / 2):
                    arms = 4000 if questions < 1000 else 1500
                    found = coverage(rng, seeds, questions, discordance, spread=spread, arms=arms)
                    covered, level, far = found
                    print(
                        f"| {seeds} | {questions} | {discordance:.0%} | {100 * spread:.2f} "
                        f"| {covered:.1%} | {level:.1%} | {far * 0.05 / 15:.2%} |"
                    )
                    assert covered >= 0.92
                    assert level <= 0.06
                    if questions * discordance >= 30:
                        assert covered <= 0.985


# Over a sweep.


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("seeds")
    write_synthetic_sweep(runs_dir, steps=4, questions=80, seeds=(0, 1, 2), arms=REFERENCE_ARMS[:3])
    return runs_dir, *arms_of(runs_dir)


def arms_of(runs_dir):
    ingest(runs_dir)
    store = Store(runs_dir)
    deltas = delta_table(store, "staleness", MARGIN)
    return deltas, arm_delta_table(store, "staleness", deltas, MARGIN)


def test_arm_rows_equal_a_recomputation_from_the_samples(three_seeds):
    runs_dir, deltas, arms = three_seeds
    assert set(arms["method"]) == {"paired"}
    assert set(arms["scope"]) == {"3 seeds"}

    def right(path, filter_name):
        lines = map(json.loads, samples_path(runs_dir / path).open())
        found = {s["doc_id"]: s["exact_match"] for s in lines if s["filter"] == filter_name}
        return [found[doc] for doc in sorted(found)]

    keys = ["against", "filter", "num_fewshot"]
    for row in arms.to_dict("records"):
        of_arm = deltas[
            (deltas["arm_id"] == row["arm"]) & (deltas[keys] == [row[k] for k in keys]).all(axis=1)
        ]
        assert len(of_arm) == 3
        d = [
            np.subtract(right(path, row["filter"]), right(other, row["filter"]))
            for path, other in zip(of_arm["path"], of_arm["other_path"], strict=True)
        ]
        expected = seed_differences(sample_of(np.array(d)[None]), MARGIN)
        assert row["delta_points"] == pytest.approx(100 * np.mean(d))
        assert row["delta_points"] == pytest.approx(of_arm["delta_points"].mean())
        assert (row["low"], row["high"]) == pytest.approx((expected.low[0], expected.high[0]))
        assert row["p"] == pytest.approx(expected.p_different[0])
        assert row["other_seeds"] == (1 if row["against"] == "base" else 3)


def test_holm_adjusts_within_each_delta_table_of_arms(three_seeds):
    _, _, arms = three_seeds
    for _, family in arms.groupby(["against", "filter"]):
        assert family["p_adjusted"].to_numpy() == pytest.approx(multipletests(family["p"], method="holm")[1])


def test_arms_learn(three_seeds, tmp_path):
    _, _, arms = three_seeds
    assert learned_arms(arms) == set(arms["arm"])
    assert len(learned_arms(arms)) == 3
    write_synthetic_sweep(
        tmp_path, steps=4, questions=80, seeds=(0, 1, 2), learns=False, arms=REFERENCE_ARMS[:2]
    )
    assert learned_arms(arms_of(tmp_path)[1]) == set()


def test_one_seed_speaks_of_these_checkpoints_only(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=80)
    deltas, arms = arms_of(tmp_path)
    assert set(arms["scope"]) == {ONE_SEED}
    assert set(arms["seeds"]) == {1}
    keys = ["against", "filter", "num_fewshot", "label"]
    names = ["delta_points", "low", "high", "p", "p_adjusted", "verdict", "method", "detectable_points"]
    assert arms.set_index(keys)[names].sort_index().equals(deltas.set_index(keys)[names].sort_index())


def test_without_samples_an_arm_is_unpaired(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=80, seeds=(0, 1, 2), arms=REFERENCE_ARMS[:2])
    next(folder.glob("s1*seed1/eval/*/arithmetic_cot_0shot.samples.jsonl")).unlink()
    _, arms = arms_of(tmp_path)
    changed = (arms["num_fewshot"] == 0) & (arms["label"] == "Exp2-seed0")
    assert set(arms.loc[changed, "method"]) == {"unpaired"}
    assert set(arms.loc[~changed, "method"]) == {"paired"}
    assert (arms["high"] > arms["low"]).all()


def test_a_seed_that_was_not_comparable_is_left_out(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=80, seeds=(0, 1, 2), arms=REFERENCE_ARMS[:1])
    results = sorted(folder.glob("s0*/eval/*/arithmetic_cot_0shot.json"))
    for refused, path in enumerate(results, start=1):
        path.write_text(json.dumps({**json.loads(path.read_text()), "max_length": 1}))
        _, arms = arms_of(tmp_path)
        rows = arms[arms["num_fewshot"] == 0]
        left = 3 - refused
        assert set(rows["scope"]) == ({f"{left} seeds"} if left >= 2 else {ONE_SEED})
        assert set(rows["verdict"] == "refused") == {left == 0}
