"""Pairs of held-out answers in, the panel's own verdict with intervals out: better, and not only longer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preceptor.demo.answers import Answer
from preceptor.demo.panel import judge_win, panel_score
from preceptor.stats.intervals import cluster_share


@dataclass(frozen=True)
class Bounded:
    """An estimate with its 95 % interval."""

    point: float
    low: float
    high: float

    def text(self) -> str:
        return f"{self.point:.0%} of the time (95 % interval {self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Verdict:
    """Held-out comparison of a candidate with the baseline, by the rubric without noise."""

    cases: int
    win_rate: Bounded
    candidate_score: float
    baseline_score: float
    length_ratio: float
    shorter_win_rate: float | None
    """Win rate where the candidate's answer is not longer; None where there is no such case."""


def judge_pairs(pairs: Sequence[tuple[Answer, Answer]], *, seed: int) -> Verdict:
    """Judge each (candidate, baseline) pair; the interval takes cases as its units."""
    wins = [judge_win(new.case, new.text, old.text) for new, old in pairs]
    interval = cluster_share(wins, [new.case.id for new, _ in pairs], seed=seed)
    lengths = [(len(new.text.split()), len(old.text.split())) for new, old in pairs]
    shorter = [win for win, (new, old) in zip(wins, lengths, strict=True) if new <= old]
    return Verdict(
        cases=len(pairs),
        win_rate=Bounded(interval.estimate, interval.low, interval.high),
        candidate_score=sum(panel_score(new.case, new.text, finished=new.finished) for new, _ in pairs) / len(pairs),
        baseline_score=sum(panel_score(old.case, old.text, finished=old.finished) for _, old in pairs) / len(pairs),
        length_ratio=sum(new for new, _ in lengths) / max(sum(old for _, old in lengths), 1),
        shorter_win_rate=sum(shorter) / len(shorter) if shorter else None,
    )
