"""A JSONL file of pairs, or a dataset's folder, goes in; checked pairs and ties with their split come out.

A tie is a pair of label 0.5: a model learns from it that both scores should meet, and nothing is judged by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from preceptor.errors import DataError, InputError
from preceptor.files.jsonl import beside, read_jsonl, text_field
from preceptor.files.labels import TIE, label_of, sides_of

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TIES = "ties.jsonl"
_LARGEST = 1_000_000  # margin or weight; a loss of far larger ones is no number
_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.1  # of the prompts, where the file does not say


@dataclass(frozen=True)
class Pair:
    """One training row; `margin`, `weight` and `label` act on the Bradley-Terry loss. A tie asks for no margin."""

    prompt: str
    chosen: str
    rejected: str
    split: Split = "train"
    margin: float = 0.0
    weight: float = 1.0
    rater: str | None = None
    agent: str | None = None
    specialty: str | None = None
    label: float = 1.0
    """How likely `chosen` is the better answer: 1 for a plain preference, 0.5 for a tie."""

    @property
    def is_tie(self) -> bool:
        """Whether neither answer is the better one, so that nothing can be right or wrong about their order."""
        return self.label == TIE


@dataclass(frozen=True)
class PairSet:
    """The pairs and ties of a dataset by split, the prompts that came with it, and what was left out."""

    pairs: tuple[Pair, ...]
    prompts: tuple[tuple[str, str], ...]  # (prompt, split)
    identical: int
    """Rows left out because chosen and rejected are the same text."""
    leaked: int
    """Rows left out because their prompt is also held out: in test, or, for training rows, in validation."""

    def of(self, *splits: Split) -> list[Pair]:
        return [pair for pair in self.pairs if pair.split in splits]


def read_pairs(path: Path, *, seed: int = 42) -> PairSet:
    """Read and check a dataset; pairs without a split are split by prompt, the same way every time.

    Ties lie in `ties.jsonl` of a folder and in `NAME.ties.jsonl` beside a file `NAME.jsonl`, if anywhere. Theirs is the
    split of the pairs of their prompt, else their own, else `train`. Pairs and prompts come sorted, so the order of the
    rows, which ids drawn at random decide, changes no model.

    Raises:
        InputError: the file is missing, empty, half-written, or a row lacks a field; names file and line.
        DataError: the rows are well formed but cannot train and measure a model.
    """
    folder = path if path.is_dir() else None
    file = path / "preferences.jsonl" if folder else path
    if folder and not file.is_file():
        raise InputError(f"The folder {path} holds no preferences.jsonl: give a dataset's folder, or a JSONL file.")
    rows = [_pair(file, number, row) for number, row in read_jsonl(file)]
    tied = _ties(path / TIES if folder else beside(path, TIES), pairs=file)
    different = [(pair, split) for pair, split in rows if pair.chosen != pair.rejected]
    if not different:
        raise DataError(
            f"In all {len(rows)} rows of {file}, chosen and rejected are the same text: there is nothing to learn. "
            "Prepare the dataset from judgements of different responses."
        )
    pairs = _with_splits(file, different, seed)
    splits = {pair.prompt: pair.split for pair in pairs}
    apart = [(tie, split) for tie, split in tied if tie.chosen != tie.rejected]
    pairs += [replace(tie, split=splits.get(tie.prompt) or split or "train") for tie, split in apart]
    held_out = {split: {pair.prompt for pair in pairs if pair.split == split} for split in ("validation", "test")}
    later = {"train": held_out["validation"] | held_out["test"], "validation": held_out["test"], "test": set[str]()}
    kept = [pair for pair in pairs if pair.prompt not in later[pair.split]]
    if not any(pair.split != "test" for pair in kept):
        raise DataError(f"Every prompt of {file} is held out for testing: nothing is left to train on.")
    for side in (True, False):
        if all(pair.is_tie for pair in kept if (pair.split == "test") == side):
            use = "measured by" if side else "learned from"
            raise DataError(f"All that {file} has to be {use} are ties: give preferences for more prompts.")
    kept.sort(key=lambda pair: (pair.prompt, pair.chosen, pair.rejected, pair.rater or ""))
    identical = len(rows) - len(different) + len(tied) - len(apart)
    return PairSet(tuple(kept), _prompts(folder, kept), identical, len(pairs) - len(kept))


def _ties(file: Path, *, pairs: Path) -> list[tuple[Pair, Split | None]]:
    """The rows of a file of ties, if there is one; raises InputError for a row that is none."""
    found = []
    for number, row in read_jsonl(file, may_be_empty=True) if file.is_file() else ():
        tie, split = _pair(file, number, row)
        if not tie.is_tie:
            raise InputError(
                f"{file}, line {number}: metadata.label must be 0.5 in a file of ties; a preference belongs in {pairs}."
            )
        found.append((tie, split))
    return found


def _pair(file: Path, number: int, row: dict[str, Any]) -> tuple[Pair, Split | None]:
    metadata = row.get("metadata")
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict):
        raise InputError(f"{file}, line {number}: the field 'metadata' is not a JSON object. Correct it and run again.")
    split = metadata.get("split")
    if split is not None and split not in SPLITS:
        raise InputError(f"{file}, line {number}: metadata.split must be one of {', '.join(SPLITS)}.")
    rater = metadata.get("rater")
    agent, specialty = metadata.get("agent_name"), metadata.get("specialty")
    label = label_of(file, number, metadata)
    margin = _number(file, number, metadata, "margin", 0.0)
    chosen, rejected = (text_field(file, number, row, side) for side in sides_of(label))
    pair = Pair(
        prompt=text_field(file, number, row, "prompt"),
        chosen=chosen,
        rejected=rejected,
        margin=0.0 if label == TIE else margin,
        weight=_number(file, number, metadata, "weight", 1.0),
        rater=None if rater is None else str(rater),
        agent=None if agent is None else str(agent),
        specialty=None if specialty is None else str(specialty),
        label=max(label, 1.0 - label),
    )
    return pair, cast("Split | None", split)


def _number(file: Path, number: int, metadata: dict[str, Any], name: str, default: float) -> float:
    value = metadata.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise InputError(f"{file}, line {number}: metadata.{name} must be a number from 0 to {_LARGEST:,}.")
    return float(value)


def _with_splits(file: Path, rows: Sequence[tuple[Pair, Split | None]], seed: int) -> list[Pair]:
    given = [split for _, split in rows]
    if all(given) and "train" in given and "test" in given:
        return [replace(pair, split=split or "train") for pair, split in rows]
    splits = split_by_prompt([pair.prompt for pair, _ in rows], seed=seed)
    if len(splits) < 2:
        raise DataError(
            f"{file} has pairs for {len(splits)} prompt only; a reward model needs at least 2, one to train on and one "
            "held out to measure it. Collect more judgements first."
        )
    return [replace(pair, split=splits[pair.prompt]) for pair, _ in rows]


def split_by_prompt(prompts: Sequence[str], *, seed: int) -> dict[str, Split]:
    """The split of each distinct prompt, from a hash of the seed and its text: stable when rows are reordered."""
    distinct = sorted(set(prompts), key=lambda prompt: hashlib.sha256(f"{seed}:{prompt}".encode()).digest())
    test = max(1, round(_TEST_SHARE * len(distinct)))
    validation = round(_VALIDATION_SHARE * len(distinct)) if len(distinct) >= 10 else 0
    held = test + validation
    return {
        prompt: "test" if place < test else "validation" if place < held else "train"
        for place, prompt in enumerate(distinct)
    }


def _prompts(folder: Path | None, pairs: Sequence[Pair]) -> tuple[tuple[str, str], ...]:
    """Prompts for PPO: those of the pairs, and those that a dataset's folder lists beside them."""
    found: dict[str, str] = {pair.prompt: pair.split for pair in pairs}
    listed = folder / "prompts.jsonl" if folder else None
    if listed is not None and listed.is_file():
        for number, row in read_jsonl(listed, may_be_empty=True):
            found.setdefault(text_field(listed, number, row, "prompt"), str(row.get("split") or "train"))
    return tuple(sorted(found.items()))
