"""One line of a file in, one judgement ready to be stored out, or the reason why it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from preceptor.collect.ids import content_hash, derived_id, normalize_text
from preceptor.collect.instruments import landings
from preceptor.collect.schemas import (
    Comment,
    FeedbackIn,
    FeedbackType,
    FieldError,
    Harm,
    Name,
    OptionalComment,
    OptionalText,
    Outcome,
    Reasons,
    Text,
    Thumb,
    in_utc,
)

Kind = Literal["feedback", "preference", "pair"]
_CLINICIAN = Annotated[int, Field(ge=1, le=2**31 - 1)]


# a field that the file does not have says nothing about the stored value
_OPTIONAL = ("comments", "correction", "harm_severity", "reasons")


class RejectedLineError(Exception):
    """Why a line cannot be imported, in words that do not repeat what it holds."""


@dataclass(frozen=True)
class Parsed:
    """One row to store: `columns` by name, texts still open. `judgement_id` is the same every time."""

    table: Literal["feedback", "preference"]
    judgement_id: str
    columns: dict[str, Any]
    clinician_id: int | None
    timestamp: datetime | None


def _flatten(value: object) -> object:
    """A conversation as one text: a single message is its content, more are told apart by their role."""
    if not isinstance(value, list) or not value:
        return value
    messages = [item for item in value if isinstance(item, dict) and isinstance(item.get("content"), str)]
    if len(messages) != len(value):
        return value
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{str(item.get('role', 'user')).capitalize()}: {item['content']}" for item in messages)


Conversation = Annotated[Text, BeforeValidator(_flatten)]


def _of_our_age(moment: datetime) -> datetime:
    """The first and last years of the calendar overflow when they change their zone."""
    if not 1900 <= moment.year < 3000:
        raise ValueError("The time lies outside the years 1900 to 2999")
    return moment


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    clinician_id: _CLINICIAN | None = None
    timestamp: Annotated[datetime, AfterValidator(_of_our_age)] | None = None


class _FeedbackRow(_Row):
    user_query: Conversation
    agent_response: Conversation
    session_id: Name
    agent_name: Name
    feedback_id: Name | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    feedback_type: FeedbackType | None = None
    comments: OptionalComment = None
    thumb: Thumb | None = None
    correction: OptionalText = None
    harm_severity: Harm | None = None
    reasons: Reasons | None = None


class _PreferenceRow(_Row):
    prompt: Conversation
    response_a: Conversation
    response_b: Conversation
    preferred: Outcome | None = None
    outcome: Outcome | None = None
    preference_id: Name | None = None
    session_id: Name | None = None
    agent_name: Name | None = None
    strength: Annotated[int, Field(ge=1, le=2)] | None = None
    harm_a: Harm | None = None
    harm_b: Harm | None = None
    comments: Annotated[Comment | None, BeforeValidator(lambda value: value or None)] = None


class _PairMetadata(_Row):
    session_id: Name | None = None
    agent_name: Name | None = None
    preference_id: Name | None = None
    strength: Annotated[int, Field(ge=1, le=2)] | None = None
    label: Any = None  # 0.5 says that it is a tie


class _PairRow(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    metadata: _PairMetadata | None = None


def parse_json(line: bytes) -> dict[str, Any]:
    """One JSON object.

    Raises:
        RejectedLineError: the line is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise RejectedLineError("the line is not UTF-8") from None
    except (json.JSONDecodeError, RecursionError, ValueError):
        raise RejectedLineError("the line is not JSON") from None
    if not isinstance(value, dict):
        raise RejectedLineError("the line is not a JSON object")
    return value


def detect_kind(row: dict[str, Any]) -> Kind | None:
    """Tell what a file holds by the names of its fields."""
    if {"chosen", "rejected"} & row.keys():
        return "pair"
    if {"response_a", "response_b", "preferred"} & row.keys():
        return "preference"
    if {"user_query", "agent_response", "rating", "feedback_type", "feedback_id"} & row.keys():
        return "feedback"
    return None


def parse_row(row: dict[str, Any], kind: Kind) -> list[Parsed]:
    """Check a row and turn it into judgements: one, or one for each instrument of a feedback row.

    Raises:
        RejectedLineError: a field is missing or not usable.
    """
    readers: dict[Kind, Callable[[dict[str, Any]], list[Parsed]]] = {
        "feedback": _feedback,
        "preference": _preference,
        "pair": _pair,
    }
    try:
        return readers[kind](row)
    except ValidationError as error:
        raise RejectedLineError("; ".join(_tell(item) for item in error.errors(include_input=False)[:5])) from None
    except FieldError as error:
        raise RejectedLineError(error.message) from None


def _tell(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"] if isinstance(part, str) and part.isidentifier()) or "a field"
    if item["type"] == "missing":
        return f"{name} is missing"
    context = item.get("ctx") or {}
    reason = context["error"] if item["type"] == "value_error" and "error" in context else item["msg"]
    return f"{name}: {reason}"


def _feedback(row: dict[str, Any]) -> list[Parsed]:
    given = _FeedbackRow.model_validate(row)
    thumb = given.thumb
    if given.rating is None and thumb is None and given.feedback_type in {"positive", "negative"}:
        thumb = "up" if given.feedback_type == "positive" else "down"
    kept_type = None if given.rating is None and thumb is None else given.feedback_type
    sent = {
        "rating": given.rating,
        "thumb": thumb,
        "comments": given.comments,
        "correction": given.correction,
        "feedback_type": kept_type,
        "harm_severity": given.harm_severity,
        "reasons": given.reasons,
    }
    parts = landings(FeedbackIn(**{name: value for name, value in sent.items() if value is not None}))
    identity = given.feedback_id or derived_id(
        "fb",
        str(given.clinician_id),
        given.session_id,
        given.agent_name,
        normalize_text(given.user_query),
        normalize_text(given.agent_response),
        str(given.timestamp),
    )
    found = []
    for index, part in enumerate(parts):
        columns = {
            "session_id": given.session_id,
            "agent_name": given.agent_name,
            "user_query": given.user_query,
            "agent_response": given.agent_response,
            "instrument": part.instrument,
            "feedback_type": part.feedback_type or (given.feedback_type if index == 0 else None),
            "rating": part.values.get("rating"),
            "thumb": part.values.get("thumb"),
            **{name: part.values.get(name) for name in _OPTIONAL if name in given.model_fields_set},
            "content_hash": content_hash(given.user_query, given.agent_response),
            "prompt_hash": content_hash(given.user_query),
        }
        own = identity if index == 0 else f"{identity}-{part.instrument}"
        found.append(_parsed("feedback", own, columns, given))
    return found


def _preference(row: dict[str, Any]) -> list[Parsed]:
    given = _PreferenceRow.model_validate(row)
    outcome = given.outcome or given.preferred
    if outcome is None:
        raise RejectedLineError("preferred is missing")
    if given.preferred is not None and given.preferred != outcome:
        raise RejectedLineError("preferred contradicts outcome")
    texts = (given.prompt, given.response_a, given.response_b)
    return [_comparison(texts, outcome, _sent(given), given, given.preference_id)]


def _pair(row: dict[str, Any]) -> list[Parsed]:
    given = _PairRow.model_validate(row)
    about = given.metadata or _PairMetadata()
    # the better answer is not always a: the order follows the hash of the text
    chosen_first = content_hash(given.chosen) < content_hash(given.rejected)
    a, b = (given.chosen, given.rejected) if chosen_first else (given.rejected, given.chosen)
    outcome = "tie" if about.label == 0.5 else "a" if chosen_first else "b"
    return [_comparison((given.prompt, a, b), outcome, _sent(about), about, about.preference_id)]


def _sent(row: _Row) -> dict[str, Any]:
    """The optional columns that the line has."""
    names = ("session_id", "agent_name", "comments", "harm_a", "harm_b", "strength")
    return {name: getattr(row, name) for name in names if name in row.model_fields_set}


def _comparison(
    texts: tuple[str, str, str],
    outcome: str,
    columns: dict[str, Any],
    row: _Row,
    given_id: str | None,
) -> Parsed:
    prompt, response_a, response_b = texts
    if normalize_text(response_a) == normalize_text(response_b):
        raise RejectedLineError("the two responses are the same")
    preferred = outcome if outcome in {"a", "b"} else None
    columns = columns | {
        "prompt": prompt,
        "response_a": response_a,
        "response_b": response_b,
        "outcome": outcome,
        "preferred": preferred,
        "content_hash": content_hash(prompt, response_a, response_b),
        "prompt_hash": content_hash(prompt),
    }
    if preferred is None:
        columns["strength"] = None
    own = given_id or derived_id("pref", str(row.clinician_id), columns["content_hash"], str(row.timestamp))
    return _parsed("preference", own, columns, row)


def _parsed(table: Literal["feedback", "preference"], own: str, columns: dict[str, Any], row: _Row) -> Parsed:
    moment = in_utc(row.timestamp) if row.timestamp is not None else None
    return Parsed(table, own, columns, row.clinician_id, moment)
