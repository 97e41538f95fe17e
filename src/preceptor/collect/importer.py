"""JSON lines in, stored judgements and a report for each line out; importing a file again changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.collect import store
from preceptor.collect.rows import Kind, Parsed, RejectedLineError, detect_kind, parse_json, parse_row
from preceptor.collect.texts import FEEDBACK_TEXTS, PREFERENCE_TEXTS, get_text, public_id, put_text
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.ops import User
from preceptor.db.tables.raw import Feedback, Preference
from preceptor.errors import InputError

_AT_ONCE = 200
_BYTES_A_LINE = 1_000_000
Status = Literal["created", "updated", "unchanged", "rejected"]


@dataclass(frozen=True)
class ImportOptions:
    """`anonymous` leaves clinicians out; `skip_rejected` imports the good lines of a file that has bad ones."""

    kind: Literal["auto", "feedback", "preference", "pair"] = "auto"
    dry_run: bool = False
    skip_rejected: bool = False
    anonymous: bool = False


@dataclass(frozen=True)
class LineResult:
    """What happened to one line; `reason` says why it was rejected and does not quote it."""

    line: int
    status: Status
    id: str | None = None
    reason: str | None = None


@dataclass
class ImportReport:
    """What happened to every line that is not blank."""

    kind: Kind
    dry_run: bool
    lines: list[LineResult] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        found = Counter(line.status for line in self.lines)
        statuses: tuple[Status, ...] = ("created", "updated", "unchanged", "rejected")
        return {status: found[status] for status in statuses}

    def shown(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The first lines that are not unchanged, as plain values."""
        return [asdict(line) for line in self.lines if line.status != "unchanged"][:limit]


class ImportRefusedError(InputError):
    """Lines were rejected, so nothing was imported; `report` names each of them."""

    def __init__(self, report: ImportReport) -> None:
        bad = [line for line in report.lines if line.status == "rejected"]
        shown = "; ".join(f"line {line.line}: {line.reason}" for line in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        super().__init__(
            f"{len(bad)} of {len(report.lines)} lines cannot be imported ({shown}{more}). Nothing was imported: "
            "correct the file, or import the other lines by skipping rejected ones."
        )
        self.report = report


def import_file(session: Session, cipher: TextCipher, *, path: Path, options: ImportOptions) -> ImportReport:
    """Import a file within the caller's transaction.

    Raises:
        InputError: the file cannot be read, is empty, is cut off, or holds something else.
        ImportRefusedError: lines were rejected and `skip_rejected` is off.
    """
    try:
        with path.open("rb") as file:
            return import_lines(session, cipher, lines=file, options=options, name=f"'{path.name}'")
    except OSError as error:
        raise InputError(f"The file '{path}' cannot be read: {error.strerror}. Check the path.") from None


def import_lines(
    session: Session,
    cipher: TextCipher,
    *,
    lines: Iterable[bytes],
    options: ImportOptions,
    name: str = "the file",
) -> ImportReport:
    """Import JSON lines within the caller's transaction; a dry run stores nothing. See `import_file`."""
    store.lock(session, "import")  # two imports of one file must not race to insert the same ids
    numbered = _numbered(lines, name)
    first = next(numbered, None)
    if first is None:
        raise InputError(f"Nothing to import: {name} is empty. Give one JSON object a line.")
    kind = _kind(first[1], options, name)
    report = ImportReport(kind=kind, dry_run=options.dry_run)
    savepoint = session.begin_nested()
    for batch in _batches(_chain(first, numbered)):
        report.lines += _store_batch(session, cipher, batch=batch, kind=kind, options=options)
    if options.dry_run:
        savepoint.rollback()
    else:
        if report.counts()["rejected"] and not options.skip_rejected:
            raise ImportRefusedError(report)
        savepoint.commit()
    return report


def _numbered(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, blank ones left out. A last line that breaks off stops the import."""
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        if not line.endswith(b"\n") and not _is_whole(line):
            raise InputError(
                f"Line {number}, the last of {name}, breaks off: the file looks half-written. "
                "Nothing was imported; write the file again."
            )
        yield number, line


def _is_whole(line: bytes) -> bool:
    try:
        parse_json(line)
    except RejectedLineError:
        return False
    return True


def _kind(line: bytes, options: ImportOptions, name: str) -> Kind:
    if options.kind != "auto":
        return options.kind
    try:
        found = detect_kind(parse_json(line))
    except RejectedLineError as error:
        raise InputError(f"The first line of {name} cannot be used: {error}. Give one JSON object a line.") from None
    if found is None:
        raise InputError(
            f"The first line of {name} is neither feedback (user_query, agent_response, rating), nor a preference "
            "(prompt, response_a, response_b, preferred), nor a pair (prompt, chosen, rejected)."
        )
    return found


def _chain(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


def _batches(lines: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while batch := list(islice(lines, _AT_ONCE)):
        yield batch


def _store_batch(
    session: Session, cipher: TextCipher, *, batch: Sequence[tuple[int, bytes]], kind: Kind, options: ImportOptions
) -> list[LineResult]:
    results: dict[int, LineResult] = {}
    parsed: list[tuple[int, list[Parsed]]] = []
    for number, line in batch:
        try:
            if len(line) > _BYTES_A_LINE:
                raise RejectedLineError("the line is longer than 1 MB")
            parsed.append((number, parse_row(parse_json(line), kind)))
        except RejectedLineError as error:
            results[number] = LineResult(number, "rejected", reason=str(error))
    rows = [row for _, several in parsed for row in several]
    if not options.anonymous:
        _demand_clinicians(session, {row.clinician_id for row in rows if row.clinician_id is not None})
    there = _existing(session, rows)
    for number, several in parsed:
        try:
            statuses = [_store(session, cipher, row=row, there=there, options=options) for row in several]
        except RejectedLineError as error:
            results[number] = LineResult(number, "rejected", several[0].judgement_id, str(error))
            continue
        best = next(status for status in ("created", "updated", "unchanged") if status in statuses)
        results[number] = LineResult(number, best, several[0].judgement_id)
    session.flush()
    session.expunge_all()
    return [results[number] for number, _ in batch]


def _existing(session: Session, rows: Sequence[Parsed]) -> dict[str, Feedback | Preference]:
    ids = [row.judgement_id for row in rows]
    found: list[Feedback | Preference] = []
    if rows and rows[0].table == "feedback":
        found += session.scalars(sa.select(Feedback).where(Feedback.feedback_id.in_(ids))).all()
    elif rows:
        found += session.scalars(sa.select(Preference).where(Preference.preference_id.in_(ids))).all()
    return {public_id(row): row for row in found}


def _store(
    session: Session,
    cipher: TextCipher,
    *,
    row: Parsed,
    there: dict[str, Feedback | Preference],
    options: ImportOptions,
) -> Status:
    columns = row.columns | {"clinician_id": None if options.anonymous else row.clinician_id}
    existing = there.get(row.judgement_id)
    texts = FEEDBACK_TEXTS if row.table == "feedback" else PREFERENCE_TEXTS
    if existing is None:
        plain = {name: value for name, value in columns.items() if name not in texts} | {"source": "import"}
        if row.timestamp is not None:
            plain["timestamp"] = row.timestamp
        made: Feedback | Preference
        if row.table == "feedback":
            made = Feedback(feedback_id=row.judgement_id, revision=1, review_status="new", **plain)
        else:
            made = Preference(preference_id=row.judgement_id, revision=1, review_status="new", **plain)
        for name in texts:
            put_text(made, name, columns.get(name), cipher=cipher)
        session.add(made)
        there[row.judgement_id] = made
        return "created"
    if _same(existing, columns, texts, cipher=cipher):
        return "unchanged"
    if existing.source not in {"import", "seed"}:
        raise RejectedLineError("this id belongs to a judgement that was given here, with other content")
    if existing.withdrawn_at is not None:
        raise RejectedLineError("this judgement was withdrawn here")
    store.revise(session, existing, columns, cipher=cipher, actor_id=None)
    return "updated"


def _same(row: Feedback | Preference, columns: dict[str, Any], texts: Sequence[str], *, cipher: TextCipher) -> bool:
    """Whether a stored row says the same. A row by plain SQL has no instrument or hashes, which decide nothing."""
    derived = {"instrument", "content_hash", "prompt_hash", "outcome"}
    for name, value in columns.items():
        stored = get_text(row, name, cipher=cipher) if name in texts else getattr(row, name)
        if stored != value and not (name in derived and stored is None):
            return False
    return True


def _demand_clinicians(session: Session, ids: set[int]) -> None:
    """Give unknown clinicians an inactive account of the same number, so that who judged what is not lost."""
    if not ids:
        return
    known = set(session.scalars(sa.select(User.id).where(User.id.in_(ids))))
    missing = sorted(ids - known)
    if missing:
        values = [
            {"id": number, "role": "clinician", "is_active": False, "display_name": f"imported clinician {number}"}
            for number in missing
        ]
        session.execute(insert(User).values(values).on_conflict_do_nothing())
        session.execute(
            sa.text(
                "SELECT setval(pg_get_serial_sequence('users', 'id'), GREATEST((SELECT MAX(id) FROM users), "
                "nextval(pg_get_serial_sequence('users', 'id'))))"
            )
        )
