"""A language model goes in; a policy, its frozen reference and its values come out, in one of two layouts.

`hydra` trains the top layers on a frozen trunk: the trunk's output for a roll-out is computed once and read by
the policy, the reference, the values and every optimizer pass. `full` trains every layer, with a critic of its
own, and is the plain algorithm that hydra is judged against. Both answer the same calls.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from preceptor.errors import ConfigError
from preceptor.modeling.decoders import is_plain_llama
from preceptor.modeling.device import attention_for
from preceptor.modeling.products import fast_products
from preceptor.policy.blocks import (
    body_of,
    cast_weights,
    fuse_activations,
    layers_of,
    lower_body,
    norm_of,
    recompute_activations,
    small_critic,
    upper_body,
)
from preceptor.policy.config import PolicyConfig
from preceptor.policy.lora import add_low_rank, plain_state
from preceptor.policy.packed import ATTENTION, attend_row_by_row, run_packed
from preceptor.policy.processes import ALONE, Processes
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


def make_networks(model: Any, config: PolicyConfig, *, processes: Processes = ALONE) -> Networks:
    """Lay out `model` (float32, evaluation mode) for training as the config says; the model is taken over.

    Only where the config shards the weights do they spread over the processes.
    """
    place = processes.device if config.sharding == "fsdp" else model.device
    if place.type == "cpu":
        attend_row_by_row(model)
        fuse_activations(model)
    else:
        model.set_attn_implementation(attention_for(place))
    networks: Networks
    if config.mode == "hydra":
        networks = HydraNetworks(
            model,
            train_layers=config.train_layers,
            lora_rank=config.lora_rank,
            precision=config.precision,
            seed=config.seed,
        )
    elif config.sharding == "fsdp":
        from preceptor.policy.sharded import ShardedNetworks

        networks = ShardedNetworks(model, precision=config.precision, processes=processes)
    else:
        networks = FullNetworks(model, precision=config.precision)
    if config.gradient_checkpointing:
        for body in networks.trained_bodies():
            recompute_activations(body)
    return networks


class _WithReference(abc.ABC):
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


class HydraNetworks(_WithReference):
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
        return _run(self.trunk, "float32", sequences, input_ids=sequences.ids)

    def policy(self, features: Tensor, sequences: Sequences) -> Output:
        """The policy being trained."""
        return Output(self._states(self.top, features, sequences), self._head)

    @torch.no_grad()
    def reference(self, features: Tensor, sequences: Sequences) -> Output:
        """The frozen reference policy."""
        return Output(self._states(self._reference, features, sequences), self._head)

    def values(self, features: Tensor, sequences: Sequences) -> Tensor:
        """Values (N,) read from the trunk, which is frozen: they cannot move the policy."""
        out: Tensor = self.value_head(_states_in(features, sequences).float())
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
        return _states_in(_run(body, self.precision, sequences, inputs_embeds=features), sequences)

    @property
    def _head(self) -> Tensor:
        head: Tensor = self._model.lm_head.weight
        return head


class FullNetworks(_WithReference):
    """Every layer trained, beside a frozen copy, and a critic that is a copy with a linear head."""

    sampled_layers: int | None = None

    def __init__(self, model: Any, *, precision: str) -> None:
        self.precision = precision
        self._reference = copy.deepcopy(model).requires_grad_(False)
        self.model = model.requires_grad_(True)
        # a copy only where the sampler's precision is another one
        self._sampler = model if precision == "float32" else cast_weights(copy.deepcopy(self._reference), precision)
        self.critic = copy.deepcopy(body_of(model))
        self.value_head = nn.Linear(model.config.hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self.value_head.to(model.device)  # its random numbers are drawn on the CPU, the same for every device

    def features(self, sequences: Sequences) -> Tensor:
        """The token ids (G, T) themselves: no layer is frozen whose output could be kept."""
        return sequences.ids

    def policy(self, features: Tensor, sequences: Sequences) -> Output:
        """The policy being trained."""
        hidden = _run(self._body(self.model), self.precision, sequences, input_ids=features)
        return Output(_states_in(hidden, sequences), self.model.lm_head.weight)

    @torch.no_grad()
    def reference(self, features: Tensor, sequences: Sequences) -> Output:
        """The frozen reference policy."""
        hidden = _run(self._body(self._reference), self.precision, sequences, input_ids=features)
        return Output(_states_in(hidden, sequences), self._reference.lm_head.weight)

    def values(self, features: Tensor, sequences: Sequences) -> Tensor:
        """Values (N,) of the critic."""
        hidden = _run(self.critic, self.precision, sequences, input_ids=features)
        out: Tensor = self.value_head(_states_in(hidden, sequences).float())
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


def _run(body: Any, precision: str, sequences: Sequences, **inputs: Tensor) -> Tensor:
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


def _states_in(hidden: Tensor, sequences: Sequences) -> Tensor:
    """Of states (G, T, d), those from which the N real answer tokens were drawn, (N, d)."""
    rows, columns = sequences.states()
    return hidden[rows.to(hidden.device), columns.to(hidden.device)]
