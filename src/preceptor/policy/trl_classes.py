"""TRL's trainers, held to three rules of ours: rows come as token ids, nothing is sent anywhere, no pickle is written.

TRL reports each training to the Hugging Face hub unless an environment variable forbids it. And it appends EOS to every
answer, also to one that was cut off; our rows carry EOS only where an answer ended.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import datasets
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RLOOTrainer
from trl.trainer import dpo_trainer, kto_trainer

from preceptor.errors import RunCanceled
from preceptor.policy.ppo import Progress
from preceptor.policy.trl_checkpoint import PlainCheckpoints


@contextmanager
def quiet_trl(progress: Progress, is_canceled: Callable[[], bool]) -> Iterator[None]:
    """No progress bar of TRL or datasets and no notice of theirs to developers is shown inside the block.

    What TRL counts by a bar of its own, the reference's pass over all rows, is reported to `progress` and can be
    stopped: RunCanceled.
    """

    def counted(iterable: Collection[Any], **_: Any) -> Iterator[Any]:
        for number, batch in enumerate(iterable):
            if is_canceled():
                raise RunCanceled("The training was stopped before its first update; run it again to start it.")
            yield batch
            progress(number + 1, len(iterable), {})

    drawn = not datasets.are_progress_bars_disabled()
    before = [(module, module.tqdm) for module in (dpo_trainer, kto_trainer)]
    datasets.disable_progress_bars()
    for module, _ in before:
        module.tqdm = counted
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for module, bar in before:
            module.tqdm = bar
        if drawn:
            datasets.enable_progress_bars()


class _Silent(PlainCheckpoints):
    """Sends no telemetry and writes no pickle."""

    def _send_telemetry(self) -> None:
        """Report nothing."""


class _Encoded(_Silent):
    """Takes rows of token ids as they are."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class _OwnPrompts(_Silent):
    """Reads prompts as everything else here does: formatted already, cut to their end, no special tokens added."""

    max_prompt_tokens = 256
    processing_class: Any

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        rows = self.processing_class(prompts, add_special_tokens=False)["input_ids"]
        return [ids[-self.max_prompt_tokens :] for ids in rows], None, {}


class Dpo(_Encoded, DPOTrainer):  # type: ignore[misc]
    """Direct preference optimization (Rafailov et al. 2023)."""


class Kto(_Encoded, KTOTrainer):  # type: ignore[misc]
    """Kahneman-Tversky optimization (Ethayarajh et al. 2024)."""


class Rloo(_OwnPrompts, RLOOTrainer):  # type: ignore[misc]
    """REINFORCE leave-one-out (Ahmadian et al. 2024)."""


class Grpo(_OwnPrompts, GRPOTrainer):  # type: ignore[misc]
    """Group relative policy optimization (Shao et al. 2024)."""
