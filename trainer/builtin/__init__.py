"""The built-in task and model: small enough to learn on two CPU cores, and torch-free until asked for.

`problems` generates grade-school word problems in GSM8K's format. `model/` holds a tiny Qwen3 that can
work them out but answers about half of them tersely and wrongly, so GRPO has something to teach it.
`python -m trainer.builtin pretrain` makes that model again.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
"""The checked-in model, a Hugging Face folder."""
