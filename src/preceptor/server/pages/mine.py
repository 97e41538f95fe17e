"""What happened to my ratings: from the click to the dataset to the model, and the way to take one back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from preceptor.collect import store
from preceptor.collect.consent import consent_scope
from preceptor.collect.contributions import contributions
from preceptor.collect.interactions import Rater
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import DatasetMember, judgements
from preceptor.db.tables.raw import Feedback, Preference
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation, installation
from preceptor.server.pages.render import page, see_other, visitors, when

router = APIRouter()
Found = Annotated[Installation, Depends(installation)]
Here = Annotated[Principal, visitors("/me")]
_SHOWN = 50
_OUTCOMES = {
    "a": "one preferred",
    "b": "one preferred",
    "tie": "both acceptable",
    "both_bad": "neither acceptable",
    "cannot_judge": "could not judge",
}


@dataclass(frozen=True)
class Row:
    """One judgement as its clinician sees it; no text."""

    kind: str
    id: str
    when: str
    agent: str
    judgement: str
    state: str
    can_withdraw: bool


@router.get("/me")
def mine(request: Request, found: Found, here: Here) -> Response:
    with session_scope(found.engine) as session:
        scope = consent_scope(session, here.user_id)
        given = contributions(session, here.user_id)
        rows = _rows(session, here.user_id)
    figures = [
        ("Judgements", sum(given["judgements"].values()), "given so far"),
        ("Datasets", len(given["datasets"]), "hold a judgement of yours"),
        ("Taken back", given["withdrawn"], "left out of every new dataset"),
    ]
    return page("me.html", request, here, scope=scope, figures=figures, rows=rows, most=_SHOWN)


@router.post("/me/withdraw")
def withdraw(
    found: Found,
    here: Here,
    kind: Annotated[Literal["feedback", "preference"], Form()],
    judgement_id: Annotated[str, Form(alias="id")],
) -> Response:
    rater = Rater(user_id=here.user_id, role=here.role, specialty=here.specialty)
    with session_scope(found.engine) as session:
        row: Feedback | Preference
        if kind == "feedback":
            row = store.find(session, Feedback, judgement_id, rater=rater)
        else:
            row = store.find(session, Preference, judgement_id, rater=rater)
        store.demand_owner(row, rater)
        store.withdraw(session, row)
    return see_other("/me")


def _rows(session: Session, user_id: int) -> list[Row]:
    columns = judgements.c
    member = sa.select(sa.literal(1)).where(
        DatasetMember.kind == columns.kind, DatasetMember.source_id == columns.source_id
    )
    query = (
        sa.select(judgements, member.exists().label("used"))
        .where(columns.clinician_id == user_id)
        .order_by(columns.created_at.desc())
        .limit(_SHOWN)
    )
    return [
        Row(
            kind=row["kind"],
            id=row["source_id"],
            when=when(row["created_at"]),
            agent=(row["agent_name"] or "").replace("_", " "),
            judgement=_say(row),
            state="withdrawn" if row["withdrawn_at"] else "in a dataset" if row["used"] else "collected",
            can_withdraw=row["withdrawn_at"] is None,
        )
        for row in session.execute(query).mappings()
    ]


def _say(row: sa.RowMapping) -> str:
    if row["instrument"] == "stars":
        return f"{row['rating']} of 5"
    if row["instrument"] == "thumbs":
        return "helpful" if row["thumb"] == 1 else "not helpful"
    if row["instrument"] == "comparison":
        return _OUTCOMES.get(row["outcome"] or "", "compared")
    return str(row["instrument"])
