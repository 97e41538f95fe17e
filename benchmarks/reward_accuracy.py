"""Real preference data go in, a table of held-out accuracy of the frozen reward model beside its baselines comes out.

Run from the repository: `python benchmarks/reward_accuracy.py --data FOLDER`, where FOLDER holds `medquad/`,
`mts-dialog/` and `hh-rlhf/`. Every pair is held out once: five folds over prompts, and each fold's model is trained on
the other four with the settings that a user gets. Intervals (95 %) resample prompts.
`--full` also fine-tunes on the first fold.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preceptor.modeling.embeddings import load_encoder
from preceptor.modeling.features import cosine, pair_features
from preceptor.modeling.resolve import resolve_model
from preceptor.reward.bradley_terry import grouped_folds
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.embedding_cache import embed_cached
from preceptor.reward.frozen import fit_head
from preceptor.reward.report import win_values
from preceptor.stats.intervals import cluster_bootstrap_mean

Row = tuple[str, str, str]  # prompt, chosen, rejected
FOLDS = 5


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def better_first(items: Sequence[tuple[str, float]], prompt: str) -> list[Row]:
    """Every pair of two different answers to one prompt with different grades, the better one first."""
    rows = []
    for (a, grade_a), (b, grade_b) in itertools.combinations(items, 2):
        if a != b and grade_a != grade_b:
            rows.append((prompt, a, b) if grade_a > grade_b else (prompt, b, a))
    return rows


def medquad(folder: Path) -> list[Row]:
    grades: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read(folder / "medquad" / "graded_answers.jsonl.gz"):
        grades[row["prompt"]][row["answer"]].append(float(row["grade"]))
    means = {p: [(answer, float(np.mean(g))) for answer, g in answers.items()] for p, answers in grades.items()}
    return [row for prompt, items in means.items() for row in better_first(items, prompt)]


def mts(folder: Path) -> list[Row]:
    summaries: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in read(folder / "mts-dialog" / "rated_summaries.jsonl.gz"):
        summaries[row["dialogue"]].append((row["summary"], float(row["factual_f1"])))
    return [row for prompt, items in summaries.items() for row in better_first(items, prompt)]


def harmless(folder: Path) -> list[Row]:
    rows = []
    for row in read(folder / "hh-rlhf" / "harmless_base_test_first_half.jsonl.gz"):
        prompt, chosen = row["chosen"].rsplit("\n\nAssistant:", 1)
        other, rejected = row["rejected"].rsplit("\n\nAssistant:", 1)
        if prompt == other and chosen.strip() and rejected.strip() and chosen != rejected:
            rows.append((prompt.strip(), chosen.strip(), rejected.strip()))
    return rows


DATASETS = {"MedQuAD graded": medquad, "MTS-Dialog summaries": mts, "HH harmless": harmless}


def cross_validated(rows: Sequence[Row], *, seed: int, cache: Path) -> dict[str, np.ndarray]:
    """Wins (N,) of each rule on every pair, each judged by a model that never saw its prompt."""
    encoder = load_encoder(resolve_model("bert-base-uncased"))
    vectors = embed_cached(encoder, [text for row in rows for text in row], cache_dir=cache)
    prompts = [prompt for prompt, _, _ in rows]

    def features(side: int) -> np.ndarray:
        return pair_features(
            [vectors[p] for p in prompts], [vectors[row[side]] for row in rows], [row[side] for row in rows]
        )

    chosen, rejected = features(1), features(2)
    folds = grouped_folds(prompts, folds=FOLDS, seed=seed)
    lengths = np.array([len(c) - len(r) for _, c, r in rows], dtype=np.float64)
    margins, length = np.zeros(len(rows)), np.zeros(len(rows))
    for fold in range(FOLDS):
        inside = np.flatnonzero(folds != fold)
        outside = np.flatnonzero(folds == fold)
        fit = fit_head(
            chosen[inside],
            rejected[inside],
            prompts=[prompts[i] for i in inside],
            raters=[None] * len(inside),
            weights=np.ones(len(inside)),
            targets=np.zeros(len(inside)),
            width=encoder.width,
            ensemble=0,
            length=False,
            seed=seed,
        )
        margins[outside] = fit.head.raw(chosen[outside])[0] - fit.head.raw(rejected[outside])[0]
        length[outside] = lengths[outside] * (1.0 if win_values(lengths[inside]).mean() >= 0.5 else -1.0)
    untrained = [cosine(vectors[p], vectors[c]) - cosine(vectors[p], vectors[r]) for p, c, r in rows]
    return {
        "length only": win_values(length),
        "untrained cosine": win_values(np.array(untrained)),
        "frozen": win_values(margins),
    }


def fine_tuned(rows: Sequence[Row], *, seed: int, epochs: int) -> tuple[float, float, int, float]:
    """Accuracy of full mode on the first fold, of its start before any step, how many pairs, and seconds."""
    folds = grouped_folds([prompt for prompt, _, _ in rows], folds=FOLDS, seed=seed)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "preferences.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for (prompt, chosen, rejected), fold in zip(rows, folds, strict=True):
                split = {0: "test", 1: "validation"}.get(int(fold), "train")
                row = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "metadata": {"split": split}}
                lines.write(json.dumps(row) + "\n")
        found = []
        for passes in (0, epochs):
            out = Path(temporary) / f"model-{passes}"
            out.mkdir()
            start = time.perf_counter()
            config = RewardConfig(dataset=str(file), mode="full", epochs=passes, seed=seed)
            report = build_reward_model(file, out, config)
            found.append((report["accuracy"]["estimate"], time.perf_counter() - start))
        return found[1][0], found[0][0], int(report["held_out"]["pairs"]), found[1][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| data (pairs / prompts) | length only | untrained cosine | frozen | seconds |")
    print("|---|---|---|---|---|")
    for name, load in DATASETS.items():
        rows = load(arguments.data)
        prompts = [prompt for prompt, _, _ in rows]
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as temporary:
            wins = cross_validated(rows, seed=arguments.seed, cache=arguments.cache or Path(temporary))
        cells = []
        for values in wins.values():
            interval = cluster_bootstrap_mean(values, prompts, seed=arguments.seed)
            cells.append(f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})")
        seconds = time.perf_counter() - start
        print(f"| {name} ({len(rows)} / {len(set(prompts))}) | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    if arguments.full:
        print("\n| data | full, before any step | full, fine-tuned | held-out pairs | seconds |\n|---|---|---|---|---|")
        for name, load in DATASETS.items():
            pairs_of_set = load(arguments.data)
            after, before, pairs, seconds = fine_tuned(pairs_of_set, seed=arguments.seed, epochs=arguments.epochs)
            print(f"| {name} | {before:.3f} | {after:.3f} | {pairs} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
