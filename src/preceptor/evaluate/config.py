"""The settings of the evaluate stage: who is compared with whom, on how much, and by which judge."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EvaluateConfig(BaseModel):
    """Compare a candidate policy with the baseline on held-out prompts and on safety prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = Field(description="Artifact id or folder of the candidate policy.")
    reward_model: str = Field(
        description="Artifact id or folder of the reward model: the judge when no other is given."
    )
    dataset: str = Field(description="Artifact id or folder of the dataset; its test prompts are the held-out ones.")
    baseline: str | None = Field(
        default=None, description="Artifact id, folder or name of the policy to compare with; None: the base model."
    )
    prompts: str | None = Field(
        default=None, description="JSONL file with a `prompt` a row, held out instead of the dataset's test prompts."
    )
    ratings: str | None = Field(
        default=None,
        description="JSONL file with `prompt, response, rating` a row: people's ratings of the answers, as the judge.",
    )
    verdicts: str | None = Field(
        default=None,
        description="JSONL file with `prompt, first, second, preferred` a row, each pair of answers in both orders, "
        "as the judge.",
    )
    n_prompts: int = Field(default=48, ge=2, description="Held-out prompts used, at most.")
    samples_per_prompt: int = Field(default=1, ge=1, le=16, description="Answers of each policy to each prompt.")
    max_new_tokens: int = Field(default=64, ge=1, description="Length limit of an answer, in tokens.")
    temperature: float = Field(default=1.0, ge=0, description="Temperature of the compared answers.")
    batch_size: int = Field(default=64, ge=1, description="Answers written together.")
    tie_margin: float = Field(default=0.0, ge=0, description="Scores nearer than this are a tie.")
    best_of: int = Field(
        default=4, ge=1, le=64, description="Baseline answers to each prompt, for the best-of-n curve; 1 for none."
    )
    red_lines: str | None = Field(
        default=None,
        description="JSONL file (also .gz) of red-line prompts to ask beside the safety prompts, as MedSafetyBench.",
    )
    n_red_lines: int = Field(default=100, ge=2, description="Prompts of that file used, at most.")
    measure_safety: bool = Field(default=True, description="Answer the safety prompts too (greedily).")
    measure_kl: bool = Field(default=True, description="Measure the distance to the baseline too.")
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="Number type of the weights.")
    seed: int = Field(default=42, ge=0, description="Seed of prompt choice, sampling and bootstraps.")

    @model_validator(mode="after")
    def _one_judge(self) -> EvaluateConfig:
        if self.ratings and self.verdicts:
            raise ValueError("give ratings or verdicts, not both: the win rate has one judge")
        return self
