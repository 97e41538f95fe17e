"""A job and the settings of SageMaker in, the exact request of `create_training_job` out."""

from __future__ import annotations

import math
from typing import Any

from preceptor.cloud.config import SageMakerConfig
from preceptor.cloud.runner import Input, Job, digest_of

ROOT = "/opt/ml"
_HOUR = 3600


def training_request(job: Job, config: SageMakerConfig) -> dict[str, Any]:
    """Build the request; the same job with the same settings has the same name, so it is never started twice."""
    bucket = config.bucket.rstrip("/")
    request: dict[str, Any] = {
        "AlgorithmSpecification": {
            "TrainingImage": config.image_uri,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python", "-m", "preceptor.cloud.container"],
            "ContainerArguments": [job.stage],
        },
        "RoleArn": config.role_arn,
        "HyperParameters": dict(job.flags),
        "InputDataConfig": [_channel(item, bucket) for item in job.inputs],
        "OutputDataConfig": {"S3OutputPath": f"{bucket}/jobs", "CompressionType": "GZIP"},
        "CheckpointConfig": {"S3Uri": f"{bucket}/checkpoints/{job.digest[:32]}", "LocalPath": f"{ROOT}/checkpoints"},
        "ResourceConfig": {
            "InstanceType": config.instance_type,
            "InstanceCount": 1,
            "VolumeSizeInGB": config.volume_gb,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": math.ceil(config.max_hours * _HOUR)},
        "EnableNetworkIsolation": config.network_isolation,
        "EnableInterContainerTrafficEncryption": True,
        "EnableManagedSpotTraining": config.spot,
    }
    if not job.inputs:
        del request["InputDataConfig"]  # an empty list is refused
    if config.spot:
        hours = 2 * config.max_hours if config.max_wait_hours is None else config.max_wait_hours
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = math.ceil(hours * _HOUR)
    if config.volume_kms_key:
        request["ResourceConfig"]["VolumeKmsKeyId"] = config.volume_kms_key
    if config.output_kms_key:
        request["OutputDataConfig"]["KmsKeyId"] = config.output_kms_key
    if config.subnets:
        request["VpcConfig"] = {"Subnets": list(config.subnets), "SecurityGroupIds": list(config.security_groups)}
    given = [tag.partition("=") for tag in config.tags]
    digest = digest_of([request, sorted(config.tags)])
    request["Tags"] = [
        {"Key": "preceptor:stage", "Value": job.stage},
        {"Key": "preceptor:request", "Value": digest},
        *({"Key": name.strip(), "Value": value.strip()} for name, _, value in given),
    ]
    request["AlgorithmSpecification"]["ContainerArguments"] += ["--request", digest]  # a description gives it back
    return {"TrainingJobName": config.job_name or f"preceptor-{job.stage}-{digest[:16]}", **request}


def input_uri(item: Input, bucket: str) -> str:
    """Where an input is kept: by its content, so that it is sent once."""
    return item.uri or f"{bucket.rstrip('/')}/inputs/{item.key}/"


def _channel(item: Input, bucket: str) -> dict[str, Any]:
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": input_uri(item, bucket),
        "S3DataDistributionType": "FullyReplicated",
    }
    return {"ChannelName": item.channel, "InputMode": "File", "DataSource": {"S3DataSource": source}}
