"""A roll-out with its targets goes in; the networks' weights are moved by PPO, and how it went comes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preceptor.errors import DataError
from preceptor.policy import losses
from preceptor.policy.config import PolicyConfig
from preceptor.policy.logprobs import token_logprobs
from preceptor.policy.networks import Networks
from preceptor.policy.processes import ALONE, Processes
from preceptor.policy.rollout import Rollout, Targets
from preceptor.policy.sequences import Sequences
from preceptor.policy.shards import is_spread, number


def make_optimizer(networks: Networks, config: PolicyConfig) -> torch.optim.AdamW:
    """One AdamW with a group for the policy and a group for the values."""
    value_rate = config.value_learning_rate
    if value_rate is None:
        value_rate = 1e-3 if config.mode == "hydra" else config.learning_rate
    groups = [(networks.policy_parameters(), config.learning_rate), (networks.value_parameters(), value_rate)]
    return torch.optim.AdamW(
        [{"params": [p for _, p in named], "lr": rate, "initial_lr": rate} for named, rate in groups],
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.0,
        fused=True,
    )


def optimize(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    targets: Targets,
    config: PolicyConfig,
    *,
    seed: int,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Run `ppo_epochs` passes over the roll-out in mini-batches; returns TRL's metric names.

    The policy's gradients are taken and used before the values': they share no weight, so nothing depends on the
    order, and half of the activations and gradients is in memory at a time. A step sees
    `gradient_accumulation_steps` mini-batches of every process. With `early_stopping`, the pass in which the
    approximate KL of an optimizer step exceeds `target_kl` is the last, and that step is not taken.
    """
    rng = np.random.default_rng(seed)
    prompts, answers = rollout.sequences.lengths.shape
    sums: dict[str, float] = defaultdict(float)
    tokens_seen, stepped, steps, stopped = 0.0, 0.0, 0, False
    for _ in range(config.ppo_epochs):
        order = torch.from_numpy(rng.permutation(prompts))
        at_once = max(1, config.mini_batch_size // answers)  # the answers to a prompt stay together
        for chosen in torch.split(order, at_once * config.gradient_accumulation_steps * processes.count):
            tokens = rollout.sequences.lengths[chosen].sum().float()
            passes = _passes(torch.split(chosen, at_once), networks, processes)
            given = (networks, rollout, targets, passes, tokens, config)
            optimizer.zero_grad(set_to_none=True)
            step = _policy_gradients(*given, processes=processes)
            for name, value in step.items():
                sums[name] += value
            tokens_seen += float(tokens)
            kl = step["approxkl"] / float(tokens)
            _require_finite(kl, step["policy"])
            if config.early_stopping and kl > config.target_kl:
                optimizer.zero_grad(set_to_none=True)
                stopped = True
                break
            if config.warmup_steps:
                _warm_up(optimizer, config.warmup_steps)
            sums["grad_norm"] += _step(optimizer, networks.policy_parameters(), config.max_grad_norm)
            step = _value_gradients(*given, processes=processes)
            for name, value in step.items():
                sums[name] += value
            _require_finite(step["value"])
            _step(optimizer, networks.value_parameters(), config.max_grad_norm)
            steps += 1
            stepped += float(tokens)
        if stopped:
            break
    mean_ratio = sums["ratio"] / tokens_seen
    return {
        "policy/approxkl_avg": sums["approxkl"] / tokens_seen,
        "policy/clipfrac_avg": sums["clipped"] / tokens_seen,
        "loss/policy_avg": sums["policy"] / tokens_seen,
        "loss/value_avg": sums["value"] / max(1, stepped),
        "val/clipfrac_avg": sums["value_clipped"] / max(1, stepped),
        "val/ratio": mean_ratio,
        "val/ratio_var": max(0.0, sums["ratio_squared"] / tokens_seen - mean_ratio**2),
        "policy/grad_norm": sums["grad_norm"] / max(1, steps),
        "policy/steps": float(steps),
        "policy/stopped_early": float(stopped),
    }


def _policy_gradients(
    networks: Networks,
    rollout: Rollout,
    targets: Targets,
    parts: Iterable[tuple[Tensor, float]],
    tokens: Tensor,
    config: PolicyConfig,
    *,
    processes: Processes,
) -> dict[str, float]:
    """Gradients of the policy loss, summed over the parts of a step; sums over tokens of what is reported."""
    sums = dict.fromkeys(("approxkl", "clipped", "policy", "ratio", "ratio_squared"), 0.0)
    for groups, weight in parts:
        sequences, features = _part(rollout, groups)
        hidden, head = networks.policy(features, sequences)
        exact: dict[str, Any] = {"temperature": config.temperature, "precision": config.precision}
        logprobs = sequences.padded(token_logprobs(hidden, head, sequences.tokens(), **exact))
        mask, old, advantages = _aligned(
            rollout, groups, [rollout.mask, rollout.logprobs, targets.advantages], like=logprobs
        )
        weights = None if rollout.weights is None else _aligned(rollout, groups, [rollout.weights], like=logprobs)[0]
        policy = losses.policy_loss(
            logprobs, old, advantages, mask, cliprange=config.cliprange, tokens=tokens, weights=weights
        )
        (weight * policy.loss).backward()  # type: ignore[no-untyped-call]
        if weight == 0:
            continue
        with torch.no_grad():
            ratio = policy.ratio * mask
            _add(
                sums,
                approxkl=losses.approx_kl(logprobs, old, mask) * mask.sum(),
                clipped=policy.clipped,
                policy=policy.loss * tokens,
                ratio=ratio.sum(),
                ratio_squared=(ratio**2).sum(),
            )
    return _summed(sums, networks.policy_parameters(), processes)


def _value_gradients(
    networks: Networks,
    rollout: Rollout,
    targets: Targets,
    parts: Iterable[tuple[Tensor, float]],
    tokens: Tensor,
    config: PolicyConfig,
    *,
    processes: Processes,
) -> dict[str, float]:
    """The same of the value loss: a pass of its own, so that the policy's activations are no longer in memory."""
    sums = dict.fromkeys(("value", "value_clipped"), 0.0)
    for groups, weight in parts:
        sequences, features = _part(rollout, groups)
        values = sequences.padded(networks.values(features, sequences))
        mask, old, returns = _aligned(rollout, groups, [rollout.mask, rollout.values, targets.returns], like=values)
        value = losses.value_loss(values, old, returns, mask, cliprange=config.cliprange_value, tokens=tokens)
        (weight * config.vf_coef * value.loss).backward()  # type: ignore[no-untyped-call]
        if weight == 0:
            continue
        with torch.no_grad():
            _add(sums, value=value.loss * tokens, value_clipped=value.clipped)
    return _summed(sums, networks.value_parameters(), processes)


def _passes(minis: Sequence[Tensor], networks: Networks, processes: Processes) -> list[tuple[Tensor, float]]:
    """This process's mini-batches of a step with their weights.

    Where weights lie in shards, every process takes as many passes, and one that only keeps the others company weighs
    nothing; gradients are then averaged over the processes, so that a sum is `count` times as much.
    """
    own = processes.share(minis)
    if not networks.sharded:
        return [(mini, 1.0) for mini in own]
    most = -(-len(minis) // processes.count)
    return [(mini, float(processes.count)) for mini in own] + [(minis[0], 0.0)] * (most - len(own))


def _part(rollout: Rollout, groups: Tensor) -> tuple[Sequences, Tensor]:
    """The sequences of some prompts and the features of their rows."""
    sequences = rollout.sequences.select(groups)
    return sequences, rollout.features[groups.to(rollout.features.device), : sequences.ids.shape[1]]


def _aligned(rollout: Rollout, groups: Tensor, tensors: list[Tensor], *, like: Tensor) -> list[Tensor]:
    """The rows (b, r) of tensors (B, R) that stand for the answers of some prompts, on the device of `like`."""
    part = rollout.sequences.answers_of(groups)
    return [tensor[part, : like.shape[1]].to(like.device) for tensor in tensors]


def _add(sums: dict[str, float], **seen: Tensor) -> None:
    """Add numbers to their sums; they come to the CPU together, so that an accelerator is waited for once."""
    for name, value in zip(seen, torch.stack(list(seen.values())).cpu().tolist(), strict=True):
        sums[name] += value


def _summed(
    sums: dict[str, float], parameters: Iterable[tuple[str, torch.nn.Parameter]], processes: Processes
) -> dict[str, float]:
    """Sums over the processes of the given sums, and in place of every parameter's gradient."""
    if processes.count == 1:
        return sums
    gradients = []
    for _, parameter in parameters:
        if is_spread(parameter):
            continue  # its gradient is summed already
        if parameter.grad is None:  # this process had no mini-batch
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    total = torch.tensor(list(sums.values()), dtype=torch.float64)
    processes.add([total, *gradients])
    return dict(zip(sums, total.tolist(), strict=True))


def _require_finite(*numbers: float) -> None:
    if not np.isfinite(numbers).all():
        raise DataError("The PPO loss is not a number: lower learning_rate, or check the reward model.")


def _warm_up(optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Raise the rates in a straight line over the optimizer's first `steps` steps, which its state counts.

    Adam divides a gradient by its own size, so that its first steps have full length whichever way noise points
    (Ma & Yarats 2019, arXiv:1910.04209).
    """
    first = next(iter(optimizer.state.values()), None)  # every weight is stepped as often
    taken = 0.0 if first is None else float(first["step"])
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * min(1.0, (taken + 1) / steps)


def _step(
    optimizer: torch.optim.Optimizer, parameters: Iterable[tuple[str, torch.nn.Parameter]], max_grad_norm: float
) -> float:
    """Clip the gradients by their norm, take the step of the parameters that have any, and let them go."""
    norm = number(torch.nn.utils.clip_grad_norm_([p for _, p in parameters], max_grad_norm))
    _require_finite(norm)  # the loss may be a number where its gradient is none
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
