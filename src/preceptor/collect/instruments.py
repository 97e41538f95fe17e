"""One request in, one row for each instrument out: stars, thumbs, comment and correction are never mixed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from preceptor.collect.schemas import FeedbackIn, FieldError

THUMBS = {"up": 1, "down": -1}


@dataclass(frozen=True)
class Landing:
    """What one instrument says. `values` are columns of the feedback table; the first landing is the primary one."""

    instrument: str
    feedback_type: str | None
    values: dict[str, Any] = field(default_factory=dict)


def feedback_type(*, rating: int | None, thumb: int | None) -> str | None:
    """4-5 stars or thumb up is positive, 3 neutral, 1-2 or thumb down negative; text alone has no type."""
    if rating is not None:
        return "positive" if rating >= 4 else "neutral" if rating == 3 else "negative"
    if thumb is not None:
        return "positive" if thumb > 0 else "negative"
    return None


def landings(given: FeedbackIn) -> list[Landing]:
    """Split a judgement by instrument. Comment, harm, reasons and time go with the primary row.

    Raises:
        FieldError: nothing was judged, or two parts of the request contradict each other.
    """
    thumb = THUMBS[given.thumb] if given.thumb is not None else None
    if given.rating is None and thumb is None and given.comments is None and given.correction is None:
        raise FieldError("Send at least one of rating, thumb, comments, correction", "rating")
    by_stars, by_thumb = feedback_type(rating=given.rating, thumb=None), feedback_type(rating=None, thumb=thumb)
    if {by_stars, by_thumb} == {"positive", "negative"}:
        raise FieldError("thumb contradicts rating", "thumb")
    derived = by_stars or by_thumb
    if given.feedback_type is not None and given.feedback_type != derived:
        if derived is None:
            raise FieldError("feedback_type follows from rating or thumb; send one of them", "feedback_type")
        raise FieldError(f"feedback_type contradicts the judgement, which is {derived}", "feedback_type")
    found = []
    if given.rating is not None:
        found.append(Landing("stars", by_stars, {"rating": given.rating}))
    if thumb is not None:
        found.append(Landing("thumbs", by_thumb, {"thumb": thumb}))
    if given.correction is not None:
        found.append(Landing("correction", None, {"correction": given.correction}))
    if not found:
        found.append(Landing("comment", None))
    shared: dict[str, Any] = {
        name: getattr(given, name)
        for name in ("comments", "harm_severity", "reasons", "active_ms")
        if name in given.model_fields_set
    }
    found[0].values.update(shared)
    return found
