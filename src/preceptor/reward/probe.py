"""A sequence classifier and encoded pairs go in; its output layer is fitted to them, the layers below stay.

Fine-tuning that starts from a fitted output layer distorts the layers below less than from a random one (Kumar et al.
2022, arXiv 2202.10054), and at two minutes on a CPU it is the start that does most of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preceptor.files.labels import TIE
from preceptor.modeling.classifier import distinct_rows, forward_scores, output_layer
from preceptor.modeling.embeddings import FloatArray
from preceptor.modeling.frozen_head import Array
from preceptor.modeling.sequences import EncodedPair
from preceptor.reward import bradley_terry
from preceptor.reward.batches import EncodedPairs
from preceptor.reward.row_cache import cached_rows

_L2 = (0.003, 0.01, 0.03, 0.1)
_KNOWN_SIZE = 3.0  # as the likeness of a frozen head
_CHUNK = 128  # answers between two reports of progress


@torch.no_grad()
def fit_output_layer(
    model: Any,
    encoded: EncodedPairs,
    *,
    prompts: Sequence[str],
    weights: Array,
    targets: Array,
    labels: Array | None = None,
    seed: int,
    bfloat16: bool,
    trained: bool = False,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Set the output layer in place, so that scores have mean 0 on the pairs; False where the model does not allow it.

    With `trained`, the layer as it came is one more feature, hardly shrunk: where the pairs are few, a cross-encoder
    goes on from what it knew.

    `cache` is a file that keeps what the layer reads, named after the weights and the precision that it is read with.

    Only classifiers whose last layer reads one vector a text can be fitted (BERT and its like, not causal models).
    """
    layer = output_layer(model)
    inputs = _inputs_of(layer, model, encoded, bfloat16=bfloat16, cache=cache, progress=progress)
    if inputs is None:
        return False
    count = len(encoded.chosen)
    center, spread = inputs.mean(0), np.maximum(inputs.std(0), 1e-6)
    scale = 1.0 / (spread * np.sqrt(inputs.shape[1]))
    scaled = (inputs[:count] - inputs[count:]) * scale
    known = layer.weight[0].double().cpu().numpy()
    if trained:
        logits = inputs @ known
        known = known * _KNOWN_SIZE / max(float(logits.std()), 1e-6)
        scaled = np.concatenate([scaled, ((inputs[:count] - inputs[count:]) @ known)[:, None]], axis=1)
    folds = bradley_terry.grouped_folds(prompts, folds=min(5, len(set(prompts))), seed=seed)
    decided = None if labels is None else labels != TIE  # ties are fitted to and decide nothing
    l2, _ = bradley_terry.choose_l2(
        scaled, folds, choices=_L2, weights=weights, targets=targets, labels=labels, judged=decided
    )
    w = bradley_terry.fit(scaled, l2=l2, weights=weights, targets=targets, labels=labels)
    w = w[:-1] * scale + w[-1] * known if trained else w * scale
    layer.weight.copy_(torch.tensor(w[None], dtype=layer.weight.dtype))
    if layer.bias is not None:
        layer.bias.fill_(float(-(center @ w)))
    return True


def _inputs_of(
    layer: torch.nn.Linear,
    model: Any,
    encoded: EncodedPairs,
    *,
    bfloat16: bool,
    cache: Path | None,
    progress: Callable[[int, int], None] | None,
) -> Array | None:
    """What the layer reads for each chosen, then each rejected answer, (2N, D); None unless one vector a text."""
    rows, which = distinct_rows(encoded.chosen + encoded.rejected)

    def computed(indices: list[int]) -> FloatArray | None:
        return _read(layer, model, [rows[i] for i in indices], bfloat16=bfloat16, progress=progress)

    inputs = cached_rows(cache, [(row.ids, row.token_type_ids) for row in rows], computed)
    return None if inputs is None else inputs[which].astype(np.float64)


def _read(
    layer: torch.nn.Linear,
    model: Any,
    rows: Sequence[EncodedPair],
    *,
    bfloat16: bool,
    progress: Callable[[int, int], None] | None,
) -> FloatArray | None:
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
    # sorted here as forward_scores sorts, so that what the hook sees comes in a known order
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    try:
        for start in range(0, len(rows), _CHUNK):
            forward_scores(model, [rows[i] for i in order[start : start + _CHUNK]], bfloat16=bfloat16)
            if seen[-1].dim() != 2:
                return None
            if progress is not None:
                progress(min(len(rows), start + _CHUNK), len(rows))
    finally:
        hook.remove()
    inputs: FloatArray = torch.cat(seen)[torch.argsort(torch.tensor(order))].numpy()
    return inputs
