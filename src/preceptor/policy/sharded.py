"""A language model and processes go in; the full layout with every weight spread over them comes out.

Weights, gradients and optimizer states lie in shards, one a process, and a layer is put together only while it computes
(FSDP2, `torch.distributed.fsdp.fully_shard`). Every forward and backward pass is then a meeting of all processes: each
must take as many. The sampler alone is whole on each process, in the compute precision, since answers end at different
times.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from preceptor.policy.blocks import body_of, cast_weights, layers_of, linear_critic
from preceptor.policy.full import FullNetworks
from preceptor.policy.processes import Processes


class ShardedNetworks(FullNetworks):
    """Policy, reference and critic in shards; the names of weights are those of `FullNetworks`."""

    sharded = True

    def __init__(self, model: Any, *, precision: str, processes: Processes) -> None:
        self.precision = precision
        self.model = model.requires_grad_(True)
        self._reference = copy.deepcopy(model).requires_grad_(False)
        self._sampler = cast_weights(copy.deepcopy(self._reference), precision).to(processes.device)
        self.critic: Any = copy.deepcopy(body_of(model))
        self.value_head: Any = linear_critic(model.config.hidden_size)
        self._readers: dict[int, Any] = {id(each): _Reader(each) for each in (self.model, self._reference)}
        mesh = init_device_mesh(processes.device.type, (processes.count,))
        bfloat16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        settings: dict[str, Any] = {"mesh": mesh, "mp_policy": bfloat16} if precision == "bfloat16" else {"mesh": mesh}
        for body in (body_of(self.model), body_of(self._reference), self.critic):
            for layer in layers_of(body):
                fully_shard(layer, **settings)  # on a GPU the shards move there, a layer at a time
        for root in (*self._readers.values(), self.critic):
            fully_shard(root, **settings)
        fully_shard(self.value_head, mesh=mesh)  # values are computed in float32

    def policy_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the policy's optimizer moves, in shards."""
        self._body(self.model).reshard()  # what a pass without gradient put together stays so until it is told
        yield from super().policy_parameters()

    def value_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the values' optimizer moves, in shards."""
        self.critic.reshard()
        self.value_head.reshard()
        yield from super().value_parameters()

    def refresh_reference(self) -> None:
        """Make the present policy the reference, after a supervised warm start."""
        self._body(self.model).reshard()
        self._body(self._reference).reshard()
        super().refresh_reference()

    def reference_state(self) -> dict[str, Tensor]:
        """The reference's weights, in shards, where they are not the base model's; else nothing."""
        self._body(self._reference).reshard()
        return super().reference_state()

    def load_reference_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `reference_state` gave, from whole tensors."""
        self._body(self._reference).reshard()
        super().load_reference_state(state)

    @torch.no_grad()
    def sampler(self) -> Any:
        """The whole language model in the compute precision, with the present weights; every process must call."""
        source: Any
        for (_, source), target in zip(self.policy_parameters(), self._sampler.parameters(), strict=True):
            target.copy_(source.full_tensor())  # one weight at a time is whole in float32
        return self._sampler

    def _body(self, model: Any) -> Any:
        return self._readers[id(model)]


class _Reader(nn.Module):
    """The model's body; the output matrix lies in the same shards, so it is whole after a pass, tied or not."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, **inputs: Any) -> Any:
        return body_of(self.model)(**inputs)
