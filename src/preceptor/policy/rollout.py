"""Prompts go in; sampled answers with scores, log-probabilities, values and advantages come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preceptor.errors import ConfigError, DataError
from preceptor.modeling.generate import LowerStates, generate_ids
from preceptor.policy import losses
from preceptor.policy.config import PolicyConfig
from preceptor.policy.logprobs import frozen_logprobs
from preceptor.policy.networks import Networks
from preceptor.policy.processes import ALONE, Processes
from preceptor.policy.sequences import Sequences, pack

# (prompts, responses) -> one number an answer, higher is better
Score = Callable[[Sequence[str], Sequence[str]], "np.ndarray[Any, Any]"]

_FORWARD_ROWS = 16  # rows a forward pass without gradient takes at once: the output matrix is wide


@dataclass(frozen=True)
class Prompt:
    """One prompt as text and as the token ids that the policy reads."""

    text: str
    ids: list[int]


@dataclass(frozen=True)
class Answers:
    """What was sampled and how it was scored."""

    prompts: list[Prompt]  # G
    token_ids: list[list[list[int]]]  # G lists of n answers
    texts: list[str]  # B = G n
    finished: Tensor  # (B,) bool
    scores: Tensor  # (B,) as the reward model gave them
    states: LowerStates | None = None  # features that the sampler kept, of this process's own prompts
    logprobs: Tensor | None = None  # (B, R) as another sampler than the built-in one gave them


@dataclass(frozen=True)
class Rollout:
    """Everything the optimizer passes read; (B, R) tensors are 0 on padding, and on the CPU."""

    sequences: Sequences
    features: Tensor
    mask: Tensor  # (B, R)
    logprobs: Tensor  # (B, R) of the policy that sampled, recomputed in training precision
    ref_logprobs: Tensor  # (B, R)
    values: Tensor  # (B, R)
    weights: Tensor | None = None  # (B, R) that correct for what another sampler rounded


@dataclass(frozen=True)
class Targets:
    """What the optimizer passes aim at."""

    advantages: Tensor  # (B, R) whitened
    returns: Tensor  # (B, R)
    rewards: Tensor  # (B, R) score and KL penalty


def sample_answers(
    networks: Networks,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    score: Score,
    *,
    n: int,
    eos: Sequence[int],
    config: PolicyConfig,
    seed: int,
    processes: Processes = ALONE,
) -> Answers:
    """Sample `n` answers to each prompt and score them; each process does its share of both.

    An answer that ends at once is scored as the empty text. Raises DataError when a score is not a number.
    """
    own = processes.share(range(len(prompts)))
    asked = [prompts[index].ids for index in own]
    wanted: dict[str, Any] = {
        "eos": eos,
        "n": n,
        "max_new_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "seed": seed,
        "streams": own,
    }
    states = logprobs = None
    if networks.outside is not None:
        networks.outside.sync(networks.sampler())
        answers = networks.outside.draw(asked, **wanted)
        drawn = [[one.ids for one in rows] for rows in answers]
        logprobs = _padded([one.logprobs for rows in answers for one in rows])
    else:
        states = LowerStates(networks.sampled_layers) if networks.sampled_layers is not None else None
        drawn = generate_ids(networks.sampler(), asked, **wanted, batch_size=config.batch_size, keep=states)
    ids = torch.zeros(len(prompts), n, config.max_new_tokens, dtype=torch.long)  # token ids from 1; 0 is padding
    for index, rows in zip(own, drawn, strict=True):
        for j, row in enumerate(rows):
            ids[index, j, : len(row)] = torch.tensor(row) + 1
    scores = torch.zeros(len(prompts), n)
    own_texts = _texts(tokenizer, drawn)
    repeated = [prompts[index].text for index in own for _ in range(n)]
    scores[list(own)] = _score(repeated, own_texts, score).view(-1, n)
    processes.add([ids, scores])
    sampled = [[(row[row > 0] - 1).tolist() for row in rows] for rows in ids]
    texts = own_texts if processes.count == 1 else _texts(tokenizer, sampled)
    finished = torch.tensor([answer[-1] in set(eos) for answers in sampled for answer in answers])
    return Answers(list(prompts), sampled, texts, finished, scores.flatten(), states, logprobs)


def _padded(rows: Sequence[list[float]]) -> Tensor:
    """Rows of unlike length as (B, longest), 0 on padding."""
    padded = torch.zeros(len(rows), max(map(len, rows)))
    for row, numbers in zip(padded, rows, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return padded


def _texts(tokenizer: Any, sampled: list[list[list[int]]]) -> list[str]:
    return [tokenizer.decode(ids, skip_special_tokens=True).strip() for rows in sampled for ids in rows]


def _score(prompts: list[str], texts: list[str], score: Score) -> Tensor:
    scores = np.asarray(score(prompts, texts), dtype=np.float32)
    if scores.shape != (len(texts),):
        raise DataError(f"The reward model gave scores of shape {scores.shape} for {len(texts)} answers.")
    if not np.isfinite(scores).all():
        raise DataError(
            f"The reward model gave {int((~np.isfinite(scores)).sum())} scores that are not numbers "
            f"for {len(texts)} answers: train it again."
        )
    return torch.from_numpy(scores)


def widest(answers: Answers, scores: Tensor, keep: int) -> tuple[Answers, Tensor]:
    """Of the n answers to each prompt the `keep` whose scores (B,) vary most, with these scores; n = keep keeps all.

    The best half and the worst half are the subset of largest variance for an even number (Xu et al. 2025,
    arXiv:2504.13818, with equal parts). Drawing an answer costs less than learning from it, and what lies between
    teaches little beside its noise. Answers stay in the order in which they were drawn.
    """
    groups = len(answers.prompts)
    n = len(answers.texts) // groups
    if keep == n:
        return answers, scores
    order = torch.argsort(scores.view(groups, n), dim=1, stable=True)
    chosen = torch.cat([order[:, : keep // 2], order[:, n - (keep - keep // 2) :]], dim=1).sort(dim=1).values  # (G, k)
    flat = (chosen + n * torch.arange(groups)[:, None]).flatten()
    states = answers.states
    if states is not None:
        at = {(g, j): states.answers[g, i] for g in states.prompts for j, i in enumerate(chosen[g].tolist())}
        states = replace(states, answers=at)
    kept = Answers(
        answers.prompts,
        [[row[i] for i in picks] for row, picks in zip(answers.token_ids, chosen.tolist(), strict=True)],
        [answers.texts[i] for i in flat.tolist()],
        answers.finished[flat],
        answers.scores[flat],
        states,
        None if answers.logprobs is None else answers.logprobs[flat],
    )
    return kept, scores[flat]


@torch.no_grad()
def evaluate_answers(
    networks: Networks, answers: Answers, config: PolicyConfig, *, processes: Processes = ALONE
) -> Rollout:
    """Features, log-probabilities under policy and reference, and values of sampled answers.

    Raises DataError where one of them is not a number, so that no such policy is learned from, judged or kept.
    """
    sequences = pack([prompt.ids for prompt in answers.prompts], answers.token_ids)
    mask = sequences.mask
    settings: dict[str, Any] = {"temperature": config.temperature, "precision": config.precision}
    features = None
    if answers.states is not None:
        features = place_states(answers.states, sequences)
        processes.add([features])
    out = {name: torch.zeros(mask.shape) for name in ("logprobs", "ref_logprobs", "values")}
    by_length = torch.argsort(sequences.prompt_lengths + sequences.lengths.sum(1), stable=True)
    own = by_length[processes.rank :: processes.count]
    at_once = max(1, _FORWARD_ROWS // sequences.lengths.shape[1])
    for groups in _passes(torch.split(own, at_once), len(by_length), at_once, networks, processes):
        part = sequences.select(groups)  # rows of like length waste little on padding
        tokens = part.tokens()
        if answers.states is None or features is None:
            kept = networks.features(part)
            if features is None:
                features = kept.new_zeros(*sequences.ids.shape, *kept.shape[2:])
            features[groups.to(features.device), : kept.shape[1]] = kept
        kept = features[groups.to(features.device), : part.ids.shape[1]]
        flat = {
            "logprobs": frozen_logprobs(*networks.policy(kept, part), tokens, **settings),
            "ref_logprobs": frozen_logprobs(*networks.reference(kept, part), tokens, **settings),
            "values": networks.values(kept, part),
        }
        for name, numbers in flat.items():
            wide = part.padded(numbers).cpu()
            out[name][sequences.answers_of(groups), : wide.shape[1]] = wide
    if features is None:
        raise ConfigError(f"{len(sequences.ids)} prompts are too few for {processes.count} processes: use fewer.")
    processes.add([*out.values(), *([features] if answers.states is None else [])])
    if not all(torch.isfinite(numbers).all() for numbers in out.values()):
        raise DataError(
            "The policy gives log-probabilities that are not numbers: lower learning_rate, or check the base model."
        )
    weights = None
    if answers.logprobs is not None:
        weights = losses.importance_weights(
            out["logprobs"], answers.logprobs[:, : mask.shape[1]], mask, cap=config.importance_cap
        )
    return Rollout(sequences, features, mask, **out, weights=weights)


def _passes(
    own: Sequence[Tensor], prompts: int, at_once: int, networks: Networks, processes: Processes
) -> Sequence[Tensor]:
    """The passes of this process; where all must take as many, the last is taken again, which changes nothing."""
    if not networks.sharded or not own:
        return own
    most = -(-len(range(0, prompts, processes.count)) // at_once)
    return [*own, *[own[-1]] * (most - len(own))]


def place_states(states: LowerStates, sequences: Sequences) -> Tensor:
    """States that the sampler kept, (G, T, d), each where its token stands; 0 on what it never read."""
    kept = next(iter(states.prompts.values()))
    features = kept.new_zeros(*sequences.ids.shape, kept.shape[1])
    for group, prompt in states.prompts.items():
        features[group, : len(prompt)] = prompt
        start = len(prompt)
        for answer, length in enumerate(sequences.lengths[group].tolist()):
            features[group, start : start + length - 1] = states.answers[group, answer]
            start += length
    return features


def scale_of(answers: Answers) -> tuple[float, float]:
    """Mean and deviation of the scores of a first roll-out, which comes from the reference policy; of one score 1.

    Raises DataError where all scores are the same.
    """
    count = len(answers.scores)
    deviation = float(answers.scores.std()) if count > 1 else 1.0
    if deviation < 1e-6:
        raise DataError(f"The reward model gave {count} answers the same score: it cannot teach. Train it again.")
    return float(answers.scores.mean()), deviation


def compute_targets(rollout: Rollout, scores: Tensor, *, kl_coef: float, config: PolicyConfig) -> Targets:
    """Advantages and returns from scaled scores (B,), penalties for answers that did not end included."""
    scores = losses.leave_one_out(scores, config.answers_per_prompt)
    kl = losses.kl_k1(rollout.logprobs, rollout.ref_logprobs)
    rewards = losses.token_rewards(scores, kl, rollout.mask, kl_coef)
    if config.whiten_rewards:
        rewards = losses.masked_whiten(rewards, rollout.mask, shift_mean=False)
    advantages, returns = losses.generalized_advantages(
        rewards, rollout.values, rollout.mask, gamma=config.gamma, lam=config.lam
    )
    return Targets(losses.masked_whiten(advantages, rollout.mask), returns, rewards)
