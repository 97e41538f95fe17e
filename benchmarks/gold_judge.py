"""A dataset with raters goes in; what it costs the reward model to set some of them aside, and how good the judge is
that they make, comes out.

Run from the repository: `python benchmarks/gold_judge.py --dataset FOLDER`, where FOLDER is a dataset artifact; without
it, the last that the demo published. Who is set aside is drawn `--draws` times by another hash.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _needs import newest_artifact

from preceptor.modeling.embeddings import load_encoder
from preceptor.modeling.frozen_head import Array
from preceptor.modeling.resolve import resolve_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair, PairSet, read_pairs
from preceptor.reward.embedding_cache import embed_cached
from preceptor.reward.frozen import fit_head
from preceptor.reward.gold import set_aside
from preceptor.reward.reader import Reader

SHARES = (0.25, 1 / 3, 0.45)


def margins(pairs: Sequence[Pair], test: Sequence[Pair], reader: Reader, config: RewardConfig) -> Array:
    """Margins of the held-out pairs (N,) by a head that learned from `pairs`."""
    head = fit_head(pairs, reader, config=config, ensemble=0).head
    chosen, rejected = reader.chosen(test, gate=head.gate), reader.rejected(test, gate=head.gate)
    found: Array = head.raw(chosen)[0] - head.raw(rejected)[0]
    return found


def decided(pairs: Sequence[Pair]) -> int:
    """How many of the pairs have a better answer."""
    return sum(not pair.is_tie for pair in pairs)


def renamed(data: PairSet, draw: int) -> PairSet:
    """The same pairs under other rater ids, so that another group comes first in the order of hashes."""
    return replace(data, pairs=tuple(replace(pair, rater=f"{draw}:{pair.rater}") for pair in data.pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, help="folder of a dataset; default: the newest in PRECEPTOR_HOME")
    parser.add_argument("--draws", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = options.dataset or newest_artifact(None, "dataset", flag="--dataset")
    config = RewardConfig(dataset=str(dataset))
    data, encoder = read_pairs(dataset), load_encoder(resolve_model("all-MiniLM-L6-v2"))
    texts = [text for pair in data.pairs for text in (pair.prompt, pair.chosen, pair.rejected)]
    reader = Reader(embed_cached(encoder, texts, cache_dir=None), encoder.width)
    fitted = [pair for pair in data.of("train", "validation") if pair.weight > 0]
    test = [pair for pair in data.of("test") if not pair.is_tie]  # whose order nobody preferred
    print(f"all raters: {decided(fitted)} pairs, accuracy {(margins(fitted, test, reader, config) > 0).mean():.3f}")
    print("share  pairs reward/gold  raters aside  accuracy reward  accuracy gold  correlation of margins")
    for share in SHARES:
        rows = []
        for draw in range(options.draws):
            panels = set_aside(renamed(data, draw), share=share)
            if not panels.gold:
                raise SystemExit(f"No gold judge: {panels.reason}.")
            kept = [pair for pair in panels.data.of("train", "validation") if pair.weight > 0]
            reward, gold = margins(kept, test, reader, config), margins(panels.gold, test, reader, config)
            aside = len({pair.rater for pair in panels.gold})
            both = float(np.corrcoef(reward, gold)[0, 1])
            rows.append((decided(kept), decided(panels.gold), aside, (reward > 0).mean(), (gold > 0).mean(), both))
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
        print(
            f"{share:.2f}   {mean[0]:.0f}/{mean[1]:.0f}   {mean[2]:.1f}   {mean[3]:.3f} +- {spread[3]:.3f}   "
            f"{mean[4]:.3f} +- {spread[4]:.3f}   {mean[5]:.2f}"
        )


if __name__ == "__main__":
    main()
