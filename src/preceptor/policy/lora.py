"""Trained layers go in; the same layers with frozen weights and a trained low-rank update to each matrix come out.

The update W + B A of rank r (LoRA, Hu et al. 2021, arXiv:2106.09685) has few directions in which a noisy gradient can
push the policy, so a step of the same gain costs less KL; and the optimizer keeps state for a hundredth of the weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class _LowRank(nn.Module):
    """weight (O, I) -> weight + b a, where a (r, I) is drawn and b (O, r) starts at 0."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        drawn = torch.randn(rank, weight.shape[1]) / math.sqrt(weight.shape[1])  # rows of about unit length
        self.a = nn.Parameter(drawn.to(weight.device))
        self.b = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def add_low_rank(body: nn.Module, rank: int, *, seed: int) -> None:
    """Freeze every weight of `body` and train an update of `rank` to each matrix in it, in place.

    The first outputs are those of `body` bit for bit. Every matrix counts, those of attention and of the MLP.
    """
    body.requires_grad_(False)
    weights = {module: getattr(module, "weight", None) for module in body.modules()}
    matrices = {module: weight for module, weight in weights.items() if isinstance(weight, Tensor) and weight.ndim == 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module, weight in matrices.items():
            parametrize.register_parametrization(module, "weight", _LowRank(weight, rank))


def plain_state(body: nn.Module) -> dict[str, Tensor]:
    """The weights of `body` by their plain names, updates added in: what a body without updates can load."""
    state = {name: value for name, value in body.state_dict().items() if ".parametrizations." not in f".{name}"}
    for name, module in body.named_modules():
        if parametrize.is_parametrized(module):
            state[f"{name}.weight".lstrip(".")] = module.weight
    return state
