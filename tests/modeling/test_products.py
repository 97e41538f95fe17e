"""Linear layers by oneDNN: the same values and gradients, used where they gain and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from preceptor.modeling import products

requires_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this PyTorch has no oneDNN",
)


def parts(*, bias: bool = True) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(0)
    made = [torch.randn(*shape, generator=draw, requires_grad=True) for shape in ((3, 40, 48), (64, 48), (64,))]
    return tuple(made if bias else made[:2])


def worst_error(values: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    pairs = zip(values, exact, strict=True)
    return max(float((value.double() - wanted).abs().max() / wanted.abs().max()) for value, wanted in pairs)


@requires_onednn
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_as_near_to_float64_as_those_of_the_plain_layer(bias: bool) -> None:
    given = parts(bias=bias)
    upstream = torch.randn(3, 40, 64, generator=torch.Generator().manual_seed(1))
    found: dict[str, list[torch.Tensor]] = {}
    for name, layer in (("plain", functional.linear), ("ours", products.linear)):
        value = layer(*given)
        found[name] = [value.detach(), *torch.autograd.grad(value, given, upstream)]
    double = [part.detach().double().requires_grad_() for part in given]
    value = functional.linear(*double)
    exact = [value.detach(), *torch.autograd.grad(value, double, upstream.double())]
    assert worst_error(found["ours"], exact) < 2e-6
    assert worst_error(found["ours"], exact) < 4 * worst_error(found["plain"], exact)


@requires_onednn
def test_within_it_large_float32_layers_alone_take_the_other_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_gains", lambda: True)
    layer = torch.nn.Linear(48, 64)

    def kernel(module: Any, *shape: int, dtype: torch.dtype = torch.float32) -> str:
        with products.fast_products():
            return str(module(torch.randn(*shape, dtype=dtype)).grad_fn.name())

    assert kernel(layer, 40, 48) == "_LinearBackward"
    assert kernel(layer, 2, 48) != "_LinearBackward"  # too few rows to gain
    assert kernel(torch.nn.Linear(48, 64, dtype=torch.float64), 40, 48, dtype=torch.float64) != "_LinearBackward"
    with torch.autocast("cpu", torch.bfloat16):
        assert kernel(layer, 40, 48) != "_LinearBackward"
    assert layer(torch.randn(40, 48)).grad_fn.name() != "_LinearBackward"


@pytest.mark.parametrize(
    ("name", "wide", "expected"), [("Intel(R) Xeon", True, False), ("AMD EPYC", False, False), ("", True, False)]
)
def test_a_processor_that_gains_nothing_keeps_the_plain_kernel(
    monkeypatch: pytest.MonkeyPatch, name: str, wide: bool, expected: bool
) -> None:
    found = {"avx512_f": wide} | ({"cpu_name": name} if name else {})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert products._gains() is expected


@requires_onednn
def test_gpt2s_layer_takes_the_other_kernel_with_the_same_values_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_gains", lambda: True)
    x, weight, bias = (part.detach().requires_grad_() for part in parts())
    given = bias, x.detach().view(-1, 48).requires_grad_(), weight.detach().t().contiguous().requires_grad_()
    upstream = torch.randn(120, 64, generator=torch.Generator().manual_seed(1))
    plain = torch.addmm(*given)
    with products.fast_products():
        value = torch.addmm(*given)
    assert value.grad_fn.name() == "_AddmmBackward"
    found = [value.detach(), *torch.autograd.grad(value, given, upstream)]
    assert worst_error(found, [plain.detach(), *torch.autograd.grad(plain, given, upstream)]) < 2e-6
    product = products.product(given[1].detach(), given[2].detach().t())
    assert worst_error([product], [given[1].detach().double() @ given[2].detach().double()]) < 2e-6
