"""De-identified judgements in, rows of two answers that a clinician holds to be equally good out.

A reward model learns from such a row that both scores should meet. It is no preference, so it is kept apart from the
pairs: whoever learns which answer is better never reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from preceptor.files.labels import TIE
from preceptor.prepare.pairs import Judgement, Pair, flagged_answers, make_pairs, prompt_key, same_text

_Verdict = tuple[str, frozenset[str], str | None]


def make_ties(judgements: Sequence[Judgement]) -> list[Pair]:
    """Return a row of label 0.5 for each prompt, two different answers and rater whose comparison ended in a tie.

    The last tie of a rater on the same two answers counts. None is made where an answer was flagged as harmful by
    anyone, or where the same rater also preferred one of the two answers or accepted neither.
    """
    harmful = flagged_answers(judgements)
    decided = _decided(judgements)
    found: dict[_Verdict, Pair] = {}
    for judgement in judgements:
        first, second = judgement.response_a, judgement.response_b
        if judgement.kind != "preference" or judgement.outcome != "tie" or second is None or same_text(first, second):
            continue
        key = prompt_key(judgement.prompt)
        verdict = _verdict(judgement.prompt, first, second, judgement.rater)
        if verdict not in decided and not {(key, first), (key, second)} & harmful:
            found[verdict] = Pair(
                judgement.prompt, first, second, 0.0, judgement.instrument, judgement.rater, judgement.agent_name,
                judgement.specialty, judgement.is_simulated, (judgement.source,), label=TIE,
            )  # fmt: skip
    return list(found.values())


def _decided(judgements: Sequence[Judgement]) -> set[_Verdict]:
    """Return on which answers a rater said something else than that both are equally good."""
    pairs = {_verdict(pair.prompt, pair.chosen, pair.rejected, pair.rater) for pair in make_pairs(judgements)}
    refused = {
        _verdict(j.prompt, j.response_a, j.response_b, j.rater)
        for j in judgements
        if j.outcome == "both_bad" and j.response_b is not None
    }
    return pairs | refused


def _verdict(prompt: str, first: str, second: str, rater: str | None) -> _Verdict:
    return prompt_key(prompt), frozenset((prompt_key(first), prompt_key(second))), rater
