"""The gold judge: other clinicians, held-out prompts unseen, files that load, and a refusal where it would be none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.modeling.reward_model import load_gold, load_scorer
from preceptor.reward.dataset import Pair, PairSet
from preceptor.reward.gold import rater_key, set_aside

Split = Literal["train", "validation", "test"]


def panel(raters: Sequence[str | None], *, pairs_each: int = 8) -> PairSet:
    """Pairs of each rater over all three splits, prompts shared by everybody."""
    splits: list[Split] = ["train"] * (pairs_each - 2) + ["validation", "test"]
    pairs = [
        Pair(f"prompt {i}", f"good {i} {rater}", f"bad {i} {rater}", split=split, rater=rater)
        for rater in raters
        for i, split in enumerate(splits)
    ]
    return PairSet(tuple(pairs), (), 0, 0)


RATERS = [f"rater_{i:02d}" for i in range(12)]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_no_clinician_teaches_both_the_reward_model_and_the_gold_judge(share: float) -> None:
    found = set_aside(panel(RATERS), share=share)
    gold = {pair.rater for pair in found.gold}
    kept = {pair.rater for pair in found.data.of("train", "validation")}
    assert gold
    assert kept
    assert gold & kept == set()
    assert gold | kept == set(RATERS)


@given(
    judged=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9)), min_size=1, max_size=120),
    share=st.floats(0.01, 0.49),
)
def test_the_two_panels_are_apart_whoever_judged_how_much(judged: list[tuple[str, int]], share: float) -> None:
    pairs = tuple(Pair(f"p{n}", f"good {i}", "bad", rater=rater) for i, (rater, n) in enumerate(judged))
    found = set_aside(PairSet(pairs, (), 0, 0), share=share)
    gold, kept = {pair.rater for pair in found.gold}, {pair.rater for pair in found.data.pairs}
    assert gold & kept == set()
    assert len(found.gold) <= len(pairs) / 2
    assert gold == set() or min(len(gold), len(kept)) >= 2


def test_the_gold_judge_learns_from_training_prompts_alone_and_test_pairs_stay_for_everybody() -> None:
    data = panel(RATERS)
    found = set_aside(data, share=0.25)
    assert {pair.split for pair in found.gold} == {"train"}
    assert found.data.of("test") == data.of("test")


def test_ties_go_with_their_clinician_and_count_for_nothing() -> None:
    data = panel(RATERS)
    ties = tuple(
        Pair(f"prompt {i}", f"one {rater}", f"other {rater}", rater=rater, label=0.5)
        for i in range(5)
        for rater in (RATERS[0], *RATERS, "ties only")
    )
    plain, found = set_aside(data, share=0.25), set_aside(replace(data, pairs=data.pairs + ties), share=0.25)
    gold = {pair.rater for pair in plain.gold}
    assert {pair.rater for pair in found.gold} == gold
    assert {pair.rater for pair in found.gold if pair.is_tie} == gold
    assert {pair.rater for pair in found.data.of("train")} == {*RATERS, "ties only"} - gold
    many = tuple(replace(tie, chosen=f"{tie.chosen} {n}") for tie in ties for n in range(9))
    few = panel(RATERS[:4], pairs_each=3)
    assert "too few" in str(set_aside(replace(few, pairs=few.pairs + many), share=0.25).reason)


def test_a_pair_without_weight_teaches_no_judge_and_holds_no_group_up() -> None:
    data = panel(RATERS, pairs_each=10)
    light = replace(data, pairs=tuple(replace(p, weight=0.0) if p.prompt == "prompt 1" else p for p in data.pairs))
    found = set_aside(light, share=0.25)
    assert {pair.prompt for pair in found.gold} == {f"prompt {i}" for i in range(8)} - {"prompt 1"}
    gold = {pair.rater for pair in found.gold}
    others = replace(data, pairs=tuple(p if p.rater in gold else replace(p, weight=0.0) for p in data.pairs))
    assert str(set_aside(others, share=0.25).reason) == "24 and 0 pairs are too few for two groups"


def test_each_group_needs_two_raters_ten_preferences_and_the_judge_two_prompts() -> None:
    def judged(*counts: int, prompts: int = 9) -> PairSet:
        rows = [(rater, n) for rater, count in enumerate(counts) for n in range(count)]
        pairs = [Pair(f"p{n % prompts}", f"good {n}", f"bad {n}", rater=f"r{rater}") for rater, n in rows]
        return PairSet(tuple(pairs), (), 0, 0)

    assert set_aside(judged(12, 12, 12, 12), share=0.5).gold
    assert set_aside(judged(12, 12, 40), share=0.375).reason == "3 raters are too few for two groups"
    assert "too few for two groups" in str(set_aside(judged(12, 12, 12, 12, prompts=1), share=0.5).reason)
    few = panel(RATERS[:6], pairs_each=6)
    ties = tuple(replace(p, label=0.5, chosen=f"{p.chosen} {n}") for p in few.pairs for n in range(3))
    for data in (few, replace(few, pairs=few.pairs + ties)):
        assert set_aside(data, share=0.3).reason == "8 and 20 pairs are too few for two groups"


def test_the_groups_depend_on_ids_alone() -> None:
    data = panel(RATERS)
    turned = replace(data, pairs=data.pairs[::-1])
    others = replace(data, pairs=tuple(replace(p, chosen=p.rejected, rejected=p.chosen) for p in data.pairs))
    groups = [{pair.rater for pair in set_aside(one, share=0.25).gold} for one in (data, turned, others)]
    assert groups[0] == groups[1] == groups[2]
    assert groups[0] != set(RATERS[:3])  # ids are given out in order of joining, so their own order is no chance


def test_about_the_share_that_was_asked_for_is_set_aside_and_never_more_than_half() -> None:
    found = set_aside(panel(RATERS), share=0.25)
    assert len({pair.rater for pair in found.gold}) == 3  # of 12 who judged equally much
    busy = panel(RATERS, pairs_each=4)
    for rater in RATERS:  # one clinician gave most of the pairs, whoever it is
        extra = tuple(replace(pair, rater=rater, chosen=f"{pair.chosen} {n}") for pair in busy.pairs for n in range(2))
        found = set_aside(replace(busy, pairs=busy.pairs + extra), share=0.25)
        assert rater not in {pair.rater for pair in found.gold}


@pytest.mark.parametrize(
    ("raters", "share", "reason"),
    [
        (RATERS, 0.0, "none was asked for"),
        ([*RATERS, None], 0.25, "could be anybody's"),
        (RATERS[:3], 0.25, "too few for two groups"),
    ],
)
def test_no_gold_judge_is_made_where_it_would_be_none(raters: list[str | None], share: float, reason: str) -> None:
    data = panel(raters)
    found = set_aside(data, share=share)
    assert found.gold == ()
    assert reason in str(found.reason)
    assert found.data == data


def test_the_published_judge_scores_as_its_own_raters_and_shares_none_with_the_reward_model(
    frozen_model: Path, planted: Any
) -> None:
    report = json.loads((frozen_model / "gold" / "report.json").read_text())
    rows = planted(64)
    keys = {rater_key(row["metadata"]["rater"]) for row in rows}
    assert set(report["raters"]) & set(report["reward_model_raters"]) == set()
    assert set(report["raters"]) | set(report["reward_model_raters"]) == keys
    assert json.loads((frozen_model / "report.json").read_text())["gold"]["raters"] == len(report["raters"]) >= 2
    gold, reward = load_gold(frozen_model), load_scorer(frozen_model)
    assert gold is not None
    prompts = [row["prompt"] for row in rows]
    chosen, rejected = [row["chosen"] for row in rows], [row["rejected"] for row in rows]
    margins = gold.score(prompts, chosen) - gold.score(prompts, rejected)
    assert (margins > 0).mean() >= 0.9  # all of them judge by the same planted rule
    assert not np.allclose(margins, reward.score(prompts, chosen) - reward.score(prompts, rejected))


def test_a_reward_model_without_a_gold_judge_has_none(tmp_path: Path, frozen_model: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(frozen_model, copy, ignore=shutil.ignore_patterns("gold"))
    assert load_gold(copy) is None


def test_a_decoder_as_base_model_has_no_gold_judge_and_sets_nobody_aside(
    tmp_path: Path, tiny_gpt2: Path, write_rows: Any, planted: Any
) -> None:
    from transformers import AutoConfig, AutoTokenizer, GPT2ForSequenceClassification

    from preceptor.reward.build import build_reward_model
    from preceptor.reward.config import RewardConfig

    base, out = tmp_path / "decoder", tmp_path / "model"
    out.mkdir()
    tokenizer, sizes = AutoTokenizer.from_pretrained(tiny_gpt2), AutoConfig.from_pretrained(tiny_gpt2, num_labels=1)
    tokenizer.save_pretrained(base)
    GPT2ForSequenceClassification(sizes).save_pretrained(base)
    data = write_rows(planted(64))
    config = RewardConfig(dataset=str(data), base_model=str(base), mode="full", epochs=1)
    report = build_reward_model(data, out, config)
    assert "no encoder" in report["gold"]["reason"]
    assert report["data"]["raters"] == 8
    assert load_gold(out) is None
