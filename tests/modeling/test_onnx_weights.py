"""Weights out of an ONNX file, written here byte by byte as onnx.proto3 says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preceptor.errors import ModelError
from preceptor.modeling.onnx_weights import onnx_weights


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _raw(name: str, kind: int, values: np.ndarray) -> bytes:
    shape = b"".join(_number(1, size) for size in values.shape)
    return _bytes(5, shape + _number(2, kind) + _bytes(8, name.encode()) + _bytes(9, values.tobytes()))


def _scalars(stem: str, scale: float, zero: int, kind: int) -> bytes:
    scale_tensor = _number(2, 1) + _bytes(4, np.float32(scale).tobytes()) + _bytes(8, f"{stem}_scale".encode())
    zero_tensor = _number(2, kind) + _bytes(5, _varint(zero % 2**64)) + _bytes(8, f"{stem}_zero_point".encode())
    return _bytes(5, scale_tensor) + _bytes(5, zero_tensor)


def _product(name: str, weight: str) -> bytes:
    return _bytes(1, _bytes(1, b"x_quantized") + _bytes(1, weight.encode()) + _bytes(3, name.encode()))


def test_integers_are_multiplied_out_and_products_get_their_modules_name(tmp_path: Path) -> None:
    table = np.array([[130, 128], [126, 255]], dtype=np.uint8)
    weight = np.array([[1, -2, 3], [4, 5, -6]], dtype=np.int8)  # (in, out)
    graph = (
        _raw("bert.words.weight_quantized", 2, table)
        + _scalars("bert.words.weight", 0.5, 128, 2)
        + _raw("onnx::MatMul_7_quantized", 3, weight)
        + _scalars("onnx::MatMul_7", 0.1, -1, 3)
        + _raw("bert.layer.bias", 1, np.array([1.5, -2.0, 0.25], dtype=np.float32))
        + _product("/bert/layer/MatMul_quant", "onnx::MatMul_7_quantized")
    )
    file = tmp_path / "model.onnx"
    file.write_bytes(_number(1, 8) + _bytes(7, graph))
    weights = onnx_weights(file)
    assert sorted(weights) == ["bert.layer.bias", "bert.layer.weight", "bert.words.weight"]
    assert weights["bert.words.weight"].tolist() == [[1.0, 0.0], [-1.0, 63.5]]
    assert np.allclose(weights["bert.layer.weight"], [[0.2, 0.5], [-0.1, 0.6], [0.4, -0.5]])
    assert weights["bert.layer.bias"].tolist() == [1.5, -2.0, 0.25]
    assert {values.dtype for values in weights.values()} == {np.dtype(np.float32)}


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    graph = _raw("bias", 1, np.ones(4, dtype=np.float32))
    file.write_bytes(_bytes(7, graph)[:-3])
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read as an ONNX model"):
        onnx_weights(file)
    with pytest.raises(ModelError, match="cannot be read"):
        onnx_weights(tmp_path / "absent.onnx")


def test_the_embedded_cross_encoder_ranks_an_answer_above_another_subject(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from preceptor.modeling.resolve import default_models_dir, resolve_model
    from preceptor.modeling.reward_model import load_scorer

    folder = resolve_model("cross-encoder/ms-marco-MiniLM-L12-v2", models_dir=default_models_dir())
    scores = load_scorer(folder).score(
        ["How many people live in Berlin?"] * 2,
        ["Berlin has 3,520,031 registered inhabitants.", "New York is famous for its museums."],
    )
    assert scores[0] > 5 > -5 > scores[1]
