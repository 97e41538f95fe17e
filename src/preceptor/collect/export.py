"""Filters in, JSON lines out one by one, oldest first, from one snapshot of the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from preceptor.collect import store
from preceptor.collect.judgements import Kind
from preceptor.db import audit
from preceptor.db.encrypted import TextCipher
from preceptor.db.engine import session_scope
from preceptor.errors import StorageError

_FETCHED_AT_ONCE = 500


@dataclass
class Tally:
    """How many rows have been written so far."""

    rows: int = 0


def export_lines(
    engine: sa.Engine,
    cipher: TextCipher,
    *,
    kind: Kind,
    filters: store.Filters,
    detail: bool = False,
    tally: Tally | None = None,
) -> Iterator[bytes]:
    """Stream judgements as JSON lines: the seed document's record, or with `detail` everything that is known."""
    show = kind.detail if detail else kind.record
    with session_scope(engine) as session:
        query = sa.select(kind.table).where(*store.conditions(kind.table, filters)).order_by(kind.table.id)
        rows = session.scalars(query, execution_options={"yield_per": _FETCHED_AT_ONCE})
        for row in rows:
            if tally is not None:
                tally.rows += 1
            yield json.dumps(show(row, cipher=cipher), ensure_ascii=False).encode() + b"\n"


def export_file(
    engine: sa.Engine,
    cipher: TextCipher,
    *,
    kind: Kind,
    path: Path,
    filters: store.Filters | None = None,
    detail: bool = False,
) -> int:
    """Write the lines to a file that appears whole or not at all. Audited; returns how many rows it has.

    Raises:
        StorageError: the file cannot be written.
    """
    tally = Tally()
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            part.chmod(0o600)  # raw clinical text
            for line in export_lines(
                engine, cipher, kind=kind, filters=filters or store.Filters(), detail=detail, tally=tally
            ):
                file.write(line)
        with session_scope(engine) as session:  # noted before the file can be read
            audit.record(session, actor_id=None, action="export.file", target=kind.name, rows=tally.rows)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"'{path}' cannot be written: {error.strerror}. Nothing was exported.") from error
    finally:
        part.unlink(missing_ok=True)
    return tally.rows
