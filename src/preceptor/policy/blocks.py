"""A language model's body goes in; its lower or upper layers come out as a body of their own."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from preceptor.errors import ModelError
from preceptor.modeling.products import fast_products

# model_type -> (attribute of the body, of its layers, of its last norm)
_LAYOUTS = {"llama": ("model", "layers", "norm"), "gpt2": ("transformer", "h", "ln_f")}


def body_of(model: Any) -> Any:
    """The model without its output matrix."""
    return getattr(model, _layout(model.config)[0])


def layers_of(body: Any) -> nn.ModuleList:
    """The body's transformer layers."""
    layers: nn.ModuleList = getattr(body, _layout(body.config)[1])
    return layers


def norm_of(body: Any) -> nn.Module:
    """The body's last normalization."""
    norm: nn.Module = getattr(body, _layout(body.config)[2])
    return norm


def lower_body(body: Any, count: int) -> Any:
    """Token ids to the output of the first `count` layers; shares its weights with `body`."""
    lower = _without_layers(body, count)
    _, layers, norm = _layout(body.config)
    setattr(lower, layers, nn.ModuleList(layers_of(body)[:count]))
    setattr(lower, norm, nn.Identity())
    return lower


def upper_body(body: Any, count: int) -> Any:
    """Output of the layers below to final hidden states, through copies of the last `count` layers."""
    upper = _without_layers(body, count)
    for embedding in ("embed_tokens", "wte"):  # it reads hidden states, and must not own the shared weights
        upper._modules.pop(embedding, None)
    _, layers, norm = _layout(body.config)
    setattr(upper, layers, copy.deepcopy(nn.ModuleList(layers_of(body)[-count:])))
    setattr(upper, norm, copy.deepcopy(norm_of(body)))
    if body.config.model_type == "gpt2":
        upper.wpe = _NoPositions()  # the positions were added below
    return upper


def recompute_activations(body: Any) -> None:
    """Let each layer compute its activations anew in the backward pass.

    Only the layer itself is told that it trains: what lies inside, dropout above all, stays in evaluation mode. And it
    is told so only where there is a gradient: in full mode the same layers sample, and would forget what they read
    before, since transformers takes the cache away from a layer that will compute anew.
    """
    layer: Any
    for layer in layers_of(body):
        layer.register_forward_pre_hook(_recompute_with_gradient)
        layer.training = True
        layer._gradient_checkpointing_func = partial(
            checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), fast_products())
        )


def _recompute_with_gradient(layer: Any, _: Any) -> None:
    layer.gradient_checkpointing = torch.is_grad_enabled()


def fuse_activations(model: Any) -> None:
    """Compute GPT-2's GELU in one kernel: its own module takes eight passes over the widest activations."""
    if model.config.model_type == "gpt2" and model.config.activation_function == "gelu_new":
        layer: Any
        for layer in layers_of(body_of(model)):
            layer.mlp.act = nn.GELU(approximate="tanh")


def cast_weights(model: Any, precision: str) -> Any:
    """Cast parameters, not buffers: rope frequencies in bfloat16 would misplace every token."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(getattr(torch, precision))
    return model


def small_critic(width: int, seed: int) -> nn.Module:
    """Two layers on normalized features; the last starts at zero, so the first values are all 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(256, 1)
        head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 256), nn.GELU(), last)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return head


def linear_critic(width: int) -> nn.Linear:
    """The head of a critic of its own; it starts at zero, so the first values are all 0."""
    head = nn.Linear(width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _without_layers(body: Any, count: int) -> Any:
    """A shallow copy of the body, whose parts can be replaced without touching the body itself."""
    shell = copy.copy(body)
    shell._modules = dict(body._modules)
    shell.config = copy.copy(body.config)
    shell.config.num_hidden_layers = count
    return shell


def _layout(config: Any) -> tuple[str, str, str]:
    try:
        return _LAYOUTS[config.model_type]
    except KeyError:
        raise ModelError(
            f"PPO trains models of type {', '.join(_LAYOUTS)}, not {config.model_type}: name another base model."
        ) from None


class _NoPositions(nn.Module):
    """Position embeddings of zero."""

    def forward(self, position_ids: Tensor) -> Tensor:
        return torch.zeros(*position_ids.shape, 1, device=position_ids.device)
