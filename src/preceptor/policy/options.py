"""An algorithm and the settings that were changed go in; what does not fit, as one sentence, comes out."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

Algorithm = Literal["ppo", "dpo", "kto", "rloo", "grpo"]

_CRITIC = {"value_learning_rate", "cliprange_value", "vf_coef", "gamma", "lam", "whiten_rewards"}
_CONTROL = {"adap_kl_ctrl", "kl_target", "kl_horizon", "early_stopping", "target_kl"}
_SAMPLING = {"ppo_epochs", "cliprange", "answers_per_prompt", "gradient_accumulation_steps", "score_clip"}
_MEMORY = {"gradient_checkpointing"}
_OWN = {"draws_per_prompt", "lora_rank", "warmup_steps"}
_SCALE = {"sharding", "sampler", "sampler_memory", "importance_cap"}
_DATA = {"preferences_file"}

# what each algorithm has no use for; a setting that would change nothing is a mistake of whoever set it
_UNUSED: dict[str, set[str]] = {
    "ppo": _DATA,
    "rloo": _CRITIC | _CONTROL | _MEMORY | _SCALE | _OWN | _DATA,
    "grpo": _CRITIC | _CONTROL | _MEMORY | _SCALE | _OWN | _DATA,
    "dpo": _CRITIC | _CONTROL | _MEMORY | _SCALE | _OWN | _SAMPLING,
    "kto": _CRITIC | _CONTROL | _MEMORY | _SCALE | _OWN | _SAMPLING,
}


def misfit(algorithm: Algorithm, changed: Set[str], *, answers_per_prompt: int) -> str | None:
    """Why the `changed` settings cannot go with `algorithm`; None where they can."""
    idle = sorted(_UNUSED[algorithm] & changed)
    if idle:
        users = sorted(name for name, unused in _UNUSED.items() if not unused & set(idle))
        return f"{algorithm} does not use {', '.join(idle)}; leave it out, or choose {' or '.join(users) or 'ppo'}"
    if algorithm in ("rloo", "grpo") and answers_per_prompt < 2:
        return f"{algorithm} compares the answers to one prompt: answers_per_prompt must be at least 2"
    return None
