"""Cases in, sampled answers out, as `preceptor generate` gives them: the model that later is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preceptor.demo.cases import Case
from preceptor.demo.config import DemoConfig
from preceptor.stage import Progress


@dataclass(frozen=True)
class Answer:
    """One answer to a case. `finished` is False where it was cut off at the length limit."""

    case: Case
    text: str
    finished: bool


def answer_cases(
    cases: Sequence[Case], config: DemoConfig, *, model: str, models_dir: Path, n: int, seed: int, progress: Progress
) -> list[list[Answer]]:
    """`n` answers to each case, in order; the same seed gives the same answers."""
    from preceptor.modeling.generate import generate
    from preceptor.modeling.policy_model import load_policy

    policy, tokenizer = load_policy(model, dtype="bfloat16", models_dir=models_dir)
    sampled = generate(
        policy,
        tokenizer,
        [case.prompt for case in cases],
        n=n,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=seed,
        progress=lambda done, total: progress(done, total, {}),
    )
    return [
        [Answer(case, completion.text, completion.finished) for completion in completions]
        for case, completions in zip(cases, sampled, strict=True)
    ]
