"""A model name goes in, a folder of safetensors weights comes out: hub cache, folder, embedded, or error."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import Any, Literal

from preceptor.errors import ModelError
from preceptor.modeling.embedded import embedded_folder, embedded_name

logger = logging.getLogger(__name__)

Kind = Literal["policy", "reward", "encoder"]
_CANONICAL = {"gpt2": "openai-community/gpt2", "bert-base-uncased": "google-bert/bert-base-uncased"}
_ARTIFACT_ID = re.compile(r"(dataset|reward_model|policy|report)-[0-9a-f]{16}")
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_announced: set[str] = set()  # one line a process and name is enough


def resolve_model(name: str, *, models_dir: Path | None = None) -> Path:
    """Find the folder that holds the weights of `name`; nothing is ever downloaded or randomly initialized.

    The order is: the Hugging Face cache on this machine, a folder, the model embedded in an installed
    package. The cache is read without any network call, so a machine with no internet answers at once;
    `hf download NAME` fills it. Raises ModelError when none has the model, or has it only as pickle files.
    """
    if not name or not name.strip():
        raise ModelError("The model name is empty: give a hub name such as gpt2, or a folder.")
    cached = hub_folder(name)
    if cached is not None:
        return _checked(cached, name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name)
    model = embedded_name(name)
    if model is not None:
        if name.lower() not in model.lower() and name not in _announced:
            _announced.add(name)
            logger.warning("%s is not on this machine; the embedded %s stands in for it.", name, model)
        return _checked(embedded_folder(model, models_dir or default_models_dir()), name)
    if folder.exists():
        raise ModelError(f"The model {name} is a file, not a folder: name the folder that holds config.json.")
    if _ARTIFACT_ID.fullmatch(name):
        raise ModelError(
            f"{name} is the id of an artifact that is not there or is no model for this: check the id, or give the "
            "path of a model folder."
        )
    raise ModelError(
        f"The model {name} is neither in the Hugging Face cache, nor a folder, nor embedded: "
        f"run `hf download {name}`, or give the path of a model folder."
    )


def default_models_dir() -> Path:
    """Where converted models are cached when the caller names no place."""
    home = os.environ.get("PRECEPTOR_HOME")
    return Path(home) / "models" if home else Path.home() / ".cache" / "preceptor" / "models"


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; raises ModelError when it is absent or not a JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} holds no config.json: it is not a model folder.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a JSON object.")
    return config


def unloadable(what: str, error: Exception) -> str:
    """The sentence for a folder that transformers or safetensors refused; their words are often a whole page."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    return f"{what} cannot be loaded ({reason}). Its files are damaged or of another kind: make or copy them again."


def model_kind(folder: Path) -> Kind:
    """What the folder holds: a policy (causal language model), a reward model, or a bare encoder."""
    if (folder / "head.safetensors").is_file():
        return "reward"
    names = read_config(folder).get("architectures") or []
    if any(name.endswith("ForSequenceClassification") for name in names):
        return "reward"
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        return "policy"
    return "encoder"


def require_policy(folder: Path, name: str) -> None:
    """Raise ModelError unless the folder holds a causal language model."""
    kind = model_kind(folder)
    if kind == "reward":
        raise ModelError(f"{name} is a reward model; a policy is wanted here, such as gpt2 or a policy folder.")
    if kind == "encoder":
        raise ModelError(f"{name} is an encoder that cannot write answers; a policy such as gpt2 is wanted here.")


def require_not_policy(folder: Path, name: str) -> None:
    """Raise ModelError when the folder holds a trained policy where a reward model or encoder is wanted."""
    if model_kind(folder) == "policy":
        raise ModelError(f"{name} is a policy; a reward model or an encoder is wanted here.")


def hub_folder(name: str) -> Path | None:
    """The folder of a model in the Hugging Face cache of this machine, or None; asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    for candidate in dict.fromkeys((name, _CANONICAL.get(name, name))):
        try:
            folder = Path(snapshot_download(candidate, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError):
            continue  # not a repository name, or not in the cache: the next place is asked
        if (folder / "config.json").is_file() and _has_weights(folder):
            return folder
    return None


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(True for p in _PICKLES for _ in folder.glob(p))


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file() and not (folder / "preceptor.json").is_file():
        raise ModelError(f"The folder {name} holds no config.json: it is not a model folder.")
    if any(folder.rglob("*.safetensors")):
        return folder
    if any(True for pattern in _PICKLES for _ in folder.glob(pattern)):
        raise ModelError(
            f"The model {name} has only pickle weights, which can run code when opened: "
            "convert it to safetensors first."
        )
    raise ModelError(f"The folder {name} holds no safetensors weights.")
