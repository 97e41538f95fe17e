"""A job in, a SageMaker training job out: sent, watched, stopped and fetched through plain boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from preceptor.cloud.aws import make_client, told
from preceptor.cloud.config import SageMakerConfig
from preceptor.cloud.request import input_uri, training_request
from preceptor.cloud.runner import ARCHIVE, Job, JobStatus, State
from preceptor.cloud.s3 import download, size_of, upload
from preceptor.errors import ConflictError, NotFoundError

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_STATES: dict[str, State] = {
    "InProgress": "running",
    "Completed": "succeeded",
    "Failed": "failed",
    "Stopping": "stopping",
    "Stopped": "stopped",
}
Report = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class SageMaker:
    """SageMaker in one region; `config` is needed to submit only. `report(done, total)` counts bytes on their way."""

    region: str | None = None
    config: SageMakerConfig | None = None
    max_bytes: int = 20 * 10**9
    report: Report = _silent
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @cached_property
    def _service(self) -> Any:
        return make_client("sagemaker", self.region)

    @cached_property
    def _s3(self) -> Any:
        return make_client("s3", self.region)

    @cached_property
    def _cloudwatch(self) -> Any:
        return make_client("logs", self.region)

    def submit(self, job: Job, /) -> str:
        """Upload what is not in S3 yet and start the job.

        Raises:
            ConflictError: the same job is there already.
        """
        assert self.config is not None
        request = training_request(job, self.config)
        total, done = sum(size_of(item) for item in job.inputs), 0

        def sent(count: int) -> None:
            nonlocal done
            done += count
            self.report(done, total)

        for item in job.inputs:
            uri = input_uri(item, self.config.bucket)
            upload(self._s3, item, uri, kms_key=self.config.output_kms_key, sent=sent)
        with told(f"the training job {request['TrainingJobName']}"):
            self._service.create_training_job(**request)
        return str(request["TrainingJobName"])

    def status(self, name: str, /) -> JobStatus:
        with told(f"a look at the training job {name}"):
            found = self._service.describe_training_job(TrainingJobName=name)
        return describe(found, self.now())

    def logs(self, name: str, /) -> Iterator[str]:
        """Lines of CloudWatch, oldest first."""
        where: dict[str, Any] = {"logGroupName": LOG_GROUP, "logStreamNamePrefix": f"{name}/"}
        while True:
            with told(f"the logs of {name}"):
                page = self._cloudwatch.filter_log_events(**where)
            for event in page.get("events", []):
                yield str(event["message"]).rstrip("\n")
            if not page.get("nextToken"):
                return
            where["nextToken"] = page["nextToken"]

    def cancel(self, name: str, /) -> None:
        with told(f"the stop of the training job {name}"):
            self._service.stop_training_job(TrainingJobName=name)

    def fetch(self, name: str, folder: Path, /) -> Path:
        """Raises ConflictError for a job that has not succeeded."""
        with told(f"a look at the training job {name}"):
            found = self._service.describe_training_job(TrainingJobName=name)
        if found["TrainingJobStatus"] != "Completed":
            raise ConflictError(f"The training job {name} is {found['TrainingJobStatus']}: it has nothing to fetch.")
        uri = found.get("ModelArtifacts", {}).get("S3ModelArtifacts")
        if not uri:
            raise NotFoundError(f"The training job {name} names no model; see its logs.")
        done = 0

        def received(count: int) -> None:
            nonlocal done
            done += count
            self.report(done, 0)

        target = folder / ARCHIVE
        download(self._s3, str(uri), target, max_bytes=self.max_bytes, received=received)
        return target


def describe(found: Mapping[str, Any], now: datetime) -> JobStatus:
    """The answer of `describe_training_job` as ours.

    Raises:
        NotFoundError: the job was not started by `preceptor cloud`.
    """
    name, status = str(found["TrainingJobName"]), str(found["TrainingJobStatus"])
    words = found.get("AlgorithmSpecification", {}).get("ContainerArguments") or []
    if len(words) < 3 or words[1] != "--request":
        raise NotFoundError(f"The training job {name} was not started by `preceptor cloud`.")
    started = found.get("TrainingStartTime")
    ended = found.get("TrainingEndTime") or now
    secondary = str(found.get("SecondaryStatus", status))
    waiting = secondary in {"Starting", "Pending", "LaunchingMLInstances", "PreparingTrainingStack", "Interrupted"}
    state = _STATES.get(status, "running")
    return JobStatus(
        name=name,
        stage=str(words[0]),
        state="queued" if state == "running" and waiting else state,
        detail=f"{status}, {secondary}",
        seconds=max(0.0, (ended - started).total_seconds()) if started else 0.0,
        flags=dict(found.get("HyperParameters", {})),
        request=str(words[2]),
        reason=str(found["FailureReason"]) if found.get("FailureReason") else None,
        limit=float(found.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 0)) or None,
    )
