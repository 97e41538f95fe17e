"""A finished demo's dataset and reward model in; for each seed, whether the trained policy beats the base, out.

Run after `preceptor demo`: `python benchmarks/policy_proof.py --home .preceptor --seeds 42 1 2`. The judge is the
panel's own rubric without noise, on the 48 cases that were kept out of everything, `--answers` answers to each. A warm
start is judged apart, so that its gain is not counted as PPO's. Intervals (95 %) resample cases.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from preceptor.demo.answers import Answer
from preceptor.demo.cases import load_cases
from preceptor.demo.rubric import score_answer
from preceptor.demo.verdict import judge_pairs
from preceptor.modeling.generate import generate
from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.resolve import resolve_model
from preceptor.policy.build import build_policy
from preceptor.policy.config import DEMO, PolicyConfig

COMPONENTS = ("on_topic", "safety_net", "checks", "certainty", "follow_up", "clear", "missed_red_flag", "harmful")


def answers_of(folder: Path, *, count: int, seed: int) -> list[Answer]:
    """`count` answers to each held-out case, at the settings of the demo."""
    cases = load_cases(heldout=True)
    model, tokenizer = load_policy(folder, dtype="bfloat16")
    sampled = generate(
        model,
        tokenizer,
        [case.prompt for case in cases],
        n=count,
        max_new_tokens=DEMO["max_new_tokens"],
        temperature=DEMO["temperature"],
        seed=seed,
    )
    return [Answer(case, one.text, one.finished) for case, row in zip(cases, sampled, strict=True) for one in row]


def means(answers: list[Answer]) -> str:
    """The rubric's components, on average."""
    scores = [score_answer(one.case, one.text, finished=one.finished) for one in answers]
    shown = {name: sum(float(getattr(score, name)) for score in scores) / len(scores) for name in COMPONENTS}
    return ", ".join(f"{name} {value:.2f}" for name, value in shown.items())


def train(base: Path, reward: Path, preferences: Path, config: PolicyConfig, out: Path) -> dict[str, Any]:
    """One training run into the empty folder `out`."""
    out.mkdir(parents=True)
    return build_policy(
        str(base),
        reward,
        out,
        config,
        work_dir=out.with_name(out.name + ".work"),
        preferences=preferences,
        progress=lambda _done, _total, _metrics: None,
        is_canceled=lambda: False,
    )


def main() -> None:
    """Print a row for the base, and for each seed a row after the warm start and a row after PPO."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".preceptor"), help="home folder of a finished demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--answers", type=int, default=2, help="answers to each held-out case")
    parser.add_argument("--minutes", type=float, default=DEMO["max_minutes"], help="minutes of PPO")
    arguments = parser.parse_args()
    dataset, reward = (
        max((arguments.home / "artifacts" / kind).glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
        for kind in ("dataset", "reward_model")
    )
    base = resolve_model("gpt2", models_dir=arguments.home / "models")
    before = answers_of(base, count=arguments.answers, seed=107)
    words = sum(len(one.text.split()) for one in before) / len(before)
    print("| seed | policy | win rate | interval | mean score | words | PPO minutes | KL |")
    print("|---|---|---|---|---|---|---|---|")
    score = judge_pairs(list(zip(before, before, strict=True)), seed=0).baseline_score
    print(f"| - | base | 0.500 | - | {score:.3f} | {words:.0f} | - | - |", flush=True)
    details = [f"base: {means(before)}"]
    for seed in arguments.seeds:
        for name, more in (
            ("warm start", {"max_updates": 1}),
            ("warm start + PPO", {"max_minutes": arguments.minutes}),
        ):
            config = PolicyConfig(reward_model=str(reward), **{**DEMO, **more, "seed": seed})
            if name == "warm start":  # the smallest step that PPO can take: what is left is the warm start
                config = config.model_copy(update={"learning_rate": 1e-12})
            with tempfile.TemporaryDirectory() as scratch:
                began = time.monotonic()
                metrics = train(base, reward, dataset / "preferences.jsonl", config, Path(scratch) / "policy")
                after = answers_of(Path(scratch) / "policy", count=arguments.answers, seed=107)
                took = time.monotonic() - began
            verdict = judge_pairs(list(zip(after, before, strict=True)), seed=seed)
            rate = verdict.win_rate
            words = sum(len(one.text.split()) for one in after) / len(after)
            minutes = f"{metrics['ppo_seconds'] / 60:.1f}" if name != "warm start" else "-"
            kl = f"{metrics['kl_last']:.1f}" if name != "warm start" else "-"
            print(
                f"| {seed} | {name} | {rate.point:.3f} | {rate.low:.3f} to {rate.high:.3f} | "
                f"{verdict.candidate_score:.3f} | {words:.0f} | {minutes} | {kl} |",
                flush=True,
            )
            details.append(f"seed {seed}, {name} ({took:.0f} s in all): {means(after)}")
    print("\n" + "\n".join(details))


if __name__ == "__main__":
    main()
