"""Encoded pairs and a sequence classifier go in, the fine-tuned classifier comes out: the loop of the full mode.

Loss: -log sigmoid(chosen - rejected - margin) * weight, a weighted mean over the pairs of a batch; a tie pulls its two
scores together. The answers of a batch are computed end to end or in groups of like length, an answer that several
pairs share is computed once, and gradients are taken part by part: none of these changes the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from preceptor.errors import DataError, RunCanceled
from preceptor.modeling.classifier import forward_scores
from preceptor.modeling.freed_memory import keep_freed_memory
from preceptor.reward.batches import EncodedPairs, batch_parts, epoch_batches
from preceptor.reward.checkpoint import Checkpoint
from preceptor.reward.config import RewardConfig

_TOKENS_ON_CPU, _TOKENS_ELSEWHERE = 4096, 16384  # whose activations are held until their gradients are taken


@dataclass
class TrainState:
    """Where the loop stands: what a checkpoint holds beside the weights. Epoch 0 is the start before any step."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float | None]] | None = None


def preference_loss(chosen: Tensor, rejected: Tensor, *, margins: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """Weighted mean Bradley-Terry loss of scores, margins, weights and soft labels, (B,) each; a tie has label 0.5."""
    won = -functional.logsigmoid(chosen - rejected - margins)
    losses = labels * won - (1.0 - labels) * functional.logsigmoid(rejected - chosen)
    return (losses * weights).sum() / weights.sum()


def train_classifier(
    model: Any,
    train: EncodedPairs,
    held: EncodedPairs,
    *,
    margins: Sequence[float],
    weights: Sequence[float],
    labels: Sequence[float],
    held_weights: Sequence[float],
    held_labels: Sequence[float],
    config: RewardConfig,
    bfloat16: bool,
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int, dict[str, float]], None],
    is_canceled: Callable[[], bool],
) -> TrainState:
    """Fine-tune `model` in place; it ends with the weights of the epoch whose loss on `held` is lowest.

    Dropout stays off, so that the batch alone decides a step. Resumes at the last finished epoch when `checkpoint`
    holds one. Raises RunCanceled between two steps when asked to stop, DataError when the loss is no finite number.
    """
    count = len(train.chosen)
    steps = -(-count // config.batch_size)
    total = steps * config.epochs
    keep_freed_memory()
    _read_words_sparsely(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1.0 - step / max(1, total)))
    state = TrainState(history=[])
    if checkpoint is not None and checkpoint.exists():
        state = TrainState(**checkpoint.load(model, optimizer, schedule))
    else:
        if held.chosen:
            state.best_loss = _held_loss(model, held, held_weights, held_labels, bfloat16=bfloat16)
        if checkpoint is not None:
            checkpoint.save_best(model, epoch=0)
    best = None if checkpoint is not None else _copy(model)
    device = next(model.parameters()).device
    margin_row, weight_row, label_row = (torch.tensor(list(row), device=device) for row in (margins, weights, labels))
    tokens = _TOKENS_ON_CPU if device.type == "cpu" else _TOKENS_ELSEWHERE
    done = state.epoch * steps
    while state.epoch < config.epochs:
        losses: list[float] = []
        for batch in epoch_batches(count, batch_size=config.batch_size, seed=config.seed, epoch=state.epoch):
            if is_canceled():
                raise RunCanceled("Training the reward model was stopped; finished epochs are kept.")
            optimizer.zero_grad(set_to_none=False)  # what parts add to stays where it is
            loss, whole = 0.0, weight_row[batch].sum()
            for part in batch_parts(train, batch, tokens=tokens):
                scores = forward_scores(model, train.rows(part), bfloat16=bfloat16)
                share = preference_loss(
                    scores[: len(part)],
                    scores[len(part) :],
                    margins=margin_row[part],
                    weights=weight_row[part],
                    labels=label_row[part],
                ) * (weight_row[part].sum() / whole)
                share.backward()  # type: ignore[no-untyped-call]
                loss += float(share.detach())
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            require_finite(loss, float(norm))
            optimizer.step()
            schedule.step()
            done += 1
            losses.append(loss)
            metrics = {"loss": loss, "grad_norm": float(norm), "lr": float(schedule.get_last_lr()[0])}
            progress(done, total, metrics)
        state.epoch += 1
        held_loss = None  # the last epoch is the best where no pair tells
        if held.chosen:
            held_loss = _held_loss(model, held, held_weights, held_labels, bfloat16=bfloat16)
            require_finite(held_loss)
        assert state.history is not None
        state.history.append({"epoch": state.epoch, "train_loss": float(np.mean(losses)), "held_loss": held_loss})
        if held_loss is None or held_loss < state.best_loss:
            state.best_loss, state.best_epoch = state.best_loss if held_loss is None else held_loss, state.epoch
            if checkpoint is not None:
                checkpoint.save_best(model, epoch=state.epoch)
            else:
                best = _copy(model)
        if checkpoint is not None:
            checkpoint.save(model, optimizer, schedule, vars(state))
    if checkpoint is not None:
        checkpoint.load_best(model)
    elif best is not None:
        model.load_state_dict(best)
    return state


def require_finite(*numbers: float) -> None:
    """Raise DataError where one is no finite number: a model that came apart must not be published."""
    if not np.isfinite(numbers).all():
        raise DataError("The loss of the reward model is no finite number: lower learning_rate, or check the margins.")


def _read_words_sparsely(model: Any) -> None:
    """On a CPU, let each part of a batch add the gradients of the words that it read, and of no others.

    Autograd would make and add a table of the whole vocabulary for each part. A gradient that is there already stays
    dense when sparse rows are added, as clipping and AdamW need it.
    """
    words = model.get_input_embeddings()
    if words.weight.device.type == "cpu":
        words.sparse = True
        words.weight.grad = torch.zeros_like(words.weight)


@torch.no_grad()
def _held_loss(
    model: Any, held: EncodedPairs, weights: Sequence[float], labels: Sequence[float], *, bfloat16: bool
) -> float:
    scores = forward_scores(model, held.chosen + held.rejected, bfloat16=bfloat16)
    chosen, rejected = scores[: len(held.chosen)], scores[len(held.chosen) :]
    counted, truth = (torch.tensor(list(row), device=chosen.device) for row in (weights, labels))
    loss = preference_loss(chosen, rejected, margins=torch.zeros_like(chosen), weights=counted, labels=truth)
    return float(loss)


def _copy(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
