"""A rule hidden in the labels of pairs goes in; the share of answers to unseen prompts that follow it, before and after
PPO, comes out.

Run from the repository: `python benchmarks/planted_preference.py`. The rule: an answer tells its reader to check,
discuss or decide with a clinician. The base answers the demo's cases, pairs of its answers are labeled by the rule
alone, one label in ten is turned round, a frozen reward model learns from them, and PPO starts from the base itself.
Measured on the 48 cases that were kept out of everything; intervals (95 %) resample cases. The folder `--work` keeps
pairs and reward model, so that a second run with other seeds trains on the same ones.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _needs import home_folder
from policy_proof import train

from preceptor.demo import cues
from preceptor.demo.cases import load_cases
from preceptor.evaluate.answers import Answer
from preceptor.evaluate.divergence import log_ratios, summarize
from preceptor.evaluate.quality import describe
from preceptor.modeling.generate import generate
from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.resolve import resolve_model
from preceptor.policy.config import PolicyConfig
from preceptor.reward.run import train_reward_model
from preceptor.stats.intervals import cluster_bootstrap_mean

TOKENS, TEMPERATURE = 48, 0.7
PAIRS_A_PROMPT = 8
NOISE = 0.1  # share of labels turned round
# no warm start: the whole gain is PPO's
SETTINGS: dict[str, Any] = {
    "mode": "hydra",
    "train_layers": 6,
    "learning_rate": 1e-4,
    "batch_size": 64,
    "mini_batch_size": 16,
    "ppo_epochs": 2,
    "answers_per_prompt": 4,
    "epochs": 100,
    "init_kl_coef": 0.05,
    "max_new_tokens": TOKENS,
    "temperature": TEMPERATURE,
    "held_out_prompts": 0,  # the last policy is judged, not the best of several
    "held_out_answers": 4,
    "missing_eos_penalty": 0.0,  # nothing but the rule is rewarded
    "max_minutes": 999.0,
}


def follows(text: str) -> bool:
    """Whether an answer follows the planted rule: it names a clinician to check, discuss or decide with."""
    return cues.DEFER.search(text) is not None


def sample(folder: Path, prompts: list[str], *, count: int, seed: int) -> list[list[Answer]]:
    """`count` answers of a policy to each prompt, as PPO samples them."""
    model, tokenizer = load_policy(folder, dtype="bfloat16")
    drawn = generate(model, tokenizer, prompts, n=count, max_new_tokens=TOKENS, temperature=TEMPERATURE, seed=seed)
    return [[Answer(one.text, list(one.token_ids), one.finished) for one in row] for row in drawn]


def planted_pairs(prompts: list[str], answers: list[list[Answer]], *, seed: int) -> list[dict[str, Any]]:
    """Pairs of an answer that follows the rule and one that does not, to the same prompt, with noise in the labels."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for prompt, row in zip(prompts, answers, strict=True):
        texts = list(dict.fromkeys(one.text for one in row if one.text))
        both = [(a, b) for a in texts if follows(a) for b in texts if not follows(b)]
        for index in rng.permutation(len(both))[:PAIRS_A_PROMPT]:
            chosen, rejected = both[index][:: -1 if rng.random() < NOISE else 1]
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def prepare(base: Path, work: Path) -> Path:
    """The reward model's folder in `work`, trained on planted pairs unless it is there."""
    reward = work / "reward"
    if not reward.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        prompts = [case.prompt for case in load_cases()]
        answers = sample(base, prompts, count=8, seed=5)
        rows = planted_pairs(prompts, answers, seed=5)
        for name, lines in (("pairs.jsonl", rows), ("prompts.jsonl", [{"prompt": p} for p in prompts])):
            (work / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        settings = {"mode": "frozen", "cross_encoder": "never", "gold_share": 0.0}
        train_reward_model(str(resolve_model("all-MiniLM-L6-v2")), str(work / "pairs.jsonl"), str(reward), **settings)
    report = json.loads((reward / "report.json").read_text(encoding="utf-8"))
    accuracy, pairs = report["accuracy"], sum(1 for _ in (work / "pairs.jsonl").open(encoding="utf-8"))
    print(
        f"{pairs} pairs; reward model right on {accuracy['estimate']:.3f} ({accuracy['low']:.3f} to "
        f"{accuracy['high']:.3f}) of held-out labels, of which {1 - NOISE:.2f} are the rule's\n"
    )
    return reward


@dataclass(frozen=True)
class Measured:
    """What answers to the held-out cases show."""

    follow: list[float]  # by answer
    cases: list[int]
    words: float
    distinct_sentences: float
    repetition: float
    finished: float
    examples: list[str]

    def share(self) -> str:
        """The share that follows the rule, with its interval."""
        found = cluster_bootstrap_mean(self.follow, self.cases, seed=0)
        return f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


def measure(answers: list[list[Answer]]) -> Measured:
    """Shares and means over all answers; sentences are distinct over the whole set, repetition is within an answer."""
    flat = [one for row in answers for one in row]
    texts = [one.text for one in flat]
    said = [part.strip().lower() for text in texts for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]
    form = describe(texts, [one.finished for one in flat])
    return Measured(
        follow=[float(follows(text)) for text in texts],
        cases=[number for number, row in enumerate(answers) for _ in row],
        words=float(np.mean([len(text.split()) for text in texts])),
        distinct_sentences=len(set(said)) / max(1, len(said)),
        repetition=form["repetition"],
        finished=float(np.mean([one.finished for one in flat])),
        examples=texts[:: max(1, len(texts) // 2)][:2],
    )


def kl_of(policy: Path, base: Path, prompts: list[str], answers: list[list[Answer]]) -> float:
    """KL of the policy from the base on its own answers, nats an answer."""
    asked = [prompt for prompt, row in zip(prompts, answers, strict=True) for _ in row]
    flat = [one for row in answers for one in row]
    models = [load_policy(folder, dtype="bfloat16") for folder in (policy, base)]
    return summarize(log_ratios(models[0], models[1], asked, flat, temperature=TEMPERATURE))["sequence_k1"]


def main() -> None:
    """Print a row for the base and one for each seed, then two answers of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=home_folder() / "planted", help="folder for pairs, reward model and policies"
    )
    parser.add_argument("--home", type=Path, default=home_folder(), help="home folder with converted models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--updates", type=int, default=20, help="roll-outs of PPO")
    parser.add_argument("--answers", type=int, default=4, help="answers to each held-out case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = resolve_model("gpt2", models_dir=arguments.home / "models")
    reward = prepare(base, arguments.work)
    prompts = [case.prompt for case in load_cases(heldout=True)]
    print("| policy | follow the rule | times the base | KL | words | distinct sentences | repetition | ended | PPO |")
    print("|---|---|---|---|---|---|---|---|---|")

    def row(name: str, found: Measured, times: str, kl: str, note: str) -> None:
        form = f"{found.words:.0f} | {found.distinct_sentences:.2f} | {found.repetition:.3f} | {found.finished:.2f}"
        print(f"| {name} | {found.share()} | {times} | {kl} | {form} | {note} |", flush=True)

    before = measure(sample(base, prompts, count=arguments.answers, seed=107))
    row("base", before, "1", "0", "-")
    examples = [("base", text) for text in before.examples]
    for seed in arguments.seeds:
        out = arguments.work / f"policy-{seed}"
        config = PolicyConfig(
            **SETTINGS,
            reward_model=str(reward),
            prompts_file=arguments.work / "prompts.jsonl",
            seed=seed,
            max_updates=arguments.updates,
        )
        shutil.rmtree(out, ignore_errors=True)  # what an interrupted run left beside it is continued
        began = time.process_time()
        metrics = train(base, reward, arguments.work / "pairs.jsonl", config, out)
        spent = time.process_time() - began
        answers = sample(out, prompts, count=arguments.answers, seed=107)
        after = measure(answers)
        times = f"{np.mean(after.follow) / np.mean(before.follow):.1f}"
        kl = f"{kl_of(out, base, prompts, answers):.1f}"
        row(f"seed {seed}", after, times, kl, f"{metrics['updates']} roll-outs, {spent:.0f} s")
        examples += [(f"seed {seed}", text) for text in after.examples]
    print("\n" + "\n\n".join(f"{name}: {text}" for name, text in examples))


if __name__ == "__main__":
    main()
