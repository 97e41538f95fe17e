"""Identifiers go, clinical terms stay, pairs stay comparable, and nothing passes through a failure."""

from __future__ import annotations

import importlib.util
import json
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import ModelError
from preceptor.privacy import entities, scrub
from preceptor.privacy.identifiers import DIRECT_KINDS, PLACEHOLDER, Kind
from preceptor.privacy.scrub import Held, Scrubber, ScrubError, load_scrubber

_CASES = Path(__file__).parent / "clinical_cases.txt"


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return load_scrubber()


def _benchmark() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "privacy_recall.py"
    spec = importlib.util.spec_from_file_location("privacy_recall", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["privacy_recall"] = module
    spec.loader.exec_module(module)
    return module


def test_recall_and_keep_hold_on_our_own_cases(scrubber: Scrubber) -> None:
    benchmark = _benchmark()
    result = benchmark.measure(list(benchmark.own_cases(_CASES)), scrubber)
    assert result["recall"] >= 0.98
    assert result["terms_kept"] >= 0.97
    assert result["held"] == 0
    for kind in DIRECT_KINDS:
        hit, total = result["by_kind"].get(kind.value, (0, 0))
        assert hit == total, kind


def test_scrubbing_what_was_scrubbed_changes_nothing(scrubber: Scrubber) -> None:
    benchmark = _benchmark()
    texts = [example.text for example in benchmark.own_cases(_CASES)]
    once = [record["text"].text for record in scrubber.scrub_records([{"text": text} for text in texts])]
    twice = scrubber.scrub_records([{"text": text} for text in once])
    assert [record["text"].text for record in twice] == once
    assert all(not record["text"].findings for record in twice)


def test_the_same_value_has_the_same_placeholder_in_prompt_and_answers(scrubber: Scrubber) -> None:
    record = scrubber.scrub_record(
        {
            "prompt": "Renato Figueroa, MRN 5512098, has gout. What first?",
            "chosen": "For Mr. Figueroa (MRN 5512098) start naproxen.",
            "rejected": "Ask Oluwaseun Bakare; renato figueroa may take colchicine.",
        }
    )
    assert record["prompt"].text == "[NAME_1], MRN [MRN_1], has gout. What first?"
    assert record["chosen"].text == "For [NAME_1] (MRN [MRN_1]) start naproxen."
    assert record["rejected"].text == "Ask [NAME_2]; [NAME_1] may take colchicine."


def test_no_planted_identifier_of_the_demo_survives(scrubber: Scrubber) -> None:
    lines = (resources.files("preceptor.demo") / "data" / "prompts.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    outcomes = scrubber.scrub_records([{"prompt": case["prompt"]} for case in cases])
    for case, outcome in zip(cases, outcomes, strict=True):
        assert isinstance(outcome, dict)
        left = [item["kind"] for item in case["identifiers"] if item["value"] in outcome["prompt"].text]
        assert not left, case["id"]


def test_nothing_links_two_records(scrubber: Scrubber) -> None:
    first, second = scrubber.scrub_records(
        [{"text": "Seen with Dr. Abernathy and Dr. Okonkwo."}, {"text": "Seen with Dr. Okonkwo."}]
    )
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert "[NAME_2]" in first["text"].text
    assert second["text"].text == "Seen with [NAME_1]."


def test_offsets_refer_to_the_text_that_was_given(scrubber: Scrubber) -> None:
    text = "Pt\u200b “Anneliese Brandt” – MRN\u00a0773\u20111120 – café‑au‑lait spots"
    scrubbed = scrubber.scrub_text(text)
    found = {(finding.kind, text[finding.start : finding.end]) for finding in scrubbed.findings}
    assert (Kind.NAME, "Anneliese Brandt") in found
    assert (Kind.MRN, "773\u20111120") in found
    assert "café‑au‑lait spots" in scrubbed.text


def test_values_that_the_caller_knows_go_whatever_they_look_like(scrubber: Scrubber) -> None:
    scrubbed = scrubber.scrub_text("Will asked about code blue 17 and will come back.", ["Will", ("ID", "blue 17")])
    assert scrubbed.text.startswith("[NAME_1] asked about code [ID_1]")


def test_new_placeholders_do_not_collide_with_those_already_there(scrubber: Scrubber) -> None:
    assert scrubber.scrub_text("[NAME_1] was seen by Dr. Abernathy.").text == "[NAME_1] was seen by [NAME_2]."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She is 94 years old.", "She is 90+ years old."),
        ("She is 89 years old.", "She is 89 years old."),
        ("ZIP code 94110", "ZIP code [ZIP 941]"),
        ("ZIP code 03601", "ZIP code [ZIP 000]"),
        ("Seen on 03/14/2024, ill since 2019.", "Seen on [DATE_1], ill since 2019."),
    ],
)
def test_what_safe_harbor_lets_stay_stays_coarse(scrubber: Scrubber, text: str, expected: str) -> None:
    assert scrubber.scrub_text(text).text == expected


@pytest.mark.parametrize("kind", list(Kind))
def test_every_placeholder_is_recognized_as_one(kind: Kind) -> None:
    from preceptor.privacy.identifiers import placeholder

    written = placeholder(kind, 3, "94110")
    assert kind is Kind.AGE or PLACEHOLDER.fullmatch(written)


def test_a_poison_record_is_held_and_its_neighbors_go_on(scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch) -> None:
    real = scrub.detect

    def fails_on_poison(fields: Any, known: Any = ()) -> Any:
        if any("poison" in field.text for field in fields):
            raise RuntimeError("the detector broke on: poison Marguerite")
        return real(fields, known)

    monkeypatch.setattr(scrub, "detect", fails_on_poison)
    good, held, other = scrubber.scrub_records(
        [{"text": "Dr. Abernathy"}, {"text": "poison Marguerite"}, {"text": "MRN 4471902"}]
    )
    assert isinstance(held, Held)
    assert "Marguerite" not in held.reason
    assert isinstance(good, dict)
    assert isinstance(other, dict)
    assert good["text"].text == "[NAME_1]"
    with pytest.raises(ScrubError, match="held"):
        scrubber.scrub_text("poison Marguerite")


def test_a_text_that_is_too_long_is_held(scrubber: Scrubber) -> None:
    with pytest.raises(ScrubError, match="100000"):
        scrubber.scrub_text("a " * 60_000)


def test_a_missing_model_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entities, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install"):
        load_scrubber()


def test_another_model_of_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entities, "MODEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="weights"):
        load_scrubber()


WORST = [
    "1-" * 4000,
    "a.b" * 3000,
    "a@" * 4000,
    "1 " * 4000,
    "A" * 9000,
    "Aa " * 3000,
    "12/" * 3000,
    "(" * 8000,
    "1.1." * 2000,
    "mrn " * 2000,
    "mrn number is " * 700,
    "address is 1 " * 700,
    "St. " * 2500,
    "#1" * 4000,
    "J. " * 3000,
    "[NAME_1]" * 1000,
    "http://" * 1200,
    "a_" * 4000,
    "1a" * 4000,
    "phone " * 1500,
    "'s " * 3000,
    "\u200b" * 9000,
    "0:" * 4000,
    "born on " * 1000,
    "x-" * 4000,
    "Hospital " * 1000,
    "of and " * 1300,
]


@pytest.mark.parametrize("text", WORST, ids=lambda text: text[:8].strip() or "blank")
def test_no_pattern_stalls_on_worst_case_text(text: str) -> None:
    from preceptor.privacy import contact, dates, names, numbers, places
    from preceptor.privacy.words import split_words

    words = split_words(text)
    for name, run in {
        "contact": lambda: list(contact.find(text)),
        "numbers": lambda: list(numbers.find(text)),
        "dates": lambda: list(dates.find(text)),
        "places": lambda: list(places.find(text)),
        "names": lambda: list(names.find(text, words)),
    }.items():
        started = time.process_time()
        run()
        assert time.process_time() - started < 2.0, name
