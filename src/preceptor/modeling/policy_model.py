"""A policy's name or folder goes in, the causal language model with its tokenizer comes out, ready to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from preceptor.errors import ModelError
from preceptor.modeling.device import DeviceName, choose_device
from preceptor.modeling.resolve import require_policy, resolve_model, unloadable

Dtype = Literal["float32", "bfloat16"]


def load_policy(
    name_or_path: str | Path, *, dtype: Dtype = "float32", models_dir: Path | None = None, device: DeviceName = "cpu"
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, in evaluation mode (no dropout), onto the device.

    The tokenizer pads on the left and has a pad token (its EOS when it had none: padding is always told by
    attention mask, never by id). Raises ModelError when the folder holds another kind of model, lacks
    weights or a tokenizer, ConfigError when there is no such device; no weight is ever left at random.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    place = choose_device(device)
    folder = resolve_model(str(name_or_path), models_dir=models_dir)
    require_policy(folder, str(name_or_path))
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(unloadable(f"The policy {name_or_path}", error)) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"The policy {name_or_path} lacks {len(missing)} weights, {missing[0]} among them: "
            "its files are incomplete."
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {name_or_path} has no end-of-sequence token: answers could not end.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    model.eval().to(place)
    return model, tokenizer


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """The token ids that end an answer."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    if declared is None:
        declared = tokenizer.eos_token_id
    return list(declared) if isinstance(declared, list | tuple) else [int(declared)]


def context_length(model: Any) -> int:
    """How many tokens, prompt and answer together, the model can read."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1024)
