"""Prompts with their answers go in, what a cross-encoder says of their relevance comes out, window by window.

A cross-encoder reads prompt and answer together, so it knows better than two vectors whether the one answers the other.
A long answer is read in windows that break between sentences, each with the prompt: one passage may hold the answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preceptor.modeling.classifier import forward_scores, load_classifier, position_limit
from preceptor.modeling.device import DeviceName, choose_device
from preceptor.modeling.embeddings import FloatArray, has_fast_bfloat16, token_windows, weights_digest
from preceptor.modeling.quiet import quiet_transformers
from preceptor.modeling.sequences import EncodedPair

CROSS_ENCODER_NAME = "cross-encoder/ms-marco-MiniLM-L12-v2"
CROSS_ENCODER_FOLDER = "cross_encoder"  # in a reward model's folder
RELEVANCE = 3  # the best, the mean and the first window's logit
_MOST_PROMPT_TOKENS = 256
_CHUNK = 256  # windows between two reports of progress


@dataclass(frozen=True)
class CrossEncoder:
    """A trained classifier with one output, its tokenizer, and a digest that names its weights."""

    model: Any
    tokenizer: Any
    digest: str
    bfloat16: bool


def load_cross_encoder(folder: Path, *, device: DeviceName = "auto") -> CrossEncoder:
    """Load it for reading; raises ModelError when the folder holds no trained classifier with one output.

    Its weights are rounded to bfloat16, in which it is also saved, so that the first and a later scorer agree.
    """
    place = choose_device(device)
    model, tokenizer = load_classifier(folder, trained=True)
    model.requires_grad_(False).to(torch.bfloat16).to(torch.float32).to(place)
    return CrossEncoder(model, tokenizer, weights_digest(model), has_fast_bfloat16(place))


def save_cross_encoder(encoder: CrossEncoder, folder: Path) -> None:
    """Write a classifier folder that plain transformers loads, in bfloat16; no path of this machine stays in it."""
    with quiet_transformers():
        encoder.model.config._name_or_path = encoder.tokenizer.name_or_path = CROSS_ENCODER_NAME
        copy.deepcopy(encoder.model).to("cpu", torch.bfloat16).save_pretrained(folder)
        encoder.tokenizer.save_pretrained(folder)


@torch.no_grad()
def relevance(
    encoder: CrossEncoder,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Logits of the best window, of the mean over windows and of the first, (N, 3), as the encoder was trained.

    An empty answer is one empty window.
    """
    rows: list[EncodedPair] = []
    owners: list[int] = []
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        for row in _rows(encoder, prompt, answer):
            rows.append(row)
            owners.append(index)
    logits = np.zeros(len(rows), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for start in range(0, len(rows), _CHUNK):
        chunk = order[start : start + _CHUNK]
        scores = forward_scores(encoder.model, [rows[i] for i in chunk], bfloat16=encoder.bfloat16, tokens=4096)
        logits[chunk] = scores.cpu().numpy()
        if progress is not None:
            progress(min(len(rows), start + _CHUNK), len(rows))
    found = np.zeros((len(prompts), RELEVANCE), dtype=np.float32)
    edges = np.searchsorted(owners, np.arange(len(prompts) + 1))
    for index in range(len(prompts)):
        own = logits[edges[index] : edges[index + 1]]
        found[index] = own.max(), own.mean(), own[0]
    return found


def _rows(encoder: CrossEncoder, prompt: str, answer: str) -> list[EncodedPair]:
    tokenizer = encoder.tokenizer
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    question: list[int] = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    room = min(_MOST_PROMPT_TOKENS, position_limit(encoder.model) // 2)
    first = [cls, *question[-room:], sep]  # the end of a long prompt asks
    windows = token_windows(tokenizer, answer) or [[]]
    return [EncodedPair([*first, *ids, sep], [0] * len(first) + [1] * (len(ids) + 1), 0, 0) for ids in windows]
