"""A finished answer in; an interaction that can be judged, and the exposure of its clinician, stored out."""

from __future__ import annotations

from dataclasses import dataclass

from preceptor.collect.interactions import create_interaction
from preceptor.collect.schemas import InteractionIn
from preceptor.db.engine import session_scope
from preceptor.experiment.store import log_exposure
from preceptor.gateway.arms import Choice
from preceptor.gateway.backends import Sampling
from preceptor.modeling.sequences import PROMPT_VERSION
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation

NO_ANSWER = "(no answer)"


@dataclass(frozen=True)
class Turn:
    """One request as it will be remembered."""

    choice: Choice
    digest: str
    prompt: str
    session_id: str
    sampling: Sampling


@dataclass(frozen=True)
class Said:
    """One answer: its text and whether it came to its own end."""

    interaction_id: str
    text: str
    finished: bool


def keep(found: Installation, principal: Principal, turn: Turn, answers: list[Said], *, latency_ms: int) -> None:
    """Store every answer of a turn, and that this clinician was shown them, in one transaction."""
    choice = turn.choice
    with session_scope(found.engine) as session:
        for said in answers:
            given = InteractionIn(
                session_id=turn.session_id,
                agent_name=choice.agent_name,
                prompt=turn.prompt,
                response=said.text,
                model_name=choice.served.model,
                model_digest=turn.digest,
                prompt_version=PROMPT_VERSION,
                sampling=dict(turn.sampling.record()),
                experiment_id=choice.experiment_id,
                arm=choice.arm,
                finished=said.finished,
            )
            create_interaction(
                session,
                found.cipher,
                given=given,
                created_by=principal.user_id,
                source="gateway",
                interaction_id=said.interaction_id,
            )
            if choice.experiment_id and choice.unit and choice.arm:
                log_exposure(
                    session,
                    experiment_id=choice.experiment_id,
                    unit=choice.unit,
                    arm=choice.arm,
                    interaction_id=said.interaction_id,
                    model_digest=turn.digest,
                    generation=choice.generation,
                    latency_ms=latency_ms,
                )
