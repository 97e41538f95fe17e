"""The folder of a trained reward model goes in, a scorer of (prompt, response) texts comes out.

A reward model reads text with its own tokenizer, so it can score any policy. Scores have mean 0 and standard
deviation 1 on the answers of its training data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preceptor.errors import InputError, ModelError
from preceptor.modeling.device import DeviceName, choose_device
from preceptor.modeling.resolve import model_kind, resolve_model

CARD_FILE = "preceptor.json"
GOLD_FOLDER = "gold"
FloatArray = NDArray[np.float32]
_PROMPTS_KEPT = 20_000  # about 6 KB each for an encoder of 384 dimensions


class Normalization(BaseModel):
    """Mean and standard deviation of the raw scores on the reference answers (chosen and rejected of training)."""

    model_config = ConfigDict(frozen=True)

    mean: float = 0.0
    std: float = Field(1.0, gt=0)


class RewardCard(BaseModel):
    """What `preceptor.json` says of a reward model."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["reward_model"] = "reward_model"
    mode: Literal["full", "frozen"]
    base: str
    max_length: int = Field(512, ge=8)
    normalization: Normalization = Normalization()
    temperature: float = Field(1.0, gt=0)
    """P(chosen over rejected) = sigmoid(difference of scores / temperature), fitted on held-in data."""
    encoder_digest: str = ""
    features: str = ""
    length_feature: bool = False
    cross_encoder_digest: str = ""
    """Of the cross-encoder that reads along, in the folder `cross_encoder`; empty where none does."""
    ensemble: int = 1


class Scorer(Protocol):
    """What `load_scorer` gives, whatever the mode."""

    card: RewardCard

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """One score a pair of texts, (N,)."""

    def score_ensemble(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """Scores of the K members, (K, N); their spread says how sure the model is. K is 1 in full mode."""

    def score_with_deviation(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> tuple[FloatArray, FloatArray | None]:
        """The scores (N,) and the deviation (N,) of the members' scores of each, which is None below two members."""


def write_card(card: RewardCard, folder: Path) -> None:
    """Write `preceptor.json`."""
    (folder / CARD_FILE).write_text(json.dumps(card.model_dump(), indent=2) + "\n", encoding="utf-8")


def load_scorer(path: str | Path, *, device: DeviceName = "auto") -> Scorer:
    """Load a trained reward model from its folder: full or frozen mode, or a plain classifier with one output.

    Raises ModelError, saying what was found, for a policy, a bare encoder, or a folder that is torn, and ConfigError
    when there is no such device.
    """
    folder = resolve_model(str(path))
    kind = model_kind(folder) if (folder / "config.json").is_file() else None
    if kind == "policy":
        raise ModelError(f"{path} is a policy, which writes answers; a reward model folder is wanted here.")
    if kind == "encoder":
        raise ModelError(f"{path} is a base encoder that was never trained to score: train a reward model on it first.")
    if kind is None:
        raise ModelError(f"{path} holds no config.json: it is not a reward model folder.")
    card = _read_card(folder)
    scorer = FrozenScorer if card.mode == "frozen" else FullScorer
    return scorer(folder, card, device=device)


def load_gold(path: str | Path) -> Scorer | None:
    """The gold judge in a reward model's folder, fitted to clinicians of whom that model saw nothing; None if absent.

    Raises ModelError when its files are torn or its encoder is another one.
    """
    folder = resolve_model(str(path))
    gold = folder / GOLD_FOLDER
    if not (gold / CARD_FILE).is_file():
        return None
    return FrozenScorer(gold, _read_card(gold), encoder=gold if (gold / "config.json").is_file() else folder)


def _read_card(folder: Path) -> RewardCard:
    path = folder / CARD_FILE
    if not path.is_file():
        if (folder / "head.safetensors").is_file():
            raise ModelError(f"{folder} has a head but no {CARD_FILE}: its files are incomplete.")
        return RewardCard(mode="full", base=folder.name)  # a plain transformers reward model: raw scores
    try:
        return RewardCard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path} does not describe a reward model: train it again. ({type(error).__name__})") from None


def _check(prompts: Sequence[str], responses: Sequence[str]) -> None:
    if len(prompts) != len(responses):
        raise InputError(f"Scoring needs a prompt for each response, got {len(prompts)} and {len(responses)}.")


class FrozenScorer:
    """A frozen encoder with a linear Bradley-Terry head. The same arguments give the same bits."""

    def __init__(
        self, folder: Path, card: RewardCard, *, encoder: Path | None = None, device: DeviceName = "auto"
    ) -> None:
        from preceptor.modeling.cross_encoder import CROSS_ENCODER_FOLDER, CrossEncoder, load_cross_encoder
        from preceptor.modeling.embeddings import TextVectors, load_encoder
        from preceptor.modeling.features import FEATURES_VERSION
        from preceptor.modeling.frozen_head import load_head

        if card.features != FEATURES_VERSION:
            raise ModelError(f"{folder} was trained with other features ({card.features}): train the model again.")
        self.card = card
        self.encoder = load_encoder(encoder or folder, device=device)
        if self.encoder.digest != card.encoder_digest:
            raise ModelError(f"The encoder in {folder} is not the one that the head was trained on: train it again.")
        self.head = load_head(folder)
        self._prompts: dict[str, TextVectors] = {}
        self.cross_encoder: CrossEncoder | None = None
        if card.cross_encoder_digest:
            self.cross_encoder = load_cross_encoder(folder / CROSS_ENCODER_FOLDER, device=device)
            if self.cross_encoder.digest != card.cross_encoder_digest:
                raise ModelError(f"The cross-encoder in {folder} is not the one it was trained with: train it again.")

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """One score a pair of texts, (N,)."""
        scores: FloatArray = self._scores(prompts, responses)[0]
        return scores

    def score_ensemble(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """Scores of the K bootstrapped heads, (K, N)."""
        scores = self._scores(prompts, responses)
        return scores[1:] if len(scores) > 1 else scores

    def score_with_deviation(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> tuple[FloatArray, FloatArray | None]:
        """The scores (N,) and the deviation (N,) of the bootstrapped heads' scores; None below two heads."""
        scores = self._scores(prompts, responses)
        return scores[0], scores[1:].std(axis=0, ddof=1) if len(scores) > 2 else None

    def _scores(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """(1 + K, N)."""
        from preceptor.modeling.cross_encoder import relevance
        from preceptor.modeling.embeddings import embed
        from preceptor.modeling.features import pair_features

        _check(prompts, responses)
        if not prompts:
            return np.zeros((len(self.head.weights), 0), dtype=np.float32)
        if len(self._prompts) > _PROMPTS_KEPT:
            self._prompts.clear()
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._prompts:  # one by one: what is kept must not depend on the company it came in
                self._prompts[prompt] = embed(self.encoder, [prompt])[0]
        features = pair_features(
            [self._prompts[prompt] for prompt in prompts],
            embed(self.encoder, responses),
            responses,
            gate=self.head.gate,
            length=self.card.length_feature,
        )
        if self.cross_encoder is not None:
            features = np.concatenate([features, relevance(self.cross_encoder, prompts, responses)], axis=1)
        return (self.head.raw(features) / self.card.normalization.std).astype(np.float32)


class FullScorer:
    """A fine-tuned AutoModelForSequenceClassification with one output. The same arguments give the same bits."""

    def __init__(self, folder: Path, card: RewardCard, *, device: DeviceName = "auto") -> None:
        from preceptor.modeling.classifier import load_classifier, position_limit
        from preceptor.modeling.embeddings import has_fast_bfloat16

        self.card = card
        self.model: Any
        self.model, self.tokenizer = load_classifier(folder, trained=True)
        self.max_length = min(card.max_length, position_limit(self.model))
        place = choose_device(device)
        self.bfloat16 = has_fast_bfloat16(place)
        self.model.to(place)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """One score a pair of texts, (N,)."""
        import torch

        from preceptor.modeling.classifier import forward_scores
        from preceptor.modeling.sequences import encode_pair

        _check(prompts, responses)
        rows = [encode_pair(self.tokenizer, p, r, self.max_length) for p, r in zip(prompts, responses, strict=True)]
        with torch.no_grad():
            raw = forward_scores(self.model, rows, bfloat16=self.bfloat16).cpu().numpy()
        constants = self.card.normalization
        return ((raw - constants.mean) / constants.std).astype(np.float32)

    def score_ensemble(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        """The one model's scores, (1, N)."""
        return self.score(prompts, responses)[None]

    def score_with_deviation(self, prompts: Sequence[str], responses: Sequence[str]) -> tuple[FloatArray, None]:
        """The scores (N,) without a deviation: one model has no members to differ."""
        return self.score(prompts, responses), None
