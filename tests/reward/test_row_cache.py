"""Rows are computed once a key and kept without their text; a frozen model trained again reads no text again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.reward import reading_along
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.row_cache import cached_rows


class Asked:
    """Rows that say which index they were computed for, and which indices were asked for."""

    def __init__(self) -> None:
        self.indices: list[list[int]] = []

    def __call__(self, indices: list[int]) -> Any:
        self.indices.append(indices)
        return np.array([[i, 10 * i] for i in indices], dtype=np.float32)


def test_only_new_keys_are_computed_and_each_key_keeps_its_row(tmp_path: Path) -> None:
    file, asked = tmp_path / "rows.safetensors", Asked()
    first = cached_rows(file, [("a secret prompt", "x"), ("b", "y"), ("c", "z")], asked)
    again = cached_rows(file, [("c", "z"), ("new", "n"), ("a secret prompt", "x")], asked)
    assert first is not None
    assert again is not None
    assert asked.indices == [[0, 1, 2], [1]]
    assert again.tolist() == [first[2].tolist(), [1, 10], first[0].tolist()]
    assert b"secret" not in file.read_bytes()
    cached_rows(file, [("b", "y")], asked)
    assert asked.indices[2:] == [[0]]  # it had left with the second call


def test_without_a_file_or_with_a_torn_one_everything_is_computed(tmp_path: Path) -> None:
    asked = Asked()
    cached_rows(None, ["a", "b"], asked)
    (tmp_path / "rows.safetensors").write_bytes(b"torn")
    found = cached_rows(tmp_path / "rows.safetensors", ["a", "b"], asked)
    assert asked.indices == [[0, 1], [0, 1]]
    assert found is not None
    assert found.tolist() == [[0, 0], [1, 10]]


def test_what_cannot_be_told_is_not_kept(tmp_path: Path) -> None:
    assert cached_rows(tmp_path / "rows.safetensors", ["a"], lambda _: None) is None
    assert not (tmp_path / "rows.safetensors").exists()


def test_a_second_training_on_the_same_pairs_reads_no_text_with_any_encoder(
    tmp_path: Path, write_rows: Any, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rows(planted(12))
    config = RewardConfig(dataset=str(data), cross_encoder="always", ensemble=0, gold_share=0)

    def train(name: str) -> bytes:
        (tmp_path / name).mkdir()
        build_reward_model(data, tmp_path / name, config, cache_dir=tmp_path / "cache")
        return (tmp_path / name / "head.safetensors").read_bytes()

    first = train("first")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a text was read again")

    monkeypatch.setattr(reading_along, "relevance", refuse)
    monkeypatch.setattr("preceptor.reward.probe.forward_scores", refuse)
    monkeypatch.setattr("preceptor.modeling.embeddings._hidden", refuse)
    assert train("second") == first
