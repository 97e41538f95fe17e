"""Texts go in, vectors of their tokens pooled over the text and over each sentence come out, from a frozen encoder.

Long texts are read in windows that break between sentences, so nothing is cut whatever the length.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.errors import ModelError
from preceptor.modeling.device import DeviceName, choose_device
from preceptor.modeling.resolve import unloadable

FloatArray = NDArray[np.float32]
Precision = Literal["auto", "float32", "bfloat16"]

WINDOW = 128  # tokens; the sentence encoders at hand were trained on texts of about this length
_BATCH_TOKENS = 4096
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class Encoder:
    """A bidirectional encoder with its tokenizer; `digest` names its weights."""

    model: Any
    tokenizer: Any
    digest: str
    bfloat16: bool

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        where: torch.device = self.model.device
        return where


@dataclass(frozen=True)
class TextVectors:
    """One text: mean of its tokens in the last and in a middle layer, (D,) each; sentence means (S, D), S >= 0."""

    last: FloatArray
    middle: FloatArray
    sentences: FloatArray


@dataclass(frozen=True)
class _Window:
    text: int
    ids: list[int]
    sentence: NDArray[np.int64]  # (tokens,) which sentence each token belongs to


def load_encoder(folder: Path, *, precision: Precision = "auto", device: DeviceName = "auto") -> Encoder:
    """Load the encoder of a model folder, ready to embed; a reward model's head is left aside.

    The precision "auto" is bfloat16 where the processor has instructions for it, else float32.
    Raises ModelError when the weights or the tokenizer cannot be read, or CLS and SEP tokens are missing.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer

    from preceptor.modeling.quiet import quiet_transformers

    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model = AutoModel.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelError(unloadable(f"The encoder in {folder}", error)) from error
    if not marks_texts(tokenizer):
        raise ModelError(f"The model in {folder} is not an encoder with CLS and SEP tokens: use the full mode for it.")
    place = choose_device(device)
    model.eval().requires_grad_(False).to(place)
    bfloat16 = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(place))
    return Encoder(model, tokenizer, weights_digest(model), bfloat16)


def marks_texts(tokenizer: Any) -> bool:
    """Whether it has the CLS and SEP tokens and the offsets that an encoder is read with."""
    return tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None and bool(tokenizer.is_fast)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on this device."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere was the first
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def weights_digest(model: Any) -> str:
    """SHA-256 over the names and values of a model's weights, 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def sentence_starts(text: str) -> list[int]:
    """Where each sentence of a text starts, in characters; never empty."""
    starts, begin = [], 0
    for gap in _BREAK.finditer(text):
        if text[begin : gap.start()].strip():
            starts.append(begin)
        begin = gap.end()
    if text[begin:].strip():
        starts.append(begin)
    return starts or [0]


@torch.no_grad()
def embed(
    encoder: Encoder, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
) -> list[TextVectors]:
    """Pooled vectors of each text, in order; texts of like length share a batch. An empty text gives zeros.

    The same list gives the same bits; another list may differ by the rounding of the precision.
    """
    windows = [window for i, text in enumerate(texts) for window in _windows(encoder.tokenizer, i, text)]
    windows.sort(key=lambda window: len(window.ids))
    sums = np.zeros((len(texts), 2, encoder.width), dtype=np.float32)
    tokens = np.zeros(len(texts), dtype=np.int64)
    spans: list[dict[int, tuple[FloatArray, int]]] = [{} for _ in texts]
    done = 0
    for batch in _batches(windows):
        last, middle = _hidden(encoder, [window.ids for window in batch])
        for row, window in enumerate(batch):
            length = len(window.ids) + 2  # CLS and SEP are pooled too, as the encoder was trained
            sums[window.text, 0] += last[row, :length].sum(0)
            sums[window.text, 1] += middle[row, :length].sum(0)
            tokens[window.text] += length
            _add_spans(spans[window.text], window.sentence, last[row, 1 : length - 1])
        done += len(batch)
        if progress is not None:
            progress(done, len(windows))
    means = sums / np.maximum(tokens, 1)[:, None, None]
    empty = np.zeros((0, encoder.width), dtype=np.float32)
    return [
        TextVectors(
            means[i, 0], means[i, 1], np.stack([v / n for _, (v, n) in sorted(spans[i].items())]) if spans[i] else empty
        )
        for i in range(len(texts))
    ]


def token_windows(tokenizer: Any, text: str) -> list[list[int]]:
    """The token ids of a text in windows that break between sentences; none for an empty text."""
    return [window.ids for window in _windows(tokenizer, 0, text)]


def _windows(tokenizer: Any, index: int, text: str) -> Iterator[_Window]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = encoded["input_ids"]
    if not ids:
        return
    begins = np.array(encoded["offset_mapping"], dtype=np.int64)[:, 0]
    sentence = np.searchsorted(sentence_starts(text), begins, side="right") - 1
    start = 0
    while start < len(ids):
        end = min(len(ids), start + WINDOW)
        if end < len(ids):
            between = end
            while between > start and sentence[between] == sentence[between - 1]:
                between -= 1
            end = between if between > start else end  # one sentence longer than a window is parted inside
        yield _Window(index, ids[start:end], sentence[start:end])
        start = end


def _batches(windows: Sequence[_Window]) -> Iterator[Sequence[_Window]]:
    start = 0
    while start < len(windows):
        end = start + 1
        while end < len(windows) and (end + 1 - start) * (len(windows[end].ids) + 2) <= _BATCH_TOKENS:
            end += 1
        yield windows[start:end]
        start = end


def _hidden(encoder: Encoder, rows: Sequence[list[int]]) -> tuple[FloatArray, FloatArray]:
    """Hidden states of the last and the middle layer, (rows, longest + 2, D)."""
    width = max(len(row) for row in rows) + 2
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    cls, sep = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    for i, row in enumerate(rows):
        ids[i, : len(row) + 2] = torch.tensor([cls, *row, sep])
        mask[i, : len(row) + 2] = 1
    place = encoder.device
    with torch.autocast(place.type, torch.bfloat16, enabled=encoder.bfloat16):
        states = encoder.model(
            input_ids=ids.to(place), attention_mask=mask.to(place), output_hidden_states=True
        ).hidden_states
    middle = states[(len(states) - 1) * 2 // 3]
    return states[-1].float().cpu().numpy(), middle.float().cpu().numpy()


def _add_spans(spans: dict[int, tuple[FloatArray, int]], sentence: NDArray[np.int64], states: FloatArray) -> None:
    edges = np.flatnonzero(np.diff(sentence)) + 1
    for group in np.split(np.arange(len(sentence)), edges):
        key = int(sentence[group[0]])
        total, count = spans.get(key, (0.0, 0))
        spans[key] = (states[group].sum(0) + total, len(group) + count)
