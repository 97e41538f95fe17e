"""Pairs and a base model go in; the folder of a fine-tuned sequence classifier and its held-out scores come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preceptor.modeling.classifier import forward_scores, load_classifier, position_limit
from preceptor.modeling.embeddings import has_fast_bfloat16, load_encoder, marks_texts
from preceptor.modeling.features import cosine
from preceptor.modeling.frozen_head import Array
from preceptor.modeling.quiet import quiet_transformers
from preceptor.modeling.resolve import model_kind
from preceptor.modeling.reward_model import Normalization, RewardCard, write_card
from preceptor.reward import bradley_terry
from preceptor.reward.batches import EncodedPairs, encode_pairs
from preceptor.reward.checkpoint import Checkpoint
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair, PairSet
from preceptor.reward.embedding_cache import embed_cached
from preceptor.reward.parts import Measured, Progress, decided_pairs, pair_labels, pair_margins, pair_weights
from preceptor.reward.probe import fit_output_layer
from preceptor.reward.train import require_finite, train_classifier


def build_full(
    base: Path,
    data: PairSet,
    out: Path,
    config: RewardConfig,
    *,
    device: torch.device,
    work_dir: Path | None,
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> Measured:
    """Fit the output layer, fine-tune every weight, keep the epoch that does best on the validation pairs.

    Ties are trained on where their prompt is; those of validation prompts are left out, since they judge nothing.
    Validation pairs judge by their weights, as training pairs teach by theirs.
    """
    torch.manual_seed(config.seed)
    model, tokenizer = load_classifier(base, trained=False)
    model.to(device)
    bfloat16 = has_fast_bfloat16(device)
    length = min(config.max_length, position_limit(model))
    train = [pair for pair in data.of("train") if pair.weight > 0]
    held = [pair for pair in data.of("validation") if pair.weight > 0]
    if all(pair.is_tie for pair in train):
        train, held = [*train, *held], []
    held = [pair for pair in held if not pair.is_tie]
    test = data.of("test")
    encoded = {name: encode_pairs(tokenizer, rows, max_length=length) for name, rows in _named(train, held, test)}
    margins = pair_margins(train, scale=config.margin_scale)
    checkpoint = Checkpoint(work_dir, key=work_dir.name) if work_dir and config.epochs else None
    if checkpoint is None or not checkpoint.exists():
        fit_output_layer(
            model,
            encoded["train"],
            prompts=[pair.prompt for pair in train],
            weights=pair_weights(train),
            targets=margins,
            labels=pair_labels(train),
            seed=config.seed,
            bfloat16=bfloat16,
            trained=model_kind(base) == "reward",
        )
    state = train_classifier(
        model,
        encoded["train"],
        encoded["held"],
        margins=margins.astype(np.float32).tolist(),
        weights=pair_weights(train).astype(np.float32).tolist(),
        labels=pair_labels(train).astype(np.float32).tolist(),
        held_weights=pair_weights(held).astype(np.float32).tolist(),
        held_labels=pair_labels(held).astype(np.float32).tolist(),
        config=config,
        bfloat16=bfloat16,
        checkpoint=checkpoint,
        progress=progress,
        is_canceled=is_canceled,
    )
    scores = {name: _scores(model, rows, bfloat16) for name, rows in encoded.items()}
    reference = np.concatenate(scores["train"])
    require_finite(*reference)
    mean, std = float(reference.mean()), float(reference.std()) or 1.0
    name, fitted_on = ("held", held) if held else ("train", train)
    temperature = bradley_terry.temperature(
        (scores[name][0] - scores[name][1]) / std,
        weights=pair_weights(fitted_on) * decided_pairs(fitted_on),
        labels=pair_labels(fitted_on),
    )
    save_classifier(model, tokenizer, out, name=config.base_name)
    constants = Normalization(mean=mean, std=std)
    write_card(
        RewardCard(
            mode="full", base=config.base_name, max_length=length, normalization=constants, temperature=temperature
        ),
        out,
    )
    chosen, rejected = ((side - mean) / std for side in scores["test"])
    facts = {
        "epochs": state.history,
        "best_epoch": state.best_epoch,
        "temperature_fitted_on": "validation" if held else "training pairs",
        "cut": {
            "prompts": sum(rows.cut_prompts for rows in encoded.values()),
            "responses": sum(rows.cut_responses for rows in encoded.values()),
        },
    }
    return Measured(chosen, rejected, temperature, _untrained(base, test, tokenizer, config), facts)


def save_classifier(model: Any, tokenizer: Any, out: Path, *, name: str) -> None:
    """Write a classifier that plain transformers loads; no path of this machine stays in its files."""
    model.config._name_or_path = tokenizer.name_or_path = name
    with quiet_transformers():
        model.to("cpu").save_pretrained(out)
        tokenizer.save_pretrained(out)


def _named(*rows: Sequence[Pair]) -> list[tuple[str, Sequence[Pair]]]:
    return list(zip(("train", "held", "test"), rows, strict=True))


@torch.no_grad()
def _scores(model: Any, rows: EncodedPairs, bfloat16: bool) -> tuple[Array, Array]:
    """Raw scores of chosen and of rejected answers, (N,) each."""
    scores = forward_scores(model, rows.chosen + rows.rejected, bfloat16=bfloat16).cpu().double().numpy()
    return scores[: len(rows.chosen)], scores[len(rows.chosen) :]


def _untrained(base: Path, test: Sequence[Pair], tokenizer: Any, config: RewardConfig) -> dict[str, Array]:
    """Margins (N,) of the base encoder's cosine; nothing for a base that is no encoder."""
    if not marks_texts(tokenizer):
        return {}
    encoder = load_encoder(base, device=config.device)
    vectors = embed_cached(
        encoder, [t for pair in test for t in (pair.prompt, pair.chosen, pair.rejected)], cache_dir=None
    )
    margins = [
        cosine(vectors[p.prompt], vectors[p.chosen]) - cosine(vectors[p.prompt], vectors[p.rejected]) for p in test
    ]
    return {"untrained": np.array(margins)}
