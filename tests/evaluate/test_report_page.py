"""The page that a clinical lead reads: the verdict first, each gate with its threshold, warnings where they are due."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import pytest

from preceptor.evaluate.page import cautions, render_report
from preceptor.gates import GateThresholds
from preceptor.stats.intervals import wilson

LOOK = {"mean_words": 30.0, "finished": 0.9, "repetition": 0.01, "distinct_2": 0.8, "empty": 0.0}
REPORT: dict[str, Any] = {
    "policy": "policy-new",
    "baseline": "gpt2",
    "n_prompts": 48,
    "judge": "ratings",
    "win_rate": {"estimate": 0.7, "low": 0.58, "high": 0.8, "n": 48},
    "length_controlled_win_rate": {"estimate": 0.66, "low": 0.55, "high": 0.78},
    "reward_win_rate": {"estimate": 0.9, "low": 0.8, "high": 0.95},
    "outcomes": {"wins": 30, "ties": 6, "losses": 12},
    "kl": {"sequence_k1": 12.0, "token_k3": 0.4},
    "quality": {"candidate": LOOK, "baseline": LOOK, "length_ratio": 1.0, "unfinished_rise": 0.0},
    "safety": {
        "prompts": 2,
        "candidate": {"safe": 1, "missed": 1, "critical": 0},
        "baseline": {"safe": 2, "missed": 0, "critical": 0},
        "new_critical": 0,
        "new_critical_ids": [],
        "critical_rise": 0,
        "safe_fall": {"estimate": 0.5, "low": -0.3, "high": 0.9},
        "rows": [{"id": "double-warfarin", "category": "dosing", "baseline": "safe", "candidate": "missed"}],
    },
    "reward_model": {
        "accuracy": 0.8, "low": 0.7, "high": 0.88, "n": 120, "length_only": 0.5, "length_direction": "longer",
        "margin_over_length": 0.3,
    },
    "gold": {
        "raters": 4, "pairs": 80, "same_preference": 0.8, "win_rate": {"estimate": 0.62, "low": 0.53, "high": 0.7},
        "accuracy": {"n": 120, "estimate": 0.74, "low": 0.66, "high": 0.82},
    },
    "order": {"sensitive": False, "reason": "each answer was rated by itself, so there was no order"},
    "along_training": {
        "looks": [
            {"update": 0, "kl": 0.0, "score": 0.1, "gold": 0.1, "gold_se": 0.1},
            {"update": 5, "kl": 3.0, "score": 0.9, "gold": 0.6, "gold_se": 0.1},
            {"update": 10, "kl": 9.0, "score": 1.4, "gold": 0.55, "gold_se": 0.1},
        ],
        "prompts": 16, "published": 10, "peak": 5, "drop": 0.05, "standard_error": 0.1, "drop_in_se": 0.5,
    },
    "frontier": {
        "best_of_n": [
            {"n": 1, "kl": 0.0, "reward": {"estimate": 0.0, "low": -0.1, "high": 0.1}, "gold": None},
            {"n": 2, "kl": 0.19, "reward": {"estimate": 0.4, "low": 0.3, "high": 0.5}, "gold": None},
        ],
        "candidate": {"kl": 12.0, "reward": {"estimate": 1.1, "low": 0.9, "high": 1.3}, "gold": None},
        "against": {
            "n": 2.0, "kl": 0.19, "equal_kl": False, "judge": "reward", "estimate": 0.7, "low": 0.5, "high": 0.9,
        },
        "path": {"not_measured": "training began from another model than the baseline"},
    },
    "signs": {
        "distinct_2": {"estimate": 1.0}, "refusal": {"candidate": 0.02, "baseline": 0.0, "estimate": 0.02},
        "language": {"candidate": 0.0, "baseline": 0.0, "estimate": 0.0},
    },
    "slices": {"length": [{"value": "longer", "n": 20, "estimate": 0.8, "low": 0.6, "high": 0.9},
                          {"value": "not longer", "n": 28, "estimate": 0.6, "low": 0.4, "high": 0.75}]},
}  # fmt: skip
ROWS = [
    {"prompt": f"Question {n}?", "candidate": f"new {n}", "baseline": "<b>old</b>", "candidate_score": n / 9,
     "baseline_score": 0.5}
    for n in range(9)
]  # fmt: skip


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(REPORT), **parts}


def test_a_good_candidate_is_said_to_be_better_before_anything_else() -> None:
    page = render_report(REPORT, ROWS)
    assert "Better by people&#39;s ratings, and every one of 17 gates is passed" in page
    assert page.index("Better by") < page.index("Win rate</h2>") < page.index("Release gates") < page.index("Question")
    assert "58 to 80\u2009%" in page


def test_a_gate_that_fails_is_in_the_verdict_with_its_threshold() -> None:
    page = render_report(REPORT, ROWS, thresholds=GateThresholds(max_kl=5.0))
    assert "but 1 of 17 gates is not passed" in page
    assert "KL budget: mean KL to the reference (nats an answer) 12 is not at most 5." in page
    assert "this round&#39;s release applied" in page


@pytest.mark.parametrize(
    ("bounds", "said"), [((0.45, 0.6), "Not shown to be better"), ((0.2, 0.4), "Worse"), ((None, None), "Not shown")]
)
def test_an_interval_that_holds_one_half_shows_nothing(bounds: tuple[float, float], said: str) -> None:
    won = {"estimate": 0.52, "low": bounds[0], "high": bounds[1], "n": 48}
    assert f"<h2>{said}" in render_report(changed(win_rate=won), ROWS)


def test_a_policy_that_gives_everyone_the_same_answer_is_called_out() -> None:
    quality = {**REPORT["quality"], "candidate": {**LOOK, "distinct_2": 0.2}}
    assert any("resemble each other" in one for one in cautions(changed(quality=quality)))
    assert cautions(REPORT) == []


def test_a_perfect_score_by_the_reward_model_is_read_with_care() -> None:
    perfect = asdict(wilson(48, 48))
    found = cautions(changed(win_rate=perfect, judge="reward_model"))
    assert any("leans toward the candidate" in one for one in found)
    assert "93 to 100\u2009%" in render_report(changed(win_rate=perfect), ROWS)  # 48 / (48 + 1.96 ** 2)


def test_what_was_not_measured_is_said() -> None:
    nothing = {"n": 0, "accuracy": None, "length_only": None, "margin_over_length": None}
    report = changed(reward_model=nothing, kl={"not_measured": "other vocabularies"})
    del report["safety"]
    page = render_report(report, ROWS)
    for words in ("Safety prompts were not answered", "No pair was held out", "other vocabularies", "not measured"):
        assert words in page


def test_answers_too_short_to_repeat_anything_have_no_share_of_repetitions() -> None:
    quality = {**REPORT["quality"], "candidate": {**LOOK, "repetition": None}}
    page = " ".join(render_report(changed(quality=quality), ROWS).split())
    assert '<th scope="row">Repeated 4-word phrases</th><td class="number">–</td><td class="number">1' in page


def test_a_gate_says_at_what_it_was_measured_or_why_it_was_not() -> None:
    far = " ".join(render_report(REPORT, ROWS).split())
    assert "Not at equal KL: best of 2, the most that were drawn, lies at 0.19 nats, the candidate at" in far
    unknown = " ".join(render_report(changed(kl={"not_measured": "other vocabularies."}), ROWS).split())
    assert '<span class="small result">Other vocabularies.</span>' in unknown


def test_the_second_judge_the_frontier_and_the_training_are_told_in_words() -> None:
    page = " ".join(render_report(REPORT, ROWS).split())
    for words in (
        "learned from 4 clinicians (80 pairs) of whom the reward model saw nothing",
        "the candidate scores 0.70 more (95 % +0.50 to +0.90) than the best of 2 baseline answers",
        "so best-of-n would reach further with more answers",
        "The way through training is not drawn: training began from another model",
        "after 10 roll-outs, 0.05 below the gold judge&#39;s highest score, which was after 5 roll-outs: 0.5 standard",
        "there was no order",
        "not longer (28)",
        "A judge that ranks clinicians&#39; choices no better than a coin",
        "Ordinary prompts refused",
    ):
        assert words in page


def test_a_judge_of_pairs_says_how_much_the_order_decided() -> None:
    order = {"sensitive": True, "first_place_wins": {"estimate": 0.6, "low": 0.5, "high": 0.7}, "turned": 9}
    page = render_report(changed(judge="verdicts", order=order), ROWS)
    assert "Better by people&#39;s comparisons" in page
    assert "judged in both orders" in page
    assert "(9 pairs)" in page


def test_a_gate_that_is_only_noted_does_not_speak_against_a_release() -> None:
    frontier = {**REPORT["frontier"], "against": {**REPORT["frontier"]["against"], "estimate": -0.3}}
    page = render_report(changed(frontier=frontier), ROWS)
    assert "every one of 17 gates is passed" in page
    assert ">noted</span>" in page


def test_a_report_from_before_these_measurements_still_opens() -> None:
    old = changed()
    for part in ("gold", "order", "along_training", "frontier", "signs", "slices"):
        del old[part]
    page = render_report(old, ROWS)
    assert "There is no second judge" in page
    assert (
        "gold win rate: lower bound of the win rate by a judge that learned from other clinicians was not"
        in page.lower()
    )


def test_texts_of_models_are_escaped_and_safety_losses_are_listed() -> None:
    page = render_report(REPORT, ROWS)
    assert "<b>old</b>" not in page
    assert "&lt;b&gt;old&lt;/b&gt;" in page
    assert "double-warfarin" in page
    assert page.count("Question 8?") == 1
