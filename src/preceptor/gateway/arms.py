"""An agent and a clinician in; which release answers, by the deployment document and the running experiment, out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.errors import PreceptorError
from preceptor.experiment.assign import CONTROL, TREATMENT, Arm
from preceptor.experiment.store import assign, find_experiment
from preceptor.release.document import AgentDeployment, Served
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation

logger = logging.getLogger(__name__)

_LOCK_TIMEOUT = "1500ms"


@dataclass(frozen=True)
class Choice:
    """Who answers. `arm` is that of the answer really given; None outside an experiment."""

    agent_name: str
    generation: int
    served: Served
    stable: Served
    experiment_id: str | None = None
    unit: str | None = None
    arm: Arm | None = None

    def fallback(self) -> Choice:
        """The stable release instead: an answer of the control arm, whatever was assigned."""
        return replace(self, served=self.stable, arm=CONTROL if self.arm else None)


def choose(found: Installation, agent_name: str, deployment: AgentDeployment, principal: Principal) -> Choice:
    """The kill switch is looked at first; without an experiment, or without an answer about it, stable serves."""
    stable = Choice(agent_name, deployment.generation, deployment.stable, deployment.stable)
    if deployment.kill_switch or deployment.rollout is None or deployment.candidate is None:
        return stable
    try:
        with session_scope(found.engine) as session:
            session.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            experiment = find_experiment(session, deployment.rollout.experiment_id)
            if experiment.state != "running":
                return stable
            # one sequence of blocks for all: strata of one or two clinicians each would be coin tosses
            assigned = assign(session, experiment, clinician_id=principal.user_id, key=found.secret)
    except (sa.exc.SQLAlchemyError, PreceptorError) as error:
        logger.error("no assignment for %s (%s): the stable release answers.", agent_name, type(error).__name__)
        return stable
    if assigned.arm is None:
        return stable
    choice = replace(stable, experiment_id=assigned.experiment_id, unit=assigned.unit, arm=assigned.arm)
    if assigned.arm == TREATMENT and assigned.release_id == deployment.candidate.release_id:
        return replace(choice, served=deployment.candidate)
    return choice.fallback()
