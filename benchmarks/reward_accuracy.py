"""Real preference data go in, a table of held-out accuracy of the frozen reward model beside its baselines comes out.

Run from the repository: `python benchmarks/reward_accuracy.py --data FOLDER`, where FOLDER holds `medquad/`,
`mts-dialog/` and `hh-rlhf/`. Every pair is held out once a repeat: five folds over prompts, drawn anew each time, and
each fold's model is trained on the other four with the settings that a user gets. A pair's wins are averaged over the
repeats; intervals (95 %) resample prompts. `--full` also fine-tunes on the first fold.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _needs import data_folder

from preceptor.modeling.cross_encoder import CROSS_ENCODER_NAME, CrossEncoder, load_cross_encoder, relevance
from preceptor.modeling.embeddings import FloatArray, load_encoder
from preceptor.modeling.frozen_head import FrozenHead
from preceptor.modeling.resolve import resolve_model
from preceptor.reward.bradley_terry import grouped_folds
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.embedding_cache import embed_cached
from preceptor.reward.frozen import fit_head
from preceptor.reward.reader import Reader, mismatched_pairs, partners
from preceptor.reward.reading_along import WORTH_READING
from preceptor.reward.report import win_values
from preceptor.stats.intervals import cluster_share

FOLDERS = ("medquad", "mts-dialog", "hh-rlhf")
Row = tuple[str, str, str]  # prompt, chosen, rejected
FOLDS = 5
RULES = ("length only", "untrained cosine", "untrained cross-encoder", "vectors alone", "frozen, auto")


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


class Logits(dict[tuple[str, str], FloatArray]):
    """What the cross-encoder says of prompts and answers, each read once in the whole run."""

    def read(self, encoder: CrossEncoder, pairs: Sequence[Pair]) -> None:
        asked = [(pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
        new = [key for key in dict.fromkeys(asked) if key not in self]
        if new:
            self.update(zip(new, relevance(encoder, [p for p, _ in new], [a for _, a in new]), strict=True))


def cross_validated(rows: Sequence[Row], *, seed: int, repeats: int, along: bool, cache: Path) -> dict[str, np.ndarray]:
    """Wins (N,) of each rule on every pair, each judged by models that never saw its prompt."""
    encoder = load_encoder(resolve_model("bert-base-uncased"))
    vectors = embed_cached(encoder, [text for row in rows for text in row], cache_dir=cache)
    pairs = [Pair(*row) for row in rows]
    plain = Reader(vectors, encoder.width)
    logits = Logits()
    reader = load_cross_encoder(resolve_model(CROSS_ENCODER_NAME)) if along else None
    if reader is not None:
        logits.read(reader, pairs)
    lengths = np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], dtype=np.float64)
    wins: dict[str, list[np.ndarray]] = defaultdict(list)
    for repeat in range(repeats):
        folds = grouped_folds([pair.prompt for pair in pairs], folds=FOLDS, seed=seed + repeat)
        margins = {name: np.zeros(len(pairs)) for name in ("length only", "vectors alone", "frozen, auto")}
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            held = [pairs[i] for i in outside]
            train = [pairs[i] for i in inside]
            config = RewardConfig(dataset="-", seed=seed + repeat)
            fit = chosen = fit_head(train, plain, config=config, ensemble=0)
            margins["vectors alone"][outside] = judged = head_margins(fit.head, plain, held)
            if reader is not None:
                logits.read(reader, mismatched_pairs(partners(train, seed=config.seed)))
                helped = replace(plain, relevance=logits)
                chosen = fit_head(train, helped, config=config, ensemble=0)
                if fit.loss - chosen.loss >= WORTH_READING:
                    judged = head_margins(chosen.head, helped, held)
            margins["frozen, auto"][outside] = judged
            direction = 1.0 if win_values(lengths[inside]).mean() >= 0.5 else -1.0
            margins["length only"][outside] = direction * lengths[outside]
        for name, values in margins.items():
            wins[name].append(win_values(values))
    found = {name: np.mean(values, axis=0) for name, values in wins.items()}
    cosines = [plain.cosine(p.prompt, p.chosen) - plain.cosine(p.prompt, p.rejected) for p in pairs]
    found["untrained cosine"] = win_values(np.array(cosines))
    if reader is not None:
        best = [logits[p.prompt, p.chosen][0] - logits[p.prompt, p.rejected][0] for p in pairs]
        found["untrained cross-encoder"] = win_values(np.array(best))
    return found


def head_margins(head: FrozenHead, reader: Reader, pairs: Sequence[Pair]) -> np.ndarray:
    return head.raw(reader.chosen(pairs, gate=head.gate))[0] - head.raw(reader.rejected(pairs, gate=head.gate))[0]


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
    parser.add_argument("--data", type=Path, help="folder of public data; default: ../shared/data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*DATASETS], nargs="+", default=[*DATASETS])
    parser.add_argument("--vectors-alone", action="store_true", help="leave the cross-encoder out")
    parser.add_argument("--cache", type=Path, default=None)
    arguments = parser.parse_args()
    data = data_folder(arguments.data, *FOLDERS)
    torch.set_num_threads(arguments.threads)
    print("| data (pairs / prompts) | " + " | ".join(RULES) + " | seconds |")
    print("|---|" + "---|" * (len(RULES) + 1))
    for name in arguments.only:
        rows = DATASETS[name](data)
        prompts = [prompt for prompt, _, _ in rows]
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as temporary:
            wins = cross_validated(
                rows,
                seed=arguments.seed,
                repeats=arguments.repeats,
                along=not arguments.vectors_alone,
                cache=arguments.cache or Path(temporary),
            )
        cells = []
        for rule in RULES:
            if rule not in wins:
                cells.append("-")
                continue
            interval = cluster_share(wins[rule], prompts, seed=arguments.seed)
            cells.append(f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})")
        seconds = time.perf_counter() - start
        print(f"| {name} ({len(rows)} / {len(set(prompts))}) | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    if arguments.full:
        print("\n| data | full, before any step | full, fine-tuned | held-out pairs | seconds |\n|---|---|---|---|---|")
        for name, load in DATASETS.items():
            pairs_of_set = load(data)
            after, before, pairs, seconds = fine_tuned(pairs_of_set, seed=arguments.seed, epochs=arguments.epochs)
            print(f"| {name} | {before:.3f} | {after:.3f} | {pairs} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
