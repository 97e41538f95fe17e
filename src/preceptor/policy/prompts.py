"""A JSONL file goes in; prompts to train on, or prompts with chosen answers, come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from preceptor.errors import ConfigError, InputError
from preceptor.files.jsonl import read_jsonl, text_field
from preceptor.files.labels import TIE, label_of, sides_of
from preceptor.policy.config import PolicyConfig

_ENOUGH_CORRECTIONS = 10


def prompts_of(config: PolicyConfig, reward_model: Path) -> tuple[list[str], list[str]]:
    """Training prompts and held-out prompts of a run: those of `prompts_file`, or those that the reward model brings.

    Raises ConfigError for a KL budget without held-out prompts: the KL of the policy to publish would not be measured.
    """
    path = config.prompts_file or reward_model / "prompts.jsonl"
    texts = load_prompts(path, most=config.max_prompts, seed=config.seed)
    held_out = load_held_out(path, most=config.held_out_prompts, seed=config.seed)
    if config.kl_budget is not None and not held_out:
        missing = (
            f"{path} holds no prompt of split `validation`" if config.held_out_prompts else "held_out_prompts is 0"
        )
        cure = "add some" if config.held_out_prompts else "allow some"
        raise ConfigError(f"kl_budget is kept on held-out prompts, and {missing}: {cure}, or leave kl_budget out.")
    return texts, held_out


def load_prompts(path: Path, *, most: int, seed: int) -> list[str]:
    """Distinct training prompts in a file of `{"prompt": ..., "split": "train"}` lines, at most `most` of them.

    Lines of another split are left out; a line without a split is for training. Above `most` a seeded sample is
    taken, in file order. Raises InputError naming the file and line, never the text.
    """
    found = dict.fromkeys(
        prompt
        for number, row in read_jsonl(path)
        if row.get("split", "train") == "train" and (prompt := text_field(path, number, row, "prompt"))
    )
    prompts = list(found)
    if not prompts:
        raise InputError(f"{path} holds no training prompts: each line needs a `prompt`, and split `train` if any.")
    return _sample(prompts, most=most, seed=seed)


def load_held_out(path: Path, *, most: int, seed: int) -> list[str]:
    """Distinct prompts of the validation split, at most `most` of them; none where the file has no such split.

    One that is a training prompt too is left out: on it a policy shows what it learned by heart.
    """
    rows = list(read_jsonl(path))
    trained = {row.get("prompt") for _, row in rows if row.get("split", "train") == "train"}
    found = dict.fromkeys(
        text_field(path, number, row, "prompt") for number, row in rows if row.get("split") == "validation"
    )
    return _sample([prompt for prompt in found if prompt not in trained], most=most, seed=seed)


def load_chosen(path: Path) -> list[tuple[str, str]]:
    """Distinct (prompt, chosen) pairs of the training split of a preferences file, without its ties.

    Where clinicians wrote at least ten corrections, only these are taken: an answer that merely was the better of two
    may still be poor.
    """
    rows = [(number, row) for number, row in read_jsonl(path) if metadata_of(row).get("split", "train") == "train"]
    corrections = [(number, row) for number, row in rows if metadata_of(row).get("instrument") == "correction"]
    taken = corrections if len(corrections) >= _ENOUGH_CORRECTIONS else rows
    return list(
        dict.fromkeys(
            (text_field(path, number, row, "prompt"), text_field(path, number, row, sides[0]))
            for number, row in taken
            if (sides := decided_sides(path, number, row))
        )
    )


def _sample(prompts: list[str], *, most: int, seed: int) -> list[str]:
    if len(prompts) <= most:
        return prompts
    kept = np.sort(np.random.default_rng(seed).choice(len(prompts), most, replace=False))
    return [prompts[int(i)] for i in kept]


def decided_sides(path: Path, number: int, row: dict[str, Any]) -> tuple[str, str] | None:
    """The fields of a pair's better answer and of the other, as its `metadata.label` says; None of a tie.

    Raises InputError naming file and line where the label is no number from 0 to 1.
    """
    label = label_of(path, number, metadata_of(row))
    return None if label == TIE else sides_of(label)


def metadata_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of itself; nothing where it says nothing."""
    metadata = row.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
