"""The bodies that the API answers with, for its OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from preceptor.server.errors import PROBLEMS

_TITLES = dict(reversed(PROBLEMS.values()))


class LandedItem(BaseModel):
    feedback_id: str
    instrument: Literal["stars", "thumbs", "comment", "correction"]
    feedback_type: Literal["positive", "negative", "neutral"] | None
    revision: int
    status: Literal["created", "updated", "unchanged"]


class FeedbackReceipt(BaseModel):
    """`feedback_id` is the primary row; `items` has one row for each instrument of the request."""

    feedback_id: str
    feedback_type: Literal["positive", "negative", "neutral"] | None
    interaction_id: str
    items: list[LandedItem]


class PreferenceReceipt(BaseModel):
    preference_id: str
    outcome: Literal["a", "b", "tie", "both_bad", "cannot_judge"]
    revision: int
    status: Literal["created", "updated", "unchanged"]


class InteractionReceipt(BaseModel):
    interaction_id: str
    external_id: str | None
    status: Literal["created", "unchanged"]


class InteractionReceipts(BaseModel):
    items: list[InteractionReceipt]


class QueueItemReceipt(BaseModel):
    item_id: str
    kind: Literal["rate", "compare"]
    status: Literal["created", "unchanged"]


class QueueItemReceipts(BaseModel):
    items: list[QueueItemReceipt]


class AssignmentCard(BaseModel):
    """A comparison has `left` and `right`, a rating `response`; nothing tells which model answered."""

    assignment_id: str
    item_id: str
    kind: Literal["rate", "compare"]
    agent_name: str
    lease_until: str
    prompt: str
    response: str | None = None
    left: str | None = None
    right: str | None = None


class AssignmentState(BaseModel):
    assignment_id: str
    state: Literal["leased", "done", "skipped"]
    result_ids: list[str]
    undo_until: str | None = None


class QueueProgress(BaseModel):
    done: int
    skipped: int
    remaining: int


class ReviewReceipt(BaseModel):
    id: str
    review_status: Literal["new", "accepted", "rejected"]


class Me(BaseModel):
    user_id: int
    login: str | None
    role: str
    display_name: str | None
    specialty: str | None


class TokenInfo(BaseModel):
    token_id: int
    name: str
    expires_at: str | None


class TokenList(BaseModel):
    items: list[TokenInfo]


class ImportLine(BaseModel):
    line: int
    status: Literal["created", "updated", "unchanged", "rejected"]
    id: str | None
    reason: str | None


class ImportResult(BaseModel):
    """`lines` holds the first 1000 lines that are not unchanged."""

    kind: Literal["feedback", "preference", "pair"]
    dry_run: bool
    created: int
    updated: int
    unchanged: int
    rejected: int
    lines: list[ImportLine]


class Page(BaseModel):
    items: list[dict[str, Any]]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class Record(BaseModel):
    model_config = ConfigDict(extra="allow")


class ConsentState(BaseModel):
    scope: Literal["quality_only", "internal_training"] | None
    policy_version: str | None
    granted: bool
    at: str | None


class TokenReceipt(BaseModel):
    token_id: int
    name: str
    token: str | None = Field(description="The secret, sent once; null in a replay.")
    expires_at: str | None


# RFC 9457. Written out, because a model here would be described as application/json.
_PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "ProblemDocument",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "An address that explains the problem."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "JSON Pointer into the body; `#query/name` or `#header/name` elsewhere.",
                    },
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the problems that a route may answer with, besides those that any route may."""
    document = {"content": {"application/problem+json": {"schema": _PROBLEM_SCHEMA}}}
    every = sorted({400, 401, 403, 413, 422, 500, 503, *statuses})
    return {status: {"description": _TITLES[status], **document} for status in every}
