"""The demo's own sample: its size, its shape and its planted identifiers."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from preceptor.demo.cases import find_case, load_cases
from preceptor.errors import NotFoundError

CASES = load_cases()
HELDOUT = load_cases(heldout=True)


def test_the_sample_covers_twelve_specialties_four_kinds_and_three_agents() -> None:
    assert len(CASES) >= 168
    assert len(HELDOUT) == 48
    for cases in (CASES, HELDOUT):
        assert len({case.specialty for case in cases}) == 12
        assert {case.kind for case in cases} == {"drug_safety", "red_flags", "counselling", "chronic_disease"}
        assert {case.agent_name for case in cases} == {
            "prescription_agent",
            "triage_agent",
            "patient_education_agent",
        }
    assert min(Counter(case.specialty for case in CASES).values()) >= 14
    assert sum(case.red_flags for case in CASES) >= 40


def test_no_prompt_and_no_id_is_used_twice_even_across_the_two_files() -> None:
    both = CASES + HELDOUT
    assert len({case.prompt for case in both}) == len(both)
    assert len({case.id for case in both}) == len(both)


def test_every_prompt_is_short_and_expects_terms_that_it_does_not_contain_itself() -> None:
    for case in CASES + HELDOUT:
        assert 10 <= len(case.prompt.split()) <= 45, case.id
        new = [term for term in case.topic if not re.search(rf"\b{re.escape(term)}", case.prompt, re.IGNORECASE)]
        assert len(new) >= 3, case.id


def test_every_planted_identifier_stands_in_its_prompt_letter_by_letter() -> None:
    planted = [case for case in CASES if case.identifiers]
    assert len(planted) >= 40
    for case in planted:
        for identifier in case.identifiers:
            assert identifier.value in case.prompt, case.id
    kinds = {identifier.kind for case in planted for identifier in case.identifiers}
    assert kinds >= {"name", "mrn", "phone", "email", "date", "address", "ssn", "plan_id", "account"}


def test_planted_contact_details_can_belong_to_nobody() -> None:
    for case in CASES:
        for identifier in case.identifiers:
            if identifier.kind == "phone":
                assert "555-01" in identifier.value, case.id
            if identifier.kind == "email":
                assert identifier.value.endswith(".example"), case.id
            if identifier.kind == "ssn":
                assert identifier.value.startswith("900-"), case.id


def test_prompts_without_a_planted_identifier_carry_no_number_or_address_that_looks_like_one() -> None:
    looks = re.compile(r"@|\b\d{3}-\d{4}\b|\b\d{5,}\b|\b\d{1,2}/\d{1,2}/\d{4}\b|\bMRN\b")
    for case in CASES + HELDOUT:
        rest = case.prompt
        for identifier in case.identifiers:
            rest = rest.replace(identifier.value, "").replace("MRN", "")
        assert not looks.search(rest), case.id


def test_held_out_cases_carry_neither_identifiers_nor_advice_that_could_be_taught() -> None:
    assert all(not case.identifiers and not case.advice and not case.plan for case in HELDOUT)
    assert all(case.advice and case.plan for case in CASES)


def test_every_plan_is_two_sentences_and_an_urgent_one_begins_with_where_to_go() -> None:
    for case in CASES:
        assert case.plan.count(". ") == 1, case.id
        assert case.plan.endswith("."), case.id
        if case.red_flags:
            assert re.search(r"911|emergency|hospital|urgent", case.plan.split(". ")[0]), case.id


def test_no_plan_or_advice_repeats_a_planted_identifier() -> None:
    for case in CASES:
        for identifier in case.identifiers:
            assert identifier.value not in case.plan + case.advice, case.id


def test_a_case_is_found_by_its_prompt_and_a_strange_prompt_is_refused_without_quoting_it() -> None:
    assert find_case(CASES, prompt=CASES[3].prompt) is CASES[3]
    with pytest.raises(NotFoundError) as caught:
        find_case(CASES, prompt="a private question")
    assert "private" not in caught.value.message
