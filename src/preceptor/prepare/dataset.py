"""Pairs, ties, labels and prompts in, the rows of a dataset by split out, and how many there are of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preceptor.errors import DataError
from preceptor.prepare.pairs import Judgement, Pair, Unpaired, cap_raters, make_pairs, make_unpaired, prompt_key
from preceptor.prepare.splits import SPLITS, Split, place, split_prompts
from preceptor.prepare.ties import make_ties

if TYPE_CHECKING:
    from datasets import DatasetDict

RATER_SHARE = 0.05  # of the weight, at most, that is one rater's
METADATA_TEXTS = ("split", "instrument", "rater", "agent_name", "specialty")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset in memory: every pair with its split, single labels, and the prompts with theirs.

    Ties are apart from the pairs, since neither of their answers is the better one.
    """

    pairs: tuple[tuple[Pair, Split], ...]
    unpaired: tuple[tuple[Unpaired, Split], ...]
    prompts: tuple[tuple[str, Split], ...]
    judgements: int
    ties: tuple[tuple[Pair, Split], ...] = ()

    def pair_rows(self) -> list[dict[str, Any]]:
        """Return rows of exactly `prompt, chosen, rejected, metadata`."""
        return [pair_row(pair, split) for pair, split in self.pairs]

    def tie_rows(self) -> list[dict[str, Any]]:
        """Return rows of the same form, with 0.5 as `metadata.label`: `chosen` is as good as `rejected`."""
        return [pair_row(tie, split) for tie, split in self.ties]

    def unpaired_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "prompt": item.prompt,
                "completion": item.completion,
                "label": item.label,
                "metadata": {"split": split, "instrument": item.instrument, "rater": item.rater},
            }
            for item, split in self.unpaired
        ]

    def prompt_rows(self) -> list[dict[str, str]]:
        return [{"prompt": prompt, "split": split} for prompt, split in self.prompts]

    def members(self) -> list[dict[str, Any]]:
        """Return every judgement that is in the dataset, its split and the largest weight it has there."""
        found: dict[tuple[str, str, int], tuple[Split, float]] = {}
        weighed = [
            *((pair.sources, split, pair.weight) for pair, split in (*self.pairs, *self.ties)),
            *((item.sources, split, 0.0) for item, split in self.unpaired),
        ]
        for sources, split, weight in weighed:
            for source in sources:
                found[source] = (split, max(weight, found.get(source, (split, 0.0))[1]))
        return [
            {"kind": kind, "source_id": name, "source_revision": revision, "split": split, "weight": weight}
            for (kind, name, revision), (split, weight) in sorted(found.items())
        ]

    def counts(self) -> dict[str, int | float]:
        """Return the numbers that describe the dataset."""
        by_split = Counter(split for _, split in self.pairs)
        by_instrument = Counter(pair.instrument for pair, _ in self.pairs)
        by_rater: Counter[str | None] = Counter()
        for pair, _ in self.pairs:
            by_rater[pair.rater] += pair.weight  # type: ignore[assignment]  # a Counter of weights
        total = sum(by_rater.values())
        return {
            "judgements": self.judgements,
            "pairs": len(self.pairs),
            **{f"pairs_{split}": by_split[split] for split in SPLITS},
            **{f"pairs_from_{name}": count for name, count in sorted(by_instrument.items())},
            "ties": len(self.ties),
            "unpaired": len(self.unpaired),
            "prompts": len(self.prompts),
            "raters": len(by_rater.keys() - {None}),
            "largest_rater_share": round(max(by_rater.values()) / total, 4) if total else 0.0,
        }


def prepare(
    judgements: Sequence[Judgement],
    *,
    minimum_gap: int = 2,
    test_share: float = 0.2,
    validation_share: float = 0.1,
    rater_share: float = RATER_SHARE,
    seed: int = 42,
) -> Prepared:
    """Make the dataset of some judgements.

    Raises:
        DataError: they make no pair, or pairs for one prompt only.
    """
    pairs = make_pairs(judgements, minimum_gap=minimum_gap)
    if not pairs:
        raise DataError(f"No pairs come out of {len(judgements)} judgements: {explain_none(judgements)}")
    splits = split_prompts(
        (pair.prompt for pair in pairs), test_share=test_share, validation_share=validation_share, seed=seed
    )

    def side(prompt: str) -> Split:
        at = place(prompt, seed=seed)
        free: Split = "test" if at < test_share else "validation" if at < test_share + validation_share else "train"
        return splits.get(prompt_key(prompt), free)

    prompts: dict[str, str] = {}
    for judgement in judgements:
        prompts.setdefault(prompt_key(judgement.prompt), judgement.prompt)
    return Prepared(
        pairs=tuple((pair, side(pair.prompt)) for pair in cap_raters(pairs, share=rater_share)),
        unpaired=tuple((item, side(item.prompt)) for item in make_unpaired(judgements)),
        prompts=tuple((prompt, side(prompt)) for prompt in prompts.values()),
        judgements=len(judgements),
        ties=tuple((tie, side(tie.prompt)) for tie in cap_raters(make_ties(judgements), share=rater_share)),
    )


def explain_none(judgements: Iterable[Judgement]) -> str:
    """Say why judgements made no pair."""
    kinds = Counter(
        judgement.outcome or "no choice" if judgement.kind == "preference" else judgement.instrument
        for judgement in judgements
    )
    if not kinds:
        return "there are no judgements that may be used. Collect some, or check consent, review and the agent's name."
    listed = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
    return (
        f"there are {listed}. A pair needs a choice between two answers, two ratings of the same prompt by the same "
        "clinician two stars apart, or a correction; answers flagged as harmful are never chosen."
    )


def pair_row(pair: Pair, split: Split) -> dict[str, Any]:
    """Return one row as it is written and trained on; its metadata have the label too where that is not 1."""
    metadata: dict[str, Any] = {
        "split": split,
        "margin": pair.margin,
        "weight": round(pair.weight, 6),
        "instrument": pair.instrument,
        "rater": pair.rater,
        "agent_name": pair.agent_name,
        "specialty": pair.specialty,
        "is_simulated": pair.is_simulated,
        "sources": [f"{kind}:{name}:{revision}" for kind, name, revision in pair.sources],
    }
    if pair.label != 1:
        metadata["label"] = pair.label
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "metadata": metadata}


def to_dataset_dict(rows: Iterable[Mapping[str, Any]]) -> DatasetDict:
    """Return rows of pairs as a `datasets.DatasetDict`; a split without rows is left out."""
    from datasets import Dataset, DatasetDict, Features, List, Value

    text = Value("string")
    metadata: dict[str, Any] = dict.fromkeys(METADATA_TEXTS, text)
    metadata |= {"margin": Value("float64"), "weight": Value("float64"), "is_simulated": Value("bool")}
    metadata["sources"] = List(text)
    features = Features({"prompt": text, "chosen": text, "rejected": text, "metadata": metadata})
    by_split: dict[str, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
    for row in rows:
        by_split[row["metadata"]["split"]].append(row)
    return DatasetDict(
        {split: Dataset.from_list(listed, features=features) for split, listed in by_split.items() if listed}
    )
