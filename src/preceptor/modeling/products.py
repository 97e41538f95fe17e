"""Linear layers in float32 on a CPU go in; the same numbers come out by the kernel that is fastest on that processor.

PyTorch gives float32 products to MKL, which uses half of the vector width on processors that Intel did not make.
oneDNN, which PyTorch ships as well and uses for bfloat16, uses all of it: measured 2.2 times the products a second on
an AMD EPYC with AVX-512, with 1.4 to 2.1 times the rounding error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import Parameter, functional
from torch.overrides import TorchFunctionMode

_SMALLEST = 32  # rows and outputs; below, the choice of kernel costs more than it saves


def fast_products() -> AbstractContextManager[object]:
    """Within it, large linear layers in float32 on the CPU run through oneDNN, and so do their gradients.

    It changes nothing on processors whose MKL is as fast: the choice goes by the processor alone, never by a timing, so
    a run repeats bit for bit on one machine.
    """
    return _FastProducts() if _gains() else nullcontext()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times weight (O, I) transposed, plus bias (O,), by oneDNN: (..., O). float32 on the CPU only."""
    result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, I) times weight (O, I) transposed, (N, O), by the kernel that is fastest for them; without gradient."""
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    plain = plain and type(x) is Tensor and type(weight) in (Tensor, Parameter)  # and no shard of a matrix
    return _product(x, weight) if plain and _gains() else x @ weight.t()


def _gains() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return (
        bool(capabilities.get("avx512_f"))
        and not str(capabilities.get("cpu_name", "Intel")).startswith(("Intel", "Genuine"))
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class _FastProducts(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and _suits(*args[:2]):
            return linear(*args, **(kwargs or {}))
        if func is torch.addmm and not kwargs and len(args) == 3 and _suits(args[1], args[2].t()):
            return _Addmm.apply(args[1], args[2], args[0])  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _suits(x: Tensor, weight: Tensor | None = None) -> bool:
    return (
        weight is not None
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and min(x.numel() // max(1, x.shape[-1]), len(weight)) >= _SMALLEST
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        needs = ctx.needs_input_grad  # type: ignore[attr-defined]
        rows = grad.reshape(-1, grad.shape[-1])  # (N, O)
        return (
            _product(grad, weight.t()) if needs[0] else None,
            _product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if needs[1] else None,
            rows.sum(0) if needs[2] else None,
        )


class _Addmm(torch.autograd.Function):
    """The layer of GPT-2, whose weight (I, O) lies the other way round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        needs = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (
            _product(grad, weight) if needs[0] else None,
            _product(x.t(), grad.t()) if needs[1] else None,
            grad.sum(0) if needs[2] else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result
