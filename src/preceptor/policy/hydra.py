"""A language model goes in; trained top layers on a frozen trunk come out, with their reference and their values.

The trunk's output for a roll-out is computed once and read by the policy, the reference, the values and every
optimizer pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from preceptor.errors import ConfigError
from preceptor.modeling.decoders import is_plain_llama
from preceptor.policy.blocks import body_of, cast_weights, layers_of, lower_body, norm_of, small_critic, upper_body
from preceptor.policy.lora import add_low_rank, plain_state
from preceptor.policy.networks import Output, WithReference, run_body, states_in
from preceptor.policy.sequences import Sequences


class HydraNetworks(WithReference):
    """A frozen trunk in the compute precision under top layers in float32, trained whole or by low-rank updates."""

    def __init__(self, model: Any, *, train_layers: int, precision: str, seed: int, lora_rank: int = 0) -> None:
        body = body_of(model)
        count = len(layers_of(body))
        if not 1 <= train_layers < count:
            raise ConfigError(f"train_layers {train_layers} must be at least 1 and below the model's {count}.")
        model.requires_grad_(False)
        self.precision = precision
        self.top = upper_body(body, train_layers)
        self._reference = copy.deepcopy(self.top)
        self.top.requires_grad_(True)
        if lora_rank:
            add_low_rank(self.top, lora_rank, seed=seed)
        self._model = cast_weights(model, precision)
        self.trunk = lower_body(body, count - train_layers)
        self.sampled_layers = count - train_layers if is_plain_llama(model) else None
        self.value_head = small_critic(body.config.hidden_size, seed).to(model.device)

    @torch.no_grad()
    def features(self, sequences: Sequences) -> Tensor:
        """The trunk's output (G, T, d) in the compute precision."""
        return run_body(self.trunk, "float32", sequences, input_ids=sequences.ids)

    def policy(self, features: Tensor, sequences: Sequences) -> Output:
        """The policy being trained."""
        return Output(self._states(self.top, features, sequences), self._head)

    @torch.no_grad()
    def reference(self, features: Tensor, sequences: Sequences) -> Output:
        """The frozen reference policy."""
        return Output(self._states(self._reference, features, sequences), self._head)

    def values(self, features: Tensor, sequences: Sequences) -> Tensor:
        """Values (N,) read from the trunk, which is frozen: they cannot move the policy."""
        out: Tensor = self.value_head(states_in(features, sequences).float())
        return out[:, 0]

    @property
    def trained(self) -> Any:
        """The top layers."""
        return self.top

    def policy_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the policy's optimizer moves."""
        yield from ((name, p) for name, p in self.top.named_parameters(prefix="policy") if p.requires_grad)

    def value_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the values' optimizer moves."""
        yield from self.value_head.named_parameters(prefix="value")

    @torch.no_grad()
    def sampler(self) -> Any:
        """The whole language model in the compute precision, with the present weights."""
        body, trained = body_of(self._model), layers_of(self.top)
        for target, source in zip(layers_of(body)[-len(trained) :], trained, strict=True):
            target.load_state_dict(plain_state(source))
        norm_of(body).load_state_dict(norm_of(self.top).state_dict())
        return self._model

    def trained_bodies(self) -> list[Any]:
        """The bodies that gradients flow through."""
        return [self.top]

    def _states(self, body: Any, features: Tensor, sequences: Sequences) -> Tensor:
        return states_in(run_body(body, self.precision, sequences, inputs_embeds=features), sequences)

    @property
    def _head(self) -> Tensor:
        head: Tensor = self._model.lm_head.weight
        return head
