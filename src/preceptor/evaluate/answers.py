"""A policy and prompts in, its answers out; a baseline's answers are written once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preceptor.files.atomic import write_atomic
from preceptor.modeling.sequences import PROMPT_VERSION


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; part of what identifies them."""

    n: int
    max_new_tokens: int
    temperature: float
    seed: int
    dtype: str


@dataclass(frozen=True)
class Answer:
    """One answer; `token_ids` ends with the end token when `finished`."""

    text: str
    token_ids: list[int]
    finished: bool


@dataclass
class LazyPolicy:
    """A policy that is loaded when it is first needed, so that kept answers cost nothing."""

    folder: Path
    digest: str
    dtype: Any
    models_dir: Path
    loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        if self.loaded is None:
            from preceptor.modeling.policy_model import load_policy

            self.loaded = load_policy(self.folder, dtype=self.dtype, models_dir=self.models_dir)
        return self.loaded


def answers_of(
    policy: LazyPolicy,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    cache: Path,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Answer]]:
    """`sampling.n` answers to each prompt, from `cache` when the same weights were asked the same before."""
    key = _key(policy.digest, prompts, sampling)
    path = cache / f"{key}.json"
    kept = _read(path)
    if kept is not None:
        if progress is not None:
            progress(len(prompts) * sampling.n, len(prompts) * sampling.n)
        return kept
    from preceptor.modeling.generate import generate

    model, tokenizer = policy.load()
    completions = generate(
        model,
        tokenizer,
        prompts,
        n=sampling.n,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
        batch_size=batch_size,
        progress=progress,
    )
    answers = [[Answer(c.text, list(c.token_ids), c.finished) for c in row] for row in completions]
    write_atomic(path, json.dumps([[asdict(answer) for answer in row] for row in answers]))
    return answers


def _key(digest: str, prompts: Sequence[str], sampling: Sampling) -> str:
    fields = [digest, PROMPT_VERSION, list(prompts), asdict(sampling)]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:32]


def _read(path: Path) -> list[list[Answer]] | None:
    try:
        rows = json.loads(path.read_text())
        return [[Answer(**answer) for answer in row] for row in rows]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        path.unlink()  # written by another version: it is only a copy and is made again
        return None
