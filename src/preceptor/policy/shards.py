"""Tensors that are spread over processes go in, whole ones come out on the first process, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def gather(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Whole copies on the CPU. Of spread tensors only the first process gets them, and every process must call."""
    found: dict[str, Tensor] = {}
    for name, tensor in named:
        if isinstance(tensor, DTensor):
            full: Tensor = tensor.full_tensor().detach()
            if torch.distributed.get_rank() == 0:
                found[name] = full.cpu().contiguous().clone()
        else:
            found[name] = tensor.detach().cpu().contiguous().clone()
    return found


def spread(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same on every process, placed as `like` is: on its device, and as this process's shard."""
    value = value.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value


def number(value: Tensor) -> float:
    """A tensor without dimensions as a number, summed up over the processes where it is spread."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)


def is_spread(tensor: Tensor) -> bool:
    """Whether each process holds a part of it alone."""
    return isinstance(tensor, DTensor)
