"""Raw tables in, curated records out: consent and review respected, identifiers removed, changes alone touched.

Each batch commits by itself and is recognized next time by its keyed hash and the scrubber's version, so an
interrupted run goes on where it stopped and a second run has nothing to do.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.artifacts.staleness import stale_datasets
from preceptor.curate.config import CurateConfig
from preceptor.curate.consent import latest_consents
from preceptor.curate.deidentify import Cleaner
from preceptor.curate.records import differs, refusal, values_of
from preceptor.curate.report import counts, quality_metrics, summarize
from preceptor.curate.sources import Source, count_sources, feedback_after, preferences_after
from preceptor.db.encrypted import make_cipher
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import CuratedRecord, DatasetMember, judgements
from preceptor.db.tables.raw import Feedback, Preference
from preceptor.errors import RunCanceled
from preceptor.privacy.scrub import load_scrubber
from preceptor.stage import StageContext, StageResult

logger = logging.getLogger(__name__)

_LOCK = 0x63757261


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of this installation: one for record hashes, one for pseudonyms."""

    record: bytes
    rater: bytes


_Reader = Callable[..., Iterator[tuple[int, Source]]]
_READERS: tuple[_Reader, ...] = (feedback_after, preferences_after)


def run(config: CurateConfig, context: StageContext) -> StageResult:
    """Bring `curated_records` up to date with the raw tables.

    Raises:
        ModelError: the detectors cannot be loaded; nothing is curated without them.
        RunCanceled: the run was asked to stop; what was stored stays.
    """
    cleaner = Cleaner(load_scrubber())
    keys = _keys(context.settings.secret())
    cipher = make_cipher(context.settings)
    with session_scope(context.engine) as session:
        total, consents = count_sources(session, config.agent_name), latest_consents(session)
        removed = _drop_orphans(session)
    touched: Counter[str] = Counter()
    done = 0
    for reader in _READERS:
        last_id = 0
        while True:
            if context.is_canceled():
                raise RunCanceled(f"Curation stopped after {done} of {total} judgements; run it again to go on.")
            with session_scope(context.engine) as session:
                session.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))  # two runs at once take turns
                batch = list(
                    reader(
                        session, last_id, config.batch_size,
                        agent_name=config.agent_name, cipher=cipher, consents=consents,
                    )
                )  # fmt: skip
                if not batch:
                    break
                last_id = batch[-1][0]
                touched.update(
                    _curate(session, [source for _, source in batch], cleaner, keys, retry_held=config.retry_held)
                )
            done += len(batch)
            context.progress(done, max(total, done), {"cleaned": touched["clear"]})
    with session_scope(context.engine) as session:
        mark_processed(session)
        metrics = {
            **counts(session),
            **quality_metrics(
                session, agent_name=config.agent_name, too_fast_ms=config.too_fast_ms, rater_key=keys.rater
            ),
        }
        metrics |= {"removed": removed, **{f"touched_{status}": count for status, count in sorted(touched.items())}}
        metrics["stale_datasets"] = len(stale_datasets(session))
    logger.info("curated %d judgements: %s", done, dict(touched))
    return StageResult(summary=summarize(metrics, sum(touched.values())), metrics=metrics)


def mark_processed(session: Session) -> None:
    """Set the seed tables' `processed` on every judgement that is in a dataset."""
    for table, kind, name in (
        (Feedback, "feedback", Feedback.feedback_id),
        (Preference, "preference", Preference.preference_id),
    ):
        member = sa.select(DatasetMember.id).where(DatasetMember.kind == kind, DatasetMember.source_id == name)
        session.execute(sa.update(table).where(table.processed.is_not(True), member.exists()).values(processed=True))


def _curate(
    session: Session,
    batch: Sequence[Source],
    cleaner: Cleaner,
    keys: _Keys,
    *,
    retry_held: bool,
) -> Counter[str]:
    """Store what changed of one batch; return how many records came out clear, held and excluded."""
    existing = _existing(session, batch)
    changed: list[tuple[Source, str, CuratedRecord | None]] = []
    for source in batch:
        record, digest = existing.get((source.kind, source.source_id)), source.digest(keys.record)
        if record is None or differs(record, source, digest, retry_held=retry_held):
            changed.append((source, digest, record))
    usable = [source for source, _, _ in changed if refusal(source) is None]
    cleaned = dict(zip([(s.kind, s.source_id) for s in usable], cleaner.clean(usable), strict=True))
    found: Counter[str] = Counter()
    for source, digest, record in changed:
        values = values_of(source, digest, cleaned.get((source.kind, source.source_id)), rater_key=keys.rater)
        found[values["status"]] += 1
        if record is None:
            session.add(CuratedRecord(**values))
        else:
            for name, value in values.items():
                setattr(record, name, value)
            record.curated_at = sa.func.now()
    session.flush()
    return found


def _keys(secret: bytes) -> _Keys:
    record, rater = (hmac.new(secret, name, hashlib.sha256).digest() for name in (b"curated-record", b"rater"))
    return _Keys(record, rater)


def _existing(session: Session, batch: Sequence[Source]) -> dict[tuple[str, str], CuratedRecord]:
    names = [(source.kind, source.source_id) for source in batch]
    found = session.scalars(
        sa.select(CuratedRecord).where(sa.tuple_(CuratedRecord.kind, CuratedRecord.source_id).in_(names))
    )
    return {(record.kind, record.source_id): record for record in found}


def _drop_orphans(session: Session) -> int:
    """Delete records whose raw judgement was erased."""
    there = sa.select(judgements.c.source_id).where(
        judgements.c.kind == CuratedRecord.kind, judgements.c.source_id == CuratedRecord.source_id
    )
    gone = session.scalars(sa.delete(CuratedRecord).where(~there.exists()).returning(CuratedRecord.id))
    return len(gone.all())
