"""What a PPO loop tells in; seconds a roll-out, and seconds and floating-point operations an optimizer step, out.

Needs torch only, so that it runs in a peer's environment as well. Every side is measured by the same two marks: each
roll-out, and each step of the optimizer. Between two steps of one roll-out lies one forward and backward pass and
nothing else, whoever wrote the loop.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


class StepClock:
    """Wall seconds; on a GPU each mark waits for it. The first roll-out is not timed: its operations are counted."""

    def __init__(self, device: str) -> None:
        self.device, self.tflop = device, 0.0
        self.rollouts: list[float] = []
        self._steps: list[list[float]] = [[]]
        self._counter: FlopCounterMode | None = None
        self._counted = False

    def stepped(self, *_: Any, **__: Any) -> None:
        """An optimizer step has ended; a hook of the optimizer."""
        if self._counter is not None:
            self.tflop = self._counter.get_total_flops() / 1e12 / len(self._steps[-1])
        elif not self._counted:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()
        self._steps[-1].append(self._now())

    def rolled_out(self, *_: Any, **__: Any) -> None:
        """A roll-out has begun, or one with its passes has ended: always the same of both."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter, self._counted = None, True
        self.rollouts.append(self._now())
        self._steps.append([])

    def found(self) -> dict[str, float]:
        """Median seconds an update, TFLOP a second between steps, and the most memory that tensors took, in GB."""
        timed = [marks for marks in self._steps if len(marks) > 1][1:]
        step = statistics.median((marks[-1] - marks[0]) / (len(marks) - 1) for marks in timed)
        between = [after - before for before, after in zip(self.rollouts, self.rollouts[1:], strict=False)]
        memory = torch.cuda.max_memory_allocated() / 1e9 if self.device == "cuda" else 0.0
        return {"seconds": statistics.median(between), "tflops": self.tflop / step, "peak_gb": memory}

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()
