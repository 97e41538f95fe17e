"""Graded answers go in; held-out accuracy, and how far apart equal answers are scored, with and without ties come out.

Run from the repository: `python benchmarks/ties.py --data FOLDER`, where FOLDER holds `medquad/`. Two answers to one
question with different grades are a pair, with the same grade a tie. Folds, repeats and intervals are those of
`reward_accuracy.py`; the vectors alone, without the cross-encoder. A gap is the difference of two scores whose
deviation is 1, and counts where no model saw the question.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _needs import data_folder
from reward_accuracy import FOLDS, better_first, head_margins, read

from preceptor.modeling.embeddings import load_encoder
from preceptor.modeling.resolve import resolve_model
from preceptor.reward.bradley_terry import grouped_folds
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.embedding_cache import embed_cached
from preceptor.reward.frozen import fit_head
from preceptor.reward.reader import Reader
from preceptor.reward.report import win_values
from preceptor.stats.intervals import Interval, cluster_share, paired_difference


def graded(folder: Path, *, lowest: float) -> list[Pair]:
    """Every pair of different grades, then every tie of answers whose grade is `lowest` or better."""
    grades: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read(folder / "medquad" / "graded_answers.jsonl.gz"):
        grades[row["prompt"]][row["answer"]].append(float(row["grade"]))
    means = {p: [(answer, float(np.mean(g))) for answer, g in answers.items()] for p, answers in grades.items()}
    pairs = [Pair(*row) for prompt, items in means.items() for row in better_first(items, prompt)]
    ties = [
        Pair(prompt, a, b, label=0.5)
        for prompt, items in means.items()
        for (a, one), (b, other) in itertools.combinations(items, 2)
        if one == other >= lowest
    ]
    return [*pairs, *ties]


def gaps(rows: list[Pair], reader: Reader, *, with_ties: bool, seed: int) -> np.ndarray:
    """Margins (N,) of all rows, each by a head that never saw its question."""
    folds = grouped_folds([row.prompt for row in rows], folds=FOLDS, seed=seed)
    margins = np.zeros(len(rows))
    for fold in range(FOLDS):
        train = [row for row, own in zip(rows, folds, strict=True) if own != fold and (with_ties or not row.is_tie)]
        held = np.flatnonzero(folds == fold)
        fit = fit_head(train, reader, config=RewardConfig(dataset="-", seed=seed), ensemble=0)
        margins[held] = head_margins(fit.head, reader, [rows[i] for i in held]) / fit.std
    return margins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of public data; default: ../shared/data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--lowest", type=float, default=1.0, help="lowest grade of two answers that make a tie (1 to 4)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = graded(data_folder(arguments.data, "medquad"), lowest=arguments.lowest)
    encoder = load_encoder(resolve_model("bert-base-uncased"))
    texts = [text for row in rows for text in (row.prompt, row.chosen, row.rejected)]
    with tempfile.TemporaryDirectory() as temporary:
        reader = Reader(embed_cached(encoder, texts, cache_dir=Path(temporary)), encoder.width)
    tied = np.array([row.is_tie for row in rows])
    prompts = [row.prompt for row in rows if not row.is_tie]
    print(f"{len(prompts)} pairs of {len(set(prompts))} questions, {tied.sum()} ties")
    print("| trained on | accuracy | gap of pairs | gap of ties | ratio |\n|---|---|---|---|---|")
    wins = {}
    for name, with_ties in (("pairs", False), ("pairs and ties", True)):
        found = np.stack([gaps(rows, reader, with_ties=with_ties, seed=n) for n in range(arguments.repeats)])
        wins[name] = win_values(found[:, ~tied]).mean(0)
        decided, equal = np.abs(found[:, ~tied]).mean(), np.abs(found[:, tied]).mean()
        accuracy = shown(cluster_share(wins[name], prompts, seed=0))
        print(f"| {name} | {accuracy} | {decided:.3f} | {equal:.3f} | {equal / decided:.3f} |", flush=True)
    gain = paired_difference(wins["pairs and ties"], wins["pairs"], prompts, seed=0)
    print(f"accuracy gained by ties: {shown(gain)}")


def shown(interval: Interval) -> str:
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


if __name__ == "__main__":
    main()
