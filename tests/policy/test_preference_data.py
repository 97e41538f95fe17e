"""Pairs and thumbs: which lines teach, what becomes of their text, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from preceptor.errors import DataError, InputError
from preceptor.modeling.policy_model import load_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.preference_data import (
    Encoder,
    Thumb,
    dpo_rows,
    encoder_of,
    kto_rows,
    kto_weights,
    load_pairs,
    load_thumbs,
)


@pytest.fixture
def encoder(tiny_llama: Path) -> Encoder:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    return Encoder(tokenizer, eos=tokenizer.eos_token_id, max_prompt_tokens=12)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(prompt: str = "A fever?", *, split: str | None = "train", rejected: str = "No.") -> dict[str, Any]:
    metadata = {"split": split} if split else {}
    return {"prompt": prompt, "chosen": "Yes.", "rejected": rejected, "metadata": metadata}


def thumb(label: Any, *, split: str = "train") -> dict[str, Any]:
    return {"prompt": "A fever?", "completion": "Yes.", "label": label, "metadata": {"split": split}}


def test_only_training_pairs_whose_answers_differ_are_learned_from_and_each_once(tmp_path: Path) -> None:
    rows = [pair(), pair(), pair("A cough?", split=None), pair("A rash?", split="test"), pair(rejected=" Yes. ")]
    assert [one.prompt for one in load_pairs(written(tmp_path / "p", rows))] == ["A fever?", "A cough?"]


def test_a_pair_teaches_what_its_label_says(tmp_path: Path) -> None:
    rows = [pair(f"{label}?") for label in (1, 0.9, 0.5, 0.2)]
    for row, label in zip(rows, (1, 0.9, 0.5, 0.2), strict=True):
        row["metadata"]["label"] = label
    found = [(one.prompt, one.chosen, one.rejected) for one in load_pairs(written(tmp_path / "p", rows))]
    assert found == [("1?", "Yes.", "No."), ("0.9?", "Yes.", "No."), ("0.2?", "No.", "Yes.")]  # a tie teaches nothing
    rows[1]["metadata"]["label"] = "sure"
    with pytest.raises(InputError, match=r"line 2: metadata\.label"):
        load_pairs(written(tmp_path / "q", rows))


def test_equal_thumbs_of_several_raters_all_count(tmp_path: Path) -> None:
    bare = {name: thumb(False)[name] for name in ("prompt", "completion", "label")}  # no split is training
    rows = [thumb(True), thumb(True), thumb(False), thumb(False, split="validation"), bare]
    assert [one.label for one in load_thumbs(written(tmp_path / "t", rows))] == [True, True, False, False]


def test_files_that_cannot_teach_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training pairs"):
        load_pairs(written(tmp_path / "a", [pair(split="test")]))
    with pytest.raises(DataError, match="2 thumbs up and 0 down"):
        load_thumbs(written(tmp_path / "b", [thumb(True), thumb(True)]))
    with pytest.raises(DataError, match="0 thumbs up and 0 down"):
        load_thumbs(written(tmp_path / "e", []))
    with pytest.raises(InputError, match="line 2 has no `label`"):
        load_thumbs(written(tmp_path / "c", [thumb(True), thumb("yes")]))
    with pytest.raises(InputError, match="rejected"):
        load_pairs(written(tmp_path / "d", [{"prompt": "p", "chosen": "c"}]))


def test_rows_hold_what_sampling_reads_and_eos_only_behind_a_whole_sentence(encoder: Encoder, tmp_path: Path) -> None:
    pairs = load_pairs(written(tmp_path / "p", [pair(rejected="No and then")]))
    (row,) = dpo_rows(pairs, encoder)
    assert row["chosen_ids"][-1] == encoder.eos
    assert row["rejected_ids"][-1] != encoder.eos
    assert encoder.tokenizer.decode(row["rejected_ids"]).strip() == "No and then"
    assert row["prompt_ids"] == encoder.prompt("A fever?")


def test_a_long_prompt_keeps_its_end(encoder: Encoder) -> None:
    ids = encoder.prompt("word " * 50 + "fever?")
    assert len(ids) == 12
    assert encoder.tokenizer.decode(ids).endswith("Answer:")


def test_prompt_and_answer_together_fit_the_context(tiny_gpt2: Path) -> None:
    model, tokenizer = load_policy(tiny_gpt2)  # its positions end at 256

    def lengths(**fields: Any) -> tuple[int, int]:
        encoder = encoder_of(model, tokenizer, PolicyConfig(reward_model="none", **fields))
        return len(encoder.prompt("a fever " * 300)), len(encoder.answer("Yes. " * 300))

    assert lengths(max_new_tokens=40, max_prompt_tokens=100) == (100, 128)
    assert lengths(max_new_tokens=40, max_prompt_tokens=1_000) == (216, 40)
    with pytest.raises(InputError, match="max_new_tokens 256 fills the model's context"):
        lengths(max_new_tokens=256)


def test_every_prompt_of_a_batch_also_meets_another_answer_of_it(encoder: Encoder) -> None:
    thumbs = [Thumb(f"Question {i}?", f"Answer {i}.", bool(i % 2)) for i in range(9)]
    rows = kto_rows(thumbs, encoder, batch=4, seed=1)
    assert len(rows) == 8  # the last batch of one row is left out
    for start in (0, 4):
        part = rows[start : start + 4]
        own = [row["completion_ids"] for row in part]
        other = [row["KL_completion_ids"] for row in part]
        assert sorted(own) == sorted(other)
        assert all(a != b for a, b in zip(own, other, strict=True))
    assert rows == kto_rows(thumbs, encoder, batch=4, seed=1)
    assert rows != kto_rows(thumbs, encoder, batch=4, seed=2)


def test_the_rarer_direction_of_thumbs_weighs_more() -> None:
    thumbs = [Thumb("p", "c", label) for label in (True, False, False, False)]
    up, down = kto_weights(thumbs)
    assert (up, down) == (3.0, 1.0)
    assert up * 1 == down * 3
