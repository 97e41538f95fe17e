"""A tie pulls two scores together, and nothing that is measured or chosen by measuring changes by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.modeling.embeddings import TextVectors
from preceptor.modeling.reward_model import load_scorer
from preceptor.reward import bradley_terry, frozen_model
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.frozen import fit_head
from preceptor.reward.reader import Reader

POLITE = "Thank you for asking about it."


def polite(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same pairs, whose better answer is polite too, so that they alone cannot tell what makes it better."""
    return [{**row, "chosen": f"{row['chosen']} {POLITE}"} for row in rows]


def ties_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Clinicians who say that courtesy alone makes no answer better, in either order."""
    found = []
    for place, row in enumerate(rows):
        one, other = (f"{row['rejected']} {POLITE}", row["rejected"])[:: 1 if place % 2 else -1]
        found.append({**row, "chosen": one, "rejected": other, "metadata": {**row["metadata"], "label": 0.5}})
    return found


def build(data: Path, out: Path, **settings: Any) -> dict[str, Any]:
    out.mkdir()
    config = RewardConfig(dataset=str(data), gold_share=0, ensemble=0, cross_encoder="never", **settings)
    return build_reward_model(data, out, config, cache_dir=out.parent / "cache")


def gap(model: Path, rows: list[dict[str, Any]]) -> float:
    """How far apart the model scores answers that differ by courtesy alone, in deviations of its scores."""
    scorer = load_scorer(model)
    prompts, plain = [row["prompt"] for row in rows], [row["rejected"] for row in rows]
    courteous = [f"{text} {POLITE}" for text in plain]
    return float(np.abs(scorer.score(prompts, courteous) - scorer.score(prompts, plain)).mean())


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_ties_pull_the_scores_of_equal_answers_together(
    tmp_path: Path, write_rows: Any, planted: Any, tiny_bert: Path, mode: str
) -> None:
    rows = polite(planted(64))
    settings: dict[str, Any] = {"mode": mode}
    if mode == "full":
        settings |= {"base_model": str(tiny_bert), "epochs": 2, "learning_rate": 1e-3}
    data = write_rows(rows)
    before = build(data, tmp_path / "without", **settings)
    write_rows(ties_of(rows), "preferences.ties.jsonl")
    after = build(data, tmp_path / "with", **settings)
    assert gap(tmp_path / "without", rows[:16]) > 0.5
    assert gap(tmp_path / "with", rows[:16]) < 0.5 * gap(tmp_path / "without", rows[:16])
    assert after["accuracy"]["estimate"] >= 0.9
    counted = {name: after["data"][name] for name in ("train_pairs", "validation_pairs", "leaked_left_out")}
    assert counted == {name: before["data"][name] for name in counted}
    assert after["data"]["train_ties"] == before["data"]["train_pairs"]
    assert after["held_out"] == {**before["held_out"], "ties": before["held_out"]["pairs"]}
    assert after["baselines"]["length_only"] == before["baselines"]["length_only"]


def test_ties_of_held_out_and_validation_prompts_change_no_fine_tuned_model(
    tmp_path: Path, write_rows: Any, planted: Any, tiny_bert: Path
) -> None:
    splits = ["train", "train", "validation", "test"]
    rows = planted(32)
    rows = [{**row, "metadata": {"split": splits[place % 4]}} for place, row in enumerate(rows)]
    data = write_rows(rows)
    settings: dict[str, Any] = {"mode": "full", "base_model": str(tiny_bert), "epochs": 1}
    before = build(data, tmp_path / "without", **settings)
    write_rows([row for row in ties_of(rows) if row["metadata"]["split"] != "train"], "preferences.ties.jsonl")
    after = build(data, tmp_path / "with", **settings)
    names = ("model.safetensors", "preceptor.json")
    assert all((tmp_path / "with" / n).read_bytes() == (tmp_path / "without" / n).read_bytes() for n in names)
    assert (after["data"]["train_ties"], after["data"]["validation_ties"], after["held_out"]["ties"]) == (0, 8, 8)
    after["data"]["validation_ties"] = after["held_out"]["ties"] = 0
    assert json.dumps(after) == json.dumps(before)


def test_a_tie_is_not_counted_as_right_or_wrong_by_cross_validation() -> None:
    draw = np.random.default_rng(0)
    width, vectors = 8, {}
    for name in (f"{kind} {n}" for n in range(24) for kind in ("prompt", "good", "bad")):
        vector = (draw.normal(size=width) + 2.0 * name.startswith("good")).astype(np.float32)
        vectors[name] = TextVectors(vector, vector, vector[None])
    reader = Reader(vectors, width)
    config = RewardConfig(dataset="-", mismatch_weight=0)
    pairs = [Pair(f"prompt {n}", f"good {n}", f"bad {n}") for n in range(24)]
    # hardly any weight, so the fit is the same, and the wrong way round: as preferences all of them were wrong
    ties = [Pair(p.prompt, p.rejected, p.chosen, weight=1e-9, label=0.5) for p in pairs]
    plain, with_ties = (fit_head(rows, reader, config=config, ensemble=0) for rows in (pairs, pairs + ties))
    assert plain.accuracy > 0.7
    assert (with_ties.accuracy, with_ties.l2) == (plain.accuracy, plain.l2)
    assert with_ties.loss == pytest.approx(plain.loss, rel=1e-3)
    assert len(with_ties.margins) == 48


def test_the_temperature_is_of_margins_in_deviations_and_of_decided_pairs_that_count(
    tmp_path: Path, write_rows: Any, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = planted(24)
    for place, row in enumerate(rows):
        row["metadata"] = {"split": "test" if place % 4 == 0 else "train", "weight": 0.0 if place == 1 else 1.0}
    data = write_rows(rows)
    write_rows(ties_of(rows), "preferences.ties.jsonl")
    chosen, heated = list[Any](), list[Any]()
    choose, heat = frozen_model.choose_reader, bradley_terry.temperature

    def noted(*given: Any, **more: Any) -> Any:
        chosen.append((given[0], choose(*given, **more)))
        return chosen[-1][1]

    monkeypatch.setattr(frozen_model, "choose_reader", noted)
    monkeypatch.setattr(bradley_terry, "temperature", lambda *a, **k: heated.append((*a, k)) or heat(*a, **k))
    build(data, tmp_path / "model", mode="frozen")
    (pairs, choice), (margins, more) = chosen[0], heated[0]
    np.testing.assert_allclose(margins * choice.fit.std, choice.fit.margins)
    assert choice.fit.std != pytest.approx(1.0, rel=0.01)
    assert all(pair.weight > 0 for pair in pairs)
    assert (more["weights"] > 0).tolist() == [not pair.is_tie for pair in pairs]


def test_a_tie_does_not_heat_or_cool_a_fine_tuned_model(
    tmp_path: Path, write_rows: Any, planted: Any, tiny_bert: Path
) -> None:
    rows = [
        {**row, "metadata": {"split": "test" if place % 4 == 0 else "train"}} for place, row in enumerate(planted(48))
    ]
    data = write_rows(rows)  # no validation pairs, so that the temperature is fitted on what was trained on
    settings: dict[str, Any] = {"mode": "full", "base_model": str(tiny_bert), "epochs": 0}
    before = build(data, tmp_path / "without", **settings)
    wrong = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    # hardly any weight, so the model is the same; as preferences they would contradict every pair
    ties = [{**row, "metadata": {**row["metadata"], "label": 0.5, "weight": 1e-9}} for row in wrong]
    write_rows(ties, "preferences.ties.jsonl")
    after = build(data, tmp_path / "with", **settings)
    assert after["data"]["train_ties"] == before["data"]["train_pairs"]
    assert after["calibration"]["temperature"] == pytest.approx(before["calibration"]["temperature"], rel=1e-3)
