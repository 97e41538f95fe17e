"""Loading a policy: whole, of the right kind, ready to sample from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from preceptor.errors import ModelError
from preceptor.modeling.policy_model import context_length, eos_ids, load_policy
from preceptor.modeling.resolve import resolve_model


def test_a_policy_without_a_pad_token_pads_with_its_end_token_on_the_left(tiny_llama: Path) -> None:
    model, tokenizer = load_policy(tiny_llama)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1
    assert tokenizer.padding_side == "left"
    assert not model.training
    assert eos_ids(model, tokenizer) == [1]
    assert context_length(model) == 256


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_come_in_the_precision_asked_for(tiny_llama: Path, dtype: str) -> None:
    model, _ = load_policy(tiny_llama, dtype=dtype)  # type: ignore[arg-type]
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}


def test_an_encoder_is_no_policy() -> None:
    with pytest.raises(ModelError, match="all-MiniLM-L6-v2 is an encoder"):
        load_policy("all-MiniLM-L6-v2")


def test_missing_weights_are_an_error_and_never_random(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(tiny_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, model\.layers\.1\.mlp\.up_proj\.weight"):
        load_policy(folder)


def test_a_folder_without_a_tokenizer_is_an_error(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_llama / name, folder / name)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(folder)


def test_several_end_tokens_are_all_known(tiny_llama: Path) -> None:
    model, tokenizer = load_policy(tiny_llama)
    model.generation_config.eos_token_id = [1, 7]
    assert eos_ids(model, tokenizer) == [1, 7]


def test_the_embedded_policy_is_a_dense_bfloat16_safetensors_folder() -> None:
    folder = resolve_model("smollm2")
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert sum(tensor.numel() for tensor in tensors.values()) == pytest.approx(134.5e6, rel=0.01)
    assert not list(folder.glob("*.bin"))


def test_the_embedded_policy_answers_in_plain_transformers() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve_model("smollm2")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0])
