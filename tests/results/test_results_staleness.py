"""Ages, waste and selection, recomputed from the raw lines of traces that hold every fate."""

import json
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep, write_trace
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from results.ingest import ingest
from results.statistics.age_trends import METRICS
from results.statistics.families import holm_within
from results.statistics.selection import MIN_BLOCKS, MIN_UNCOMMON, Side, matched_means
from results.statistics.trend import BLOCK_STEPS, block_trends
from results.store import Store, records
from results.tables.ages import age_effects_table, age_trends_table, ages_across_runs
from results.tables.selection import QUANTITIES, VERSION_BLOCKS, bias_sentences, bias_table
from results.tables.staleness import WASTED, ages_table, fates_table, staleness_table, waste_table
from trainer.config import RunConfig
from trainer.conservation import violations
from trainer.paths import SweepPaths
from trainer.records import Dispatch, Fate, Group, Step

SWEEP, VERSIONS, COMPLETIONS = "staleness", 60, 8
FINISHED = [Fate.TRAINED, Fate.FILTERED, Fate.EVICTED, Fate.LEFTOVER]
LONGER = {Fate.EVICTED: 1.5}
STEP_DEFAULTS = {
    **{f"{part}_s": 0.0 for part in ("drain", "sync", "checkpoint", "other", "wait")},
    **dict.fromkeys(("loss", "grad_norm", "lr", "entropy", "reward_mean", "reward_std"), 0.1),
    **{"kl": None, "logprob_gap_max": 0.5, "truncated_fraction": 0.0, "filtered_groups": 0},
    **{"prompts": 1, "completions": COMPLETIONS, "prompt_tokens": 1, "completion_tokens": 1},
}


def made_trace(rng, bound):
    """Groups of every fate and steps whose ESS falls with age, for the readers alone: no schedule is kept."""
    number = 0
    for version in range(VERSIONS):
        drift = np.exp(-version / 40)
        chances = [0.6, 0.12, 0.12, 0.02, 0.06, 0.04, 0.04]
        fates = [*FINISHED, Fate.ABORTED, Fate.FAILED, Fate.DISCARDED]
        for fate in rng.choice(np.array(fates, dtype=object), size=12, p=chances):
            number += 1
            common = {"attempt": 1, "t": float(version), "group": number, "prompt_id": f"p{number}"}
            yield Dispatch(**common, epoch=0, version=version)
            if rng.random() < 0.03:
                continue  # no fate yet
            done = fate not in (Fate.ABORTED, Fate.FAILED)
            in_flight, age = sorted(rng.integers(0, bound + 1, 2)) if bound else (0, 0)
            tokens = int(COMPLETIONS * 100 * drift * LONGER.get(fate, 1.0) * rng.lognormal(0, 0.2))
            yield Group(
                **common,
                version_min=version,
                version_max=version,
                finished_version=version + in_flight if done else None,
                dispatched_s=float(version),
                finished_s=version + 0.5 if done else None,
                verified_s=version + 0.6 if done else None,
                consumed_s=version + 0.7 if fate is Fate.TRAINED else None,
                step=version + age if fate is Fate.TRAINED else None,
                fate=fate,
                reward_mean=float(rng.integers(0, COMPLETIONS + 1)) / COMPLETIONS if done else None,
                prompt_tokens=40,
                completion_tokens=0 if fate is Fate.FAILED else tokens,
                truncated=int(rng.integers(0, 3)) if done else 0,
            )
        age = float(version % (bound + 1))
        yield Step(
            attempt=1,
            t=float(version),
            step=version,
            policy_version=version + 1,
            start_s=float(version),
            wall_s=1.0,
            learn_s=1.0,
            off_policy_steps_mean=age,
            off_policy_steps_max=int(age),
            ess=float(0.97 - 0.05 * age + rng.normal(0, 0.01)),
            ratio_mean=float(1 + rng.normal(0, 0.01)),
            ratio_max=float(1.5 + rng.random()),
            logprob_gap_mean=0.002,
            clip_fraction=0.01,
            **STEP_DEFAULTS,
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    runs = tmp_path_factory.mktemp("staleness")
    write_synthetic_sweep(runs, SWEEP, steps=4, arms=REFERENCE_ARMS[:2])
    rng = np.random.default_rng(7)
    for arm, bound in zip(REFERENCE_ARMS[:2], (0, 1), strict=True):
        trace = SweepPaths(runs / SWEEP).run(arm.run_name(0, False)).trace
        write_trace(trace, list(made_trace(rng, bound)))
    ingest(runs)
    return Store(runs)


@pytest.fixture(scope="module")
def raw(store):
    """Label -> its run's lines by kind, as JSON has them."""
    lines = {}
    for arm in REFERENCE_ARMS[:2]:
        by_kind = defaultdict(list)
        trace = SweepPaths(store.runs_dir / SWEEP).run(arm.run_name(0, False)).trace
        for line in map(json.loads, trace.read_text().splitlines()):
            by_kind[line["kind"]].append(line)
        lines[arm.label] = by_kind
    return lines


def test_ages_of_trained_groups_are_those_of_the_lines(store, raw):
    table = staleness_table(store, SWEEP)
    assert set(table["label"]) == {"Exp1", "Exp2"}
    for label, part in table.groupby("label"):
        trained = [group for group in raw[label]["group"] if group["fate"] == "trained"]
        groups, tokens = Counter(), Counter()
        for group in trained:
            age = group["step"] - group["version_min"]
            groups[age] += 1
            tokens[age] += group["completion_tokens"]
        for row in records(part):
            age = row["off_policy_steps"]
            same = [group for group in trained if group["step"] - group["version_min"] == age]
            assert (row["groups"], row["completion_tokens"]) == (groups[age], tokens[age])
            assert row["share"] == pytest.approx(groups[age] / len(trained))
            assert row["token_share"] == pytest.approx(tokens[age] / sum(tokens.values()))
            flights = [group["finished_version"] - group["version_min"] for group in same]
            assert row["in_flight_steps_mean"] == pytest.approx(np.mean(flights))
            assert row["in_queue_steps_mean"] == pytest.approx(age - np.mean(flights))
        assert set(part["off_policy_steps"]) == set(groups)


def test_ages_are_summed_up_against_the_bound(store, raw):
    for row in records(ages_table(store, SWEEP)):
        trained = [group for group in raw[row["label"]]["group"] if group["fate"] == "trained"]
        ages = np.array([group["step"] - group["version_min"] for group in trained])
        tokens = np.array([group["completion_tokens"] for group in trained])
        assert row["groups"] == len(ages)
        assert row["off_policy_steps_mean"] == pytest.approx(ages.mean())
        assert row["off_policy_steps_token_mean"] == pytest.approx(np.average(ages, weights=tokens))
        for name, share in (("median", 0.5), ("p90", 0.9)):
            expected = np.quantile(ages, share, method="inverted_cdf")
            assert row[f"off_policy_steps_{name}"] == expected
        assert row["off_policy_steps_max"] == ages.max()
        assert row["at_bound_share"] == pytest.approx((ages == row["max_staleness"]).mean())
        assert row["over_bound_groups"] == 0
        parts = row["in_flight_steps_mean"] + row["in_queue_steps_mean"]
        assert parts == pytest.approx(row["off_policy_steps_mean"])


def test_fates_and_waste_are_those_of_the_lines(store, raw):
    fates = fates_table(store, SWEEP)
    waste = waste_table(fates)
    summary = store.query("FROM run_summary").set_index("run_name")
    for row in records(waste):
        lines = raw[row["label"]]
        groups, tokens = Counter(), Counter()
        for group in lines["group"]:
            groups[group["fate"]] += 1
            tokens[group["fate"]] += group["completion_tokens"]
        groups["unresolved"] = len(lines["dispatch"]) - len(lines["group"])
        generated = sum(tokens.values()) - tokens["discarded"]
        part = fates[fates["label"] == row["label"]].set_index("fate")
        assert part["groups"].to_dict() == dict(groups)
        assert part["completions"].to_dict() == {fate: COMPLETIONS * n for fate, n in groups.items()}
        assert part["share"].sum() == pytest.approx(1)
        assert np.isnan(part.loc["discarded", "token_share"])
        assert part["token_share"].sum() == pytest.approx(1)
        assert row["generated_tokens"] == generated
        assert row["wasted_tokens"] == generated - tokens["trained"]
        for fate in WASTED:
            assert row[f"{fate}_share"] == pytest.approx(tokens[fate] / generated)
        assert sum(row[f"{fate}_share"] for fate in WASTED) == pytest.approx(row["wasted_share"])
        assert row["discarded_tokens"] == tokens["discarded"] > 0
        assert row["discarded_share"] == pytest.approx(tokens["discarded"] / sum(tokens.values()))
        assert row["unresolved_groups"] == groups["unresolved"] > 0
        of_run = summary.loc[row["run_name"]]
        assert row["wasted_share"] == pytest.approx(1 - of_run["trained_token_share"])
        wasted = sum(groups[fate] for fate in WASTED)
        assert of_run["groups_filtered"] + of_run["groups_lost"] == wasted
        assert of_run["groups_filtered"] == groups["filtered"] > 0


def value(group, quantity):
    if quantity == "reward":
        return group["reward_mean"]
    name = "completion_tokens" if quantity == "completion_tokens" else "truncated"
    return group[name] / COMPLETIONS


def test_what_was_thrown_away_is_compared_within_the_same_versions(store, raw):
    """Means recomputed group by group: each thrown-away group against the trained ones of its block."""
    bias = bias_table(store, SWEEP)
    assert not set(bias["fate"]) & {"trained", "discarded"}
    # Filtering is by equal rewards: of those a difference would be by construction.
    assert set(bias.loc[bias["fate"] == "filtered", "quantity"]) == set(QUANTITIES) - {"reward"}
    assert set(bias.loc[bias["fate"] == "evicted", "quantity"]) == set(QUANTITIES)
    for row in records(bias[bias["fate"].isin(["filtered", "evicted", "leftover"])]):
        groups = raw[row["label"]]["group"]
        versions = 1 + max(group["version_min"] for group in groups)
        mean_of_block = defaultdict(list)
        for group in groups:
            if group["fate"] == "trained":
                block = group["version_min"] * VERSION_BLOCKS // versions
                mean_of_block[block].append(value(group, row["quantity"]))
        others = [group for group in groups if group["fate"] == row["fate"]]
        blocks = [group["version_min"] * VERSION_BLOCKS // versions for group in others]
        mean = np.mean([value(group, row["quantity"]) for group in others])
        matched = np.mean([np.mean(mean_of_block[block]) for block in blocks])
        assert (row["groups"], row["compared_groups"]) == (len(others), len(others))
        assert row["mean"] == pytest.approx(mean) and row["trained_mean"] == pytest.approx(matched)
        expected = mean / matched if row["scale"] == "ratio" else mean - matched
        assert row["estimate"] == pytest.approx(expected)
        spread = np.std([value(g, row["quantity"]) for g in groups if g["fate"] == "trained"], ddof=1)
        assert row["effect_size"] == pytest.approx((mean - matched) / spread)
        expected = expected_uncommon(row, groups, versions)
        assert row["uncommon_groups"] == pytest.approx(expected) and expected > 0


def expected_uncommon(row, groups, versions):
    """How many groups off their block's median each side would have by lot; the fewer of the two."""
    blocks = defaultdict(lambda: {"trained": [], row["fate"]: []})
    for group in groups:
        if group["fate"] in ("trained", row["fate"]):
            block = group["version_min"] * VERSION_BLOCKS // versions
            blocks[block][group["fate"]].append(value(group, row["quantity"]))
    expected = Counter()
    for sides in blocks.values():
        if sides["trained"] and sides[row["fate"]]:
            median = np.quantile(sides["trained"], 0.5, method="inverted_cdf")
            both = np.concatenate(list(sides.values()))
            for side, values in sides.items():
                expected[side] += len(values) * (both != median).mean()
    return min(expected.values())


def test_planted_bias_is_found_and_no_other_is_claimed(store):
    bias = bias_table(store, SWEEP)
    for row in records(bias):
        planted = row["fate"] == "evicted" and row["quantity"] == "completion_tokens"
        assert (row["p_adjusted"] < 0.05) == planted
        if planted:
            assert row["low"] < 1.5 < row["high"] and row["low"] > 1.2
    family = bias[(bias["label"] == "Exp2") & bias["p"].notna()]
    adjusted = multipletests(family["p"], method="holm")[1]
    np.testing.assert_allclose(family["p_adjusted"], adjusted)


def test_sentences_are_no_stronger_than_their_tests(store):
    bias = bias_table(store, SWEEP)
    for row, sentence in zip(records(bias), bias_sentences(bias), strict=True):
        assert sentence.startswith(f"{row['label']}, {QUANTITIES[row['quantity']]}, {row['fate']}")
        if row["fate"] == "aborted":
            assert "cut off" in sentence and not any(figure in sentence for figure in ("95 %", "x ("))
        elif np.isnan(row["p"]):
            assert "not tested" in sentence
        elif row["p_adjusted"] < 0.05:
            assert f"{row['low']:.2f}" in sentence and "no difference" not in sentence
        else:
            assert "no difference is shown" in sentence


def test_groups_that_never_finished_are_not_compared(store):
    bias = bias_table(store, SWEEP)
    unfinished = bias[bias["fate"].isin(["aborted", "failed"])]
    assert (unfinished["groups"] > 0).all() and (unfinished["compared_groups"] == 0).all()
    assert unfinished[["mean", "estimate", "low", "p", "p_adjusted"]].isna().all(axis=None)


def test_effects_of_age_are_those_of_the_steps(store, raw):
    effects = age_effects_table(store, SWEEP)
    for row in records(effects):
        steps = raw[row["label"]]["step"]
        same = [step for step in steps if round(step["off_policy_steps_mean"]) == row["off_policy_steps"]]
        assert row["steps"] == row["even_steps"] == len(same)
        for metric in METRICS:
            assert row[metric] == pytest.approx(np.mean([step[metric] for step in same]))
        assert row["ess_min"] == min(step["ess"] for step in same)
        assert row["ratio_max_max"] == max(step["ratio_max"] for step in same)
    across = ages_across_runs(effects).set_index("off_policy_steps")
    assert across["runs"].to_dict() == {0: 2, 1: 1}
    of_age_0 = effects.loc[effects["off_policy_steps"] == 0, "ess"]
    assert across.loc[0, "ess"] == pytest.approx(of_age_0.mean())


def test_a_trend_with_age_is_tested_only_where_age_varies(store):
    trends = age_trends_table(store, SWEEP)
    assert set(trends["label"]) == {"Exp2"}, "Exp1 is of age 0 throughout"
    by_metric = trends.set_index("metric")
    assert by_metric.loc["ess", "p_adjusted"] < 0.001 and by_metric.loc["ess", "rank_correlation"] < -0.5
    assert by_metric.loc["ratio_mean", "p_adjusted"] > 0.05
    assert np.isnan(by_metric.loc["clip_fraction", "p"]), "it never changes"


def test_a_trend_is_the_t_test_over_blocks_of_detrended_ranks():
    rng = np.random.default_rng(3)
    ages = rng.integers(0, 3, (9, BLOCK_STEPS)).astype(float)
    values = rng.normal(size=(9, BLOCK_STEPS)) - 0.3 * ages
    ages[-1, 5:] = values[-1, 5:] = np.nan  # a last block that is shorter
    products, squares = [], np.zeros(2)
    for a, v in zip(ages, values, strict=True):
        place = np.arange(np.isfinite(a).sum())
        left = []
        for ranks in (stats.rankdata(a[: len(place)]), stats.rankdata(v[: len(place)])):
            line = stats.linregress(place, ranks)
            left.append(ranks - line.intercept - line.slope * place)
        products.append(left[0] @ left[1])
        squares += [left[0] @ left[0], left[1] @ left[1]]
    found = block_trends(np.zeros(9, dtype=np.int64), ages, values, runs=1)
    assert found.blocks[0] == 9
    assert found.p[0] == pytest.approx(stats.ttest_1samp(products, 0).pvalue)
    assert found.rank_correlation[0] == pytest.approx(sum(products) / np.sqrt(squares.prod()))


def test_equal_blocks_give_the_paired_t_test():
    rng = np.random.default_rng(5)
    others, trained = rng.normal(3, 1, (2, 12))
    ones, cases = np.full(12, 4.0), np.zeros(12, dtype=np.int64)
    sides = Side(ones, 4 * others, 4 * others**2, ones), Side(2 * ones, 8 * trained, 8 * trained**2, 2 * ones)
    found = matched_means(cases, *sides, cases=1, as_ratio=False)
    expected = stats.ttest_rel(others, trained)
    interval = expected.confidence_interval()
    assert found.p[0] == pytest.approx(expected.pvalue)
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high))


def test_too_few_blocks_are_not_tested_and_equal_figures_are_no_evidence():
    few = int(MIN_BLOCKS) - 1
    cases, ones = np.repeat(np.int64([0, 1]), [few, 10]), np.ones(few + 10)
    sides = (Side(n * ones, 0.3 * n * ones, 0.09 * n * ones, n * ones) for n in (1, 7))
    found = matched_means(cases, *sides, cases=2, as_ratio=False)
    assert found.mean == pytest.approx([0.3, 0.3]) and found.estimate == pytest.approx([0, 0])
    assert np.isnan([found.p, found.low, found.high]).all()


def sides_of_like_blocks(others, trained, blocks):
    """So many blocks, each with these values; no value is common."""
    for values in (np.array(others), np.array(trained)):
        sums = len(values), values.sum(), (values**2).sum(), len(values)
        yield Side(*(np.full(blocks, float(each)) for each in sums))


@pytest.mark.parametrize("as_ratio", [False, True])
def test_where_blocks_do_not_scatter_the_error_is_that_of_dealing_fates_by_lot(as_ratio):
    others, trained, blocks = [3.0, 5.0], [2.0, 2.5, 4.5, 6.0], 8
    values = np.array([*others, *trained])
    differences = []
    for dealt in combinations(range(len(values)), len(others)):
        chosen = np.isin(np.arange(len(values)), dealt)
        differences.append(values[chosen].mean() - values[~chosen].mean())
    error = np.std(differences) / np.sqrt(blocks)
    found = matched_means(
        np.zeros(blocks, dtype=np.int64),
        *sides_of_like_blocks(others, trained, blocks),
        cases=1,
        as_ratio=as_ratio,
    )
    mean, matched = np.mean(others), np.mean(trained)
    estimate = mean / matched if as_ratio else mean - matched
    relative = error / np.sqrt(mean * matched)
    reach = stats.t.ppf(0.975, blocks - 1) * (relative if as_ratio else error)
    ends = estimate * np.exp([-reach, reach]) if as_ratio else estimate + np.array([-reach, reach])
    assert (found.low[0], found.high[0]) == pytest.approx(ends)
    apart = np.log(estimate) / relative if as_ratio else estimate / error
    assert found.p[0] == pytest.approx(2 * stats.t.sf(abs(apart), blocks - 1))


@pytest.mark.parametrize("compared_fewer", [True, False])
def test_where_nearly_all_values_are_alike_nothing_is_tested(compared_fewer):
    """Every trained group is 0, or every one compared is: no scatter is seen on that side."""
    blocks, cases = 20, np.zeros(20, dtype=np.int64)
    none, some = np.zeros(blocks), np.where(np.arange(blocks) < 4, 1.0, 0.0)
    alike, few = Side(np.full(blocks, 8.0), none, none, none), Side(np.ones(blocks), some, some, some)
    sides = (few, alike) if compared_fewer else (alike, few)
    found = matched_means(cases, *sides, cases=1, as_ratio=False)
    assert found.uncommon[0] == pytest.approx(4 / 9) and found.uncommon[0] < MIN_UNCOMMON
    assert np.isfinite(found.estimate[0]) and np.isnan([found.p, found.low, found.high]).all()


@given(
    tests=st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.just(float("nan")), st.floats(0, 1))), max_size=20
    )
)
def test_holm_within_families_is_holm_of_each(tests):
    family = np.array([number for number, _ in tests], dtype=np.int64)
    p_values = np.array([p for _, p in tests], dtype=np.float64)
    adjusted = holm_within(p_values, family)
    for number in set(family):
        mine = np.flatnonzero((family == number) & np.isfinite(p_values))
        ranked = sorted(mine, key=lambda test: p_values[test])
        for place, test in enumerate(ranked):
            steps = [p_values[each] * (len(ranked) - i) for i, each in enumerate(ranked[: place + 1])]
            assert adjusted[test] == pytest.approx(min(1, max(steps)))
    assert np.isnan(adjusted[np.isnan(p_values)]).all()


def test_the_synthetic_traces_conserve_everything(tmp_path):
    write_synthetic_sweep(tmp_path, SWEEP, steps=6)
    for arm in REFERENCE_ARMS:
        trace = SweepPaths(tmp_path / SWEEP).run(arm.run_name(0, False)).trace
        assert violations(trace, RunConfig.model_validate(arm.config(6, 0))) == []
