"""Pairs go in; whether a cross-encoder reads along with the frozen encoder comes out, with the fit and the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preceptor.errors import ModelError
from preceptor.modeling.cross_encoder import CROSS_ENCODER_NAME, CrossEncoder, load_cross_encoder, relevance
from preceptor.modeling.embeddings import FloatArray
from preceptor.modeling.resolve import resolve_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.embedding_cache import precision_name
from preceptor.reward.frozen import FrozenFit, fit_head
from preceptor.reward.reader import Reader, mismatched_pairs, partners
from preceptor.reward.row_cache import cached_rows

_LOGITS_VERSION = 1  # raise it when modeling/cross_encoder.py reads differently
WORTH_READING = 0.01  # of cross-validated loss; less does not pay for scoring that takes three times as long


@dataclass(frozen=True)
class Choice:
    """The fit, the reader it reads with, the cross-encoder if one reads along, and why or why not."""

    fit: FrozenFit
    reader: Reader
    cross_encoder: CrossEncoder | None
    reason: str
    losses: Mapping[str, float]


def choose_reader(
    pairs: Sequence[Pair],
    test: Sequence[Pair],
    reader: Reader,
    *,
    config: RewardConfig,
    models_dir: Path | None,
    cache_dir: Path | None,
    advance: Callable[[int, int], None],
) -> Choice:
    """Fit with the vectors alone and, unless it is ruled out, with a cross-encoder; keep what cross-validation prefers.

    What the cross-encoder says is kept in `cache_dir`. Raises ModelError when a cross-encoder is always wanted and none
    can be found.
    """

    def fitted(wanted: Reader) -> FrozenFit:
        return fit_head(pairs, wanted, config=config, ensemble=config.ensemble)

    plain = fitted(reader) if config.cross_encoder != "always" else None
    if config.cross_encoder == "never" and plain is not None:
        return Choice(plain, reader, None, "it was ruled out", {"without": plain.loss})
    try:
        encoder = load_cross_encoder(resolve_model(CROSS_ENCODER_NAME, models_dir=models_dir), device=config.device)
    except ModelError as error:
        if plain is None:
            raise
        return Choice(plain, reader, None, f"it could not be loaded: {error}", {"without": plain.loss})
    along = replace(
        reader, relevance=_logits(encoder, pairs, test, seed=config.seed, cache_dir=cache_dir, advance=advance)
    )
    helped = fitted(along)
    if plain is None:
        return Choice(helped, along, encoder, "it was asked for", {"with": helped.loss})
    losses = {"without": plain.loss, "with": helped.loss}
    if plain.loss - helped.loss >= WORTH_READING:
        return Choice(helped, along, encoder, "cross-validation gained by it", losses)
    return Choice(plain, reader, None, "cross-validation gained too little by it", losses)


def _logits(
    encoder: CrossEncoder,
    pairs: Sequence[Pair],
    test: Sequence[Pair],
    *,
    seed: int,
    cache_dir: Path | None,
    advance: Callable[[int, int], None],
) -> dict[tuple[str, str], FloatArray]:
    """What the cross-encoder says of every answer that a fit or the report reads, by prompt and answer."""
    mismatched = [pair for rows in (pairs, test) for pair in mismatched_pairs(partners(rows, seed=seed))]
    read = [(pair.prompt, answer) for pair in (*pairs, *test, *mismatched) for answer in (pair.chosen, pair.rejected)]
    keys = list(dict.fromkeys(read))

    def computed(indices: list[int]) -> FloatArray:
        asked = [keys[i] for i in indices]
        return relevance(encoder, [prompt for prompt, _ in asked], [answer for _, answer in asked], progress=advance)

    name = f"relevance-{encoder.digest}-{_LOGITS_VERSION}-{precision_name(encoder)}.safetensors"
    values = cached_rows(cache_dir / name if cache_dir else None, keys, computed)
    assert values is not None
    return dict(zip(keys, values, strict=True))
