"""An ONNX file goes in, its weights by module name come out in float32, 8-bit integers multiplied out.

It reads the weights and the operators' names alone, in the wire format of protocol buffers (protobuf.dev, "Encoding")
with the field numbers of onnx.proto3, so neither the onnx package nor a runtime is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.errors import ModelError

Array = NDArray[np.float32]
_TYPES: dict[int, type[np.generic]] = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
_PRODUCT = re.compile(r"^/(.+?)/(?:Gemm_)?MatMul_quant$")  # /bert/pooler/dense/Gemm_MatMul_quant


@dataclass(frozen=True)
class _Node:
    name: str
    inputs: list[str]


def onnx_weights(path: Path) -> dict[str, Array]:
    """Weights by the names that PyTorch gave them; a linear layer's weight is (out, in).

    Raises ModelError when the file is torn or holds weights of a type that is not read.
    """
    try:
        nodes, tensors = _graph(memoryview(path.read_bytes()))
    except (OSError, IndexError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read as an ONNX model: {error}.") from error
    found: dict[str, Array] = {}
    for name, values in tensors.items():
        if name.endswith("_quantized"):
            stem = name.removesuffix("_quantized")
            zero = tensors[f"{stem}_zero_point"].astype(np.float32)
            found[stem] = (values.astype(np.float32) - zero) * tensors[f"{stem}_scale"]
        elif not name.endswith(("_scale", "_zero_point")):
            found[name] = values.astype(np.float32)
    for node in nodes:
        product = _PRODUCT.match(node.name)
        if product:  # exporters number the weights of products; the operator still has its module's name
            stored = node.inputs[1].removesuffix("_quantized")
            found[product[1].replace("/", ".") + ".weight"] = np.ascontiguousarray(found.pop(stored).T)
    return found


def _graph(model: memoryview) -> tuple[list[_Node], dict[str, NDArray[Any]]]:
    graph = next(value for field, value in _fields(model) if field == 7)
    nodes, tensors = [], {}
    for field, value in _fields(graph):
        if field == 1:
            nodes.append(_node(value))
        elif field == 5:
            name, values = _tensor(value)
            tensors[name] = values
    return nodes, tensors


def _node(message: memoryview) -> _Node:
    name, inputs = "", []
    for field, value in _fields(message):
        if field == 1:
            inputs.append(bytes(value).decode())
        elif field == 3:
            name = bytes(value).decode()
    return _Node(name, inputs)


def _tensor(message: memoryview) -> tuple[str, NDArray[Any]]:
    name, kind, shape, raw = "", 1, [], None
    numbers: list[int] = []
    floats = b""
    for field, value in _fields(message):
        if field == 1:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif field == 2:
            kind = value
        elif field == 4:
            floats += bytes(value)
        elif field in (5, 7):
            numbers += [value] if isinstance(value, int) else list(_varints(value))
        elif field == 8:
            name = bytes(value).decode()
        elif field == 9:
            raw = value
    if raw is not None:
        values = np.frombuffer(raw, _TYPES[kind])
    elif floats:
        values = np.frombuffer(floats, np.float32)
    else:  # a negative number is written as its two's complement in 64 bits
        values = np.array(numbers, dtype=np.uint64).astype(np.int64).astype(_TYPES[kind])
    return name, values.reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Field numbers with their values: an int for a varint, bytes for the rest."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(message):
            raise ValueError("the file ends too early")
        yield field, message[at : at + size]
        at += size


def _varints(values: memoryview) -> Iterator[int]:
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
