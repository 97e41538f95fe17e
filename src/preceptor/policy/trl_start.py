"""A base model goes in; the model that TRL starts from, and what is measured on it before, come out."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.policy.blocks import cast_weights
from preceptor.policy.build import WARM_START_FILE, warm_started
from preceptor.policy.checkpoint import RunState
from preceptor.policy.config import PolicyConfig
from preceptor.policy.full import FullNetworks
from preceptor.policy.layouts import make_networks
from preceptor.policy.ppo import Progress
from preceptor.policy.preference_data import Encoder, encoder_of
from preceptor.policy.rollout import Prompt, Score, sample_answers, scale_of
from preceptor.policy.sequences import Sequences

_SCALED_ON = 32  # training prompts whose answers give the scale of the scores


class TrainedNetworks(FullNetworks):
    """A model that a trainer changes, beside a frozen copy of what it started from; it has no critic."""

    def __init__(self, model: Any, *, precision: str) -> None:
        self.precision = precision
        self._reference = copy.deepcopy(model).requires_grad_(False)
        self._sampler = cast_weights(copy.deepcopy(self._reference), precision)
        self.model = model

    def policy_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the trainer moves."""
        for name, parameter in self.model.named_parameters(prefix="policy"):
            if parameter.requires_grad:
                yield name, parameter

    def values(self, features: Tensor, sequences: Sequences) -> Tensor:  # noqa: ARG002
        """No values: zeros (N,)."""
        return torch.zeros(len(sequences.tokens()))


def prepare_start(
    folder: Path,
    base: Path,
    config: PolicyConfig,
    score: Score,
    preferences: Path | None,
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> None:
    """Write the model that training starts from, after the warm start if one is wanted: it is also the reference."""
    model, tokenizer = load_policy(base, dtype="float32", device=config.device)
    encoder = encoder_of(model, tokenizer, config)
    warmed: dict[str, float] = {}
    if config.warm_start_epochs:
        eos = eos_ids(model, tokenizer)
        networks = make_networks(model, config)
        warmed = warm_started(networks, tokenizer, score, config, encoder, preferences, eos, progress, is_canceled)
        model = networks.sampler()
        model.set_attn_implementation("sdpa")
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder.parent / WARM_START_FILE).write_text(json.dumps(warmed), encoding="utf-8")


def scale_of_scores(
    networks: TrainedNetworks,
    prompts: list[Prompt],
    score: Score,
    config: PolicyConfig,
    encoder: Encoder,
    eos: list[int],
) -> RunState:
    """The state of a new run: mean and deviation of scores, from one answer each to some of the training prompts.

    Raises DataError where all scores are the same, also where they are not scaled.
    """
    state = RunState(kl_coef=config.init_kl_coef)
    asked = prompts[:_SCALED_ON]
    answers = sample_answers(networks, encoder.tokenizer, asked, score, n=1, eos=eos, config=config, seed=config.seed)
    mean, deviation = scale_of(answers)
    return replace(state, score_mean=mean, score_std=deviation) if config.normalize_scores else state
