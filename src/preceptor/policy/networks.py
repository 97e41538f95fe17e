"""What PPO asks of a policy, its frozen reference and its values, and what both of their layouts share."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from preceptor.modeling.products import fast_products
from preceptor.policy.lora import plain_state
from preceptor.policy.packed import ATTENTION, run_packed
from preceptor.policy.sequences import Sequences
from preceptor.policy.shards import spread
from preceptor.policy.vllm_sampler import VersionedSampler


class Output(NamedTuple):
    """Hidden states before N answer tokens, and the matrix that turns them into logits."""

    hidden: Tensor  # (N, d)
    head: Tensor  # (V, d)


class Networks(Protocol):
    """What PPO asks of a layout: outputs before each of the N real answer tokens of some sequences.

    `features` is what stays the same within a roll-out, whatever the optimizer does. Where `sampled_layers` is a
    number, the sampler can keep them on its way: they are the output of that many lowest layers.
    """

    sampled_layers: int | None
    sharded: bool  # whether every pass is a meeting of all processes
    outside: VersionedSampler | None  # samples in the place of the built-in sampler

    def features(self, sequences: Sequences) -> Tensor: ...
    def policy(self, features: Tensor, sequences: Sequences) -> Output: ...
    def reference(self, features: Tensor, sequences: Sequences) -> Output: ...
    def values(self, features: Tensor, sequences: Sequences) -> Tensor: ...
    def policy_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def value_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def refresh_reference(self) -> None: ...
    def reference_state(self) -> dict[str, Tensor]: ...
    def load_reference_state(self, state: dict[str, Tensor]) -> None: ...
    def sampler(self) -> Any: ...
    def trained_bodies(self) -> list[Any]: ...


class WithReference(abc.ABC):
    """A module under training beside its frozen copy, from which KL is measured."""

    sharded = False
    outside: VersionedSampler | None = None
    _reference: Any
    _reference_moved = False

    @property
    @abc.abstractmethod
    def trained(self) -> Any:
        """The module that the optimizer moves and `_reference` is a copy of."""

    @torch.no_grad()
    def refresh_reference(self) -> None:
        """Make the present policy the reference, after a supervised warm start."""
        self._reference.load_state_dict(plain_state(self.trained))
        self._reference_moved = True

    def reference_state(self) -> dict[str, Tensor]:
        """The reference's weights where they are not the base model's; else nothing."""
        return dict(self._reference.named_parameters()) if self._reference_moved else {}

    @torch.no_grad()
    def load_reference_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `reference_state` gave."""
        for name, parameter in self._reference.named_parameters():
            parameter.copy_(spread(state[name], parameter))
        self._reference_moved = True


def run_body(body: Any, precision: str, sequences: Sequences, **inputs: Tensor) -> Tensor:
    """Hidden states (G, T, d) of a body that reads token ids or, as `inputs_embeds`, the states of the layers below."""
    weight = next(body.parameters())
    if body.config._attn_implementation == ATTENTION:  # on the CPU
        with fast_products(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return run_packed(body, sequences, **inputs)
    seen = sequences.attention()
    if seen is not None:  # the mask is added to the scores
        dtype = weight.dtype if precision == "float32" else torch.bfloat16
        seen = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, float("-inf")).to(weight.device)
    with torch.autocast(weight.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        out: Tensor = body(
            **{name: tensor.to(weight.device) for name, tensor in inputs.items()},
            attention_mask=seen,
            position_ids=sequences.positions.to(weight.device),
            use_cache=False,
        ).last_hidden_state
    return out


def states_in(hidden: Tensor, sequences: Sequences) -> Tensor:
    """Of states (G, T, d), those from which the N real answer tokens were drawn, (N, d)."""
    rows, columns = sequences.states()
    return hidden[rows.to(hidden.device), columns.to(hidden.device)]
