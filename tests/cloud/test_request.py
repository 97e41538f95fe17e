"""The request of a training job is a plain value: exact, valid for AWS, and the same for the same job."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from preceptor.cloud.config import SageMakerConfig
from preceptor.cloud.request import training_request
from preceptor.cloud.runner import Input, Job

Make = Callable[..., SageMakerConfig]
JOB = Job(
    "policy",
    {"epochs": "4", "batch_size": "16"},
    (
        Input("reward_model", "reward_model-0123456789abcdef", Path("/r"), {"a": "1"}),
        Input("base_model", "k", None, {}, uri="s3://models/gpt2/"),
    ),
)


def valid(request: dict[str, Any]) -> None:
    """What botocore checks before it sends anything, and the patterns of AWS that it does not check."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    report = ParamValidator().validate(request, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", request["TrainingJobName"])
    assert len(request["HyperParameters"]) <= 100


def test_a_request_says_everything(job_settings: Make) -> None:
    config = job_settings(
        spot=True,
        max_hours=2,
        max_wait_hours=6,
        volume_kms_key="alias/disk",
        output_kms_key="alias/out",
        subnets=("subnet-1", "subnet-2"),
        security_groups=("sg-1",),
        tags=("cost=clinic 7", "owner=ml@example.org"),
    )
    request = training_request(JOB, config)
    valid(request)
    digest = request["AlgorithmSpecification"]["ContainerArguments"][2]
    assert request == {
        "TrainingJobName": f"preceptor-policy-{digest[:16]}",
        "AlgorithmSpecification": {
            "TrainingImage": config.image_uri,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python", "-m", "preceptor.cloud.container"],
            "ContainerArguments": ["policy", "--request", digest],
        },
        "RoleArn": config.role_arn,
        "HyperParameters": {"epochs": "4", "batch_size": "16"},
        "InputDataConfig": [
            _channel("reward_model", "s3://clinic/rlhf/inputs/reward_model-0123456789abcdef/"),
            _channel("base_model", "s3://models/gpt2/"),
        ],
        "OutputDataConfig": {
            "S3OutputPath": "s3://clinic/rlhf/jobs",
            "CompressionType": "GZIP",
            "KmsKeyId": "alias/out",
        },
        "CheckpointConfig": {
            "S3Uri": f"s3://clinic/rlhf/checkpoints/{JOB.digest[:32]}",
            "LocalPath": "/opt/ml/checkpoints",
        },
        "ResourceConfig": {
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
            "VolumeKmsKeyId": "alias/disk",
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 21600},
        "VpcConfig": {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
        "EnableManagedSpotTraining": True,
        "Tags": [
            {"Key": "preceptor:stage", "Value": "policy"},
            {"Key": "preceptor:request", "Value": digest},
            {"Key": "cost", "Value": "clinic 7"},
            {"Key": "owner", "Value": "ml@example.org"},
        ],
    }


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def test_the_defaults_are_the_careful_ones(job_settings: Make) -> None:
    request = training_request(JOB, job_settings())
    valid(request)
    assert request["EnableNetworkIsolation"] is True
    assert request["EnableManagedSpotTraining"] is False
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400}
    assert not {"VpcConfig"} & set(request)


def test_spare_machines_are_waited_for_at_least_as_long_as_the_work(job_settings: Make) -> None:
    condition = training_request(JOB, job_settings(spot=True, max_hours=0.5))["StoppingCondition"]
    assert condition == {"MaxRuntimeInSeconds": 1800, "MaxWaitTimeInSeconds": 3600}
    with pytest.raises(ValidationError, match="at least max_hours"):
        job_settings(spot=True, max_hours=3, max_wait_hours=2)
    with pytest.raises(ValidationError, match="needs spot"):
        job_settings(max_wait_hours=9)


def test_a_request_names_itself_by_what_it_asks_for(job_settings: Make) -> None:
    first = training_request(JOB, job_settings())
    assert training_request(JOB, job_settings()) == first
    assert (
        training_request(JOB, job_settings(instance_type="ml.p4d.24xlarge"))["TrainingJobName"]
        != (first["TrainingJobName"])
    )
    again = training_request(JOB, job_settings(job_name="second-try"))
    assert again["TrainingJobName"] == "second-try"
    assert again["CheckpointConfig"] == first["CheckpointConfig"]  # so a second try goes on where the first ended


@pytest.mark.parametrize(
    "values",
    [
        {"bucket": "clinic/rlhf"},
        {"bucket": "s3://Clinic"},
        {"role_arn": "trainer"},
        {"job_name": "under_score"},
        {"subnets": ("subnet-1",)},
        {"tags": ("novalue",)},
        {"tags": ("=x",)},
        {"max_hours": 0},
        {"volume_kms_key": "key with spaces"},
        {"instance_count": 2},
    ],
)
def test_settings_that_aws_would_refuse_are_refused_here(job_settings: Make, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        job_settings(**values)


def test_a_job_without_inputs_has_no_empty_list_of_them(job_settings: Make) -> None:
    request = training_request(Job("reward", {"epochs": "1"}, ()), job_settings())
    valid(request)
    assert "InputDataConfig" not in request
