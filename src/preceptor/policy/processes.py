"""The processes that torchrun started, or the one there is: work is shared out, and tensors are summed over them.

One primitive does it all: every process fills the rows that are its own of a tensor of zeros, and the sum over the
processes is the whole. Adding zeros is exact, so two processes see the very numbers that one would.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from preceptor.modeling.device import DeviceName, choose_device

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process's number among all."""

    rank: int = 0
    count: int = 1
    device: torch.device = _CPU  # through which tensors are exchanged: NCCL takes those of a GPU alone

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        """Every count-th of the items, from this process's own number on."""
        return items[self.rank :: self.count]

    @torch.no_grad()
    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes; one exchange for each number type."""
        if self.count == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for tensor in tensors:
            by_type[tensor.dtype].append(tensor)
        for group in by_type.values():
            flat = torch.cat([tensor.reshape(-1).to(self.device) for tensor in group])
            torch.distributed.all_reduce(flat)
            for tensor, summed in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    @torch.no_grad()
    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values."""
        if not self.first:
            for tensor in tensors:
                tensor.zero_()
        self.add(tensors)

    def agreed(self, value: float) -> float:
        """The first process's number, such as a time that each measured for itself."""
        number = torch.tensor(value, dtype=torch.float64)
        self.copy_from_first([number])
        return float(number)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        count = torch.tensor(float(flag))
        self.add([count])
        return float(count) > 0


ALONE = Processes()


def process_count() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join_processes(device: DeviceName = "auto") -> Processes:
    """Meet the other processes that torchrun started, through accelerate: over gloo on the CPU, over NCCL on GPUs."""
    if process_count() == 1:
        return ALONE
    place = choose_device(device)
    from accelerate import PartialState

    state = PartialState(cpu=place.type == "cpu")
    atexit.register(state.destroy_process_group)
    return Processes(state.process_index, state.num_processes, place)


def leave(code: int) -> NoReturn:
    """End this process with `code`, at once where torchrun started several.

    Threads of gloo outlive its process group and now and then abort a process that tears C++ down beneath them: the
    work was done and written, yet torchrun would call it failed.
    """
    if process_count() > 1:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
