"""A clinician's judgement between two responses in, one live row out for each pair and rater, whatever the order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect import interactions, store
from preceptor.collect.consent import consent_scope
from preceptor.collect.ids import content_hash, new_id, normalize_text
from preceptor.collect.interactions import Rater
from preceptor.collect.schemas import FieldError, PreferenceEdit, PreferenceIn
from preceptor.collect.texts import PREFERENCE_TEXTS, get_text, put_text
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Interaction, Preference
from preceptor.errors import ConflictError

_JUDGED = ("outcome", "preferred", "strength", "harm_a", "harm_b", "reasons", "comments", "correction")
_SWAP = {"a": "b", "b": "a"}


@dataclass(frozen=True)
class Compared:
    """The two responses, with the interactions they come from where there are any."""

    prompt: str
    response_a: str
    response_b: str
    a: Interaction | None = None
    b: Interaction | None = None


def record_preference(
    session: Session, cipher: TextCipher, *, given: PreferenceIn, rater: Rater, source: str = "api"
) -> tuple[Preference, str]:
    """Store a comparison. Returns its row and created, updated or unchanged; a repeat replaces the rater's own row.

    Raises:
        FieldError: fields are missing or contradict each other.
        NotFoundError: an interaction is not there, or not the rater's to judge.
    """
    compared = _resolve(session, cipher, given=given, rater=rater)
    return land(session, cipher, given=given, compared=compared, rater=rater, source=source)


def land(
    session: Session, cipher: TextCipher, *, given: PreferenceIn, compared: Compared, rater: Rater, source: str
) -> tuple[Preference, str]:
    """Create or replace the rater's comparison of these two responses."""
    if normalize_text(compared.response_a) == normalize_text(compared.response_b):
        raise FieldError("The two responses are the same; there is nothing to compare", "response_b")
    if given.strength is not None and given.preferred not in _SWAP:
        raise FieldError("strength belongs to a preference for a or b", "strength")
    values = _values(given)
    hashes = [
        content_hash(compared.prompt, compared.response_a, compared.response_b),
        content_hash(compared.prompt, compared.response_b, compared.response_a),
    ]
    store.lock(session, "preference", rater.user_id, *sorted(hashes))
    row = session.scalar(
        sa.select(Preference)
        .where(
            Preference.clinician_id == rater.user_id,
            Preference.content_hash.in_(hashes),
            Preference.interaction_a.is_not_distinct_from(_id(compared.a))
            | Preference.interaction_a.is_not_distinct_from(_id(compared.b)),
            Preference.withdrawn_at.is_(None),
        )
        .order_by(Preference.id)
        .limit(1)
    )
    if row is None:
        return _insert(session, cipher, values=values, given=given, compared=compared, rater=rater, source=source), (
            "created"
        )
    if row.content_hash != hashes[0]:
        values = _swapped(values)
    sent = given.model_fields_set | {"outcome", "preferred"}
    mirrored = {"harm_a": "harm_b", "harm_b": "harm_a"} if row.content_hash != hashes[0] else {}
    changes = {name: value for name, value in values.items() if mirrored.get(name, name) in sent}
    if values["preferred"] is None:
        changes["strength"] = None
    changed = store.revise(session, row, changes, cipher=cipher, actor_id=rater.user_id)
    return row, "updated" if changed else "unchanged"


def edit_preference(
    session: Session,
    cipher: TextCipher,
    *,
    preference_id: str,
    given: PreferenceEdit,
    rater: Rater,
    expected_revision: int | None = None,
) -> Preference:
    """Change one's own comparison; the former values are kept as a revision."""
    row = store.find(session, Preference, preference_id, rater=rater)
    store.demand_owner(row, rater)
    session.refresh(row, with_for_update=True)
    store.demand_revision(row, expected_revision)
    if row.withdrawn_at is not None:
        raise ConflictError("This judgement was withdrawn. Compare the answers again instead.")
    changes = given.model_dump(exclude_unset=True)
    if "preferred" in changes:
        if changes["preferred"] is None:
            raise FieldError("preferred cannot be emptied; withdraw the judgement instead", "preferred")
        changes["outcome"] = changes["preferred"]
        changes["preferred"] = changes["outcome"] if changes["outcome"] in _SWAP else None
        if changes["preferred"] is None:
            changes.setdefault("strength", None)
    outcome = changes.get("outcome", row.outcome or row.preferred)
    if changes.get("strength") is not None and outcome not in _SWAP:
        raise FieldError("strength belongs to a preference for a or b", "strength")
    store.revise(session, row, changes, cipher=cipher, actor_id=rater.user_id)
    return row


def _values(given: PreferenceIn) -> dict[str, Any]:
    preferred = given.preferred if given.preferred in _SWAP else None
    return {
        "outcome": given.preferred,
        "preferred": preferred,
        **{name: getattr(given, name) for name in _JUDGED if name not in {"outcome", "preferred"}},
    }


def _swapped(values: dict[str, Any]) -> dict[str, Any]:
    """The same judgement with the two responses in the other order."""
    return values | {
        "outcome": _SWAP.get(values["outcome"], values["outcome"]),
        "preferred": _SWAP.get(values["preferred"], values["preferred"]),
        "harm_a": values["harm_b"],
        "harm_b": values["harm_a"],
    }


def _id(interaction: Interaction | None) -> str | None:
    return interaction.interaction_id if interaction is not None else None


def compare_interactions(a: Interaction, b: Interaction, *, cipher: TextCipher) -> Compared:
    """The two answers of one prompt.

    Raises:
        FieldError: they answer different prompts, or are the same interaction.
    """
    if a.interaction_id == b.interaction_id or a.prompt_hash != b.prompt_hash:
        raise FieldError("The two interactions must be different answers to one prompt", "interaction_b")
    texts = [get_text(a, "prompt", cipher=cipher), *(get_text(x, "response", cipher=cipher) for x in (a, b))]
    prompt, response_a, response_b = (text or "" for text in texts)
    return Compared(prompt, response_a, response_b, a, b)


def _resolve(session: Session, cipher: TextCipher, *, given: PreferenceIn, rater: Rater) -> Compared:
    inline = {name: getattr(given, name) for name in ("prompt", "response_a", "response_b")}
    by_id = {name: getattr(given, name) for name in ("interaction_a", "interaction_b")}
    wanted = by_id if any(by_id.values()) else inline
    absent = [name for name, value in wanted.items() if value is None]
    if absent:
        raise FieldError("Send prompt, response_a and response_b, or interaction_a and interaction_b", *absent)
    if wanted is inline:
        return Compared(inline["prompt"], inline["response_a"], inline["response_b"])
    a, b = (interactions.get_interaction(session, value, rater=rater) for value in by_id.values())
    compared = compare_interactions(a, b, cipher=cipher)
    for name, value in inline.items():
        if value is not None and normalize_text(value) != normalize_text(getattr(compared, name)):
            raise FieldError("The text is not the one of the interaction; leave it out", name)
    return compared


def _insert(
    session: Session,
    cipher: TextCipher,
    *,
    values: dict[str, Any],
    given: PreferenceIn,
    compared: Compared,
    rater: Rater,
    source: str,
) -> Preference:
    a, b = compared.a, compared.b
    row = Preference(
        preference_id=new_id("pref"),
        session_id=given.session_id or (a.session_id if a else None),
        agent_name=given.agent_name or (a.agent_name if a else None),
        interaction_a=_id(a),
        interaction_b=_id(b),
        presented_first=given.presented_first,
        blinded=given.blinded,
        clinician_id=rater.user_id,
        source=source,
        content_hash=content_hash(compared.prompt, compared.response_a, compared.response_b),
        prompt_hash=content_hash(compared.prompt),
        experiment_id=a.experiment_id if a and b and a.experiment_id == b.experiment_id else None,
        arm_a=a.arm if a else None,
        arm_b=b.arm if b else None,
        rater_specialty=rater.specialty,
        consent_scope=consent_scope(session, rater.user_id),
        active_ms=given.active_ms,
        **{name: value for name, value in values.items() if name not in PREFERENCE_TEXTS},
    )
    for name in ("prompt", "response_a", "response_b"):
        put_text(row, name, getattr(compared, name), cipher=cipher)
    for name in ("comments", "correction"):
        put_text(row, name, values[name], cipher=cipher)
    session.add(row)
    session.flush()
    return row
