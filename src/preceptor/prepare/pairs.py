"""De-identified judgements in, training pairs and single labeled answers out.

A comparison makes a pair. Stars make one only for the same prompt, by the same rater, at least two stars apart; a
thumb up and a thumb down likewise. A correction is the clinician's own better answer: it is preferred to the answer it
came with whatever stars or thumb that got, and in a comparison to each answer that lost. A tie makes no pair
(`ties.py` says what it makes), "neither is acceptable" makes two labels and no pair, and an answer that anyone flagged
as harmful is never the better one.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

MARGINS = {None: 0.0, 1: 1 / 3, 2: 1.0}
"""Margin of a comparison by its strength: unsaid, better, much better (cf. Touvron et al. 2023, table 27)."""

Source = tuple[str, str, int]
"""The kind, id and revision of the judgement that a row was made from."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One de-identified judgement; feedback has `response_a` alone, a preference has both."""

    kind: str
    source_id: str
    prompt: str
    response_a: str
    response_b: str | None = None
    correction: str | None = None
    revision: int = 1
    instrument: str = "comparison"
    rating: int | None = None
    thumb: int | None = None
    outcome: str | None = None
    strength: int | None = None
    harm_a: int | None = None
    harm_b: int | None = None
    rater: str | None = None
    agent_name: str | None = None
    specialty: str | None = None
    is_simulated: bool = False
    scrubber_version: str | None = None  # what removed its identifiers; None where nothing did

    @property
    def source(self) -> Source:
        return self.kind, self.source_id, self.revision


@dataclass(frozen=True, slots=True)
class Pair:
    """A training row. `margin` is how much better at least, `weight` what it counts.

    `label` is how likely `chosen` is the better answer: 1 unless a file of ready pairs was less sure, or 0.5 for a tie,
    where the order of both says nothing.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float
    instrument: str
    rater: str | None
    agent_name: str | None
    specialty: str | None
    is_simulated: bool
    sources: tuple[Source, ...]
    weight: float = 1.0
    label: float = 1.0


@dataclass(frozen=True, slots=True)
class Unpaired:
    """One answer that is acceptable or not, by itself."""

    prompt: str
    completion: str
    label: bool
    instrument: str
    rater: str | None
    agent_name: str | None
    sources: tuple[Source, ...]


def prompt_key(prompt: str) -> str:
    """Return what makes two prompts the same: case, spacing and typographic form do not tell them apart."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def same_text(first: str, second: str) -> bool:
    """Return whether two answers differ in case, spacing and typographic form at most."""
    return prompt_key(first) == prompt_key(second)


def make_pairs(judgements: Sequence[Judgement], *, minimum_gap: int = 2) -> list[Pair]:
    """Return every pair that the judgements support, each once, in the order of the judgements."""
    harmful = flagged_answers(judgements)
    candidates = [
        *_from_comparisons(judgements),
        *_from_scores(judgements, minimum_gap=minimum_gap),
        *_from_corrections(judgements),
    ]
    kept: dict[tuple[str, str, str, str | None], Pair] = {}
    compared = {
        (prompt_key(j.prompt), frozenset((j.response_a, j.response_b or "")), j.rater)
        for j in judgements
        if j.kind == "preference"
    }
    for pair in candidates:
        key = prompt_key(pair.prompt)
        if same_text(pair.chosen, pair.rejected) or (key, pair.chosen) in harmful:
            continue
        # Where the same rater compared the two answers directly, that verdict stands and stars do not add to it.
        if (
            pair.instrument in ("stars", "thumbs")
            and (key, frozenset((pair.chosen, pair.rejected)), pair.rater) in compared
        ):
            continue
        name = (key, pair.chosen, pair.rejected, pair.rater)
        earlier = kept.get(name)
        if earlier is None:
            kept[name] = pair
        else:
            sources = tuple(dict.fromkeys((*earlier.sources, *pair.sources)))
            kept[name] = replace(earlier, margin=max(earlier.margin, pair.margin), sources=sources)
    return list(kept.values())


def make_unpaired(judgements: Sequence[Judgement]) -> list[Unpaired]:
    """Return labels of single answers: thumbs, both answers of "neither is acceptable", and harmful ones."""
    harmful = flagged_answers(judgements)
    found: dict[tuple[str, str, str | None], Unpaired] = {}
    for judgement in judgements:
        for answer, label in _labels(judgement):
            key = prompt_key(judgement.prompt)
            good = label and (key, answer) not in harmful
            found[key, answer, judgement.rater] = Unpaired(
                judgement.prompt, answer, good, judgement.instrument, judgement.rater, judgement.agent_name,
                (judgement.source,),
            )  # fmt: skip
    return list(found.values())


def flagged_answers(judgements: Iterable[Judgement]) -> set[tuple[str, str]]:
    """Return the key of the prompt and the answer wherever anyone flagged one as possibly harmful."""
    return {(prompt_key(j.prompt), answer) for j in judgements for answer in harmful_answers(j)}


def harmful_answers(judgement: Judgement) -> Iterator[str]:
    """Yield the answers that this judgement flags as possibly harmful."""
    if (judgement.harm_a or 0) > 0:
        yield judgement.response_a
    if (judgement.harm_b or 0) > 0 and judgement.response_b is not None:
        yield judgement.response_b


def cap_raters(pairs: Sequence[Pair], *, share: float) -> list[Pair]:
    """Down-weight the pairs of a busy rater until no rater has more than `share` of the weight.

    Under twenty raters a share of 5 % cannot be met; the limit is then twice an equal share. Pairs without a rater
    count together as one.
    """
    counts: dict[str | None, int] = defaultdict(int)
    for pair in pairs:
        counts[pair.rater] += 1
    limit = max(share, 2 / len(counts)) if counts else 1.0
    if limit >= 1:
        return list(pairs)
    allowed = _water_level(sorted(counts.values()), limit)
    return [replace(pair, weight=min(1.0, allowed / counts[pair.rater])) for pair in pairs]


def _water_level(totals: Sequence[int], limit: float) -> float:
    """Return the largest t with t <= limit * sum(min(n, t)) over the raters' totals, in ascending order."""
    below = 0.0
    for index, total in enumerate(totals):
        above = len(totals) - index
        # With `above` raters at the level t and `below` pairs under it, t <= limit * (below + above * t).
        if limit * above >= 1:
            below += total
            continue
        level = limit * below / (1 - limit * above)
        if level <= total:
            return max(level, float(totals[index - 1]) if index else level)
        below += total
    return float(totals[-1])


def _from_comparisons(judgements: Iterable[Judgement]) -> Iterator[Pair]:
    for judgement in judgements:
        if judgement.kind != "preference" or judgement.response_b is None or judgement.outcome not in ("a", "b"):
            continue
        first, second = judgement.response_a, judgement.response_b
        chosen, rejected = (first, second) if judgement.outcome == "a" else (second, first)
        yield _pair(judgement, chosen, rejected, MARGINS.get(judgement.strength, 0.0))


def _from_scores(judgements: Iterable[Judgement], *, minimum_gap: int) -> Iterator[Pair]:
    groups: dict[tuple[str, str, str], dict[str, Judgement]] = defaultdict(dict)
    for judgement in judgements:
        scored = judgement.rating if judgement.instrument == "stars" else judgement.thumb
        if judgement.kind == "feedback" and judgement.rater is not None and scored is not None:
            # The last judgement of the same answer by the same rater counts.
            groups[prompt_key(judgement.prompt), judgement.rater, judgement.instrument][judgement.response_a] = (
                judgement
            )
    for (_, _, instrument), by_answer in groups.items():
        for first, second in combinations(by_answer.values(), 2):
            gap = _score(first) - _score(second)
            if abs(gap) < (minimum_gap if instrument == "stars" else 2):
                continue
            better, worse = (first, second) if gap > 0 else (second, first)
            margin = (abs(gap) - 1) / 3 if instrument == "stars" else 0.0
            pair = _pair(better, better.response_a, worse.response_a, margin)
            yield replace(pair, sources=(better.source, worse.source))


def _from_corrections(judgements: Iterable[Judgement]) -> Iterator[Pair]:
    for judgement in judgements:
        if judgement.correction is None or not judgement.correction.strip():
            continue
        for rejected in _corrected(judgement):
            yield replace(_pair(judgement, judgement.correction, rejected, MARGINS[1]), instrument="correction")


def _corrected(judgement: Judgement) -> list[str]:
    """Return the answers that a correction improves on: the one it came with, or those that a comparison refused."""
    first, second = judgement.response_a, judgement.response_b
    if judgement.kind != "preference":
        return [first]
    refused: dict[str, tuple[str | None, ...]] = {"a": (second,), "b": (first,), "both_bad": (first, second)}
    return [answer for answer in refused.get(judgement.outcome or "", ()) if answer is not None]


def _labels(judgement: Judgement) -> list[tuple[str, bool]]:
    flagged = [(answer, False) for answer in harmful_answers(judgement)]
    if judgement.kind == "preference":
        if judgement.outcome == "both_bad" and judgement.response_b is not None:
            return [(judgement.response_a, False), (judgement.response_b, False)]
        return flagged
    if judgement.instrument == "thumbs" and judgement.thumb is not None:
        return flagged or [(judgement.response_a, judgement.thumb > 0)]
    return flagged


def _score(judgement: Judgement) -> int:
    return (judgement.rating if judgement.instrument == "stars" else judgement.thumb) or 0


def _pair(judgement: Judgement, chosen: str, rejected: str, margin: float) -> Pair:
    return Pair(
        judgement.prompt, chosen, rejected, round(margin, 6), judgement.instrument, judgement.rater,
        judgement.agent_name, judgement.specialty, judgement.is_simulated, (judgement.source,),
    )  # fmt: skip
