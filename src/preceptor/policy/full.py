"""A language model goes in; a policy that trains every layer comes out, with its reference and a critic of its own.

It is the plain algorithm that `hydra` is judged against.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from preceptor.policy.blocks import body_of, cast_weights, linear_critic
from preceptor.policy.networks import Output, WithReference, run_body, states_in
from preceptor.policy.sequences import Sequences


class FullNetworks(WithReference):
    """Every layer trained, beside a frozen copy, and a critic that is a copy with a linear head."""

    sampled_layers: int | None = None

    def __init__(self, model: Any, *, precision: str) -> None:
        self.precision = precision
        self._reference = copy.deepcopy(model).requires_grad_(False)
        self.model = model.requires_grad_(True)
        # a copy only where the sampler's precision is another one
        self._sampler = model if precision == "float32" else cast_weights(copy.deepcopy(self._reference), precision)
        self.critic = copy.deepcopy(body_of(model))
        # its random numbers are drawn on the CPU, the same for every device
        self.value_head = linear_critic(model.config.hidden_size).to(model.device)

    def features(self, sequences: Sequences) -> Tensor:
        """The token ids (G, T) themselves: no layer is frozen whose output could be kept."""
        return sequences.ids

    def policy(self, features: Tensor, sequences: Sequences) -> Output:
        """The policy being trained."""
        hidden = run_body(self._body(self.model), self.precision, sequences, input_ids=features)
        return Output(states_in(hidden, sequences), self.model.lm_head.weight)

    @torch.no_grad()
    def reference(self, features: Tensor, sequences: Sequences) -> Output:
        """The frozen reference policy."""
        hidden = run_body(self._body(self._reference), self.precision, sequences, input_ids=features)
        return Output(states_in(hidden, sequences), self._reference.lm_head.weight)

    def values(self, features: Tensor, sequences: Sequences) -> Tensor:
        """Values (N,) of the critic."""
        hidden = run_body(self.critic, self.precision, sequences, input_ids=features)
        out: Tensor = self.value_head(states_in(hidden, sequences).float())
        return out[:, 0]

    @property
    def trained(self) -> Any:
        """The whole model."""
        return self.model

    def policy_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the policy's optimizer moves."""
        yield from self.model.named_parameters(prefix="policy")

    def value_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the values' optimizer moves."""
        yield from self.critic.named_parameters(prefix="value.critic")
        yield from self.value_head.named_parameters(prefix="value.head")

    @torch.no_grad()
    def sampler(self) -> Any:
        """The language model in the compute precision, with the present weights."""
        if self._sampler is not self.model:
            self._sampler.load_state_dict(self.model.state_dict())
        return self._sampler

    def trained_bodies(self) -> list[Any]:
        """The bodies that gradients flow through."""
        return [body_of(self.model), self.critic]

    def _body(self, model: Any) -> Any:
        return body_of(model)
