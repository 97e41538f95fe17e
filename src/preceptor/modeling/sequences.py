"""Prompts and responses go in as text, token ids within a length limit come out, with how much was cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from preceptor.errors import InputError

PROMPT_VERSION = "clinical-1"  # change it whenever the wording below changes: answers carry it as lineage
SYSTEM_PROMPT = (
    "You are a careful clinical assistant. Answer in three short sentences: "
    "the advice, what to check first, and when to seek medical care."
)


@dataclass(frozen=True)
class EncodedPair:
    """One (prompt, response) as a reward model reads it, and how many tokens the length limit removed."""

    ids: list[int]
    token_type_ids: list[int] | None
    cut_prompt: int
    cut_response: int


def format_prompt(tokenizer: Any, prompt: str) -> str:
    """The text that a policy continues: the chat template where there is one, else a question and answer form."""
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    return f"Question: {prompt}\nAnswer:"


def encode_prompt(tokenizer: Any, prompt: str, max_length: int | None = None) -> tuple[list[int], int]:
    """Token ids of the formatted prompt, at most `max_length` of them from its end; and how many were cut."""
    ids: list[int] = tokenizer(format_prompt(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    cut = max(0, len(ids) - max_length) if max_length is not None else 0
    return ids[cut:], cut


def encode_pair(tokenizer: Any, prompt: str, response: str, max_length: int) -> EncodedPair:
    """Token ids of a prompt with its response, as a reward model reads them, in training and scoring alike.

    Tokenizers with CLS and SEP give `[CLS] prompt [SEP] response [SEP]`; others give the formatted prompt,
    the response and EOS. Over `max_length` tokens the response's end is kept first, then the prompt's end,
    because the end of an answer carries its advice. Raises InputError when `max_length` leaves no room.
    """
    paired = tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None
    if paired:
        double = tokenizer.num_special_tokens_to_add(pair=True) == 4  # RoBERTa parts the two by two separators
        before, between, after = (
            [tokenizer.cls_token_id],
            [tokenizer.sep_token_id] * (2 if double else 1),
            [tokenizer.sep_token_id],
        )
        prompt_ids = _plain_ids(tokenizer, prompt)
    else:
        before, between = [], []
        after = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        prompt_ids = _plain_ids(tokenizer, format_prompt(tokenizer, prompt))
    room = max_length - len(before) - len(between) - len(after)
    if room < 1:
        raise InputError(f"max_length {max_length} leaves no room for text beside the special tokens: raise it.")
    response_ids = _plain_ids(tokenizer, response)
    kept_response = response_ids[-room:]
    left = room - len(kept_response)
    kept_prompt = prompt_ids[len(prompt_ids) - min(left, len(prompt_ids)) :]
    first, second = before + kept_prompt + between, kept_response + after
    typed = paired and "token_type_ids" in tokenizer.model_input_names
    return EncodedPair(
        ids=first + second,
        token_type_ids=[0] * len(first) + [1] * len(second) if typed else None,
        cut_prompt=len(prompt_ids) - len(kept_prompt),
        cut_response=len(response_ids) - len(kept_response),
    )


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    # verbose=False: the tokenizer's own length warning is about its limit, ours is applied by the caller
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids
