"""What is printed of each arm: from the published store, and the lengths that its engine sampled."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.flops import Work, model_flops
from benchmarks.gpu.lengths import Sampled
from benchmarks.gpu.model import Architecture
from benchmarks.gpu.record import ArmRecord
from results.store import Store, records
from trainer.paths import SweepPaths

# `steps` of the first sync cycle are left out as `run_rates` leaves them out.
_ARMS = """
WITH warm AS (
    SELECT s.run_name, sum(s.learn_s) AS learn_s, sum(s.completion_tokens) AS completion_tokens,
        sum(s.prompt_tokens * s.completions / s.prompts + s.completion_tokens) AS tokens
    FROM steps AS s JOIN runs AS r USING (sweep, run_name)
    WHERE sweep = $sweep AND s.step >= r.sync_interval_steps GROUP BY s.run_name
),
sent AS (
    SELECT run_name, median(wall_s) AS sync_s, median(bytes / wall_s) AS sync_bytes_per_s
    FROM syncs WHERE sweep = $sweep GROUP BY run_name
),
sampled AS (
    SELECT run_name, sum(completion_tokens) AS tokens FROM group_fates WHERE sweep = $sweep GROUP BY run_name
),
rates AS (
    SELECT run_name, exp(-max(log_rate) FILTER (unit = 'steps')) AS step_s,
        exp(max(log_rate) FILTER (unit = 'prompts')) AS prompts_per_s
    FROM run_rates WHERE sweep = $sweep GROUP BY run_name
)
SELECT r.label, r.run_name, sampled.tokens / r.engine_busy_s AS generation_tokens_per_s,
    warm.tokens AS learner_tokens, warm.completion_tokens AS learner_completion_tokens, warm.learn_s,
    sent.sync_s, sent.sync_bytes_per_s, rates.step_s, rates.prompts_per_s, r.overlap_efficiency, m.sentence
FROM run_summary AS r
JOIN warm USING (run_name) JOIN sent USING (run_name) JOIN sampled USING (run_name)
JOIN rates USING (run_name)
JOIN step_modes AS m ON m.sweep = r.sweep AND m.run_name = r.run_name
WHERE r.sweep = $sweep ORDER BY r.position
"""
_GAP = """
SELECT sum(logprob_gap_mean * completion_tokens) / sum(completion_tokens) AS mean,
    median(logprob_gap_p999) AS p999, sum(entropy * completion_tokens) / sum(completion_tokens) AS entropy,
    count(*) AS steps
FROM steps WHERE sweep = $sweep AND off_policy_steps_max = 0
"""


@dataclass(frozen=True)
class ArmFigures:
    """An arm in figures.

    Attributes:
        generation_tokens_per_s: completion tokens over the time in which at least one request ran.
        learner_tokens_per_s: of prompts and completions, over the learner's time.
        learner_flops: model FLOP/s over the same time.
        sync_s: median, from pausing the engine until its weights are proved.
        sync_bytes_per_s: median.
        step_s: mean over whole sync cycles after the first; likewise `prompts_per_s`.
        overlap_efficiency: over all steps, see docs/statistics_speed.md.
        modes: what step times show of modes, as reports word it.
    """

    label: str
    generation_tokens_per_s: float
    learner_tokens_per_s: float
    learner_flops: float
    sync_s: float
    sync_bytes_per_s: float
    step_s: float
    prompts_per_s: float
    overlap_efficiency: float
    modes: str


@dataclass(frozen=True)
class Gap:
    """Engine's and learner's logprobs of the same tokens by the same weights.

    Attributes:
        mean_nats: mean absolute difference a token, over all steps whose groups had age 0.
        p999_nats: median over those steps of the 99.9th percentile.
        entropy_nats: mean entropy of the learner's distribution.
        steps: how many steps that are.
    """

    mean_nats: float
    p999_nats: float
    entropy_nats: float
    steps: int


def arm_figures(store: Store, sweep: SweepPaths, architecture: Architecture) -> list[ArmFigures]:
    """Every arm that has run, in the plan's order."""
    arms = []
    for row in records(store.query(_ARMS, {"sweep": sweep.name})):
        work = Work(
            tokens=row["learner_tokens"],
            completion_tokens=row["learner_completion_tokens"],
            mean_length_tokens=_length_met(ArmRecord.read(sweep.run(row["run_name"]).root).sampled),
        )
        arms.append(
            ArmFigures(
                label=row["label"],
                generation_tokens_per_s=row["generation_tokens_per_s"],
                learner_tokens_per_s=work.tokens / row["learn_s"],
                learner_flops=model_flops(architecture, work) / row["learn_s"],
                sync_s=row["sync_s"],
                sync_bytes_per_s=row["sync_bytes_per_s"],
                step_s=row["step_s"],
                prompts_per_s=row["prompts_per_s"],
                overlap_efficiency=row["overlap_efficiency"],
                modes=row["sentence"],
            )
        )
    return arms


def logprob_gap(store: Store, sweep: SweepPaths) -> Gap:
    """At staleness 0, over the steps of all arms."""
    row = records(store.query(_GAP, {"sweep": sweep.name}))[0]
    return Gap(row["mean"], row["p999"], row["entropy"], row["steps"])


def _length_met(sampled: list[Sampled]) -> float:
    """Length of a sequence as its tokens meet it, so that long ones count more: sum of squares over sum."""
    lengths: npt.NDArray[np.float64] = np.array([s.prompt + s.got for s in sampled], dtype=np.float64)
    return float((lengths**2).sum() / lengths.sum())
