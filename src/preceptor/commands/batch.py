"""`preceptor generate | score | scrub`: a JSONL file in, a JSONL file out, replaced in one step or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from preceptor.commands.parsing import call
from preceptor.files.atomic import require_place
from preceptor.files.jsonl import read_jsonl, text_field, write_jsonl
from preceptor.settings import load_settings
from preceptor.terminal import terminal_progress


def _generate(
    input_file: Positional[Path],
    output_file: Positional[Path],
    /,
    model: str | None = None,
    n: int = 1,
    seed: int = 0,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_p: float = 1.0,
    batch_size: int = 64,
) -> None:
    """Answer each row's `prompt`; write the rows with `response` added, n a prompt.

    Args:
        input_file: JSONL rows with a field `prompt`.
        output_file: The same rows with `response`, in the order of the input; other fields are kept.
        model: A model name, a folder or an artifact id; the configured policy model by default.
        n: Answers to each prompt.
        seed: The same seed gives the same answers.
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 takes the likeliest word.
        top_p: Share of the probability that is sampled from.
        batch_size: Answers under way together.
    """
    settings = load_settings()
    rows = list(read_jsonl(input_file))
    prompts = [text_field(input_file, number, row, "prompt") for number, row in rows]
    require_place(output_file)

    from preceptor.artifacts.store import ArtifactStore
    from preceptor.modeling.generate import generate as sample
    from preceptor.modeling.policy_model import load_policy

    name = model or settings.policy_model
    if name.startswith("policy-"):
        name = str(ArtifactStore(settings.artifacts_dir).locate(name))
    policy, tokenizer = load_policy(name, dtype="bfloat16", models_dir=settings.models_dir)
    with terminal_progress("generate") as progress:
        answers = sample(
            policy,
            tokenizer,
            prompts,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            batch_size=batch_size,
            progress=lambda done, total: progress(done, total, {}),
        )
    answered = (
        {**row, "response": completion.text}
        for (_, row), completions in zip(rows, answers, strict=True)
        for completion in completions
    )
    count = write_jsonl(output_file, answered)
    print(f"{count} answers of {model or settings.policy_model} to {len(prompts)} prompts are in {output_file}.")


def _score(
    input_file: Positional[Path],
    output_file: Positional[Path],
    /,
    reward_model: Annotated[str, arg(help="A reward model's folder or artifact id.")],
) -> None:
    """Score each row's `prompt, response` with a reward model; writes the rows with `score` and `score_sd` added.

    Args:
        input_file: JSONL rows with the fields `prompt` and `response`.
        output_file: The same rows with their scores, in the order of the input; other fields are kept.
    """
    from preceptor.artifacts.store import ArtifactStore
    from preceptor.reward.score_file import score_file

    folder = ArtifactStore(load_settings().artifacts_dir).locate(reward_model)
    require_place(output_file)
    with terminal_progress("score") as progress:
        count = score_file(input_file, output_file, folder, progress=lambda done, total: progress(done, total, {}))
    print(f"{count} rows with scores are in {output_file}.")


def _scrub(
    input_file: Positional[Path],
    output_file: Positional[Path],
    /,
    field: Annotated[list[str], arg(help="The field or fields to clean.")],
) -> None:
    """Remove identifiers from fields of each row; nothing is written when a row cannot be cleaned.

    Args:
        input_file: JSONL rows that hold the fields.
        output_file: The same rows with the identifiers replaced.
    """
    from preceptor.privacy.scrub_file import scrub_file

    require_place(output_file)
    with terminal_progress("scrub") as progress:
        report = scrub_file(input_file, output_file, field, progress=lambda done, total: progress(done, total, {}))
    print(report)


def generate(words: list[str]) -> None:
    call(_generate, words, prog="generate")


def score(words: list[str]) -> None:
    call(_score, words, prog="score")


def scrub(words: list[str]) -> None:
    call(_scrub, words, prog="scrub")
