"""Rate and compare: one card, one key, the next card; models hidden, sides drawn by the server, ten seconds to undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from preceptor.collect import queue, submission
from preceptor.collect.consent import consent_scope
from preceptor.collect.interactions import Rater
from preceptor.collect.schemas import REASONS, SubmitIn
from preceptor.db.engine import session_scope
from preceptor.errors import ConflictError, InputError, NotFoundError
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation, installation
from preceptor.server.errors import PROBLEMS, Problem
from preceptor.server.limits import demand_unhurried
from preceptor.server.pages.render import page, see_other, visitors

router = APIRouter()
Kind = Literal["rate", "compare"]
Found = Annotated[Installation, Depends(installation)]
Here = Annotated[Principal, visitors("/rate")]

_CHOICES: dict[str, tuple[str, int | None, str]] = {
    "left2": ("left", 2, "left much better"),
    "left1": ("left", 1, "left better"),
    "tie": ("tie", None, "same, both acceptable"),
    "right1": ("right", 1, "right better"),
    "right2": ("right", 2, "right much better"),
    "both_bad": ("both_bad", None, "neither is acceptable"),
    "cannot_judge": ("cannot_judge", None, "cannot judge"),
}


@dataclass(frozen=True)
class Undo:
    """What the bar at the top says was done, and offers to take back."""

    assignment_id: str
    said: str
    seconds: int = int(submission.UNDO.total_seconds())


def _rater(here: Principal) -> Rater:
    return Rater(user_id=here.user_id, role=here.role, specialty=here.specialty)


def _show(
    request: Request, found: Installation, here: Principal, kind: Kind, *, undo: Undo | None = None,
    undone: bool = False, error: str | None = None, refused: tuple[str, dict[str, Any]] | None = None,
) -> Response:  # fmt: skip
    """The next card, or the end of the queue; `refused` is the assignment and the fields that could not be stored."""
    rater = _rater(here)
    with session_scope(found.engine) as session:
        if consent_scope(session, here.user_id) is None:
            return see_other("/consent")
        leased = queue.next_assignment(session, rater=rater, key=found.secret, kind=kind)
        card = queue.show(session, found.cipher, assignment=leased) if leased is not None else None
        counts = queue.progress(session, rater=rater)
    progress = {"done": counts.done, "open": counts.remaining}
    values: dict[str, Any] = {"undo": undo, "undone": undone, "error": error, "progress": progress}
    if card is None:
        other = ("/compare", "Compare answers") if kind == "rate" else ("/rate", "Rate single answers")
        return page("done.html", request, here, other_href=other[0], other_name=other[1], **values)
    # what was typed goes back into the form, but never beside another case
    draft = refused[1] if refused is not None and refused[0] == card.assignment_id else {}
    return page(f"{kind}.html", request, here, item=card, reasons=list(REASONS.items()), draft=draft, **values)


def _submit(
    request: Request, found: Installation, here: Principal, kind: Kind, *, assignment_id: str, skip: bool,
    fields: dict[str, Any], said: str,
) -> Response:  # fmt: skip
    try:
        with session_scope(found.engine) as session:
            if skip:
                submission.skip(session, assignment_id=assignment_id, rater=_rater(here))
            else:
                demand_unhurried(session, found, here)
                given = SubmitIn(**{name: value for name, value in fields.items() if value not in (None, "", [])})
                submission.submit(session, found.cipher, assignment_id=assignment_id, given=given, rater=_rater(here))
    except NotFoundError:
        return _show(request, found, here, kind, error="That card is no longer yours to judge. This is the next one.")
    except (ConflictError, InputError) as error:
        return _show(request, found, here, kind, error=error.message, refused=(assignment_id, fields))
    except ValidationError:
        told = "A field holds what cannot be stored, such as a control character. Correct it and send it again."
        return _show(request, found, here, kind, error=told, refused=(assignment_id, fields))
    except Problem as problem:
        refused = _show(request, found, here, kind, error=problem.detail, refused=(assignment_id, fields))
        refused.status_code = PROBLEMS[problem.slug][0]
        refused.headers.update(problem.headers)
        return refused
    return _show(request, found, here, kind, undo=Undo(assignment_id, "Skipped." if skip else f"Saved: {said}."))


@router.get("/rate")
def rate(request: Request, found: Found, here: Here, undone: bool = False) -> Response:
    return _show(request, found, here, "rate", undone=undone)


@router.get("/compare")
def compare(request: Request, found: Found, here: Here, undone: bool = False) -> Response:
    return _show(request, found, here, "compare", undone=undone)


@router.post("/rate")
def submit_rating(
    request: Request,
    found: Found,
    here: Here,
    assignment_id: Annotated[str, Form()],
    rating: Annotated[int | None, Form(ge=1, le=5)] = None,
    thumb: Annotated[Literal["up", "down"] | None, Form()] = None,
    harm_severity: Annotated[Literal["", "1", "2", "3"], Form()] = "",
    reasons: Annotated[list[str], Form()] = [],  # noqa: B006 - the framework copies it
    comments: Annotated[str, Form(max_length=4000)] = "",
    correction: Annotated[str, Form(max_length=8000)] = "",
    active_ms: Annotated[int | None, Form(ge=0, le=86_400_000)] = None,
    skip: Annotated[bool, Form()] = False,
) -> Response:
    said = f"{rating} of 5" if rating else {"up": "helpful", "down": "not helpful"}.get(thumb or "", "your comment")
    fields = {
        "rating": rating,
        "thumb": thumb,
        "harm_severity": int(harm_severity) if harm_severity else None,
        "reasons": reasons,
        "comments": comments,
        "correction": correction,
        "active_ms": active_ms,
    }
    return _submit(request, found, here, "rate", assignment_id=assignment_id, skip=skip, fields=fields, said=said)


@router.post("/compare")
def submit_comparison(
    request: Request,
    found: Found,
    here: Here,
    assignment_id: Annotated[str, Form()],
    choice: Annotated[str, Form()] = "",
    harm_left: Annotated[Literal["", "2"], Form()] = "",
    harm_right: Annotated[Literal["", "2"], Form()] = "",
    reasons: Annotated[list[str], Form()] = [],  # noqa: B006 - the framework copies it
    comments: Annotated[str, Form(max_length=4000)] = "",
    active_ms: Annotated[int | None, Form(ge=0, le=86_400_000)] = None,
    skip: Annotated[bool, Form()] = False,
) -> Response:
    side, strength, said = _CHOICES.get(choice, (None, None, ""))
    fields = {
        "choice": side,
        "strength": strength,
        "harm_left": int(harm_left) if harm_left else None,
        "harm_right": int(harm_right) if harm_right else None,
        "reasons": reasons,
        "comments": comments,
        "active_ms": active_ms,
    }
    return _submit(request, found, here, "compare", assignment_id=assignment_id, skip=skip, fields=fields, said=said)


@router.post("/undo")
def undo(request: Request, found: Found, here: Here, assignment_id: Annotated[str, Form()]) -> Response:
    try:
        with session_scope(found.engine) as session:
            taken = submission.undo(session, assignment_id=assignment_id, rater=_rater(here))
            kind = queue.show(session, found.cipher, assignment=taken).kind
    except (ConflictError, NotFoundError) as error:
        return _show(request, found, here, "rate", error=error.message)
    return see_other(f"/{kind}?undone=true")
