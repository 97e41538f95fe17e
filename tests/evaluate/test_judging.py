from __future__ import annotations

import numpy as np
import pytest

from preceptor.errors import DataError
from preceptor.evaluate.answers import Answer
from preceptor.evaluate.judging import score

ANSWERS = [Answer(text, [1], True) for text in ("one", "two", "three")]


@pytest.mark.parametrize("given", [[1.0, float("nan"), 2.0], [1.0, 2.0, float("-inf")], [1.0, 2.0]])
def test_a_judge_that_gives_no_number_for_an_answer_decides_nothing(given: list[float]) -> None:
    with pytest.raises(DataError, match=r"of 3 answers"):
        score(lambda *_: np.array(given), ["p", "q", "r"], ANSWERS)


def test_a_judge_gives_one_score_an_answer() -> None:
    given = score(lambda *_: np.array([1, 2, 3]), ["p", "q", "r"], ANSWERS)
    assert given.tolist() == [1.0, 2.0, 3.0]
