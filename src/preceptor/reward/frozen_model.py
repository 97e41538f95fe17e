"""Pairs and a sentence encoder go in; the folder of a frozen-mode reward model and its held-out scores come out.

The folder also loads with plain transformers: its classifier is the same encoder with an output layer fitted to the
pairs. That layer cannot compare prompt and response as the head does; the report gives its accuracy apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preceptor.errors import RunCanceled
from preceptor.modeling.classifier import forward_scores, load_classifier, position_limit
from preceptor.modeling.cross_encoder import CROSS_ENCODER_FOLDER, save_cross_encoder
from preceptor.modeling.embeddings import Encoder, load_encoder, weights_digest
from preceptor.modeling.features import FEATURES_VERSION, OPEN
from preceptor.modeling.frozen_head import Array, FrozenHead, save_head
from preceptor.modeling.reward_model import Normalization, RewardCard, write_card
from preceptor.reward import bradley_terry
from preceptor.reward.batches import encode_pairs
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.embedding_cache import embed_cached, precision_name
from preceptor.reward.frozen import FrozenFit
from preceptor.reward.full_model import save_classifier
from preceptor.reward.gold import Panels, write_gold
from preceptor.reward.parts import Measured, Progress, decided_pairs, pair_labels, pair_margins, pair_weights
from preceptor.reward.probe import fit_output_layer
from preceptor.reward.reader import Reader, mismatched_pairs, partners
from preceptor.reward.reading_along import choose_reader
from preceptor.reward.report import win_values
from preceptor.stats.intervals import cluster_share

_STEPS = 1000  # the progress of embedding, probing and fitting, as one line of this many steps
_SHARES = {"embed": (0, 500), "fit": (500, 650), "probe": (650, 1000)}


def build_frozen(
    base: Path,
    panels: Panels,
    out: Path,
    config: RewardConfig,
    *,
    models_dir: Path | None,
    cache_dir: Path | None,
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> tuple[Measured, dict[str, Any] | None]:
    """Train the head on train and validation pairs together (cross-validation takes the place of a fixed part).

    The second result is the report of the gold judge, where clinicians were set aside for one.
    """

    def report(part: str) -> Callable[[int, int], None]:
        first, last = _SHARES[part]

        def advance(done: int, total: int) -> None:
            if is_canceled():
                raise RunCanceled("Training the reward model was stopped; nothing was published.")
            progress(first + (last - first) * done // max(1, total), _STEPS, {})

        return advance

    encoder, data = load_encoder(base, device=config.device), panels.data
    pairs, test = [pair for pair in data.of("train", "validation") if pair.weight > 0], data.of("test")
    texts = [text for pair in (*pairs, *test, *panels.gold) for text in (pair.prompt, pair.chosen, pair.rejected)]
    vectors = embed_cached(encoder, texts, cache_dir=cache_dir, progress=report("embed"))
    choice = choose_reader(
        pairs,
        test,
        Reader(vectors, encoder.width, config.length_feature),
        config=config,
        models_dir=models_dir,
        cache_dir=cache_dir,
        advance=report("fit"),
    )
    fit, reader = choice.fit, choice.reader
    head, std = fit.head, fit.std
    weights, labels = pair_weights(pairs), pair_labels(pairs)
    temperature = bradley_terry.temperature(fit.margins / std, weights=weights * decided_pairs(pairs), labels=labels)
    save_head(head, out)
    if choice.cross_encoder is not None:
        save_cross_encoder(choice.cross_encoder, out / CROSS_ENCODER_FOLDER)
    chosen = head.raw(reader.chosen(test, gate=head.gate)) / std
    rejected = head.raw(reader.rejected(test, gate=head.gate)) / std
    probe_margins, cut = _save_probe(base, pairs, test, out, config, encoder, cache_dir, report("probe"))
    write_card(
        RewardCard(
            mode="frozen",
            base=config.base_name,
            max_length=config.max_length,
            normalization=Normalization(mean=0.0, std=std),
            temperature=temperature,
            encoder_digest=encoder.digest,
            features=FEATURES_VERSION,
            length_feature=config.length_feature,
            cross_encoder_digest=choice.cross_encoder.digest if choice.cross_encoder else "",
            ensemble=max(1, config.ensemble),
        ),
        out,
    )
    gold = write_gold(panels, out, config, encoder=encoder, vectors=vectors) if panels.gold else None
    untrained = [reader.cosine(pair.prompt, pair.chosen) - reader.cosine(pair.prompt, pair.rejected) for pair in test]
    measured = Measured(
        chosen[0],
        rejected[0],
        temperature,
        {"untrained": np.array(untrained), **_best_windows(reader, test), "plain_transformers": probe_margins},
        _facts(fit, chosen, rejected, cut)
        | {
            "mismatched": _mismatched(head, std, reader, test, config),
            "cross_encoder": {
                "used": choice.cross_encoder is not None,
                "reason": choice.reason,
                "cross_validated_loss": choice.losses,
            },
        },
    )
    return measured, gold


def _best_windows(reader: Reader, test: Sequence[Pair]) -> dict[str, Array]:
    """Margins (N,) of the untrained cross-encoder, by the best window of each answer; nothing where none reads."""
    if reader.relevance is None:
        return {}
    known = reader.relevance
    margins = [known[pair.prompt, pair.chosen][0] - known[pair.prompt, pair.rejected][0] for pair in test]
    return {"untrained_cross_encoder": np.array(margins, dtype=np.float64)}


def _mismatched(
    head: FrozenHead, std: float, reader: Reader, test: Sequence[Pair], config: RewardConfig
) -> dict[str, Any]:
    """How often a held-out chosen answer beats the chosen answer of another held-out prompt."""
    others = mismatched_pairs(partners(test, seed=config.seed))
    if not others:
        return {"pairs": 0}
    margins = head.raw(reader.chosen(others, gate=head.gate))[0] - head.raw(reader.rejected(others, gate=head.gate))[0]
    prompts = [pair.prompt for pair in others]
    interval = cluster_share(win_values(margins), prompts, seed=config.seed)
    return {
        "pairs": len(others),
        "accuracy": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "margin_mean": float(margins.mean() / std),
    }


def _save_probe(
    base: Path,
    pairs: Sequence[Pair],
    test: Sequence[Pair],
    out: Path,
    config: RewardConfig,
    encoder: Encoder,
    cache_dir: Path | None,
    advance: Callable[[int, int], None],
) -> tuple[Array, dict[str, int]]:
    """Write the encoder with a fitted output layer as a plain classifier; returns its held-out margins (N,)."""
    torch.manual_seed(config.seed)
    model, tokenizer = load_classifier(base, trained=False)
    model.to(encoder.device)
    length = min(config.max_length, position_limit(model))
    encoded = encode_pairs(tokenizer, pairs, max_length=length)
    fit_output_layer(
        model,
        encoded,
        prompts=[pair.prompt for pair in pairs],
        weights=pair_weights(pairs),
        targets=pair_margins(pairs, scale=config.margin_scale),
        labels=pair_labels(pairs),
        seed=config.seed,
        bfloat16=encoder.bfloat16,
        cache=cache_dir / f"pooled-{weights_digest(model.base_model)}-{precision_name(encoder)}.safetensors"
        if cache_dir
        else None,
        progress=advance,
    )
    held = encode_pairs(tokenizer, test, max_length=length)
    with torch.no_grad():
        scores = forward_scores(model, held.chosen + held.rejected, bfloat16=encoder.bfloat16).cpu().double().numpy()
    save_classifier(model, tokenizer, out, name=config.base_name)
    cut = {"prompts": encoded.cut_prompts + held.cut_prompts, "responses": encoded.cut_responses + held.cut_responses}
    return scores[: len(test)] - scores[len(test) :], cut


def _facts(fit: FrozenFit, chosen: Array, rejected: Array, cut: dict[str, int]) -> dict[str, Any]:
    """What only the frozen mode knows: what was chosen, and how far the ensemble's members differ."""
    members = (chosen - rejected)[1:]
    facts: dict[str, Any] = {
        "l2": fit.l2,
        "cross_validated_accuracy": fit.accuracy,
        "mismatched_in_training": fit.mismatched,
        "gate": None if fit.head.gate == OPEN else list(fit.head.gate),
        "ensemble": {"heads": len(members), "bootstrapped_by": fit.bootstrapped_by},
        "cut": {"scorer": {"prompts": 0, "responses": 0}, "plain_transformers": cut},
    }
    if len(members):
        facts["ensemble"]["margin_spread"] = float(members.std(0).mean())
    return facts
