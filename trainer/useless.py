"""Ends a run that goes nowhere."""

from trainer.errors import TrainingError
from trainer.records import Fate

_FAILURES_IN_A_ROW = 20


class Useless:
    """Counts groups in a row that gave nothing to train on.

    Args:
        limit: so many filtered or failed groups in a row end the run; of failed ones 20 do.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """A group can be trained on."""
        self._filtered_or_failed, self._failed = 0, 0

    def count(self, fate: Fate, reason: str) -> None:
        """Count a group that was filtered or failed; `reason` is why it failed.

        Raises:
            TrainingError: the limit is reached.
        """
        self._filtered_or_failed += 1
        self._failed = self._failed + 1 if fate is Fate.FAILED else 0
        if self._failed >= _FAILURES_IN_A_ROW:
            raise TrainingError(f"{self._failed} groups in a row failed; the last one: {reason}")
        if self._filtered_or_failed >= self._limit:
            raise TrainingError(
                f"{self._limit} groups in a row (max_useless_batches) had nothing to train on. Either the "
                "task is far too hard or too easy for this model, or its completions are cut off "
                "(sampling.max_completion_tokens); rollouts.jsonl shows some"
            )
