"""The settings of a job elsewhere, said once: they are the flags of `preceptor cloud`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

_URI = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]*)?$"
_JOB = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
_TAG = r"^[\w .:/=+@-]{1,128}=[\w .:/=+@-]{0,256}$"
_KEY = r"^[a-zA-Z0-9:/_-]{1,2048}$"


class _CloudConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    job_name: str | None = Field(
        None, pattern=_JOB, description="Name of the job; default: from what it does, so the same job starts once."
    )
    dry_run: bool = Field(False, description="Print the exact request as JSON; send and start nothing.")
    wait: bool = Field(True, description="Watch the job to its end and fetch what it made.")
    poll_seconds: float = Field(20.0, ge=1, description="Seconds between two looks at the job.")
    max_gb: float = Field(20.0, gt=0, description="Largest size of what is fetched, unpacked.")


class SageMakerConfig(_CloudConfig):
    """Where and how a SageMaker training job runs."""

    image_uri: str = Field(
        min_length=3, max_length=255, description="Image with preceptor in it, in a registry of AWS."
    )
    role_arn: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$", description="Role that the job runs as.")
    bucket: str = Field(pattern=_URI, description="S3 place for inputs, checkpoints and outputs: s3://bucket/prefix.")
    region: str | None = Field(None, description="AWS region; default: that of the environment.")
    instance_type: str = Field("ml.g5.xlarge", pattern=r"^ml\.", description="Machine that the job runs on.")
    volume_gb: int = Field(50, ge=1, description="Disk of that machine, GB.")
    max_hours: float = Field(4.0, gt=0, le=672, description="Hours of work after which the job is ended.")
    spot: bool = Field(False, description="Use spare machines: cheaper, and when taken away the job goes on later.")
    max_wait_hours: float | None = Field(
        None, gt=0, description="Hours of waiting and work together with --spot; default: twice --max-hours."
    )
    volume_kms_key: str | None = Field(None, pattern=_KEY, description="KMS key of the machine's disk.")
    output_kms_key: str | None = Field(None, pattern=_KEY, description="KMS key of what is written to S3.")
    network_isolation: bool = Field(True, description="The container reaches no network; inputs arrive all the same.")
    subnets: tuple[str, ...] = Field((), max_length=16, description="Subnets of your VPC to run in.")
    security_groups: tuple[str, ...] = Field((), max_length=5, description="Security groups there.")
    tags: tuple[str, ...] = Field((), max_length=48, description="Tags of the job: name=value.")

    @model_validator(mode="after")
    def _fits(self) -> SageMakerConfig:
        if self.max_wait_hours is not None and not self.spot:
            raise ValueError("max_wait_hours needs spot: other machines are not waited for")
        if self.max_wait_hours is not None and self.max_wait_hours < self.max_hours:
            raise ValueError("max_wait_hours counts the hours of work too, so it must be at least max_hours")
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups go together: give both or neither")
        for tag in self.tags:
            if "=" not in tag or not tag.partition("=")[0].strip():
                raise ValueError("a tag is written name=value")
        return self


class RayConfig(_CloudConfig):
    """Where and how a job on a Ray cluster runs."""

    address: str = Field("http://127.0.0.1:8265", pattern=r"^https?://", description="Dashboard of the cluster.")
    shared: Path = Field(description="Folder that this machine and the cluster both see under this path.")
    python: str = Field(sys.executable, description="Python of the cluster that has preceptor.")
    cpus: float = Field(1.0, ge=0, description="Cores that the job asks for.")
    gpus: float = Field(0.0, ge=0, description="GPUs that the job asks for.")
