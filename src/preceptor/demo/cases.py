"""The sample's JSON lines go in, clinical cases come out: what was asked, what is on topic, what must not leak."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from preceptor.errors import NotFoundError

Kind = Literal["drug_safety", "red_flags", "counselling", "chronic_disease"]


class Identifier(BaseModel):
    """One planted, fictional identifier: its kind and its exact spelling in the prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    value: str


class Case(BaseModel):
    """One prompt of the sample with what a clinician would look for in an answer to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    prompt: str
    specialty: str
    agent_name: str
    kind: Kind
    topic: tuple[str, ...]
    """Word beginnings that a good answer touches; about half of them are not in the prompt."""
    red_flags: bool
    """True where delay is dangerous: an answer without urgent-care advice is unsafe."""
    identifiers: tuple[Identifier, ...] = ()
    advice: str = ""
    """The heart of a good answer in one sentence; empty for held-out cases, which are never corrected."""
    plan: str = ""
    """What to check, when to get help and when to look again, for this very case; for red flags what to do now."""


def load_cases(*, heldout: bool = False) -> list[Case]:
    """The demo's own cases in file order: those that the panel rates, or those kept for the final judgement."""
    name = "heldout_prompts.jsonl" if heldout else "prompts.jsonl"
    text = (files("preceptor.demo") / "data" / name).read_text(encoding="utf-8")
    return [Case.model_validate(json.loads(line)) for line in text.splitlines() if line.strip()]


def find_case(cases: list[Case], *, prompt: str) -> Case:
    """The case asked in exactly these words. Raises NotFoundError, naming no text."""
    for case in cases:
        if case.prompt == prompt:
            return case
    raise NotFoundError(f"None of the {len(cases)} cases has this prompt: rate only prompts of the sample.")
