"""Groups of a run that were kept, their completions, and the tokens of one of these."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.files.rollouts import Completion, PromptGroup
from trainer.records import Fate

FloatArray = npt.NDArray[np.float64]


def groups_table(groups: pd.DataFrame, discarded: Collection[int]) -> pd.DataFrame:
    """The groups with the fate that the trace says, and `age`, steps from dispatch to training.

    Args:
        groups: `results.files.rollouts.RolloutIndex.groups`.
        discarded: groups whose attempt was cut off and done again: they were trained on to no end, so they
            have neither step nor age.
    """
    superseded = groups["group"].isin(list(discarded))
    step = groups["step"].mask(superseded)
    fate = groups["fate"].mask(superseded, Fate.DISCARDED.value)
    return groups.assign(fate=fate, step=step, age=step - groups["version_min"])


def completions_table(group: PromptGroup) -> pd.DataFrame:
    """One row per completion: `completion` from 1, `reward, advantage, tokens, truncated` and the mean and
    greatest |learner - generator log-probability| of a token, `gap_mean` and `gap_max` in nats; NaN where the
    learner's are not known."""
    gaps = [np.abs(_gaps(completion)) for completion in group.completions]
    known = [part[~np.isnan(part)] for part in gaps]
    return pd.DataFrame(
        {
            "completion": np.arange(1, len(group.completions) + 1),
            "reward": _floats([each.reward for each in group.completions]),
            "advantage": _floats([each.advantage for each in group.completions]),
            "tokens": [len(each.token_ids) for each in group.completions],
            "truncated": [each.truncated for each in group.completions],
            "gap_mean": _floats([part.mean() if len(part) else None for part in known]),
            "gap_max": _floats([part.max() if len(part) else None for part in known]),
        }
    )


def tokens_table(completion: Completion) -> pd.DataFrame:
    """One row per token: `place` from 1, `token` as text (its number where the text was not kept),
    `generator_logprob, learner_logprob` and `gap`, learner - generator, in nats; NaN where not known."""
    count = len(completion.token_ids)
    texts = completion.tokens or [str(number) for number in completion.token_ids]
    return pd.DataFrame(
        {
            "place": np.arange(1, count + 1),
            "token": pd.Series(texts, dtype=object).reindex(range(count)),
            "generator_logprob": _logprobs(completion.generator_logprobs, count),
            "learner_logprob": _logprobs(completion.learner_logprobs, count),
            "gap": _gaps(completion),
        }
    )


def _gaps(completion: Completion) -> FloatArray:
    """Learner - generator log-probability of each token."""
    count = len(completion.token_ids)
    learner = _logprobs(completion.learner_logprobs, count)
    return learner - _logprobs(completion.generator_logprobs, count)


def _logprobs(values: list[float | None] | None, count: int) -> FloatArray:
    """So many log-probabilities, NaN for those that were not kept."""
    found = np.full(count, np.nan)
    known = _floats(values or [])[:count]
    found[: len(known)] = known
    return found


def _floats(values: list[float | None]) -> FloatArray:
    return np.array(values, dtype=np.float64)
