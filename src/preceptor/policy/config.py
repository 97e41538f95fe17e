"""The settings of a policy run, said once: command-line flags, API body and stored run record."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from preceptor.modeling.device import DeviceName
from preceptor.policy.options import Algorithm, misfit


class PolicyConfig(BaseModel):
    """How to improve a policy, with PPO or with another algorithm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward_model: str = Field(description="Reward model: artifact id or folder.")
    base_model: str | None = Field(
        None, description="Model to start from: hub name, folder or policy artifact; default: the configured one."
    )
    prompts_file: Path | None = Field(
        None, description="JSONL file with a `prompt` a line; default: the reward model's training prompts."
    )
    algorithm: Algorithm = Field("ppo", description="ppo is built in; dpo, kto, rloo and grpo come from TRL.")
    mode: Literal["hydra", "full"] = Field(
        "hydra", description="hydra trains the top layers on a frozen trunk; full trains all, with a critic."
    )
    train_layers: int = Field(6, ge=1, description="Top layers trained in hydra mode.")
    lora_rank: int = Field(
        0,
        ge=0,
        description="Hydra mode: rank of the updates that the top layers' matrices get; 0 trains them whole.",
    )
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="Arithmetic of matrix products.")

    learning_rate: float = Field(1.4e-5, gt=0, description="AdamW rate of the policy.")
    value_learning_rate: float | None = Field(
        None, gt=0, description="AdamW rate of the values; default: the policy's, and 1e-3 in hydra mode."
    )
    warmup_steps: int = Field(0, ge=0, description="Optimizer steps over which PPO's rates rise to their height.")
    batch_size: int = Field(16, ge=1, description="Answers in one roll-out.")
    mini_batch_size: int = Field(4, ge=1, description="Answers in one forward and backward pass.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Mini-batches an optimizer step.")
    epochs: int = Field(1, ge=1, description="Passes over the prompts.")
    ppo_epochs: int = Field(4, ge=1, description="Optimizer passes over one roll-out.")
    early_stopping: bool = Field(True, description="Stop the passes over a roll-out beyond target_kl.")
    target_kl: float = Field(0.1, gt=0, description="Approximate KL from the roll-out policy that stops them.")
    seed: int = Field(42, ge=0, description="Seed of prompts, sampling and mini-batches.")

    init_kl_coef: float = Field(0.05, ge=0, description="Weight of KL to the reference policy, at the start.")
    adap_kl_ctrl: bool = Field(True, description="Adapt that weight so that KL nears kl_target.")
    kl_target: float = Field(6.0, gt=0, description="Nats an answer that the adaptive weight aims at.")
    kl_horizon: int = Field(10_000, ge=1, description="Answers over which the weight adapts.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount of later rewards.")
    lam: float = Field(1.0, ge=0, le=1, description="Lambda of the advantage estimate.")
    cliprange: float = Field(0.2, gt=0, description="Clip of the policy ratio.")
    cliprange_value: float = Field(0.2, gt=0, description="Clip of the value's move.")
    vf_coef: float = Field(0.1, ge=0, description="Weight of the value loss.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient norm above which gradients are scaled down.")
    whiten_rewards: bool = Field(False, description="Scale rewards to unit variance before the advantages.")
    normalize_scores: bool = Field(True, description="Scale scores to mean 0, deviation 1 on reference answers.")
    score_clip: float = Field(5.0, gt=0, description="Scaled scores beyond this are cut to it.")
    missing_eos_penalty: float = Field(
        1.0, ge=0, description="Taken from the scaled score of an answer that did not end."
    )

    caution: float = Field(
        0.0,
        ge=0,
        description="Scores are the mean of the reward model's ensemble less this many deviations (frozen mode).",
    )
    kl_budget: float | None = Field(
        None,
        gt=0,
        description="Nats of KL an answer beyond which training ends and no policy is published; "
        "needs held-out prompts.",
    )
    held_out_prompts: int = Field(
        16, ge=0, description="Validation prompts, at most, by which the best policy is chosen; 0 publishes the last."
    )
    held_out_answers: int = Field(1, ge=1, description="Answers to each held-out prompt.")
    evaluate_every: int = Field(5, ge=1, description="Roll-outs between two looks at the held-out prompts.")

    answers_per_prompt: int = Field(
        1, ge=1, description="Answers to each prompt; above 1, the others' mean score is the baseline."
    )
    draws_per_prompt: int | None = Field(
        None,
        ge=1,
        description="Answers drawn to each prompt, of which the answers_per_prompt with the widest spread of scores "
        "are learned from; default: all that are drawn.",
    )
    max_new_tokens: int = Field(64, ge=1, description="Length limit of an answer, in tokens.")
    max_prompt_tokens: int = Field(256, ge=8, description="Prompts longer than this keep their end.")
    temperature: float = Field(1.0, gt=0, description="Temperature of sampling and of the log-probabilities.")
    max_prompts: int = Field(256, ge=1, description="Prompts used, at most.")
    max_minutes: float = Field(30.0, gt=0, description="Time after which training ends with what it has.")
    max_updates: int | None = Field(
        None, ge=0, description="Roll-outs after which training ends; 0 publishes the warm start."
    )

    preferences_file: Path | None = Field(
        None,
        description="JSONL with `prompt`, `chosen`, `rejected` for DPO or `prompt`, `completion`, `label` for KTO; "
        "default: the reward model's own dataset.",
    )
    warm_start_epochs: int = Field(0, ge=0, description="Supervised passes over chosen answers before PPO.")
    warm_start_learning_rate: float = Field(1e-4, gt=0, description="AdamW rate of those passes.")
    warm_start_file: Path | None = Field(
        None, description="JSONL with `prompt` and `chosen`; default: the reward model's own dataset."
    )

    device: DeviceName = Field("auto", description="Where to compute; auto: on an NVIDIA GPU where there is one.")
    sharding: Literal["none", "fsdp"] = Field(
        "none", description="fsdp: full mode's weights spread over torchrun's processes."
    )
    sampler: Literal["built_in", "vllm"] = Field(
        "built_in", description="What samples PPO's answers; vllm needs an NVIDIA GPU and `preceptor[vllm]`."
    )
    sampler_memory: float = Field(0.4, gt=0, lt=1, description="Share of the GPU's memory that vLLM may take.")
    importance_cap: float = Field(
        2.0, ge=1, description="Cap of the weights that correct for vLLM's rounding, by token."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations anew in the backward pass: less memory, more time."
    )
    checkpoint_every: int = Field(10, ge=1, description="Roll-outs between checkpoints.")
    tensorboard: bool = Field(False, description="Also write metrics for TensorBoard.")

    @model_validator(mode="after")
    def _options_fit(self) -> PolicyConfig:
        complaint = misfit(self.algorithm, self.changed(), answers_per_prompt=self.answers_per_prompt)
        if complaint:
            raise ValueError(complaint)
        if self.algorithm == "kto" and self.mini_batch_size == 1:
            raise ValueError("KTO compares the rows of a mini-batch: mini_batch_size must be at least 2")
        return self

    @model_validator(mode="after")
    def _sharding_fits(self) -> PolicyConfig:
        if self.sharding != "none" and self.mode != "full":
            raise ValueError("sharding spreads the weights of mode full; hydra has few to spread")
        if self.sharding != "none" and self.sampler != "built_in":
            raise ValueError("vLLM samples without sharding: leave one of the two out")
        return self

    def changed(self) -> set[str]:
        """The fields that are not at their default."""
        fields = type(self).model_fields
        return {name for name, field in fields.items() if getattr(self, name) != field.default}

    @model_validator(mode="after")
    def _batches_divide(self) -> PolicyConfig:
        if self.batch_size % self.mini_batch_size:
            raise ValueError("batch_size must be a multiple of mini_batch_size")
        if self.batch_size % self.answers_per_prompt:
            raise ValueError("batch_size must be a multiple of answers_per_prompt")
        if self.batch_size == 1 and self.algorithm == "ppo" and self.normalize_scores:
            raise ValueError(
                "batch_size 1 gives one score, without a deviation to scale by: raise it, or turn normalize_scores off"
            )
        if self.lora_rank and self.mode != "hydra":
            raise ValueError("lora_rank goes with mode hydra")
        if self.max_updates == 0 and not (self.algorithm == "ppo" and self.warm_start_epochs):
            raise ValueError("max_updates 0 trains nothing without warm_start_epochs")
        if self.draws_per_prompt is not None and self.draws_per_prompt < self.answers_per_prompt:
            raise ValueError("draws_per_prompt must be at least answers_per_prompt")
        if self.draws_per_prompt is not None and self.answers_per_prompt == 1:
            raise ValueError("draws_per_prompt chooses answers that differ: answers_per_prompt must be at least 2")
        return self


# What moved SmolLM2-135M fastest on two CPU cores
DEMO: dict[str, Any] = {
    "mode": "hydra",
    "train_layers": 6,
    "learning_rate": 1e-4,
    "batch_size": 64,
    "mini_batch_size": 16,
    "ppo_epochs": 2,
    "answers_per_prompt": 4,
    "epochs": 100,
    "max_new_tokens": 64,
    "temperature": 0.7,
    "init_kl_coef": 0.02,
    "lam": 1.0,
    "missing_eos_penalty": 0.3,
    "max_minutes": 5.0,
    "held_out_prompts": 16,
    "held_out_answers": 4,
    "evaluate_every": 4,
    "checkpoint_every": 5,
    "warm_start_epochs": 4,
    "warm_start_learning_rate": 3e-4,
}
