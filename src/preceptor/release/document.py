"""What each agent serves in; one small checked file, replaced in one step and read by its identity, out.

Readers look at the file's identity on each request, so a new release is served without a restart.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preceptor.errors import ConflictError, StorageError
from preceptor.files.atomic import write_atomic

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
KEPT = 20


class Served(BaseModel):
    """A release as the gateway needs it. `upstream` is an OpenAI-compatible address, None for in-process weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    version: int
    model: str
    digest: str
    upstream: str | None = None
    params: dict[str, float | int] = Field(default_factory=dict)


class Rollout(BaseModel):
    """A running experiment: its candidate is served to the clinicians assigned to the treatment arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment_id: str
    coverage: float


class AgentDeployment(BaseModel):
    """What one agent serves. `generation` grows by at least one with every change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int
    stable: Served
    candidate: Served | None = None
    rollout: Rollout | None = None
    kill_switch: bool = False


class Document(BaseModel):
    """The whole document. `sequence` counts writes; `digest` is over the agents, so a torn or edited file shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    sequence: int = 0
    agents: dict[str, AgentDeployment] = Field(default_factory=dict)
    digest: str = ""


def agents_digest(agents: dict[str, AgentDeployment]) -> str:
    """SHA-256 over the agents in a fixed order, hex."""
    plain = {name: agent.model_dump(mode="json") for name, agent in agents.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def parse_document(text: str) -> Document:
    """Read a document.

    Raises:
        StorageError: it is malformed, of another schema, or its digest does not match.
    """
    try:
        document = Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise StorageError(f"The deployment document is malformed at {place}: {first['msg']}.") from None
    if document.digest != agents_digest(document.agents):
        raise StorageError("The deployment document does not match its digest: it was edited by hand or is torn.")
    return document


def swap(path: Path, agents: dict[str, AgentDeployment], *, expected_sequence: int) -> Document:
    """Replace the document if nobody else did since `expected_sequence` was read; the last 20 are kept beside it.

    Raises:
        ConflictError: the document moved on; read it again.
    """
    with _locked(path):
        current = stored_document(path)
        if current.sequence != expected_sequence:
            raise ConflictError(
                f"The deployment document is at {current.sequence}, not {expected_sequence}: somebody else changed it."
            )
        document = Document(sequence=current.sequence + 1, agents=agents, digest=agents_digest(agents))
        text = document.model_dump_json(indent=2)
        past = path.with_suffix(".history")
        write_atomic(past / f"{document.sequence:08d}.json", text)
        write_atomic(path, text)
        for old in sorted(past.glob("*.json"))[:-KEPT]:
            old.unlink(missing_ok=True)
        return document


@dataclass
class DocumentReader:
    """The document as last read; `current()` costs one stat while the file is unchanged.

    A document that fails its checks is refused and logged once, and the one before it stays in force.
    """

    path: Path
    _identity: tuple[int, int, int] | None = None
    _document: Document = field(default_factory=Document)

    def current(self) -> Document:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return self._document
        identity = (status.st_mtime_ns, status.st_ino, status.st_size)
        if identity != self._identity:
            self._identity = identity
            try:
                self._document = parse_document(self.path.read_text())
            except (StorageError, OSError, UnicodeDecodeError) as error:
                logger.error("%s The one before it (%d) stays in force.", error, self._document.sequence)
        return self._document


def stored_document(path: Path) -> Document:
    """The document on disk; where it is unusable, the newest usable one that was kept, else an empty one."""
    candidates = [path, *sorted(path.with_suffix(".history").glob("*.json"), reverse=True)]
    for candidate in candidates:
        try:
            return parse_document(candidate.read_text())
        except FileNotFoundError:
            continue
        except (StorageError, UnicodeDecodeError) as error:
            logger.error("%s It is passed over: %s.", error, candidate.name)
    return Document()


def is_sound(path: Path) -> bool:
    """Whether the file is there and passes its checks."""
    try:
        parse_document(path.read_text())
    except (StorageError, OSError, UnicodeDecodeError):
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
