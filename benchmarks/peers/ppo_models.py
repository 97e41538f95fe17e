"""A size in; the same randomly drawn models, tokenizer and prompts for both sides of the PPO benchmark out.

Needs torch, transformers and tokenizers only, so that it runs in the peer's environment as well.
"""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerFast

SIZES = {
    "tiny": {"n_layer": 4, "n_embd": 256, "n_head": 4, "vocab_size": 8192, "n_positions": 1024},
    "small": {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024},
}
PAD, EOS, FIRST_WORD = 0, 1, 10


def config(size: str) -> GPT2Config:
    """GPT-2 of that size without dropout: neither side drops out while it samples or trains."""
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2Config(**SIZES[size], **dropout, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=EOS)


def policy(size: str) -> GPT2LMHeadModel:
    """The policy before training; it never ends an answer, so every answer has the full length."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config(size))
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = PAD, EOS
    return model


def scorer(size: str, seed: int) -> GPT2ForSequenceClassification:
    """A reward model or a critic of the same size."""
    torch.manual_seed(seed)
    shape = config(size)
    shape.num_labels = 1
    return GPT2ForSequenceClassification(shape)


def tokenizer(size: str, *, side: str) -> PreTrainedTokenizerFast:
    """One word a token, so that text and ids say the same."""
    vocabulary = {"[PAD]": PAD, "[EOS]": EOS, "[UNK]": 2}
    vocabulary |= {f"w{i}": i for i in range(3, SIZES[size]["vocab_size"])}
    special = {"pad_token": "[PAD]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, **special, padding_side=side, model_max_length=512)


def prompts(size: str, count: int) -> list[list[int]]:
    """Prompts of 16 to 64 tokens."""
    draw = random.Random(0)
    vocabulary = SIZES[size]["vocab_size"]
    return [[draw.randrange(FIRST_WORD, vocabulary) for _ in range(draw.randint(16, 64))] for _ in range(count)]
