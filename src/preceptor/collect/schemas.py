"""What a caller may send: the fields of the seed document and ours, bounded, with unknown fields refused."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from preceptor.errors import InputError

REASONS = {
    "wrong_fact": "Wrong fact",
    "unsafe_dose": "Unsafe dose or interaction",
    "missed_red_flag": "Missed red flag",
    "missing_information": "Missing key information",
    "not_guideline": "Not guideline-concordant",
    "not_applicable": "Not applicable to this patient",
    "poor_source": "Poor source or citation",
    "unclear": "Unclear or too long",
    "tone": "Inappropriate tone or bias",
    "accurate": "Accurate",
    "safe": "Safe",
    "complete": "Complete",
    "clear": "Clear",
}
MAXIMUM_TEXT = 64_000
MAXIMUM_COMMENT = 4_000
MAXIMUM_BATCH = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class FieldError(InputError):
    """A field, or several together, cannot be used; `fields` are their names as the caller wrote them."""

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields = fields


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("The text holds a NUL character, which cannot be stored")
    if not text.strip():
        raise ValueError("The text is blank")
    return text


def _single_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("Control characters are not allowed here")
    return text.strip()


def _blank_is_absent(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _plain_json(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, depth=0)
    return value


def _check_json(value: Any, *, depth: int) -> None:
    """PostgreSQL's jsonb takes no NUL, no lone surrogate, no NaN; depth is bounded for whoever reads it next."""
    if depth > 6:
        raise ValueError("The object is nested too deeply")
    if isinstance(value, str):
        if "\x00" in value or (not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value)):
            raise ValueError("The object holds a character that cannot be stored")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("The object holds a number that is not finite")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_json(key, depth=depth + 1)
            _check_json(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth=depth + 1)


Text = Annotated[str, StringConstraints(min_length=1, max_length=MAXIMUM_TEXT), AfterValidator(_storable)]
Comment = Annotated[str, StringConstraints(max_length=MAXIMUM_COMMENT), AfterValidator(_storable)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_single_line)
]
Harm = Annotated[int, Field(strict=True, ge=0, le=3, description="0 none, 1 minor, 2 serious, 3 severe")]
Rating = Annotated[int, Field(strict=True, ge=1, le=5)]
Milliseconds = Annotated[int, Field(strict=True, ge=0, le=86_400_000)]
Reason = Literal[
    "wrong_fact", "unsafe_dose", "missed_red_flag", "missing_information", "not_guideline", "not_applicable",
    "poor_source", "unclear", "tone", "accurate", "safe", "complete", "clear",
]  # fmt: skip
Reasons = Annotated[list[Reason], Field(max_length=len(REASONS))]
FeedbackType = Literal["positive", "negative", "neutral"]
Thumb = Literal["up", "down"]
Outcome = Literal["a", "b", "tie", "both_bad", "cannot_judge"]
JsonObject = Annotated[dict[str, Any], Field(max_length=50), AfterValidator(_plain_json)]
OptionalComment = Annotated[Comment | None, BeforeValidator(_blank_is_absent)]
OptionalText = Annotated[Text | None, BeforeValidator(_blank_is_absent)]


class Body(BaseModel):
    """The root of every request body: an unknown field is an error, not a silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InteractionIn(Body):
    """One answer that an agent gave. `external_id` makes the call repeatable."""

    session_id: Name
    agent_name: Name
    prompt: Text
    response: Text
    external_id: Name | None = None
    model_name: Name | None = None
    model_digest: Name | None = None
    prompt_version: Name | None = None
    sampling: JsonObject | None = None
    experiment_id: Name | None = None
    arm: Name | None = None
    specialty: Name | None = None
    finished: bool | None = None
    known_identifiers: Annotated[list[Name], Field(max_length=100)] | None = Field(
        default=None, description="Names, numbers and the like of this patient, to be removed wherever they appear."
    )


class InteractionBatch(Body):
    interactions: Annotated[list[InteractionIn], Field(min_length=1, max_length=MAXIMUM_BATCH)]


class FeedbackIn(Body):
    """A judgement of one response. Name the response by `interaction_id`, or by session and agent, or send its text."""

    session_id: Name | None = None
    agent_name: Name | None = None
    rating: Rating | None = None
    comments: OptionalComment = None
    interaction_id: Name | None = None
    user_query: Text | None = None
    agent_response: Text | None = None
    thumb: Thumb | None = None
    correction: OptionalText = Field(default=None, description="What the agent should have answered.")
    feedback_type: FeedbackType | None = Field(
        default=None, description="Follows from rating or thumb; sent only to be checked."
    )
    harm_severity: Harm | None = None
    reasons: Reasons | None = None
    active_ms: Milliseconds | None = None


class FeedbackEdit(Body):
    """New values for one's own judgement; a field that is not sent keeps its value."""

    rating: Rating | None = None
    thumb: Thumb | None = None
    comments: OptionalComment = None
    correction: OptionalText = None
    harm_severity: Harm | None = None
    reasons: Reasons | None = None


class PreferenceIn(Body):
    """A judgement between two responses to one prompt, given as text or as two interactions."""

    prompt: Text | None = None
    response_a: Text | None = None
    response_b: Text | None = None
    preferred: Outcome
    session_id: Name | None = None
    agent_name: Name | None = None
    interaction_a: Name | None = None
    interaction_b: Name | None = None
    strength: Annotated[int, Field(strict=True, ge=1, le=2, description="1 better, 2 much better")] | None = None
    presented_first: Literal["a", "b"] | None = None
    blinded: bool | None = None
    harm_a: Harm | None = None
    harm_b: Harm | None = None
    reasons: Reasons | None = None
    comments: OptionalComment = None
    correction: OptionalText = None
    active_ms: Milliseconds | None = None


class PreferenceEdit(Body):
    """New values for one's own comparison; a field that is not sent keeps its value."""

    preferred: Outcome | None = None
    strength: Annotated[int, Field(strict=True, ge=1, le=2)] | None = None
    harm_a: Harm | None = None
    harm_b: Harm | None = None
    reasons: Reasons | None = None
    comments: OptionalComment = None
    correction: OptionalText = None


class ReviewIn(Body):
    """A curator's verdict on a judgement."""

    review_status: Literal["new", "accepted", "rejected"]


class QueueItemIn(Body):
    """Something to be judged by `overlap` clinicians: one interaction, or two of the same prompt."""

    kind: Literal["rate", "compare"]
    interaction_a: Name
    interaction_b: Name | None = None
    overlap: Annotated[int, Field(strict=True, ge=1, le=100)] = 2
    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000)] = 0


class QueueItemsIn(Body):
    items: Annotated[list[QueueItemIn], Field(min_length=1, max_length=MAXIMUM_BATCH)]


class NextIn(Body):
    kind: Literal["rate", "compare"] | None = None


class SubmitIn(Body):
    """The judgement of an assignment. Comparisons speak of left and right; the server knows which was which."""

    rating: Rating | None = None
    thumb: Thumb | None = None
    correction: OptionalText = None
    harm_severity: Harm | None = None
    choice: Literal["left", "right", "tie", "both_bad", "cannot_judge"] | None = None
    strength: Annotated[int, Field(strict=True, ge=1, le=2)] | None = None
    harm_left: Harm | None = None
    harm_right: Harm | None = None
    reasons: Reasons | None = None
    comments: OptionalComment = None
    active_ms: Milliseconds | None = None


class ConsentIn(Body):
    scope: Literal["quality_only", "internal_training"]
    policy_version: Name = "1"


def in_utc(moment: AwareDatetime | datetime) -> datetime:
    """Times without a zone are taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
