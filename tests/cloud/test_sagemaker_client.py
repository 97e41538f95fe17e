"""SageMaker through boto3: what is asked of AWS, and what its answers and refusals become."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from preceptor.artifacts.store import Artifact
from preceptor.cloud.aws import make_client
from preceptor.cloud.config import SageMakerConfig
from preceptor.cloud.inputs import plan_job
from preceptor.cloud.request import training_request
from preceptor.cloud.runner import BackendBusy
from preceptor.cloud.sagemaker import SageMaker
from preceptor.errors import AccessError, ConfigError, ConflictError, InputError, NotFoundError, StorageError
from preceptor.reward.config import RewardConfig
from preceptor.settings import Settings

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
DESCRIBED: dict[str, Any] = {
    "TrainingJobName": "job-1",
    "TrainingJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/job-1",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://clinic/rlhf/jobs/job-1/output/model.tar.gz"},
    "TrainingJobStatus": "InProgress",
    "SecondaryStatus": "Training",
    "AlgorithmSpecification": {
        "TrainingInputMode": "File",
        "ContainerArguments": ["reward", "--request", "d1"],
    },
    "ResourceConfig": {"VolumeSizeInGB": 50},
    "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
    "HyperParameters": {"epochs": "3"},
    "CreationTime": START,
    "TrainingStartTime": START,
}
Make = Callable[..., Any]


@pytest.fixture
def sagemaker() -> SageMaker:
    return SageMaker(now=lambda: START + timedelta(seconds=90))


@contextmanager
def stubbed(runner: SageMaker, service: str = "_service") -> Iterator[Any]:
    """botocore's own stub: each request is checked against the model of the service, and must be made."""
    from botocore.stub import Stubber

    with Stubber(getattr(runner, service)) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("status", "secondary", "state"),
    [
        ("InProgress", "Starting", "queued"),
        ("InProgress", "Pending", "queued"),
        ("InProgress", "Interrupted", "queued"),
        ("InProgress", "Downloading", "running"),
        ("InProgress", "Training", "running"),
        ("InProgress", "Uploading", "running"),
        ("Stopping", "Stopping", "stopping"),
        ("Stopped", "MaxRuntimeExceeded", "stopped"),
        ("Completed", "Completed", "succeeded"),
        ("Failed", "Failed", "failed"),
    ],
)
def test_the_states_of_a_job(sagemaker: SageMaker, status: str, secondary: str, state: str) -> None:
    with stubbed(sagemaker) as stub:
        answer = {**DESCRIBED, "TrainingJobStatus": status, "SecondaryStatus": secondary}
        stub.add_response("describe_training_job", answer, {"TrainingJobName": "job-1"})
        found = sagemaker.status("job-1")
    assert (found.state, found.detail) == (state, f"{status}, {secondary}")
    assert (found.stage, found.request, found.flags) == ("reward", "d1", {"epochs": "3"})
    assert (found.seconds, found.limit) == (90.0, 7200.0)


def test_a_failed_job_says_why(sagemaker: SageMaker) -> None:
    with stubbed(sagemaker) as stub:
        end = {"TrainingEndTime": START + timedelta(seconds=30), "FailureReason": "AlgorithmError: the loss is NaN"}
        stub.add_response("describe_training_job", {**DESCRIBED, "TrainingJobStatus": "Failed", **end})
        found = sagemaker.status("job-1")
    assert (found.reason, found.seconds, found.has_ended) == ("AlgorithmError: the loss is NaN", 30.0, True)


def test_a_job_of_someone_else_is_not_taken_for_ours(sagemaker: SageMaker) -> None:
    with stubbed(sagemaker) as stub:
        stub.add_response(
            "describe_training_job", {**DESCRIBED, "AlgorithmSpecification": {"TrainingInputMode": "File"}}
        )
        with pytest.raises(NotFoundError, match="was not started by"):
            sagemaker.status("job-1")


def test_a_job_is_stopped(sagemaker: SageMaker) -> None:
    with stubbed(sagemaker) as stub:
        stub.add_response("stop_training_job", {}, {"TrainingJobName": "job-1"})
        sagemaker.cancel("job-1")


@pytest.mark.parametrize(
    ("code", "said", "error", "told"),
    [
        ("ThrottlingException", "Rate exceeded", BackendBusy, "Try again later"),
        ("ServiceUnavailable", "Slow", BackendBusy, "Try again later"),
        ("AccessDeniedException", "User is not authorized", AccessError, "docs/cloud.md"),
        ("ValidationException", "Requested resource not found.", NotFoundError, "the name and the region"),
        ("ValidationException", "The request was rejected because the job is Completed", InputError, "is Completed"),
        ("ResourceInUse", "exists", ConflictError, "--job-name"),
        ("ResourceLimitExceeded", "ml.g5.xlarge is 0", ConflictError, "quota"),
    ],
)
def test_what_aws_refuses_is_one_sentence(
    sagemaker: SageMaker, code: str, said: str, error: type[Exception], told: str
) -> None:
    with stubbed(sagemaker) as stub:
        stub.add_client_error("stop_training_job", code, said)
        with pytest.raises(error, match=told) as raised:
            sagemaker.cancel("job-1")
    assert said in str(raised.value)


def test_a_request_that_is_no_request_never_leaves(sagemaker: SageMaker) -> None:
    with pytest.raises(InputError, match="AWS takes no such request"):
        sagemaker.status("")


def test_logs_come_page_by_page(sagemaker: SageMaker) -> None:
    where = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": "job-1/"}
    with stubbed(sagemaker, "_cloudwatch") as stub:
        stub.add_response("filter_log_events", {"events": [{"message": "one\n"}], "nextToken": "t"}, where)
        stub.add_response("filter_log_events", {"events": [{"message": "two"}]}, {**where, "nextToken": "t"})
        assert list(sagemaker.logs("job-1")) == ["one", "two"]


def test_an_unfinished_job_has_nothing_to_fetch(sagemaker: SageMaker, tmp_path: Path) -> None:
    with stubbed(sagemaker) as stub:
        stub.add_response("describe_training_job", {**DESCRIBED, "TrainingJobStatus": "Stopped"})
        with pytest.raises(ConflictError, match="is Stopped"):
            sagemaker.fetch("job-1", tmp_path)


def test_the_request_of_the_dry_run_is_what_is_sent(
    home: Settings, make_dataset: Callable[..., Artifact], job_settings: Callable[..., SageMakerConfig]
) -> None:
    from botocore.stub import ANY, Stubber

    job = plan_job("reward", RewardConfig(dataset=make_dataset(home).id), home)
    runner = SageMaker(config=job_settings(output_kms_key="alias/out"))
    with stubbed(runner) as stub, Stubber(runner._s3) as s3:
        for name, digest in job.inputs[0].files.items():
            s3.add_client_error("head_object", "404", http_status_code=404)
            expected = {
                "Bucket": "clinic",
                "Key": f"rlhf/inputs/{job.inputs[0].key}/{name}",
                "Body": ANY,
                "Metadata": {"sha256": digest},
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": "alias/out",
                "ChecksumAlgorithm": "SHA256",
            }
            s3.add_response("put_object", {}, expected)
        request = training_request(job, job_settings(output_kms_key="alias/out"))
        stub.add_response("create_training_job", {"TrainingJobArn": DESCRIBED["TrainingJobArn"]}, request)
        assert runner.submit(job) == request["TrainingJobName"]


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        ("NoSuchBucket", NotFoundError, "Check the name and the region"),
        ("AccessDenied", AccessError, "docs/cloud.md"),
        ("SlowDown", BackendBusy, "Try again later"),
    ],
)
def test_an_upload_that_aws_refuses_is_one_sentence(
    code: str,
    error: type[Exception],
    told: str,
    home: Settings,
    make_dataset: Callable[..., Artifact],
    job_settings: Callable[..., SageMakerConfig],
) -> None:
    job = plan_job("reward", RewardConfig(dataset=make_dataset(home).id), home)
    runner = SageMaker(config=job_settings())
    with stubbed(runner, "_s3") as s3:
        s3.add_client_error("head_object", "404", http_status_code=404)
        s3.add_client_error("put_object", code, "No")
        with pytest.raises(error, match=rf"AWS refused the upload of .* \({code}\): No.* {told}"):
            runner.submit(job)


def test_what_is_in_s3_already_is_not_sent_again(
    aws: None, home: Settings, make_dataset: Callable[..., Artifact], job_settings: Callable[..., SageMakerConfig]
) -> None:
    client = make_client("s3", None)
    client.create_bucket(Bucket="clinic", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    job = plan_job("reward", RewardConfig(dataset=make_dataset(home).id), home)
    seen: list[tuple[int, int]] = []
    SageMaker(config=job_settings(), report=lambda done, total: seen.append((done, total))).submit(job)
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="clinic")["Contents"]]
    assert sorted(keys) == sorted(f"rlhf/inputs/{job.inputs[0].key}/{name}" for name in job.inputs[0].files)
    assert seen[-1][0] == seen[-1][1] > 0
    written = {key: client.head_object(Bucket="clinic", Key=key) for key in keys}
    client.put_object(Bucket="clinic", Key=keys[0], Body=b"damaged", Metadata={"sha256": "x"})
    SageMaker(config=job_settings(job_name="again")).submit(job)
    after = {key: client.head_object(Bucket="clinic", Key=key) for key in keys}
    assert after[keys[0]]["Metadata"] == written[keys[0]]["Metadata"]
    assert [after[key]["LastModified"] for key in keys[1:]] == [written[key]["LastModified"] for key in keys[1:]]


def test_too_large_a_model_is_not_downloaded(aws: None, tmp_path: Path) -> None:
    from preceptor.cloud.s3 import download

    client = make_client("s3", None)
    client.create_bucket(Bucket="clinic", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    client.put_object(Bucket="clinic", Key="model.tar.gz", Body=b"x" * 2000)
    with pytest.raises(StorageError, match="--max-gb"):
        download(client, "s3://clinic/model.tar.gz", tmp_path / "m", max_bytes=1000, received=lambda _: None)
    with pytest.raises(NotFoundError):
        download(client, "s3://clinic/none.tar.gz", tmp_path / "m", max_bytes=1000, received=lambda _: None)
    assert list(tmp_path.glob("m*")) == []


def test_missing_credentials_and_regions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigError, match="--region"):
        make_client("sagemaker", None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    import boto3

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(ConfigError, match="AWS_PROFILE"):
        SageMaker("eu-central-1").status("job-1")


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] in {"boto3", "botocore"}:
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'preceptor\[cloud\]'"):
        make_client("sagemaker", "eu-central-1")
