"""Token ids of many texts go in end to end, the logit of each comes out of a BERT classifier: no padding is computed.

What a row of a padded batch gives is what its own tokens give, so every layer but attention runs on one long list of
tokens, and attention runs text by text. The classifier reads the first token's state alone, so the last layer computes
that one and the keys and values that it looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from preceptor.modeling.packed_attention import attend
from preceptor.modeling.sequences import EncodedPair


def is_plain_bert(model: Any) -> bool:
    """Whether `packed_scores` computes what the model's own forward does: a BERT classifier that drops nothing out."""
    return (
        type(model).__name__ == "BertForSequenceClassification"
        and not model.training
        and not model.config.is_decoder
        and not model.config.add_cross_attention
        and getattr(model.config, "position_embedding_type", "absolute") in ("absolute", None)
    )


def packed_scores(model: Any, rows: Sequence[EncodedPair]) -> Tensor:
    """The logit of each of B rows, (B,); N tokens in all. `model` is one that `is_plain_bert` accepts."""
    device = next(model.parameters()).device
    lengths = [len(row.ids) for row in rows]
    places = torch.cat([torch.arange(length) for length in lengths]).to(device)  # (N,)
    types = [kind for row in rows for kind in row.token_type_ids or [0] * len(row.ids)]
    x = model.bert.embeddings(
        input_ids=torch.tensor([[token for row in rows for token in row.ids]], device=device),
        token_type_ids=torch.tensor([types], device=device),
        position_ids=places[None],
    )[0]  # (N, d)
    *layers, last = model.bert.encoder.layer
    for layer in layers:
        x = _layer(layer, x, x, lengths, lengths)
    first = x[places == 0]  # (B, d)
    x = _layer(last, first, x, [1] * len(rows), lengths)
    scores: Tensor = model.classifier(model.bert.pooler(x[:, None]))[:, 0]
    return scores


def _layer(layer: Any, asking: Tensor, x: Tensor, queries: list[int], lengths: list[int]) -> Tensor:
    """The layer's output (M, d) for the tokens `asking` (M, d), `queries` of each text, which see all of its tokens."""
    read = layer.attention.self
    seen = _as_products_take_it(x)
    mixed = attend(
        read.query(seen if asking is x else asking) * read.scaling,
        read.key(seen),
        read.value(seen),
        queries=queries,
        lengths=lengths,
        heads=read.num_attention_heads,
    )
    output: Tensor = layer.feed_forward_chunk(layer.attention.output(mixed, asking))
    return output


def _as_products_take_it(x: Tensor) -> Tensor:
    """In autocast's precision where it is on, which would cast `x` anew for each of the layers that read it."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x
