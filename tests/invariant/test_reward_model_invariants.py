"""What must hold of a reward model: margins flip, company does not matter, weights and margins act."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.modeling.reward_model import load_scorer
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig

_BODIES = ("Rest and drink water.", "Start with the usual dose.", "This is common.", "There are some options.")
_TOPICS = ("asthma", "gout", "eczema", "migraine", "anemia", "a cough", "back pain", "a burn")
SAFE, RASH = "See a doctor if it gets worse.", "It always works for everyone."


def _rows(count: int, *, safe_wins: bool = True, **metadata: Any) -> list[dict[str, Any]]:
    rows = []
    for i in range(count):
        body = _BODIES[i % 4]
        texts = (f"{body} {SAFE}", f"{body} {RASH}") if safe_wins else (f"{body} {RASH}", f"{body} {SAFE}")
        prompt = f"What helps with {_TOPICS[i % 8]} in case {i % 16}?"
        rows.append({"prompt": prompt, "chosen": texts[0], "rejected": texts[1], "metadata": metadata})
    return rows


def _train(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    data = folder / "preferences.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = folder / "model"
    out.mkdir()
    # mismatched answers always lose, so they would bend what the pairs alone decide
    config = RewardConfig(
        dataset=str(data), base_model="bert-base-uncased", ensemble=2, mismatch_weight=0, cross_encoder="never"
    )
    build_reward_model(data, out, config, cache_dir=folder.parent / "cache")
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reward")
    both = _rows(32, weight=3.0) + _rows(16, safe_wins=False, weight=1.0)
    other = _rows(32, weight=1.0) + _rows(16, safe_wins=False, weight=30.0)
    return {
        "plain": _train(root / "plain", _rows(32)),
        "swapped": _train(root / "swapped", _rows(32, safe_wins=False)),
        "margin": _train(root / "margin", _rows(32, margin=3.0)),
        "mostly safe": _train(root / "safe", both),
        "mostly rash": _train(root / "rash", other),
    }


def _margin(model: Path, *, normalized: bool = True) -> float:
    scorer = load_scorer(model)
    safe, rash = scorer.score(["What helps with a rash?"] * 2, [f"This is common. {text}" for text in (SAFE, RASH)])
    return float(safe - rash) * (1.0 if normalized else scorer.card.normalization.std)


def test_swapping_chosen_and_rejected_negates_the_margin(trained: dict[str, Path]) -> None:
    one, other = _margin(trained["plain"]), _margin(trained["swapped"])
    assert one > 0.5
    assert other == pytest.approx(-one, rel=0.02)


def test_swapping_every_pair_leaves_the_held_out_margins_as_they_were(trained: dict[str, Path]) -> None:
    one, other = (json.loads((trained[name] / "report.json").read_text()) for name in ("plain", "swapped"))
    assert one["margin"]["mean"] == pytest.approx(other["margin"]["mean"], rel=0.02)


def test_a_planted_preference_is_recovered(trained: dict[str, Path]) -> None:
    report = json.loads((trained["plain"] / "report.json").read_text())
    assert report["accuracy"]["estimate"] == 1.0


def test_neither_order_nor_company_changes_a_score(trained: dict[str, Path]) -> None:
    prompts = [f"What helps with {topic}?" for topic in _TOPICS]
    responses = [f"{_BODIES[i % 4]} {SAFE if i % 2 else RASH} " + "Drink water. " * (i * 9) for i in range(8)]
    together = load_scorer(trained["plain"]).score(prompts, responses)
    backwards = load_scorer(trained["plain"]).score(prompts[::-1], responses[::-1])[::-1]
    alone = np.concatenate(
        [load_scorer(trained["plain"]).score([p], [r]) for p, r in zip(prompts[:3], responses[:3], strict=True)]
    )
    assert np.allclose(together, backwards, atol=0.02)  # rounding of bfloat16; scores have deviation 1
    assert np.allclose(together[:3], alone, atol=0.02)
    assert np.ptp(together) > 0.2


def test_the_same_call_gives_the_same_bits_whatever_was_scored_before(trained: dict[str, Path]) -> None:
    fresh, used = load_scorer(trained["plain"]), load_scorer(trained["plain"])
    used.score(["What helps with gout?", "Something long and different, asked first?"], ["Rest.", "Wait."])
    arguments = (["What helps with gout?"] * 2, ["See a doctor.", "Never mind."])
    assert (fresh.score(*arguments) == used.score(*arguments)).all()


def test_weights_decide_between_contradicting_pairs(trained: dict[str, Path]) -> None:
    assert _margin(trained["mostly safe"]) > 0
    assert _margin(trained["mostly rash"]) < 0


def test_margins_push_scores_apart(trained: dict[str, Path]) -> None:
    assert _margin(trained["margin"], normalized=False) > 1.2 * _margin(trained["plain"], normalized=False)


def test_scores_are_normalized_on_the_answers_of_training(trained: dict[str, Path]) -> None:
    rows = [json.loads(line) for line in (trained["plain"].parent / "preferences.jsonl").read_text().splitlines()]
    split = {
        row["prompt"]: row["split"]
        for row in map(json.loads, (trained["plain"] / "prompts.jsonl").read_text().splitlines())
    }
    rows = [row for row in rows if split[row["prompt"]] != "test"]
    scorer = load_scorer(trained["plain"])
    scores = scorer.score([r["prompt"] for r in rows] * 2, [r[side] for side in ("chosen", "rejected") for r in rows])
    assert abs(float(scores.mean())) < 0.02
    assert float(scores.std()) == pytest.approx(1.0, abs=0.02)
    members = scorer.score_ensemble([r["prompt"] for r in rows], [r["chosen"] for r in rows])
    assert members.shape == (2, len(rows))
