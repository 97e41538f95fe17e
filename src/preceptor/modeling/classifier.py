"""Encoded pairs go in, the one logit of a sequence classifier comes out for each: shared by training and scoring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preceptor.errors import ModelError
from preceptor.modeling.packed_bert import is_plain_bert, packed_scores
from preceptor.modeling.products import fast_products
from preceptor.modeling.quiet import quiet_transformers
from preceptor.modeling.resolve import unloadable
from preceptor.modeling.sequences import EncodedPair


def load_classifier(folder: Path, *, trained: bool) -> tuple[Any, Any]:
    """AutoModelForSequenceClassification with one output, in float32 and evaluation mode, and its tokenizer.

    With `trained`, every weight must be in the folder; without it, the output layer may be new (its start is
    drawn from torch's global generator: seed that). Raises ModelError when the folder does not fit.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    wanted: dict[str, Any] = {} if trained else {"num_labels": 1}
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=not trained,
                **wanted,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(unloadable(f"The reward model in {folder}", error)) from error
    if trained and info["missing_keys"]:
        raise ModelError(
            f"{folder} lacks {len(info['missing_keys'])} weights of a reward model, "
            f"{min(info['missing_keys'])} among them: train it, or give another folder."
        )
    if model.config.num_labels != 1:
        raise ModelError(
            f"{folder} is a classifier with {model.config.num_labels} outputs; a reward model has exactly one."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    model.eval()
    return model, tokenizer


def position_limit(model: Any) -> int:
    """How many tokens the model can read at once."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 4096)


def length_groups(lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Row numbers in groups of like length, each of at most `tokens` padded tokens (or one row)."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[index] <= tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def forward_scores(model: Any, rows: Sequence[EncodedPair], *, bfloat16: bool, tokens: int | None = None) -> Tensor:
    """The logit of each row, (N,) in float32; rows that say the same are computed once.

    Little or no padding is computed: on a CPU a BERT reads its rows end to end, other rows of like length share a pass.
    A pass has at most `tokens` tokens; without it 8192, or 2048 where a CPU computes the attention of a whole pass.
    """
    if not rows:
        return torch.zeros(0)
    rows, which = distinct_rows(rows)
    device = next(model.parameters()).device
    packed = device.type == "cpu" and is_plain_bert(model)
    size = tokens or (2048 if device.type == "cpu" and not packed else 8192)
    groups = length_groups([len(row.ids) for row in rows], tokens=size)
    parts = []
    for group in groups:
        some = [rows[i] for i in group]
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16), fast_products():
            logits = packed_scores(model, some) if packed else _padded_scores(model, some)
            parts.append(logits.float())
    order = torch.tensor([i for group in groups for i in group], device=device)
    return torch.cat(parts)[torch.argsort(order)[which]]


def distinct_rows(rows: Sequence[EncodedPair]) -> tuple[list[EncodedPair], list[int]]:
    """The rows without repetitions, and which of them each row is: several clinicians judge one answer."""
    contents = [_content(row) for row in rows]
    kept = dict(zip(contents, rows, strict=True))
    numbers = {content: number for number, content in enumerate(kept)}
    return list(kept.values()), [numbers[content] for content in contents]


def _content(row: EncodedPair) -> tuple[int, ...]:
    """What tells a row from others to the model: its tokens, and where the second token type begins, if it has any."""
    types = row.token_type_ids
    return (*row.ids, -1 if types is None else -2 - sum(types))


def _padded_scores(model: Any, rows: Sequence[EncodedPair]) -> Tensor:
    """The logits (N,) of a padded batch, by the model's own forward."""
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in _pad(rows, model).items()}
    scores: Tensor = model(**batch).logits[:, 0]
    return scores


def output_layer(model: Any) -> torch.nn.Linear:
    """The last linear layer, whose single output is the score."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 1]
    if not layers:
        raise ModelError("The model has no linear layer with one output: it is not a reward model.")
    return layers[-1]


def _pad(rows: Sequence[EncodedPair], model: Any) -> dict[str, Tensor]:
    """Right-padded ids, mask and, where the tokenizer has them, token types: (N, longest)."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), int(model.config.pad_token_id or 0), dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    types = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        mask[i, : len(row.ids)] = 1
        if row.token_type_ids is not None:
            types[i, : len(row.ids)] = torch.tensor(row.token_type_ids)
    batch = {"input_ids": ids, "attention_mask": mask}
    if rows[0].token_type_ids is not None:
        batch["token_type_ids"] = types
    return batch
