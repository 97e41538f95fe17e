"""Prompts as the policy reads them, pairs as a reward model reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import InputError
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.sequences import SYSTEM_PROMPT, encode_pair, encode_prompt, format_prompt


@pytest.fixture(scope="module")
def bert_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model("all-MiniLM-L6-v2"))


@pytest.fixture(scope="module")
def plain_tokenizer(tiny_gpt2: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_gpt2)


def test_a_pair_has_its_separators_and_types(bert_tokenizer: Any) -> None:
    pair = encode_pair(bert_tokenizer, "fever in a child", "see a doctor", 32)
    assert bert_tokenizer.decode(pair.ids) == "[CLS] fever in a child [SEP] see a doctor [SEP]"
    assert pair.token_type_ids == [0] * 6 + [1] * 4
    assert (pair.cut_prompt, pair.cut_response) == (0, 0)


def test_a_pair_equals_the_tokenizers_own_encoding(bert_tokenizer: Any) -> None:
    own = bert_tokenizer("chest pain", "call an ambulance")
    pair = encode_pair(bert_tokenizer, "chest pain", "call an ambulance", 64)
    assert pair.ids == own["input_ids"]
    assert pair.token_type_ids == own["token_type_ids"]


def test_the_prompt_loses_its_beginning_before_the_response_loses_anything(bert_tokenizer: Any) -> None:
    pair = encode_pair(bert_tokenizer, "one two three four", "five six", 7)
    assert bert_tokenizer.decode(pair.ids) == "[CLS] three four [SEP] five six [SEP]"
    assert (pair.cut_prompt, pair.cut_response) == (2, 0)


def test_a_response_over_the_limit_keeps_its_end(bert_tokenizer: Any) -> None:
    pair = encode_pair(bert_tokenizer, "one two", "three four five six", 5)
    assert bert_tokenizer.decode(pair.ids) == "[CLS] [SEP] five six [SEP]"
    assert (pair.cut_prompt, pair.cut_response) == (2, 2)


@pytest.mark.parametrize("length", range(4, 20))
def test_no_pair_is_longer_than_the_limit(bert_tokenizer: Any, length: int) -> None:
    pair = encode_pair(bert_tokenizer, "what about a fever", "check the temperature and call", length)
    assert len(pair.ids) <= length
    assert pair.token_type_ids is not None
    assert len(pair.token_type_ids) == len(pair.ids)


def test_a_limit_without_room_is_refused(bert_tokenizer: Any) -> None:
    with pytest.raises(InputError, match="max_length 3"):
        encode_pair(bert_tokenizer, "a", "b", 3)


def test_an_empty_response_is_encoded(bert_tokenizer: Any) -> None:
    assert bert_tokenizer.decode(encode_pair(bert_tokenizer, "a", "", 8).ids) == "[CLS] a [SEP] [SEP]"


def test_a_decoder_reads_the_formatted_prompt_the_response_and_the_end(plain_tokenizer: Any) -> None:
    pair = encode_pair(plain_tokenizer, "Fever?", " Call.", 64)
    assert plain_tokenizer.decode(pair.ids) == "Question: Fever?\nAnswer: Call.<end>"
    assert pair.token_type_ids is None


def test_without_a_chat_template_the_prompt_is_a_question(plain_tokenizer: Any) -> None:
    assert format_prompt(plain_tokenizer, "Fever?") == "Question: Fever?\nAnswer:"


def test_with_a_chat_template_the_prompt_carries_the_system_prompt(plain_tokenizer: Any) -> None:
    plain_tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    try:
        assert format_prompt(plain_tokenizer, "Fever?") == f"<system>{SYSTEM_PROMPT}<user>Fever?<assistant>"
    finally:
        plain_tokenizer.chat_template = None


def test_a_long_prompt_keeps_its_end_and_says_how_much_was_cut(plain_tokenizer: Any) -> None:
    whole, none = encode_prompt(plain_tokenizer, "Chest pain since noon, what now?")
    ids, cut = encode_prompt(plain_tokenizer, "Chest pain since noon, what now?", 5)
    assert none == 0
    assert ids == whole[-5:]
    assert cut == len(whole) - 5
