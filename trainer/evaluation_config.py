"""What `python -m trainer.evaluation` reads: models, tasks and shots. Torch-free."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from trainer.settings import EngineSettings, NonNegativeInt, PositiveInt, Settings


class Evaluation(Settings):
    """One lm-eval call: a model, a task, a number of shots, and where the result goes."""

    label: str
    """What the model is called in reports: `base` or a run's name."""
    model: str
    """`builtin:tiny`, a local checkpoint folder or a hub name."""
    task: Literal["arithmetic_cot", "gsm8k_cot"]
    num_fewshot: NonNegativeInt
    output: str
    """The result file, `<task>_<n>shot.json`; samples go beside it."""
    limit: PositiveInt | None = None
    data: str | None = None
    """gsm8k_cot only: a local JSONL file with the test split; without it the hub's dataset is used."""
    max_completion_tokens: PositiveInt = 128

    def evaluation_id(self, checkpoint_id: str, engine: str, settings: EngineSettings) -> str:
        """First 12 hex digits of sha256 over everything that decides the answers.

        Args:
            checkpoint_id: identity of the weights.
            engine: name and version, such as `vllm 0.32.0`.
            settings: how it computes.

        Raises:
            OSError: `data` cannot be read; what it holds counts, not where it lies.
        """
        identity = self.model_dump(mode="json", exclude={"label", "output", "model", "data"})
        identity |= {"checkpoint": checkpoint_id, "engine": engine, "lm_eval": version("lm_eval")}
        if self.data is not None:
            with Path(self.data).open("rb") as file:
                identity["data"] = hashlib.file_digest(file, "sha256").hexdigest()
        identity |= settings.model_dump(mode="json", include={"dtype", "max_model_len"})
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class EvaluationFile(Settings):
    """What `python -m trainer.evaluation --config` reads: all evaluations of one warm engine."""

    engine: EngineSettings = EngineSettings()
    evaluations: tuple[Evaluation, ...]
