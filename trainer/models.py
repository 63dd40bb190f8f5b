"""Names of models, and where their files lie. Torch-free."""

from pathlib import Path

from trainer.errors import ConfigError

BUILTIN = "builtin:tiny"
_BUILTIN_DIR = Path(__file__).parent / "builtin" / "model"


def model_path(model: str) -> str:
    """What `from_pretrained` and `vllm serve` take for a configured model.

    Raises:
        ConfigError: for a `builtin:` name that does not exist.
    """
    if model == BUILTIN:
        return str(_BUILTIN_DIR)
    if model.startswith("builtin:"):
        raise ConfigError(f"model {model!r} does not exist; the only built-in model is {BUILTIN!r}")
    return model


def model_directory(model: str) -> Path:
    """The local folder of a configured model, fetched from the hub when it is a name there.

    Raises:
        ConfigError: it is neither a folder nor to be had from the hub.
    """
    folder = Path(model_path(model))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model {model!r} is no local folder and could not be had from the hub: {error}"
        ) from error
