"""An installation in; the gateway's parts (document, models), made once for each application, out."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

import sqlalchemy as sa
from fastapi import Depends
from starlette.requests import Request

from preceptor.errors import ModelError, NotFoundError, PreceptorError, StorageError
from preceptor.gateway.arms import Choice, choose
from preceptor.gateway.backends import Source
from preceptor.gateway.local import LocalModels
from preceptor.gateway.upstream import upstream_source
from preceptor.release.document import AgentDeployment, DocumentReader
from preceptor.release.switch import register_base, synchronize
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation, installation

logger = logging.getLogger(__name__)

# A door that crashed between its commit and the document, or forgot the document, is healed after this long.
RESYNC_SECONDS = 20.0

_building = threading.Lock()


@dataclass
class Gateway:
    """What requests share."""

    found: Installation
    reader: DocumentReader
    models: LocalModels
    _synchronized: float = field(default=float("-inf"))

    def agents(self) -> dict[str, AgentDeployment]:
        """What each agent serves now: one stat of the document, and every 20 seconds a look at the database."""
        now = time.monotonic()
        if now - self._synchronized > RESYNC_SECONDS:
            self._synchronized = now
            try:
                synchronize(self.found.engine, self.found.settings)
            except (sa.exc.SQLAlchemyError, PreceptorError) as error:
                logger.error("the deployment document was not synchronized: %s", type(error).__name__)
        return self.reader.current().agents

    def deployment(self, agent_name: str) -> AgentDeployment:
        """What one agent serves; an agent met for the first time gets the base model as its version 0."""
        entry = self.agents().get(agent_name)
        if entry is None:
            register_base(self.found.engine, self.found.settings, agent_name)
            entry = self.reader.current().agents.get(agent_name)
        if entry is None:
            raise NotFoundError(f"There is no agent '{agent_name}' with an active release.")
        return entry

    def prepare(self, agent_name: str, principal: Principal) -> tuple[Choice, Source]:
        """Choose the release for this clinician and make it ready; a candidate that fails to load gives way."""
        choice = choose(self.found, agent_name, self.deployment(agent_name), principal)
        try:
            return choice, self._source(choice)
        except (ModelError, StorageError, NotFoundError) as error:
            if choice.served == choice.stable:
                raise
            logger.error("the candidate of %s cannot be loaded (%s).", agent_name, type(error).__name__)
            choice = choice.fallback()
            return choice, self._source(choice)

    def _source(self, choice: Choice) -> Source:
        if choice.served.upstream is not None:
            return upstream_source(choice.served, self.found.settings)
        return self.models.source(choice.served)


async def gateway_of(request: Request, found: Installation = Depends(installation)) -> Gateway:
    """The gateway of this application, made with the first request."""
    state = request.app.state
    with _building:
        made = getattr(state, "preceptor_gateway", None)
        if made is None:
            made = Gateway(found, DocumentReader(found.settings.deployments_file), LocalModels(found.settings))
            state.preceptor_gateway = made
    if not isinstance(made, Gateway):
        raise TypeError("app.state.preceptor_gateway must be a Gateway")
    return made
