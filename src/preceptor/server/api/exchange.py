"""Whole files at the door: JSON lines in with a report for each line, JSON lines out as a stream."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from preceptor.collect.export import Tally, export_lines
from preceptor.collect.importer import ImportOptions, import_lines
from preceptor.collect.judgements import KINDS
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.server.api.access import IMPORTERS, TEXT_READERS
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.judging import FiltersQuery
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import ImportResult, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation

router = APIRouter(route_class=ProblemRoute, tags=["exchange"])


@router.get(
    "/export/{kind}",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}, **problems()},
)
def export(
    kind: Literal["feedback", "preferences"],
    filters: FiltersQuery,
    principal: Principal = allow(*TEXT_READERS),
    found: Installation = Depends(installation),
    detail: Annotated[bool, Query(description="Every known field, not the seed document's record.")] = False,
) -> StreamingResponse:
    """Stream raw judgements as JSON lines, oldest first. Start and end are audited."""
    with session_scope(found.engine) as session:
        audit.record(session, actor_id=principal.user_id, action="export.start", target=kind, detail=detail)
    tally = Tally()

    def lines() -> Iterator[bytes]:
        yield from export_lines(
            found.engine, found.cipher, kind=KINDS[kind], filters=filters, detail=detail, tally=tally
        )
        with session_scope(found.engine) as session:
            audit.record(session, actor_id=principal.user_id, action="export.end", target=kind, rows=tally.rows)

    disposition = {"Content-Disposition": f'attachment; filename="{kind}.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=disposition)


@router.post("/import", response_model=ImportResult, responses=problems(409))
def import_file(
    request: Request,
    content: Annotated[bytes, Body(media_type="application/x-ndjson")] = b"",
    kind: Annotated[Literal["auto", "feedback", "preference", "pair"], Query()] = "auto",
    dry_run: Annotated[bool, Query()] = False,
    skip_rejected: Annotated[bool, Query(description="Import the good lines although others are rejected.")] = False,
    anonymous: Annotated[bool, Query(description="Leave clinician_id out.")] = False,
    principal: Principal = allow(*IMPORTERS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Import feedback, preferences or pairs, one JSON object a line; sending the same file again changes nothing."""
    options = ImportOptions(kind=kind, dry_run=dry_run, skip_rejected=skip_rejected, anonymous=anonymous)

    def work(session: Session) -> Reply:
        report = import_lines(session, found.cipher, lines=io.BytesIO(content), options=options)
        counts = report.counts()
        if not dry_run:
            audit.record(session, actor_id=principal.user_id, action="import", target=report.kind, **counts)
        return Reply(200, {"kind": report.kind, "dry_run": dry_run, **counts, "lines": report.shown()})

    return once(request, found, principal, body=content, work=work)
