"""A finished demo's dataset and reward model in; PPO, DPO, KTO, RLOO, GRPO and the best of n answers side by side out.

Run after `preceptor demo`, with the extra `trl`: `python benchmarks/alternatives.py --home .preceptor`. For each seed
all start from one and the same warm start and get the same minutes. The judge is the panel's own rubric without noise,
on the 48 cases that were kept out of everything. KL is in nats an answer from the warm start, and for the warm start
from the base. "Less best of n" is the win rate less that of the best of n answers of the warm start at the same KL, or
at the greatest n where the policy is farther away. Intervals (95 %) resample cases; over seeds they are Student's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _needs import home_folder, newest_artifact, require_trl
from numpy.typing import NDArray
from policy_proof import means, train

from preceptor.demo.answers import Answer
from preceptor.demo.cases import load_cases
from preceptor.demo.panel import judge_win, panel_score
from preceptor.evaluate.answers import Answer as Sampled
from preceptor.evaluate.best_of_n import SIZES, expected_best, kl_of_best_of_n
from preceptor.evaluate.divergence import log_ratios, summarize
from preceptor.evaluate.frontier import frontier
from preceptor.modeling.generate import generate
from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.reward_model import load_scorer
from preceptor.policy.config import DEMO, PolicyConfig
from preceptor.stats.intervals import Interval, cluster_share, student_mean

# no selection on held-out prompts: every algorithm is judged by what its minutes led to
SHARED: dict[str, Any] = {"held_out_prompts": 0} | {
    name: DEMO[name] for name in ("mode", "train_layers", "max_new_tokens", "temperature", "missing_eos_penalty")
}
OFFLINE: dict[str, Any] = SHARED | {"learning_rate": 5e-5, "init_kl_coef": 0.1, "batch_size": 16, "mini_batch_size": 4}
ONLINE: dict[str, Any] = SHARED | {
    name: DEMO[name]
    for name in ("learning_rate", "init_kl_coef", "batch_size", "mini_batch_size", "ppo_epochs", "answers_per_prompt")
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {**DEMO, "warm_start_epochs": 0, "held_out_prompts": 0},
    "dpo": OFFLINE | {"epochs": 100},
    "kto": OFFLINE | {"epochs": 100},
    "rloo": ONLINE | {"epochs": 100},
    "grpo": ONLINE | {"epochs": 100},
}


@dataclass(frozen=True)
class Drawn:
    """`count` answers of a policy to each held-out case, case by case, and what the rubric says of them."""

    answers: list[Answer]
    sampled: list[Sampled]
    wins: NDArray[np.float64]  # (cases, count) mean win over the base's answers to the case, ties half
    rubric: NDArray[np.float64]  # (cases, count)
    words: NDArray[np.float64]  # (cases, count)


def main() -> None:
    """Print a row for each seed and policy, a row for each n, the means over seeds, then the rubric's components."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="home folder of a finished demo; default: PRECEPTOR_HOME")
    parser.add_argument("--algorithms", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes of training, each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--answers", type=int, default=4, help="answers to each case that a policy is judged by")
    parser.add_argument("--of", type=int, default=16, help="answers to each case that the best of n is taken from")
    arguments = parser.parse_args()
    require_trl()
    dataset, reward = (newest_artifact(arguments.home, kind) for kind in ("dataset", "reward_model"))
    base = resolve_model("gpt2", models_dir=home_folder(arguments.home) / "models")
    rivals = by_case([one for one, _ in sample(base, count=arguments.answers, seed=107)])
    print(
        "| seed | policy | win rate over the base | interval | less best of n | interval | mean score | words | KL "
        "| updates | CPU s |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    many = draw(base, rivals, count=arguments.of, seed=108)
    print_best_of_n("-", "base", many, choose(many, reward))
    details, found = [f"base: {means(many.answers)}"], dict[str, list[tuple[float, float]]]()
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            start = Path(scratch) / "start"
            preferences = dataset / "preferences.jsonl"
            warm = PolicyConfig(**{**DEMO, "reward_model": str(reward), "max_updates": 0, "seed": seed})
            train(base, reward, preferences, warm, start)
            many = draw(start, rivals, count=arguments.of, seed=108)
            scores = choose(many, reward)
            drawn = draw(start, rivals, count=arguments.answers, seed=107)
            print_row(seed, "warm start", drawn, distance(start, base, drawn), None, "- | -")
            print_best_of_n(str(seed), "warm start", many, scores)
            details.append(f"seed {seed}, warm start: {means(drawn.answers)}")
            found.setdefault("warm start", []).append((float(drawn.wins.mean()), float("nan")))
            for name in arguments.algorithms:
                fields = {**SETTINGS[name], "max_minutes": arguments.minutes, "seed": seed}
                out = Path(scratch) / name
                began = time.process_time()
                config = PolicyConfig(**({"reward_model": str(reward), "algorithm": name} | fields))
                metrics = train(start, reward, preferences, config, out)
                spent = f"{metrics['updates']} | {time.process_time() - began:.0f}"
                drawn = draw(out, rivals, count=arguments.answers, seed=107)
                kl = distance(out, start, drawn)
                against = frontier(drawn.rubric, scores, kl=kl, golden=(drawn.wins, many.wins), seed=seed)["against"]
                print_row(seed, name, drawn, kl, against, spent)
                found.setdefault(name, []).append((float(drawn.wins.mean()), against["estimate"]))
                details.append(f"seed {seed}, {name}: {means(drawn.answers)}")
    print_means(found)
    print("\n" + "\n".join(details))


def sample(folder: Path, *, count: int, seed: int) -> list[tuple[Answer, Sampled]]:
    """`count` answers to each held-out case at the settings of the demo, with their token ids."""
    cases = load_cases(heldout=True)
    model, tokenizer = load_policy(folder, dtype="bfloat16")
    limits = {name: DEMO[name] for name in ("max_new_tokens", "temperature")}
    sampled = generate(model, tokenizer, [case.prompt for case in cases], n=count, seed=seed, **limits)
    return [
        (Answer(case, one.text, one.finished), Sampled(one.text, list(one.token_ids), one.finished))
        for case, answers in zip(cases, sampled, strict=True)
        for one in answers
    ]


def by_case(answers: list[Answer]) -> dict[str, list[Answer]]:
    """The answers to each case."""
    found: dict[str, list[Answer]] = {}
    for one in answers:
        found.setdefault(one.case.id, []).append(one)
    return found


def draw(folder: Path, rivals: Mapping[str, list[Answer]], *, count: int, seed: int) -> Drawn:
    """Sample a policy and judge its answers against the base's (`rivals`)."""
    pairs = sample(folder, count=count, seed=seed)
    answers = [one for one, _ in pairs]
    wins = [np.mean([judge_win(one.case, one.text, old.text) for old in rivals[one.case.id]]) for one in answers]
    rubric = [panel_score(one.case, one.text, finished=one.finished) for one in answers]
    words = [float(len(one.text.split())) for one in answers]
    tables = (np.reshape(np.asarray(values, dtype=np.float64), (-1, count)) for values in (wins, rubric, words))
    return Drawn(answers, [one for _, one in pairs], *tables)


def choose(drawn: Drawn, reward: Path) -> NDArray[np.float64]:
    """The reward model's scores (cases, count), by which the best of n is chosen."""
    prompts, texts = [one.case.prompt for one in drawn.answers], [one.text for one in drawn.answers]
    return np.reshape(load_scorer(reward).score(prompts, texts), drawn.wins.shape).astype(np.float64)


def distance(folder: Path, reference: Path, drawn: Drawn) -> float:
    """KL from `reference`, in nats an answer, on the policy's own answers."""
    policy, other = load_policy(folder, dtype="bfloat16"), load_policy(reference, dtype="bfloat16")
    prompts = [one.case.prompt for one in drawn.answers]
    ratios = log_ratios(policy, other, prompts, drawn.sampled, temperature=DEMO["temperature"])
    return float(summarize(ratios)["sequence_k1"])


def print_row(seed: int, name: str, drawn: Drawn, kl: float, against: Mapping[str, Any] | None, spent: str) -> None:
    """A policy's row; a gain over the best of n at a smaller KL than the policy's is marked."""
    rate = share(drawn.wins.mean(1))
    gain = "- | -"
    if against:
        mark = "" if against["equal_kl"] else " (n at most)"
        gain = f"{against['estimate']:+.3f}{mark} | {against['low']:+.3f} to {against['high']:+.3f}"
    print(
        f"| {seed} | {name} | {rate.estimate:.3f} | {rate.low:.3f} to {rate.high:.3f} | {gain} | "
        f"{drawn.rubric.mean():.3f} | {drawn.words.mean():.0f} | {kl:.1f} | {spent} |",
        flush=True,
    )


def print_best_of_n(seed: str, name: str, drawn: Drawn, scores: NDArray[np.float64]) -> None:
    """A row for the best of n answers of a policy, chosen by `scores`, for each n."""
    for n in (size for size in SIZES if size <= scores.shape[1]):
        won, mean, words = (expected_best(scores, n, values=of) for of in (drawn.wins, drawn.rubric, drawn.words))
        rate = share(won)
        print(
            f"| {seed} | best of {n} of the {name} | {rate.estimate:.3f} | {rate.low:.3f} to {rate.high:.3f} | - | - | "
            f"{mean.mean():.3f} | {words.mean():.0f} | {kl_of_best_of_n(n):.2f} | - | 0 |",
            flush=True,
        )


def share(wins: NDArray[np.float64]) -> Interval:
    """Mean over cases, with cases resampled."""
    return cluster_share(wins, range(len(wins)), seed=0)


def print_means(found: Mapping[str, list[tuple[float, float]]]) -> None:
    """Each policy's win rate, and that less the best of n's, as a mean over seeds."""
    print("\n| policy | seeds | win rate over the base | less best of n |\n|---|---|---|---|")
    for name, rows in found.items():
        both = (student_mean(values) for values in zip(*rows, strict=True))
        shown = [f"{one.estimate:.3f} ({one.low:.3f} to {one.high:.3f})" for one in both]
        print(f"| {name} | {len(rows)} | {' | '.join(shown if name in SETTINGS else [shown[0], '-'])} |", flush=True)


if __name__ == "__main__":
    main()
