"""A finished demo's dataset and reward model in; PPO, DPO, KTO, RLOO, GRPO and the best of n answers side by side out.

Run after `preceptor demo`, with the extra `trl`: `python benchmarks/alternatives.py --home .preceptor`. All start from
one and the same warm start and get the same minutes. The judge is the panel's own rubric without noise, on the 48 cases
that were kept out of everything. KL is in nats an answer from the warm start, and from the base where a row says so.
Intervals (95 %) resample cases.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _needs import home_folder, newest_artifact, require_trl
from policy_proof import means, train

from preceptor.demo.answers import Answer
from preceptor.demo.cases import load_cases
from preceptor.demo.panel import judge_win, panel_score
from preceptor.demo.verdict import judge_pairs
from preceptor.evaluate.answers import Answer as Sampled
from preceptor.evaluate.best_of_n import SIZES, expected_best, kl_of_best_of_n
from preceptor.evaluate.divergence import log_ratios, summarize
from preceptor.modeling.generate import generate
from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.reward_model import load_scorer
from preceptor.policy.config import DEMO, PolicyConfig
from preceptor.stats.intervals import cluster_share

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


def main() -> None:
    """Print a row for the base, the warm start and each algorithm, then a row for each n."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="home folder of a finished demo; default: PRECEPTOR_HOME")
    parser.add_argument("--algorithms", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes of training, each")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--of", type=int, default=16, help="answers to each case that the best of n is taken from")
    arguments = parser.parse_args()
    require_trl()
    dataset, reward = (newest_artifact(arguments.home, kind) for kind in ("dataset", "reward_model"))
    base = resolve_model("gpt2", models_dir=home_folder(arguments.home) / "models")
    before = [one for one, _ in drawn_from(base, count=2, seed=107)]
    print("| policy | win rate over the base | interval | mean score | words | KL | updates | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch) / "start"
        warm = {**DEMO, "max_updates": 0, "seed": arguments.seed}
        preferences = dataset / "preferences.jsonl"
        train(base, reward, preferences, PolicyConfig(reward_model=str(reward), **warm), start)
        details = [row("warm start, KL from the base", start, base, before, seed=arguments.seed)]
        for name in arguments.algorithms:
            fields = {**SETTINGS[name], "max_minutes": arguments.minutes, "seed": arguments.seed}
            config = PolicyConfig(reward_model=str(reward), **({"algorithm": name} | fields))
            out = Path(scratch) / name
            began = time.process_time()
            metrics = train(start, reward, preferences, config, out)
            note = f"{metrics['updates']} | {time.process_time() - began:.0f}"
            details.append(row(name, out, start, before, seed=arguments.seed, note=note))
        for name, folder in (("base, KL from it", base), ("warm start", start)):
            best_of_n(name, folder, reward, before, count=arguments.of)
    print("\n" + "\n".join(details))


def row(name: str, folder: Path, reference: Path, before: list[Answer], *, seed: int, note: str = "- | -") -> str:
    """Print the row of a policy, with its KL from `reference`; returns the rubric's components."""
    drawn = drawn_from(folder, count=2, seed=107)
    after, tokens = [one for one, _ in drawn], [one for _, one in drawn]
    policy, other = load_policy(folder, dtype="bfloat16"), load_policy(reference, dtype="bfloat16")
    prompts = [one.case.prompt for one in after]
    kl = summarize(log_ratios(policy, other, prompts, tokens, temperature=DEMO["temperature"]))["sequence_k1"]
    verdict = judge_pairs(list(zip(after, before, strict=True)), seed=seed)
    rate = verdict.win_rate
    words = sum(len(one.text.split()) for one in after) / len(after)
    print(
        f"| {name} | {rate.point:.3f} | {rate.low:.3f} to {rate.high:.3f} | {verdict.candidate_score:.3f} | "
        f"{words:.0f} | {kl:.1f} | {note} |",
        flush=True,
    )
    return f"{name}: {means(after)}"


def drawn_from(folder: Path, *, count: int, seed: int) -> list[tuple[Answer, Sampled]]:
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


def best_of_n(name: str, folder: Path, reward: Path, before: list[Answer], *, count: int) -> None:
    """Print a row for the best of n answers of a policy, chosen by the reward model, for each n."""
    drawn = [one for one, _ in drawn_from(folder, count=count, seed=108)]
    cases = [one.case for one in drawn][::count]
    rivals: dict[str, list[Answer]] = {}
    for one in before:
        rivals.setdefault(one.case.id, []).append(one)
    table = (len(cases), count)
    scores = load_scorer(reward).score([one.case.prompt for one in drawn], [one.text for one in drawn]).reshape(table)
    wins = [np.mean([judge_win(one.case, one.text, old.text) for old in rivals[one.case.id]]) for one in drawn]
    rubric = [panel_score(one.case, one.text, finished=one.finished) for one in drawn]
    length = [float(len(one.text.split())) for one in drawn]
    for n in (size for size in SIZES if size <= count):
        won, mean, words = (
            expected_best(scores, n, values=np.reshape(values, table)) for values in (wins, rubric, length)
        )
        rate = cluster_share(won, range(len(won)), seed=0)
        label = f"best of {n} of the {name}"
        print(
            f"| {label} | {rate.estimate:.3f} | {rate.low:.3f} to {rate.high:.3f} | {mean.mean():.3f} | "
            f"{words.mean():.0f} | {kl_of_best_of_n(n):.2f} | - | 0 |",
            flush=True,
        )


if __name__ == "__main__":
    main()
