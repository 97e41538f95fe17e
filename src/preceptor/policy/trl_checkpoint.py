"""A trainer's optimizer and random generators go into a checkpoint as safetensors and JSON, and come back out of it.

TRL's trainers write both, and their own arguments, in torch's format, which is a pickle. The methods replaced here are
the ones of transformers that do so.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS_FILE, NUMBERS_FILE = "optimizer.safetensors", "optimizer.json"
RANDOM_FILE, CUDA_FILE = "random.json", "random_cuda.safetensors"
WHOLE = (TENSORS_FILE, NUMBERS_FILE, RANDOM_FILE)


class PlainCheckpoints:
    """Mixed into a trainer of transformers: its checkpoints hold no pickle. One process, no loss scaling."""

    args: Any
    model: Any
    optimizer: torch.optim.Optimizer
    lr_scheduler: Any
    processing_class: Any

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = output_dir or self.args.output_dir
        self.model.save_pretrained(folder, state_dict=state_dict)
        self.processing_class.save_pretrained(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        save_optimizer(Path(output_dir), self.optimizer, self.lr_scheduler)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_optimizer(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        save_generators(Path(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_generators(Path(checkpoint))


def save_optimizer(folder: Path, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    """Write the moments as safetensors; rates, steps of the scheduler and the like as JSON."""
    whole = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value.contiguous() for index, held in whole["state"].items() for name, value in held.items()
    }
    save_file(tensors, folder / TENSORS_FILE)
    numbers = {"groups": whole["param_groups"], "scheduler": scheduler.state_dict()}
    (folder / NUMBERS_FILE).write_text(json.dumps(numbers), encoding="utf-8")


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    """Restore what `save_optimizer` wrote, each tensor on the device of its weight."""
    numbers = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / TENSORS_FILE).items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": numbers["groups"]})
    scheduler.load_state_dict(numbers["scheduler"])


def save_generators(folder: Path) -> None:
    """Write the state of every random generator that a trainer draws from."""
    version, words, gauss = random.getstate()
    state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = state
    found = {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), *rest],
        "torch": torch.random.get_rng_state().tolist(),
    }
    (folder / RANDOM_FILE).write_text(json.dumps(found), encoding="utf-8")
    if torch.cuda.is_available():
        save_file({"state": torch.cuda.random.get_rng_state()}, folder / CUDA_FILE)


def load_generators(folder: Path) -> None:
    """Restore what `save_generators` wrote."""
    found = json.loads((folder / RANDOM_FILE).read_text(encoding="utf-8"))
    version, words, gauss = found["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = found["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.random.set_rng_state(torch.tensor(found["torch"], dtype=torch.uint8))
    if torch.cuda.is_available() and (folder / CUDA_FILE).is_file():
        torch.cuda.random.set_rng_state(load_file(folder / CUDA_FILE)["state"])
