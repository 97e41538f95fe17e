"""What a stage needs to run elsewhere goes in; the interface that SageMaker and Ray answer to comes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from preceptor.errors import PreceptorError

State = Literal["queued", "running", "stopping", "succeeded", "failed", "stopped"]
ENDED: tuple[State, ...] = ("succeeded", "failed", "stopped")
ARCHIVE = "model.tar.gz"
CHANNEL = "channel:"  # opens the value of a flag that names an input which is no artifact


class BackendBusy(PreceptorError):
    """The backend throttles or did not answer this time; asking again later may help."""


@dataclass(frozen=True)
class Input:
    """One channel: a folder or a file that goes along, or a place in S3 that has it already.

    `files` maps the names below `path` to their SHA-256; `key` is where they are kept, and says what they hold.
    """

    channel: str
    key: str
    path: Path | None
    files: Mapping[str, str]
    uri: str | None = None


@dataclass(frozen=True)
class Job:
    """A stage, its flags as text, and its inputs: the same for every backend."""

    stage: str
    flags: Mapping[str, str]
    inputs: tuple[Input, ...]

    @property
    def digest(self) -> str:
        """What tells one job from another: SHA-256 over the stage, its flags and the content of its inputs."""
        return digest_of([self.stage, dict(self.flags), [[item.channel, item.key] for item in self.inputs]])


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands. `seconds` since it began to run; `flags`, `request` as they were submitted."""

    name: str
    stage: str
    state: State
    detail: str
    seconds: float
    flags: Mapping[str, str]
    request: str
    reason: str | None = None
    limit: float | None = None  # seconds after which the backend ends it

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


class Runner(Protocol):
    """Somewhere to run a job."""

    def submit(self, job: Job, /) -> str:
        """Send the inputs, start the job, return its name."""

    def status(self, name: str, /) -> JobStatus:
        """Ask where it stands."""

    def logs(self, name: str, /) -> Iterator[str]:
        """What it printed so far, line by line."""

    def cancel(self, name: str, /) -> None:
        """Ask it to stop at its next safe point."""

    def fetch(self, name: str, folder: Path, /) -> Path:
        """Bring the archive of what a succeeded job made into `folder`; nothing in it is trusted yet."""


def digest_of(content: Any) -> str:
    """SHA-256 of plain values, in hex, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
