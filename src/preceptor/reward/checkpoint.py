"""A training state goes in and comes back out after an interruption: safetensors and JSON, replaced in one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from preceptor.files.atomic import atomic_folder


class Checkpoint:
    """The folder of one training; `key` names its data and settings, and a folder of another key is ignored."""

    def __init__(self, folder: Path, *, key: str) -> None:
        self.folder = folder
        self.key = key

    def exists(self) -> bool:
        """Whether a finished epoch of this very training can be resumed, with files that all belong to it.

        A copy that was broken off, to a bucket say, may hold files of two epochs under the same names. Best weights
        that are newer than the last epoch are made again by the epoch that follows.
        """
        try:
            record = json.loads((self.folder / "last" / "state.json").read_text(encoding="utf-8"))
            state = record["state"]
            last = {_epoch_of(self.folder / "last" / name) for name in ("model.safetensors", "optimizer.safetensors")}
            best = _epoch_of(self.folder / "best" / "model.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError):
            return False
        return bool(record["key"] == self.key and last == {state["epoch"]} and best >= state["best_epoch"])

    def save(self, model: Any, optimizer: Any, schedule: Any, state: dict[str, Any]) -> None:
        """Keep everything that the next epoch needs."""
        saved = optimizer.state_dict()
        tensors = {
            f"{index}.{name}": value.contiguous()
            for index, entry in saved["state"].items()
            for name, value in entry.items()
        }
        with atomic_folder(self.folder / "last") as folder:
            of = {"epoch": str(state["epoch"])}
            save_file(_weights(model), folder / "model.safetensors", metadata=of)
            save_file(tensors, folder / "optimizer.safetensors", metadata=of)
            record = {"key": self.key, "state": state, "steps": schedule.last_epoch}
            (folder / "state.json").write_text(json.dumps(record), encoding="utf-8")

    def load(self, model: Any, optimizer: Any, schedule: Any) -> dict[str, Any]:
        """Put weights, optimizer and schedule back; returns the state that was saved."""
        folder = self.folder / "last"
        record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        _restore(model, load_file(folder / "model.safetensors"))
        entries: dict[int, dict[str, Any]] = {}
        for name, value in load_file(folder / "optimizer.safetensors").items():
            index, _, field = name.partition(".")
            entries.setdefault(int(index), {})[field] = value
        saved = optimizer.state_dict()
        schedule.last_epoch = record["steps"]
        rates = [base * f(record["steps"]) for base, f in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        groups = [{**group, "lr": rate} for group, rate in zip(saved["param_groups"], rates, strict=True)]
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
        schedule._last_lr = rates
        state: dict[str, Any] = record["state"]
        return state

    def save_best(self, model: Any, *, epoch: int) -> None:
        """Keep the weights with the lowest loss on validation pairs so far."""
        with atomic_folder(self.folder / "best") as folder:
            save_file(_weights(model), folder / "model.safetensors", metadata={"epoch": str(epoch)})

    def load_best(self, model: Any) -> None:
        """Put the best weights back."""
        _restore(model, load_file(self.folder / "best" / "model.safetensors"))


def _epoch_of(path: Path) -> int:
    """The number of finished epochs that a file was written after; raises KeyError where it does not say."""
    with safe_open(path, framework="pt") as file:
        return int((file.metadata() or {})["epoch"])


def _weights(model: Any) -> dict[str, torch.Tensor]:
    """Each weight once: tensors that share memory keep the first name."""
    found: dict[int, str] = {}
    for name, value in model.state_dict().items():
        found.setdefault(value.data_ptr(), name)
    state = model.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in found.values()}


def _restore(model: Any, weights: dict[str, torch.Tensor]) -> None:
    model.load_state_dict(weights, strict=False)
