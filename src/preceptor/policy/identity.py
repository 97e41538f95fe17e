"""A config, its models and its files go in; what tells one training from another comes out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from preceptor.files.atomic import file_digest
from preceptor.modeling.device import choose_device
from preceptor.policy.checkpoint import decisive
from preceptor.policy.config import PolicyConfig

_JUDGEMENTS = {"dpo": "preferences.jsonl", "kto": "unpaired.jsonl"}


def training_settings(
    config: PolicyConfig, base: Path, reward_model: Path, preferences: Path | None = None
) -> dict[str, Any]:
    """What a checkpoint was made under: the config, the device, and the digests of all that is learned from.

    These are the weights of base and reward model, and the contents of the files of prompts, of a warm start and of
    preferences, where the run reads them; `preferences` are the pairs of the reward model's dataset.
    """
    files = {"prompts_file": config.prompts_file or reward_model / "prompts.jsonl"}
    if config.warm_start_epochs and (warm := config.warm_start_file or preferences):
        files["warm_start_file"] = warm
    if judged := judgements_file(config, preferences):
        files["preferences_file"] = judged
    facts = {"base": _digest(base), "reward": _digest(reward_model), "device": choose_device(config.device).type}
    contents = {f"content of {name}": file_digest(path) for name, path in files.items() if path.is_file()}
    return config.model_dump(mode="json") | facts | contents


def judgements_file(config: PolicyConfig, preferences: Path | None) -> Path | None:
    """The pairs that DPO or the thumbs that KTO learns from: the config's own, else those of a dataset, if any."""
    if config.algorithm not in _JUDGEMENTS:
        return None
    return config.preferences_file or (preferences and preferences.with_name(_JUDGEMENTS[config.algorithm]))


def training_key(config: PolicyConfig, base: Path, reward: Path, preferences: Path | None = None) -> str:
    """16 hex digits over what decides how a training ends."""
    settings = training_settings(config, base, reward, preferences)
    return hashlib.sha256(json.dumps(decisive(settings), sort_keys=True).encode()).hexdigest()[:16]


def _digest(folder: Path) -> str:
    """What identifies the weights of a folder."""
    return "+".join(file_digest(path)[:16] for path in sorted(folder.glob("*.safetensors")))
