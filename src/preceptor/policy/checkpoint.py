"""The state of a PPO run goes in, a folder of safetensors and JSON comes out, and the other way round.

Every random draw of a run is seeded by (seed, roll-out number), so the number is all there is to keep of the
generators and of the place in the prompts. A checkpoint is published by one rename; a torn one is never seen.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from preceptor.errors import ConflictError
from preceptor.files.atomic import atomic_folder
from preceptor.policy.networks import Networks
from preceptor.policy.shards import gather, spread

_FREE_TO_CHANGE = {"max_minutes", "max_updates", "checkpoint_every", "tensorboard"}
_WEIGHTS, _STATE = "weights.safetensors", "state.json"


@dataclass
class RunState:
    """Where a run stands between two roll-outs."""

    update: int = 0  # roll-outs done
    kl_coef: float = 0.0
    score_mean: float = 0.0
    score_std: float = 1.0
    seconds: float = 0.0  # spent in PPO so far, over all sittings
    over_budget: bool = False  # KL went beyond its budget, so training ends
    best_update: int = -1  # roll-outs before the policy that did best on held-out prompts; -1 for none
    best_score: float = 0.0
    best_unfinished: float = 0.0
    best_kl: float = 0.0


def save_checkpoint(
    folder: Path,
    state: RunState,
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    *,
    settings: dict[str, Any],
) -> None:
    """Write `checkpoint-<roll-outs>` in `folder`, then remove the one before; that very checkpoint is left as it is.

    Of spread weights the first process writes the whole, and all must call. Raises StorageError when the disk is full;
    the checkpoint before is then still there.
    """
    tensors: dict[str, Tensor] = {}
    steps: dict[str, float] = {}
    for name, parameter in _parameters(networks):
        tensors[f"weight/{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            if key == "step":
                steps[name] = float(value)
            else:
                tensors[f"{key}/{name}"] = value
    for name, value in networks.reference_state().items():
        tensors[f"reference/{name}"] = value
    whole = gather(tensors.items())
    target = folder / f"checkpoint-{state.update:06d}"
    record = json.dumps({"state": asdict(state), "steps": steps, "settings": settings}, indent=2, sort_keys=True)
    if not _holds(target, record):  # replacing the only checkpoint would put it aside for a moment
        with atomic_folder(target) as building:
            save_file(whole, building / _WEIGHTS)
            (building / _STATE).write_text(record, encoding="utf-8")
    for older in sorted(folder.glob("checkpoint-*")):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)


def _holds(target: Path, record: str) -> bool:
    """Whether a whole checkpoint is there that was written at the same place of the same run."""
    if not _is_whole(target):
        return False
    there, wanted = json.loads((target / _STATE).read_text(encoding="utf-8")), json.loads(record)
    for each in (there, wanted):
        each["settings"] = decisive(each["settings"])
    return bool(there == wanted)


def load_checkpoint(
    folder: Path, networks: Networks, optimizer: torch.optim.Optimizer, *, settings: dict[str, Any]
) -> RunState | None:
    """Restore the newest whole checkpoint in `folder` into networks and optimizer; None where there is none.

    One that lacks a file, as a copy that was broken off does, or the best policy that it names, is passed over.

    Raises ConflictError when it was written under other settings, because it could not be continued exactly.
    """
    found = [path for path in sorted(folder.glob("checkpoint-*")) if _is_whole(path)]
    if not found:
        return None
    record = json.loads((found[-1] / _STATE).read_text(encoding="utf-8"))
    require_same_settings(found[-1], record["settings"], settings)
    tensors = load_file(found[-1] / _WEIGHTS)
    reference = {k.removeprefix("reference/"): v for k, v in tensors.items() if k.startswith("reference/")}
    if reference:
        networks.load_reference_state(reference)
    with torch.no_grad():
        for name, parameter in _parameters(networks):
            parameter.copy_(spread(tensors[f"weight/{name}"], parameter))
            if name in record["steps"]:
                optimizer.state[parameter] = {
                    "step": torch.tensor(record["steps"][name], device=parameter.device),
                    "exp_avg": spread(tensors[f"exp_avg/{name}"], parameter),
                    "exp_avg_sq": spread(tensors[f"exp_avg_sq/{name}"], parameter),
                }
    return RunState(**record["state"])


def _is_whole(checkpoint: Path) -> bool:
    if not all((checkpoint / name).is_file() for name in (_WEIGHTS, _STATE)):
        return False
    best = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))["state"]["best_update"]
    return best < 0 or best_weights(checkpoint.parent, best).is_file()


def best_weights(folder: Path, update: int) -> Path:
    """Where the weights lie of a policy that did best on held-out prompts, after so many roll-outs."""
    return folder / f"best-{update:06d}" / _WEIGHTS


def decisive(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what comes of a run; the others may change when it goes on."""
    return {name: value for name, value in settings.items() if name not in _FREE_TO_CHANGE}


def require_same_settings(checkpoint: Path, written: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise ConflictError where a checkpoint was `written` under settings that decide what comes of it."""
    was, now = decisive(written), decisive(settings)
    changed = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    if changed:
        raise ConflictError(
            f"{checkpoint} was written by a run with another {', '.join(changed)}: "
            "use the same settings, or remove it to start again."
        )


def _parameters(networks: Networks) -> list[tuple[str, torch.nn.Parameter]]:
    return [*networks.policy_parameters(), *networks.value_parameters()]
