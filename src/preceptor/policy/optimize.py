"""A roll-out with its targets goes in; the networks' weights are moved by PPO, and how it went comes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch

from preceptor.errors import DataError
from preceptor.policy import losses
from preceptor.policy.config import PolicyConfig
from preceptor.policy.logprobs import token_logprobs
from preceptor.policy.networks import Networks
from preceptor.policy.processes import ALONE, Processes
from preceptor.policy.rollout import Rollout, Targets

_SUMS = ("approxkl", "clipped", "value_clipped", "policy", "value", "ratio", "ratio_squared", "loss")


def make_optimizer(networks: Networks, config: PolicyConfig) -> torch.optim.AdamW:
    """One AdamW with a group for the policy and a group for the values."""
    value_rate = config.value_learning_rate
    if value_rate is None:
        value_rate = 1e-3 if config.mode == "hydra" else config.learning_rate
    return torch.optim.AdamW(
        [
            {"params": [p for _, p in networks.policy_parameters()], "lr": config.learning_rate},
            {"params": [p for _, p in networks.value_parameters()], "lr": value_rate},
        ],
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

    A step sees `gradient_accumulation_steps` mini-batches of every process. With `early_stopping`, the pass in which
    the approximate KL of an optimizer step exceeds `target_kl` is the last, and that step is not taken.
    """
    rng = np.random.default_rng(seed)
    prompts, answers = rollout.sequences.lengths.shape
    sums: dict[str, float] = defaultdict(float)
    tokens_seen, steps, stopped = 0.0, 0, False
    for _ in range(config.ppo_epochs):
        order = torch.from_numpy(rng.permutation(prompts))
        at_once = max(1, config.mini_batch_size // answers)  # the answers to a prompt stay together
        for chosen in torch.split(order, at_once * config.gradient_accumulation_steps * processes.count):
            tokens = rollout.sequences.lengths[chosen].sum().float()
            own = processes.share(torch.split(chosen, at_once))
            parts = [part for mini in own for part in rollout.sequences.by_length(mini)]
            step = _accumulate(networks, optimizer, rollout, targets, parts, tokens, config, processes)
            for name, value in step.items():
                sums[name] += value
            tokens_seen += float(tokens)
            kl = step["approxkl"] / float(tokens)
            if not np.isfinite(kl) or not np.isfinite(step["loss"]):
                raise DataError("The PPO loss is not a number: lower learning_rate, or check the reward model.")
            if config.early_stopping and kl > config.target_kl:
                optimizer.zero_grad(set_to_none=True)
                stopped = True
                break
            sums["grad_norm"] += _step(networks, optimizer, config.max_grad_norm)
            steps += 1
        if stopped:
            break
    mean_ratio = sums["ratio"] / tokens_seen
    return {
        "policy/approxkl_avg": sums["approxkl"] / tokens_seen,
        "policy/clipfrac_avg": sums["clipped"] / tokens_seen,
        "loss/policy_avg": sums["policy"] / tokens_seen,
        "loss/value_avg": sums["value"] / tokens_seen,
        "val/clipfrac_avg": sums["value_clipped"] / tokens_seen,
        "val/ratio": mean_ratio,
        "val/ratio_var": max(0.0, sums["ratio_squared"] / tokens_seen - mean_ratio**2),
        "policy/grad_norm": sums["grad_norm"] / max(1, steps),
        "policy/steps": float(steps),
        "policy/stopped_early": float(stopped),
    }


def _accumulate(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    targets: Targets,
    parts: Iterable[torch.Tensor],
    tokens: torch.Tensor,
    config: PolicyConfig,
    processes: Processes,
) -> dict[str, float]:
    """Gradients of one optimizer step, summed over its parts; sums over tokens of what is reported."""
    optimizer.zero_grad(set_to_none=True)
    sums = dict.fromkeys(_SUMS, 0.0)
    for groups in parts:
        sequences = rollout.sequences.select(groups)
        part = rollout.sequences.answers_of(groups)
        features = rollout.features[groups.to(rollout.features.device), : sequences.ids.shape[1]]
        hidden, head = networks.policy(features, sequences)
        logprobs = sequences.padded(
            token_logprobs(
                hidden,
                head,
                sequences.tokens(),
                temperature=config.temperature,
                precision=config.precision,
            )
        )
        values = sequences.padded(networks.values(features, sequences))
        mask = sequences.mask
        real, width = float(mask.sum()), mask.shape[1]
        mask, old, old_values, advantages, returns = (
            tensor.to(logprobs.device)
            for tensor in (
                mask,
                rollout.logprobs[part, :width],
                rollout.values[part, :width],
                targets.advantages[part, :width],
                targets.returns[part, :width],
            )
        )
        policy = losses.policy_loss(logprobs, old, advantages, mask, cliprange=config.cliprange, tokens=tokens)
        value = losses.value_loss(
            values,
            old_values,
            returns,
            mask,
            cliprange=config.cliprange_value,
            tokens=tokens,
        )
        (policy.loss + config.vf_coef * value.loss).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            ratio = policy.ratio * mask
            seen = {
                "approxkl": losses.approx_kl(logprobs, old, mask),
                "clipped": policy.clipped,
                "value_clipped": value.clipped,
                "policy": policy.loss * tokens,
                "value": value.loss * tokens,
                "ratio": ratio.sum(),
                "ratio_squared": (ratio**2).sum(),
                "loss": policy.loss + value.loss,
            }
            # brought to the CPU together: an accelerator is waited for once
            for name, number in zip(seen, torch.stack(list(seen.values())).cpu().tolist(), strict=True):
                sums[name] += number * real if name == "approxkl" else number
    if processes.count > 1:
        summed = torch.tensor(list(sums.values()), dtype=torch.float64)
        processes.add([summed, *_gradients(networks)])
        sums = dict(zip(sums, summed.tolist(), strict=True))
    return sums


def _gradients(networks: Networks) -> list[torch.Tensor]:
    """The gradient of every parameter; zeros where this process had no mini-batch."""
    for _, parameter in (*networks.policy_parameters(), *networks.value_parameters()):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [p.grad for _, p in (*networks.policy_parameters(), *networks.value_parameters()) if p.grad is not None]


def _step(networks: Networks, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """Clip the policy's and the values' gradients, each by its own norm, and take the step."""
    policy = [p for _, p in networks.policy_parameters()]
    norm = torch.nn.utils.clip_grad_norm_(policy, max_grad_norm)
    torch.nn.utils.clip_grad_norm_([p for _, p in networks.value_parameters()], max_grad_norm)
    optimizer.step()
    return float(norm)
