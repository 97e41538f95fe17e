"""A finished demo's dataset and reward model in; for each seed, whether the trained policy beats the base, out.

Run after `preceptor demo`: `python benchmarks/policy_proof.py --home .preceptor`. The judge is the panel's own rubric
without noise, on the 48 cases that were kept out of everything, `--answers` answers to each. The warm start is saved
and judged apart and PPO starts from it, so that each gain is counted once. Intervals (95 %) resample cases.
`--updates` gives PPO a number of roll-outs instead of minutes, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from _needs import home_folder, newest_artifact

from preceptor.demo.answers import Answer
from preceptor.demo.cases import load_cases
from preceptor.demo.rubric import score_answer
from preceptor.demo.verdict import Verdict, judge_pairs
from preceptor.modeling.generate import generate
from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.resolve import resolve_model
from preceptor.policy.build import build_policy
from preceptor.policy.config import DEMO, PolicyConfig
from preceptor.policy.trl_policy import build_with_trl

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
    """The rubric's components on average, and the share of answers sent to the emergency room without a red flag."""
    scores = [score_answer(one.case, one.text, finished=one.finished) for one in answers]
    shown = {name: sum(float(getattr(score, name)) for score in scores) / len(scores) for name in COMPONENTS}
    calm = [one.text.lower() for one in answers if not one.case.red_flags]
    shown["alarm"] = sum("911" in text or "emergency department now" in text for text in calm) / len(calm)
    return ", ".join(f"{name} {value:.2f}" for name, value in shown.items())


def words(answers: list[Answer]) -> float:
    """Mean length."""
    return sum(len(one.text.split()) for one in answers) / len(answers)


def train(base: Path, reward: Path, preferences: Path, config: PolicyConfig, out: Path) -> dict[str, Any]:
    """One training run, by whichever algorithm the config names, into the empty folder `out`."""
    out.mkdir(parents=True)
    build = build_policy if config.algorithm == "ppo" else build_with_trl
    return build(
        str(base),
        reward,
        out,
        config,
        work_dir=out.with_name(out.name + ".work"),
        preferences=preferences,
        progress=lambda _done, _total, _metrics: None,
        is_canceled=lambda: False,
    )


def row(seed: int, name: str, over_base: Verdict, over_warm: Verdict | None, more: str) -> str:
    """A line of the table: win rates over base and warm start, mean score, then `more`."""
    rates = [
        f"{v.win_rate.point:.3f} | {v.win_rate.low:.3f} to {v.win_rate.high:.3f}" if v else "- | -"
        for v in (over_base, over_warm)
    ]
    return f"| {seed} | {name} | {' | '.join(rates)} | {over_base.candidate_score:.3f} | {more} |"


def main() -> None:
    """Print a row for the base, and for each seed a row after the warm start and a row after PPO."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="home folder of a finished demo; default: PRECEPTOR_HOME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2, 3, 4])
    parser.add_argument("--answers", type=int, default=4, help="answers to each held-out case")
    parser.add_argument("--minutes", type=float, default=DEMO["max_minutes"], help="minutes of PPO")
    parser.add_argument("--updates", type=int, help="roll-outs of PPO, whatever the time")
    arguments = parser.parse_args()
    dataset, reward = (newest_artifact(arguments.home, kind) for kind in ("dataset", "reward_model"))
    base = resolve_model("gpt2", models_dir=home_folder(arguments.home) / "models")
    before = answers_of(base, count=arguments.answers, seed=107)
    print("| seed | policy | over the base | interval | over the warm start | interval | score | words | PPO | KL |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    score = judge_pairs(list(zip(before, before, strict=True)), seed=0).baseline_score
    print(f"| - | base | 0.500 | - | - | - | {score:.3f} | {words(before):.0f} | - | - |", flush=True)
    details = [f"base: {means(before)}"]
    limit = {"max_updates": arguments.updates, "max_minutes": 999.0} if arguments.updates else {}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            folder = {name: Path(scratch) / name for name in ("warm", "ppo")}
            settings = {**DEMO, "reward_model": str(reward), "seed": seed}
            supervised = PolicyConfig(**{**settings, "max_updates": 0})
            train(base, reward, dataset / "preferences.jsonl", supervised, folder["warm"])
            warm = answers_of(folder["warm"], count=arguments.answers, seed=107)
            verdict = judge_pairs(list(zip(warm, before, strict=True)), seed=seed)
            print(row(seed, "warm start", verdict, None, f"{words(warm):.0f} | - | -"), flush=True)
            details.append(f"seed {seed}, warm start: {means(warm)}")
            config = PolicyConfig(**{**settings, "warm_start_epochs": 0, "max_minutes": arguments.minutes, **limit})
            began = time.process_time()
            metrics = train(folder["warm"], reward, dataset / "preferences.jsonl", config, folder["ppo"])
            spent = time.process_time() - began
            after = answers_of(folder["ppo"], count=arguments.answers, seed=107)
        over_base = judge_pairs(list(zip(after, before, strict=True)), seed=seed)
        over_warm = judge_pairs(list(zip(after, warm, strict=True)), seed=seed)
        ppo = f"{metrics['updates']} roll-outs, kept {metrics['published_update']}, {spent:.0f} s"
        kl = metrics["held_out_kl"] if metrics["held_out_kl"] is not None else metrics["kl_last"]
        print(row(seed, "and PPO", over_base, over_warm, f"{words(after):.0f} | {ppo} | {kl:.1f}"), flush=True)
        details.append(f"seed {seed}, and PPO: {means(after)}")
    print("\n" + "\n".join(details))


if __name__ == "__main__":
    main()
