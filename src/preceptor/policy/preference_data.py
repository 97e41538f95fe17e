"""Files of pairs or of thumbs go in; the rows of token ids that DPO and KTO learn from come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.errors import DataError, InputError
from preceptor.files.jsonl import read_jsonl, text_field
from preceptor.modeling.policy_model import context_length, eos_ids
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy.config import PolicyConfig
from preceptor.policy.prompts import decided_sides, metadata_of
from preceptor.policy.warmstart import LONGEST_ANSWER, encode_answer


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the better one first."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Thumb:
    """One answer and whether a clinician approved of it."""

    prompt: str
    completion: str
    label: bool


@dataclass(frozen=True)
class Encoder:
    """How texts become token ids: the same way as in sampling, so that no token differs from what a policy writes."""

    tokenizer: Any
    eos: int
    max_prompt_tokens: int
    max_answer_tokens: int = LONGEST_ANSWER

    def prompt(self, text: str) -> list[int]:
        """Ids of the formatted prompt; a long one keeps its end."""
        return encode_prompt(self.tokenizer, text, self.max_prompt_tokens)[0]

    def answer(self, text: str) -> list[int]:
        """Ids of an answer, which ends with EOS only where its last sentence is whole."""
        return encode_answer(self.tokenizer, text, eos=self.eos, most=self.max_answer_tokens)


def encoder_of(model: Any, tokenizer: Any, config: PolicyConfig) -> Encoder:
    """How a run encodes texts: the longest prompt leaves room for the answers that are sampled and learned from.

    Raises InputError where an answer to be sampled would fill the model's context.
    """
    context = context_length(model)
    if config.max_new_tokens >= context:
        raise InputError(f"max_new_tokens {config.max_new_tokens} fills the model's context: lower it.")
    prompt = min(config.max_prompt_tokens, context - config.max_new_tokens)
    return Encoder(tokenizer, eos_ids(model, tokenizer)[0], prompt, min(LONGEST_ANSWER, context - prompt))


def load_pairs(path: Path) -> list[Pair]:
    """Distinct pairs of the training split of a preferences file, without its ties.

    Raises InputError naming file and line, and DataError where the file holds no training pair.
    """
    found = dict.fromkeys(
        Pair(*(text_field(path, number, row, name) for name in ("prompt", *sides)))
        for number, row in read_jsonl(path)
        if metadata_of(row).get("split", "train") == "train" and (sides := decided_sides(path, number, row))
    )
    pairs = [pair for pair in found if pair.chosen.strip() != pair.rejected.strip()]
    if not pairs:
        raise DataError(f"{path} holds no training pairs: DPO learns from lines of `prompt`, `chosen` and `rejected`.")
    return pairs


def load_thumbs(path: Path) -> list[Thumb]:
    """The thumbs of the training split of a file of `prompt`, `completion` and `label`.

    Several raters may have judged one answer, so equal lines are kept. Raises InputError naming file and line, and
    DataError where thumbs are missing in one of both directions.
    """
    thumbs = [
        Thumb(
            text_field(path, number, row, "prompt"),
            text_field(path, number, row, "completion"),
            _label(row, path, number),
        )
        for number, row in read_jsonl(path, may_be_empty=True)  # a dataset may have no thumbs
        if metadata_of(row).get("split", "train") == "train"
    ]
    up = sum(thumb.label for thumb in thumbs)
    if not up or up == len(thumbs):
        raise DataError(f"{path} holds {up} thumbs up and {len(thumbs) - up} down for training: KTO needs both.")
    return thumbs


def dpo_rows(pairs: Sequence[Pair], encoder: Encoder) -> list[dict[str, Any]]:
    """Rows under TRL's names: `prompt_ids`, `chosen_ids`, `rejected_ids`."""
    return [
        {
            "prompt_ids": encoder.prompt(pair.prompt),
            "chosen_ids": encoder.answer(pair.chosen),
            "rejected_ids": encoder.answer(pair.rejected),
        }
        for pair in pairs
    ]


def kto_rows(thumbs: Sequence[Thumb], encoder: Encoder, *, batch: int, seed: int) -> list[dict[str, Any]]:
    """Rows under TRL's names: `prompt_ids`, `completion_ids`, `label`, and `KL_completion_ids`.

    KTO estimates KL on mismatched answers: inside each batch of `batch` rows every prompt gets its neighbor's answer
    (Ethayarajh et al. 2024, section 4.1). So the order is drawn here and must be kept in training, and a last batch of
    one row is left out.
    """
    order = np.random.default_rng([seed, len(thumbs)]).permutation(len(thumbs))
    rows = [
        {
            "prompt_ids": encoder.prompt(thumbs[i].prompt),
            "completion_ids": encoder.answer(thumbs[i].completion),
            "label": thumbs[i].label,
        }
        for i in order.tolist()
    ]
    mixed: list[dict[str, Any]] = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        if len(part) > 1:
            answers = [row["completion_ids"] for row in part]
            shifted = answers[-1:] + answers[:-1]
            mixed += [row | {"KL_completion_ids": ids} for row, ids in zip(part, shifted, strict=True)]
    return mixed


def kto_weights(thumbs: Sequence[Thumb]) -> tuple[float, float]:
    """Loss weights of thumbs up and down under which both directions weigh the same (eq. 8 of the KTO paper)."""
    up = sum(thumb.label for thumb in thumbs)
    down = len(thumbs) - up
    return max(1.0, down / up), max(1.0, up / down)


def _label(row: dict[str, Any], path: Path, number: int) -> bool:
    value = row.get("label")
    if not isinstance(value, bool):
        raise InputError(f"{path} line {number} has no `label` that is true or false.")
    return value
