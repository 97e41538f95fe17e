"""A cross-encoder reads along where it is asked for or pays, and then scores as it was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.errors import ModelError
from preceptor.modeling.reward_model import load_scorer
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig


def test_what_read_along_in_training_reads_along_in_scoring(
    tmp_path: Path, write_rows: Callable[..., Path], planted: Callable[..., list[dict[str, Any]]]
) -> None:
    data = write_rows(planted(24))
    out = tmp_path / "model"
    out.mkdir()
    config = RewardConfig(dataset=str(data), cross_encoder="always", ensemble=2)
    report = build_reward_model(data, out, config)
    assert report["cross_encoder"]["used"]
    assert "untrained_cross_encoder" in report["baselines"]
    scorer = load_scorer(out)
    split = {p["prompt"]: p["split"] for p in map(json.loads, (out / "prompts.jsonl").read_text().splitlines())}
    test = [row for row in planted(24) if split[row["prompt"]] == "test"]
    prompts = [row["prompt"] for row in test]
    chosen, rejected = (scorer.score(prompts, [row[side] for row in test]) for side in ("chosen", "rejected"))
    assert float(np.mean(chosen - rejected)) == pytest.approx(report["margin"]["mean"], abs=0.05)
    assert scorer.score_ensemble(["p"], ["r"]).shape == (2, 1)
    (out / "cross_encoder" / "model.safetensors").unlink()
    with pytest.raises(ModelError):
        load_scorer(out)


def test_without_the_model_auto_goes_on_and_says_so_and_always_stops(
    tmp_path: Path,
    write_rows: Callable[..., Path],
    planted: Callable[..., list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preceptor.reward.reading_along.CROSS_ENCODER_NAME", "nobody/has-this")
    data = write_rows(planted(12))
    for name in ("auto", "always"):
        (tmp_path / name).mkdir()
    auto = build_reward_model(data, tmp_path / "auto", RewardConfig(dataset=str(data), ensemble=0))
    assert not auto["cross_encoder"]["used"]
    assert "nobody/has-this" in auto["cross_encoder"]["reason"]
    with pytest.raises(ModelError, match="nobody/has-this"):
        build_reward_model(data, tmp_path / "always", RewardConfig(dataset=str(data), cross_encoder="always"))
