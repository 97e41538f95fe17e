"""The settings of a reward model, said once: command-line flags, API body and stored run record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from preceptor.modeling.device import DeviceName

Mode = Literal["auto", "full", "frozen"]
SEED_BASE_MODEL = "bert-base-uncased"


class RewardConfig(BaseModel):
    """How to train a reward model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="Dataset artifact id, its folder, or a JSONL file of pairs.")
    base_model: str | None = Field(
        None, min_length=1, description="Base model: hub name or folder; default: the configured one."
    )
    mode: Mode = Field(
        "auto",
        description="frozen: a head on a frozen encoder; full: every weight; auto: frozen for a sentence encoder "
        "without an accelerator, else full.",
    )
    epochs: int = Field(3, ge=0, description="Passes over the pairs (full mode).")
    batch_size: int = Field(16, ge=1, description="Pairs in one optimizer step (full mode).")
    learning_rate: float = Field(2e-5, gt=0, description="AdamW rate at the start, falling linearly (full mode).")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient norm above which gradients are scaled down.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay (full mode).")
    max_length: int = Field(512, ge=16, description="Tokens of prompt and response; the response's end is kept first.")
    ensemble: int = Field(5, ge=0, le=50, description="Heads fitted on bootstrap samples of raters (frozen mode).")
    length_feature: bool = Field(False, description="Let the head see the response's length (frozen mode).")
    margin_scale: float = Field(1.0, ge=0, description="Weight of the margins that the dataset gives to pairs.")
    cross_encoder: Literal["auto", "always", "never"] = Field(
        "auto",
        description="A cross-encoder reads along in frozen mode; auto: where cross-validation gains by it, since "
        "scoring then takes three times as long.",
    )
    mismatch_weight: float = Field(
        0.25,
        ge=0,
        le=4,
        description="Weight, beside each pair, of its chosen answer over that of another prompt (frozen mode).",
    )
    gold_share: float = Field(
        0.25,
        ge=0,
        lt=0.5,
        description="Share of the training pairs whose clinicians are set aside for the gold judge of the evaluation.",
    )
    device: DeviceName = Field("auto", description="Where to compute; auto: on an NVIDIA GPU where there is one.")
    seed: int = Field(42, ge=0, description="Seed of the order of pairs, of splits and of bootstraps.")

    @property
    def base_name(self) -> str:
        """The base model; outside an installation, whose settings name one, that of the seed document."""
        return self.base_model or SEED_BASE_MODEL
