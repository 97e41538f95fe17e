"""Real pairs and TRL's environment in; pairs a second of reward training and held-out loss, beside TRL's, come out.

`python benchmarks/reward_speed.py --data DIR`, where DIR holds `medquad/` and `hh-rlhf/`. Both sides start from the
same weights and train on the same token ids with the same optimizer, rates, batch size and epochs; what differs is the
order of the pairs, which each side draws. TRL runs at each of the settings of `--peer`, and the ratio is over its
fastest. Each measurement is a process of its own on one thread; sides take turns and the clock is CPU seconds. One
function judges every trained model on the held-out pairs, in float32 by the model's own padded forward.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _needs import data_folder, require_trl
from reward_accuracy import DATASETS

from preceptor.modeling.classifier import load_classifier, position_limit
from preceptor.modeling.products import fast_products
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.sequences import EncodedPair
from preceptor.reward.batches import EncodedPairs, encode_pairs
from preceptor.reward.bradley_terry import grouped_folds
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.full_model import save_classifier

PEER = Path(__file__).parent / "peers" / "reward_trl.py"
BATCH = 16
_FOLDS = 4  # one of them is held out
_HELD = 256  # pairs at most
_TRL = "TRL "


def prepare(arguments: argparse.Namespace, work: Path) -> None:
    """Write the start model and the token ids of training and held-out pairs, split by prompt."""
    rows = DATASETS[arguments.dataset](arguments.data)
    folds = grouped_folds([row[0] for row in rows], folds=_FOLDS, seed=arguments.seeds[0])
    split = {
        "train": [Pair(*row) for row, fold in zip(rows, folds, strict=True) if fold > 0][: arguments.pairs],
        "held": [Pair(*row) for row, fold in zip(rows, folds, strict=True) if fold == 0][:_HELD],
    }
    torch.manual_seed(0)
    model, tokenizer = load_classifier(resolve_model(arguments.base), trained=False)
    length = min(arguments.max_length, position_limit(model))
    pairs: dict[str, Any] = {}
    for name, part in split.items():
        encoded = encode_pairs(tokenizer, part, max_length=length)
        pairs[name] = [(c.ids, r.ids) for c, r in zip(encoded.chosen, encoded.rejected, strict=True)]
        pairs[f"{name}_texts"] = [(pair.prompt, pair.chosen, pair.rejected) for pair in part]
    (work / "pairs.json").write_text(json.dumps(pairs))
    save_classifier(model, tokenizer, work / "start", name=arguments.base)


def full(work: Path, out: Path, *, precision: str, epochs: int, rate: float, seed: int) -> dict[str, Any]:
    """Train in full mode, without token types, which TRL does not pass on either."""
    from preceptor.reward.train import train_classifier

    torch.set_num_threads(1)
    model, tokenizer = load_classifier(work / "start", trained=True)
    ids = json.loads((work / "pairs.json").read_text())["train"]
    sides = [[EncodedPair(pair[side], None, 0, 0) for pair in ids] for side in (0, 1)]
    train = EncodedPairs(*sides, cut_prompts=0, cut_responses=0)
    steps = 0

    def count(done: int, _: int, __: dict[str, float]) -> None:
        nonlocal steps
        steps = done

    began = time.process_time()
    train_classifier(
        model,
        train,
        EncodedPairs([], [], 0, 0),
        margins=[0.0] * len(ids),
        weights=[1.0] * len(ids),
        labels=[1.0] * len(ids),
        held_weights=[],
        held_labels=[],
        config=RewardConfig(dataset="-", epochs=epochs, batch_size=BATCH, learning_rate=rate, seed=seed),
        bfloat16=precision == "bfloat16",
        checkpoint=None,
        progress=count,
        is_canceled=lambda: False,
    )
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    save_classifier(model, tokenizer, out, name="trained")
    return {"seconds": seconds, "steps": steps, "padding": 0.0, "peak_mb": peak}


def frozen(work: Path, base: str, seed: int) -> dict[str, Any]:
    """Frozen mode on the same pairs as text: seconds from the first text to the fitted heads, and its held-out loss."""
    from preceptor.modeling.embeddings import load_encoder
    from preceptor.reward.embedding_cache import embed_cached
    from preceptor.reward.frozen import fit_head
    from preceptor.reward.reader import Reader

    torch.set_num_threads(1)
    texts = json.loads((work / "pairs.json").read_text())
    train, held = ([Pair(*row) for row in texts[f"{name}_texts"]] for name in ("train", "held"))
    encoder, config = load_encoder(resolve_model(base)), RewardConfig(dataset="-", seed=seed)
    began = time.process_time()
    vectors = embed_cached(encoder, [t for p in train for t in (p.prompt, p.chosen, p.rejected)], cache_dir=None)
    fit = fit_head(train, Reader(vectors, encoder.width), config=config, ensemble=config.ensemble)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    unseen = embed_cached(encoder, [t for p in held for t in (p.prompt, p.chosen, p.rejected)], cache_dir=None)
    reader = Reader(unseen, encoder.width)
    sides = [fit.head.raw(side(held, gate=fit.head.gate))[0] for side in (reader.chosen, reader.rejected)]
    return {"seconds": seconds, "steps": 0, "padding": 0.0, "peak_mb": peak} | judged(sides[0] - sides[1])


def judged(margins: np.ndarray[Any, Any]) -> dict[str, float]:
    """Bradley-Terry loss and accuracy of held-out margins (N,)."""
    return {"held_loss": float(np.logaddexp(0.0, -margins).mean()), "held_accuracy": float((margins > 0).mean())}


@torch.no_grad()
def judge(work: Path, folder: Path) -> dict[str, float]:
    """The same for a trained model, whoever trained it."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    held = json.loads((work / "pairs.json").read_text())["held"]
    margins = []
    for pair in held:
        width = max(map(len, pair))
        ids = torch.tensor([row + [model.config.pad_token_id] * (width - len(row)) for row in pair])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in pair])
        with fast_products():
            chosen, rejected = model(input_ids=ids, attention_mask=mask).logits[:, 0].tolist()
        margins.append(chosen - rejected)
    return judged(np.array(margins))


def measure(side: str, work: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a process of its own and judge what it trained."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        shared = ["--precision", arguments.precision, "--epochs", str(arguments.epochs), "--rate", str(arguments.rate)]
        if side.startswith(_TRL):
            sampling, micro, attention, *more = side.removeprefix(_TRL).split(",")
            peer = ["--sampling", sampling, "--micro", micro, "--attention", attention, *(f"--{one}" for one in more)]
            command = [arguments.peer_python, str(PEER), str(work), folder, *shared, "--seed", str(seed), *peer]
        else:
            command = [sys.executable, __file__, "--data", str(work), "--side", side, "--out", folder, *shared]
            command += ["--seeds", str(seed), "--base", arguments.base]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                return found if "held_loss" in found else found | judge(work, Path(folder))
    sys.exit(f"The side {side} failed:\n{done.stderr[-2000:]}")


def main() -> None:
    """Measure in turns and print a row a side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of public data; default: ../shared/data")
    parser.add_argument("--dataset", choices=("HH harmless", "MedQuAD graded"), default="HH harmless")
    parser.add_argument("--base", default="bert-base-uncased", help="Base model of both sides.")
    parser.add_argument("--peer-python", default=sys.executable, help="Python of an environment with trl 1.16.")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--pairs", type=int, default=640, help="Training pairs.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4, help="Learning rate; TRL's default.")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="One process of each side for each.")
    parser.add_argument(
        "--peer",
        nargs="*",
        default=["group_by_length,4,sdpa", "group_by_length,2,sdpa"],
        help="TRL's settings: sampling, pairs in one forward, attention, and `checkpointing` if wanted.",
    )
    parser.add_argument("--only", nargs="+", default=["full", "frozen"], help="Measure these sides of ours.")
    parser.add_argument("--side", choices=("full", "frozen"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        settings = {"precision": arguments.precision, "epochs": arguments.epochs, "rate": arguments.rate}
        seed = arguments.seeds[0]
        if arguments.side == "full":
            found = full(arguments.data, arguments.out, seed=seed, **settings)
        else:
            found = frozen(arguments.data, arguments.base, seed)
        print("RESULT " + json.dumps(found))
        return
    arguments.data = data_folder(arguments.data, "medquad", "hh-rlhf")
    if arguments.peer and arguments.peer_python == sys.executable:
        require_trl()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(arguments, work)
        print(f"Held-out loss before training: {judge(work, work / 'start')['held_loss']:.4f}", flush=True)
        rows: dict[str, list[dict[str, Any]]] = {_TRL + one: [] for one in arguments.peer}
        rows |= {side: [] for side in arguments.only}
        for seed, side in itertools.product(arguments.seeds, list(rows)):
            rows[side].append(measure(side, work, seed, arguments))
            print(f"seed {seed} {side}: {json.dumps(rows[side][-1])}", flush=True)
    _print(rows, arguments)


def _print(rows: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    print(
        f"{arguments.dataset}, {arguments.base}, {arguments.precision}, {arguments.epochs} epochs of {arguments.pairs}"
    )
    print(f"{'side':32} CPU s  pairs/s  over TRL  padding  peak MB  held-out loss, accuracy of each seed")
    medians = {side: statistics.median(one["seconds"] for one in runs) for side, runs in rows.items()}
    best = min((value for side, value in medians.items() if side.startswith(_TRL)), default=None)
    for side, runs in rows.items():
        seen = arguments.pairs * (1 if side == "frozen" else arguments.epochs)
        ratio = f"{best / medians[side]:.2f}" if best and side != "frozen" else "-"
        losses = ", ".join(f"{one['held_loss']:.4f} {one['held_accuracy']:.3f}" for one in runs)
        padding, peak = runs[0]["padding"], max(one["peak_mb"] for one in runs)
        rate = seen / medians[side]
        print(f"{side:32} {medians[side]:5.1f} {rate:8.2f} {ratio:>9} {padding:8.0%} {peak:8.0f}  {losses}")


if __name__ == "__main__":
    main()
