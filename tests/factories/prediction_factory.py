"""The law that SYNTHETIC sweeps follow, and predictions made by it, some from a wrong assumption.

Nothing here comes from the simulator: tests of what a prediction is compared with must not depend on it.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from results.files.predictions import Costs, PredictedMode, Prediction
from trainer.config import RunConfig

FILL_S, LEARN_S_PER_PROMPT, OVERHEAD_S, SYNC_S = 14.0, 1.75, 0.6, 0.05
TOKENS, NEEDED = 299.5, 1.2
"""Completion tokens of a prompt, and groups dispatched for each that is trained."""
STARTED_UNIX = 1_768_000_000.0
SOURCE, CHANCE = "fitted on earlier/arm1", 0.01

WRONG: Mapping[str, Mapping[str, float]] = {
    "Exp3": {"needed": 1.0, "fill_s": 8.0},
    "Exp4": {"learn_s_per_prompt": 1.3},
}
"""By label, what a prediction assumes otherwise than it is: that no group is filtered; a faster learner."""


def by_the_law(
    config: RunConfig,
    *,
    fill_s: float = FILL_S,
    learn_s_per_prompt: float = LEARN_S_PER_PROMPT,
    needed: float = NEEDED,
    tokens: float = TOKENS,
    latency_s: float = FILL_S,
    sync_s: float = SYNC_S,
) -> Prediction:
    """What `sweep_factory` writes of a run, without its noise, or with other assumptions."""
    steps, batch = config.max_steps, config.prompts_per_optim_step
    cycle = config.schedule.sync_interval_steps
    overlaps = config.max_staleness > 0
    waits = [
        0.01 if overlaps and step > 0 and (cycle == 1 or step % cycle > 0) else fill_s
        for step in range(steps)
    ]
    ages = [int(wait < fill_s) for wait in waits]
    learn_s, per_step_sync_s, wait_s = batch * learn_s_per_prompt, sync_s / cycle, sum(waits) / steps
    step_s = wait_s + learn_s + per_step_sync_s + OVERHEAD_S
    times = [
        wait + learn_s + sync_s * (step % cycle == cycle - 1) + OVERHEAD_S for step, wait in enumerate(waits)
    ]
    warm = times[cycle:] or times
    modes = sorted({wait + learn_s + OVERHEAD_S for wait in waits[cycle:] or waits})
    parts: dict[str, Any] = {
        "wait_s": wait_s,
        "drain_s": 0.0,
        "learn_s": learn_s,
        "sync_s": per_step_sync_s,
        "checkpoint_s": 0.0,
        "other_s": OVERHEAD_S,
    }
    return Prediction(
        made_unix=STARTED_UNIX - 60,
        costs=Costs(
            source=SOURCE,
            generate_s=fill_s,
            crowding=0.0,
            verify_s=0.005,
            learn_s_per_prompt=0.0,
            learn_s_per_token=learn_s_per_prompt / TOKENS,
            optimizer_s=0.0,
            other_s=OVERHEAD_S,
            sync_s=sync_s,
            checkpoint_s=0.0,
            groups=640,
        ),
        replications=20,
        step_s=step_s,
        step_low_s=step_s * (1 - CHANCE),
        step_high_s=step_s * (1 + CHANCE),
        step_p5_s=modes[0],
        step_p50_s=modes[0],
        step_p95_s=modes[-1],
        modes=tuple(PredictedMode(seconds=each, weight=1 / len(modes)) for each in modes),
        position_s=tuple(fmean(warm[place::cycle]) for place in range(min(cycle, len(warm)))),
        **parts,
        prompts_per_s=batch / step_s,
        wall_s=step_s * steps,
        age_mean=sum(ages) / steps,
        ages={age: ages.count(age) / steps for age in sorted(set(ages))},
        engine_idle_share=max(0.0, 1 - fill_s / step_s),
        learner_idle_share=wait_s / step_s,
        wasted_token_share=1 - 1 / needed,
        dispatched_per_trained=needed,
        latency_s=latency_s,
        completion_tokens_per_prompt=tokens,
    )
