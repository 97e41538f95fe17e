from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from preceptor.errors import InputError
from preceptor.gateway.backends import visible
from preceptor.gateway.schemas import ChatRequest

ASK = {"role": "user", "content": "What dose?"}


def request(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "preceptor/triage_agent", "messages": [ASK], **fields})


def test_a_single_question_is_the_prompt_itself() -> None:
    assert request().prompt() == "What dose?"
    assert request(messages=[{"role": "user", "content": [{"type": "text", "text": " a "}]}]).prompt() == "a"


def test_a_conversation_is_written_out_with_its_speakers() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        ASK,
    ]
    assert request(messages=turns).prompt() == (
        "Instructions: Be brief.\nClinician: Hello\nAssistant: Yes?\nClinician: What dose?"
    )


@pytest.mark.parametrize("model", ["preceptor/triage_agent", "triage_agent"])
def test_the_model_field_names_the_agent(model: str) -> None:
    assert request(model=model).agent_name() == "triage_agent"


@pytest.mark.parametrize("model", ["../etc", "a b", "preceptor/", "é", "x" * 99, "preceptor/a/b"])
def test_what_cannot_be_an_agent_is_refused(model: str) -> None:
    with pytest.raises(InputError, match="names the agent"):
        request(model=model).agent_name()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"logprobs": True},
        {"presence_penalty": 0.5},
        {"n": 0},
        {"temperature": 2.5},
        {"top_p": 0},
        {"max_tokens": 0},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "  "}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": [{"role": "user", "content": "x" * 70_000}]},
        {"messages": [{"role": "user", "content": "a\x00b"}]},
        {"messages": [{"role": "user", "content": "half a pair \ud800"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "half a pair \ud800"}]}]},
        {"metadata": {"session_id": "two\nlines"}},
        {"metadata": {"session_id": "  "}},
        {"metadata": {"session_id": "x" * 201}},
        {"metadata": {"visit": 7}},
    ],
)
def test_what_cannot_be_honored_is_refused_not_ignored(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**fields)


def test_an_answer_of_ours_may_come_back_as_a_turn() -> None:
    said = {"role": "assistant", "content": "Drink enough.", "refusal": None}
    asked = request(messages=[{"role": "user", "content": "Fever?"}, said, {"role": "user", "content": "And then?"}])
    assert asked.prompt().splitlines()[1] == "Assistant: Drink enough."


def test_sampling_prefers_the_request_then_the_deployment() -> None:
    chosen = request(temperature=0, max_tokens=9, max_completion_tokens=7, seed=3, stop="\n").sampling(
        {"temperature": 0.7, "top_p": 0.9}
    )
    assert (chosen.temperature, chosen.top_p, chosen.max_tokens, chosen.seed) == (0.0, 0.9, 7, 3)
    assert chosen.stop == ("\n",)
    assert request().sampling({}).seed != request().sampling({}).seed


@pytest.mark.parametrize(
    ("text", "stop", "done", "shown"),
    [
        ("  Hello ", (), False, ("Hello", False)),
        ("caf\ufffd", (), False, ("caf", False)),
        ("caf\ufffd", (), True, ("caf\ufffd", False)),
        ("one END two", ("END",), False, ("one", True)),
        ("one EN", ("END",), False, ("one", False)),
        ("one EN", ("END",), True, ("one EN", False)),
        ("a\nb", ("zz", "\n"), True, ("a", True)),
    ],
)
def test_half_characters_and_half_stop_texts_are_held_back(
    text: str, stop: tuple[str, ...], done: bool, shown: tuple[str, bool]
) -> None:
    assert visible(text, stop, done=done) == shown


def test_what_was_shown_is_never_taken_back() -> None:
    text, stop = "Take it. EN route to EEND END of it", ("END", "ND of")
    shown = ""
    for end in range(len(text) + 1):
        more, stopped = visible(text[:end], stop, done=False)
        assert more.startswith(shown)
        shown = more
        if stopped:
            break
    assert shown == "Take it. EN route to E"
