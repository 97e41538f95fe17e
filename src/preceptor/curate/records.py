"""A judgement and its cleaned texts in, the columns of its curated record out, and whether anything changed."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from preceptor.curate.deidentify import Cleaned
from preceptor.curate.sources import TEXT_FIELDS, Source
from preceptor.db.tables.curated import CuratedRecord
from preceptor.privacy.scrub import SCRUBBER_VERSION, Held


def differs(record: CuratedRecord, source: Source, digest: str, *, retry_held: bool) -> bool:
    against = refusal(source)
    if against is not None:
        return record.status != "excluded" or record.reason != against or record.source_hash != digest
    if record.status == "excluded" or record.source_hash != digest or record.scrubber_version != SCRUBBER_VERSION:
        return True
    return record.status == "held" and retry_held


def refusal(source: Source) -> str | None:
    if source.refusal is not None:
        return source.refusal
    needed = ("prompt", "response_a", "response_b") if source.kind == "preference" else ("prompt", "response_a")
    return None if all(name in source.texts for name in needed) else "a text is empty"


def values_of(source: Source, digest: str, cleaned: Cleaned | Held | None, *, rater_key: bytes) -> dict[str, Any]:
    """Return the columns of a record; text only where it is clear."""
    texts = dict(cleaned.texts) if isinstance(cleaned, Cleaned) else {}
    findings = dict(cleaned.findings) if isinstance(cleaned, Cleaned) else {}
    status = "clear" if isinstance(cleaned, Cleaned) else "held" if isinstance(cleaned, Held) else "excluded"
    reason = cleaned.reason if isinstance(cleaned, Held) else refusal(source)
    return {
        "kind": source.kind,
        "source_id": source.source_id,
        "source_revision": source.revision,
        "source_hash": digest,
        "scrubber_version": SCRUBBER_VERSION,
        "status": status,
        "reason": reason,
        **{name: texts.get(name) for name in TEXT_FIELDS},
        "instrument": source.instrument,
        "rating": source.rating,
        "thumb": source.thumb,
        "outcome": source.outcome,
        "strength": source.strength,
        "harm_a": source.harm_a,
        "harm_b": source.harm_b,
        "rater": pseudonym(source.clinician_id, rater_key),
        "rater_specialty": source.rater_specialty,
        "agent_name": source.agent_name,
        "specialty": source.specialty,
        "is_simulated": source.is_simulated,
        "findings": findings,
        "judged_at": source.judged_at,
    }


def pseudonym(clinician_id: int | None, key: bytes) -> str | None:
    """Return a stable name for a clinician that says nothing about who it is without the server's secret."""
    if clinician_id is None:
        return None
    return "rater_" + hmac.new(key, str(clinician_id).encode(), hashlib.sha256).hexdigest()[:12]
