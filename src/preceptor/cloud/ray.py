"""A job in, a Ray job out: the REST interface of `ray job submit`, and a folder that the cluster sees too.

The folder of a job has the layout of a SageMaker container, so the same entry runs in both. Nothing of Ray is imported.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from preceptor.cloud.config import RayConfig
from preceptor.cloud.runner import ARCHIVE, BackendBusy, Input, Job, JobStatus, State, digest_of
from preceptor.errors import AccessError, ConflictError, InputError, NotFoundError, StorageError
from preceptor.files.atomic import write_atomic

_STATES: dict[str, State] = {
    "PENDING": "queued",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}


@dataclass(frozen=True)
class Ray:
    """A Ray cluster by the address of its dashboard; `config` is needed to submit only."""

    address: str
    config: RayConfig | None = None
    max_bytes: int = 20 * 10**9
    transport: httpx.BaseTransport | None = None

    def submit(self, job: Job, /) -> str:
        """Copy the inputs to the shared folder and start the job.

        Raises:
            ConflictError: the same job is there already.
        """
        assert self.config is not None
        request = ray_request(job, self.config)
        name = str(request["submission_id"])
        if self._ask("GET", f"/api/jobs/{name}", missing_is_fine=True) is not None:
            raise ConflictError(f"The job {name} is there already: watch it, or give --job-name to start another.")
        root = job_folder(self.config, name)
        for item in job.inputs:
            _copy(item, root / "input" / "data" / item.channel)
        write_atomic(root / "input" / "config" / "hyperparameters.json", json.dumps(dict(job.flags), indent=2))
        self._ask("POST", "/api/jobs/", body=request)
        return name

    def status(self, name: str, /) -> JobStatus:
        found = self._job(name)
        about = found["metadata"]
        started, ended = found.get("start_time") or 0, found.get("end_time") or time.time() * 1000
        failed = found["status"] == "FAILED"
        return JobStatus(
            name=name,
            stage=str(about["stage"]),
            state=_STATES.get(str(found["status"]), "running"),
            detail=str(found["status"]),
            seconds=max(0.0, (ended - started) / 1000) if started else 0.0,
            flags=json.loads(about["flags"]),
            request=str(about["request"]),
            reason=_reason(Path(about["root"]), str(found.get("message") or "")) if failed else None,
        )

    def logs(self, name: str, /) -> Iterator[str]:
        self._job(name)
        found = self._ask("GET", f"/api/jobs/{name}/logs")
        yield from str((found or {}).get("logs", "")).splitlines()

    def cancel(self, name: str, /) -> None:
        self._job(name)
        self._ask("POST", f"/api/jobs/{name}/stop")

    def fetch(self, name: str, folder: Path, /) -> Path:
        """Raises ConflictError for a job that has not succeeded, StorageError for an archive that is too large."""
        found = self._job(name)
        if found["status"] != "SUCCEEDED":
            raise ConflictError(f"The job {name} is {found['status']}: it has nothing to fetch.")
        archive = Path(found["metadata"]["root"]) / "output" / ARCHIVE
        if not archive.is_file():
            raise NotFoundError(f"There is no {archive}. Is the shared folder mounted here under the same path?")
        if archive.stat().st_size > self.max_bytes:
            raise StorageError(
                f"{archive} is larger than {self.max_bytes / 1e9:.1f} GB. If that is right, give --max-gb."
            )
        return Path(shutil.copyfile(archive, folder / ARCHIVE))

    def _job(self, name: str) -> dict[str, Any]:
        found = self._ask("GET", f"/api/jobs/{name}", missing_is_fine=True)
        if found is None or "stage" not in (found.get("metadata") or {}):
            raise NotFoundError(f"{self.address} knows no job '{name}' that `preceptor cloud` started.")
        return found

    def _ask(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, missing_is_fine: bool = False
    ) -> dict[str, Any] | None:
        token = os.environ.get("RAY_AUTH_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with httpx.Client(base_url=self.address, timeout=60.0, transport=self.transport, headers=headers) as client:
                answer = client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise BackendBusy(
                f"{self.address} does not answer ({type(error).__name__}). Start Ray there, or give its --address."
            ) from None
        if answer.status_code == httpx.codes.NOT_FOUND and missing_is_fine:
            return None
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise AccessError(f"{self.address} wants a token: set RAY_AUTH_TOKEN.")
        if answer.status_code in {429, 502, 503, 504}:
            raise BackendBusy(f"{self.address} is busy ({answer.status_code}). Try again later.")
        if answer.is_error:
            last = (answer.text.strip().splitlines() or ["no reason"])[-1]
            raise InputError(f"{self.address} refused {method} {path} ({answer.status_code}): {last[:300]}")
        try:
            found = json.loads(answer.content or "{}") if answer.is_success else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InputError(f"{self.address} answers, but not as the dashboard of a Ray cluster. Correct --address.")
        return found


def ray_request(job: Job, config: RayConfig) -> dict[str, Any]:
    """The body of `POST /api/jobs/`; the same job has the same name, so it is never started twice."""
    where = config.model_dump(mode="json", include={"address", "shared", "python", "cpus", "gpus"})
    digest = digest_of([job.digest, where])
    name = config.job_name or f"preceptor-{job.stage}-{digest[:16]}"
    root = job_folder(config, name)
    words = [config.python, "-m", "preceptor.cloud.container", job.stage, "--request", digest]
    words += ["--root", str(root), "--pack"]
    return {
        "submission_id": name,
        "entrypoint": shlex.join(words),
        "entrypoint_num_cpus": config.cpus,
        "entrypoint_num_gpus": config.gpus,
        "metadata": {
            "stage": job.stage,
            "request": digest,
            "root": str(root),
            "flags": json.dumps(dict(job.flags), sort_keys=True),
        },
    }


def job_folder(config: RayConfig, name: str) -> Path:
    """Where a job's inputs, checkpoints and model are."""
    return config.shared.expanduser().resolve() / name


def _copy(item: Input, target: Path) -> None:
    if item.path is None:
        raise InputError(f"Ray reads no S3: download {item.uri} and name its folder.")
    for name in item.files:
        source = item.path / name if item.path.is_dir() else item.path
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)


def _reason(root: Path, message: str) -> str | None:
    """What the container left as its last sentence, else what Ray says."""
    failure = root / "output" / "failure"
    return failure.read_text(encoding="utf-8").strip() if failure.is_file() else message or None
