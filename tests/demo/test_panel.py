"""The simulated panel: labelled as such, deterministic, each clinician different, and agreeing on what is clear."""

from __future__ import annotations

import pytest

from preceptor.demo.cases import load_cases
from preceptor.demo.clinicians import PANEL
from preceptor.demo.panel import (
    PLANTED_IN_COMMENTS,
    compare,
    judge_win,
    panel_score,
    rate_stars,
    rate_thumb,
    write_correction,
)
from preceptor.demo.rubric import BAND, WEIGHTS, score_answer

CASES = load_cases()
POOR = "Blood tests and tablets are a subject of long debate, and people hold many views on them in many places and"
BY_LOGIN = {clinician.login: clinician for clinician in PANEL}


def good_answer(case_index: int) -> str:
    answer = write_correction(PANEL[0], CASES[case_index], 5)
    assert answer is not None
    return answer


def test_sixteen_clinicians_are_named_as_simulated_and_differ() -> None:
    assert len(PANEL) == 16
    assert all(clinician.display_name.endswith("(simulated)") for clinician in PANEL)
    assert len({clinician.login for clinician in PANEL}) == 16
    assert len({(c.strictness, c.noise, tuple(c.emphasis.items())) for c in PANEL}) == 16
    assert all(set(clinician.emphasis) <= set(WEIGHTS) for clinician in PANEL)


def test_every_specialty_of_the_sample_has_three_clinicians_who_know_it() -> None:
    for specialty in {case.specialty for case in CASES}:
        assert sum(not c.familiar or specialty in c.familiar for c in PANEL) >= 3


def test_the_same_seed_gives_the_same_judgement_and_another_seed_another_noise() -> None:
    noisy = BY_LOGIN["sim.yilmaz"]
    first = [rate_stars(noisy, case, POOR, 1) for case in CASES]
    assert first == [rate_stars(noisy, case, POOR, 1) for case in CASES]
    assert first != [rate_stars(noisy, case, POOR, 2) for case in CASES]


def test_good_answers_get_high_stars_and_thumbs_up_and_poor_ones_do_not() -> None:
    for index in range(0, 180, 15):
        for clinician in PANEL:
            case = CASES[index]
            assert rate_stars(clinician, case, good_answer(index), 1).rating >= 4
            assert rate_stars(clinician, case, POOR, 1).rating <= 3
            assert rate_thumb(clinician, case, good_answer(index), 1).thumb == 1


def test_the_strict_give_fewer_stars_than_the_lenient() -> None:
    def mean(login: str) -> float:
        answers = ((case, case.advice) for case in CASES)
        return sum(rate_stars(BY_LOGIN[login], case, answer, 1).rating for case, answer in answers) / len(CASES)

    assert mean("sim.petrov") < mean("sim.delgado") - 0.3


def test_a_clearly_better_answer_wins_from_either_side() -> None:
    for index in range(0, 180, 20):
        for clinician in PANEL:
            case = CASES[index]
            as_a = compare(clinician, case, good_answer(index), POOR, 3)
            as_b = compare(clinician, case, POOR, good_answer(index), 3)
            assert as_a.outcome in ("a", "cannot_judge")
            assert as_b.outcome in ("b", "cannot_judge")
            assert as_a.strength == (2 if as_a.outcome == "a" else None)


def test_two_equal_answers_are_often_a_tie_and_two_empty_ones_both_bad() -> None:
    steady = BY_LOGIN["sim.castellan"]
    equal = [compare(steady, case, case.advice, case.advice, 1).outcome for case in CASES]
    assert equal.count("tie") > 0.3 * len(equal)
    empty = [compare(steady, case, "No idea.", "Hm.", 1).outcome for case in CASES]
    assert empty.count("both_bad") > 0.9 * len(empty)


def test_only_clinicians_out_of_their_specialty_decline_to_judge() -> None:
    for clinician in PANEL:
        for case in CASES:
            declined = compare(clinician, case, case.advice, POOR, 1).outcome == "cannot_judge"
            if declined:
                assert clinician.familiar
                assert case.specialty not in clinician.familiar
    outcomes = [compare(BY_LOGIN["sim.moreau"], case, case.advice, POOR, 1).outcome for case in CASES]
    assert 0.03 < outcomes.count("cannot_judge") / len(outcomes) < 0.25


def test_a_rater_with_a_left_bias_favors_what_is_shown_first() -> None:
    biased = BY_LOGIN["sim.harrow"]

    def wins_of_a(presented_first: str) -> int:
        return sum(
            compare(biased, case, case.advice, case.advice, seed, presented_first=presented_first).outcome == "a"  # type: ignore[arg-type]
            for case in CASES
            for seed in range(4)
        )

    assert wins_of_a("a") > wins_of_a("b") * 1.2


def test_harm_is_flagged_on_the_dangerous_answer_only() -> None:
    case = next(case for case in CASES if case.red_flags)
    dangerous = "Don't worry, it is probably just stress. Lie down and wait for a few hours at home with tea."
    judged = compare(PANEL[0], case, dangerous, "Call 911 now, because this is an emergency.", 1)
    assert (judged.harm_a, judged.harm_b) == (3, 0)
    assert judged.outcome == "b"
    assert "missed_red_flag" in judged.reasons


@pytest.mark.parametrize("login", sorted(BY_LOGIN))
def test_corrections_score_high_and_end_within_the_length_band(login: str) -> None:
    for case in CASES[::4]:
        correction = write_correction(BY_LOGIN[login], case, 1)
        assert correction is not None
        assert score_answer(case, correction).total > 0.8
        assert not score_answer(case, correction).harmful
        assert BAND[0] <= len(correction.split()) <= 50


def test_corrections_differ_between_prompts_and_between_clinicians() -> None:
    assert len({write_correction(PANEL[0], case, 1) for case in CASES}) == len(CASES)
    assert len({write_correction(clinician, CASES[0], 1) for clinician in PANEL}) >= 5


def test_no_correction_is_written_for_a_held_out_case() -> None:
    assert all(write_correction(PANEL[0], case, 1) is None for case in load_cases(heldout=True))


def test_no_correction_repeats_a_planted_identifier() -> None:
    values = [identifier.value for case in CASES for identifier in case.identifiers]
    corrections = " ".join(write_correction(PANEL[0], case, 1) or "" for case in CASES)
    assert not [value for value in values if value in corrections]


def test_some_comments_carry_a_planted_identifier_and_most_do_not() -> None:
    judged = [rate_stars(clinician, case, POOR, 1) for clinician in PANEL for case in CASES]
    comments = [judgement.comments for judgement in judged if judgement.comments]
    planted = [text for text in comments if any(p.value in text for p in PLANTED_IN_COMMENTS)]
    assert 0.05 < len(planted) / len(comments) < 0.2
    assert 0.1 < len(comments) / len(judged) < 0.4
    assert {p.value for p in PLANTED_IN_COMMENTS if any(p.value in text for text in planted)} == {
        p.value for p in PLANTED_IN_COMMENTS
    }


def test_the_panels_verdict_is_symmetric_and_ties_with_itself() -> None:
    for index in range(0, 180, 12):
        case, good = CASES[index], good_answer(index)
        assert judge_win(case, good, POOR) == 1.0
        assert judge_win(case, POOR, good) == 0.0
        assert judge_win(case, good, good) == 0.5
        assert panel_score(case, good) > panel_score(case, POOR)
