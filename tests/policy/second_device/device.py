"""A second device for machines without an accelerator: tensors whose numbers lie in CPU memory under another name.

The name `twin` is given to torch's place for devices of others. As on a GPU, an operation that mixes it with the CPU
is refused, except for numbers without a dimension and for copies from one to the other. So a tensor that was left on
the CPU fails here as it would fail there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "twin"
_MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


class Twin(torch.Tensor):
    """A tensor on the second device; `inner` is the same tensor on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Twin:
        made: Twin = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            dtype=inner.dtype,
            device=f"{NAME}:0",
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} was called outside SecondDevice")

    def __repr__(self) -> str:
        return f"Twin({self.inner!r})"


class SecondDevice(TorchDispatchMode):
    """Inside, what is created on the second device and what is computed from it are `Twin` tensors."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        found = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        twins = [value for value in found if isinstance(value, Twin)]
        strangers = [value for value in found if not isinstance(value, Twin) and value.dim() > 0]
        if twins and strangers and func not in _MOVES:
            raise RuntimeError(f"{func} was given tensors on {NAME} and on the CPU")
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        on_twin = torch.device(wanted).type == NAME if wanted is not None else bool(twins)
        if func is torch.ops.aten.copy_.default:
            on_twin = isinstance(args[0], Twin)
        self.operations += on_twin
        inside = tree_map(lambda value: value.inner if isinstance(value, Twin) else value, (args, kwargs))
        result = func(*inside[0], **inside[1])
        if func is torch.ops.aten._to_copy.default and wanted is not None and found[0].dtype == result.dtype:
            result = result.clone() if result is inside[0][0] else result
        known = {id(value.inner): value for value in twins}  # an operation in place gives back the tensor it was given

        def outside(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            if not on_twin:
                return value
            return known[id(value)] if id(value) in known else Twin(value)

        return tree_map(outside, result)


class Creation(TorchFunctionMode):
    """Inside, `torch.tensor` makes its tensor on the CPU first: it would not ask `SecondDevice`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == NAME:
            where = kwargs.pop("device")
            return func(*args, **kwargs).to(where)
        return func(*args, **kwargs)


def move(module: torch.nn.Module) -> None:
    """Put a module's parameters and buffers on the second device, tied weights as one."""
    made: dict[int, Any] = {}
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = torch.nn.Parameter(Twin(parameter.data.clone()), parameter.requires_grad)
                part._parameters[name] = made[id(parameter)]
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = Twin(buffer.clone())
