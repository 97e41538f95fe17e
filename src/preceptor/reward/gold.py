"""Pairs go in; some clinicians' pairs are set aside, and a second head that learned from them alone comes out.

The reward model never sees those clinicians, and the policy never sees that head. So the evaluation has a judge whose
raters did not shape what the policy was trained to please: an answer that only fits the habits, or the noise, of the
reward model's own raters wins nothing with it. Both read through one encoder, so what that cannot see, neither sees.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preceptor.errors import ModelError
from preceptor.modeling.classifier import load_classifier
from preceptor.modeling.embeddings import Encoder, TextVectors, load_encoder, marks_texts
from preceptor.modeling.features import FEATURES_VERSION
from preceptor.modeling.frozen_head import save_head
from preceptor.modeling.resolve import unloadable
from preceptor.modeling.reward_model import GOLD_FOLDER, Normalization, RewardCard, write_card
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair, PairSet
from preceptor.reward.embedding_cache import embed_cached
from preceptor.reward.frozen import fit_head
from preceptor.reward.full_model import save_classifier
from preceptor.reward.reader import Reader

_FEWEST_RATERS = 2  # of each group: one clinician's taste is no second opinion
_FEWEST_PAIRS = 10  # to learn from, in each group
_LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class Panels:
    """The data that the reward model learns from, the pairs of the other clinicians, and why there are none."""

    data: PairSet
    gold: tuple[Pair, ...]
    reason: str | None


def set_aside(data: PairSet, *, share: float) -> Panels:
    """Set aside clinicians until `share` of the training pairs is theirs, in the order of a hash of their ids.

    The order is the same in every run and has nothing to do with what they judged. A clinician who would bring more
    than half of the pairs along is passed over. Held-out pairs stay for everybody's measurement. Nobody is set aside
    where a pair names no rater, since it could be anybody's, or where either group would be too small. Ties go with
    their clinicians and count for nothing here.
    """
    fitted = data.of("train", "validation")
    decided = [pair for pair in fitted if not pair.is_tie]
    if share <= 0:
        return Panels(data, (), "none was asked for")
    if any(pair.rater is None for pair in fitted):
        return Panels(data, (), "pairs without a rater could be anybody's")
    counts = Counter(str(pair.rater) for pair in decided)
    chosen: set[str] = set()
    taken = 0
    for rater in sorted(counts, key=_order):
        if taken >= share * len(decided):
            break
        if taken + counts[rater] <= _LARGEST_SHARE * len(decided):
            chosen.add(rater)
            taken += counts[rater]
    gold = tuple(p for p in data.of("train") if p.rater in chosen and p.weight > 0)
    learned = [p for p in gold if not p.is_tie]
    kept = [p for p in decided if p.rater not in chosen and p.weight > 0]
    if min(len(chosen), len(counts) - len(chosen)) < _FEWEST_RATERS:
        return Panels(data, (), f"{len(counts)} raters are too few for two groups")
    if min(len(learned), len(kept)) < _FEWEST_PAIRS or len({pair.prompt for pair in learned}) < _FEWEST_RATERS:
        return Panels(data, (), f"{len(learned)} and {len(kept)} pairs are too few for two groups")
    remaining = tuple(p for p in data.pairs if p.split == "test" or p.rater not in chosen)
    return Panels(replace(data, pairs=remaining), gold, None)


def none_of_a_decoder(base: Path, data: PairSet, panels: Panels) -> Panels:
    """The panels, or all of `data` again where the base model is no encoder, whose vectors the gold judge reads.

    Raises ModelError when the base model's tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    if not panels.gold:
        return panels
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(unloadable(f"The tokenizer in {base}", error)) from error
    if marks_texts(tokenizer):
        return panels
    return Panels(data, (), "the base model is no encoder, whose vectors a gold judge reads")


def write_gold(
    panels: Panels,
    model: Path,
    config: RewardConfig,
    *,
    encoder: Encoder,
    vectors: dict[str, TextVectors],
) -> dict[str, Any]:
    """Fit the gold judge and write it into the folder `gold` of the reward model `model`; returns its report.

    It learns from training pairs alone, so validation and test prompts are new to it. `vectors` are those of its texts.
    """
    gold, out = panels.gold, model / GOLD_FOLDER
    out.mkdir()
    fit = fit_head(gold, Reader(vectors, encoder.width), config=config, ensemble=0)
    save_head(fit.head, out)
    card = RewardCard(
        mode="frozen",
        base=config.base_name,
        max_length=config.max_length,
        normalization=Normalization(mean=0.0, std=fit.std),
        encoder_digest=encoder.digest,
        features=FEATURES_VERSION,
    )
    write_card(card, out)
    report = {
        "raters": sorted({rater_key(pair.rater) for pair in gold}),
        "reward_model_raters": sorted({rater_key(pair.rater) for pair in panels.data.of("train", "validation")}),
        "pairs": sum(not pair.is_tie for pair in gold),
        "prompts": len({pair.prompt for pair in gold}),
        "cross_validated_accuracy": fit.accuracy,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def write_gold_apart(
    base: Path, panels: Panels, model: Path, config: RewardConfig, *, cache_dir: Path | None
) -> dict[str, Any]:
    """The same for a fully trained reward model: with the base encoder, since the model's own learned from the others.

    Raises ModelError when the base model is no encoder with CLS and SEP tokens; see `none_of_a_decoder`.
    """
    encoder = load_encoder(base, device=config.device)
    texts = [text for pair in panels.gold for text in (pair.prompt, pair.chosen, pair.rejected)]
    vectors = embed_cached(encoder, texts, cache_dir=cache_dir)
    report = write_gold(panels, model, config, encoder=encoder, vectors=vectors)
    classifier, tokenizer = load_classifier(base, trained=False)
    save_classifier(classifier, tokenizer, model / GOLD_FOLDER, name=config.base_name)
    return report


def gold_facts(panels: Panels, report: dict[str, Any] | None) -> dict[str, Any]:
    """What the reward model's report says of its gold judge: how many raters and pairs, or why there is none."""
    if report is None:
        return {"raters": 0, "pairs": 0, "reason": panels.reason}
    return {"raters": len(report["raters"]), "pairs": report["pairs"], "reason": None}


def _order(rater: str) -> bytes:
    return hashlib.sha256(f"gold:{rater}".encode()).digest()


def rater_key(rater: str | None) -> str:
    """What a report says instead of the pseudonym: enough to see that two groups share nobody."""
    return hashlib.sha256(f"rater:{rater}".encode()).hexdigest()[:12]
