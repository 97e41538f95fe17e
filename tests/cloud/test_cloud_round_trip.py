"""A dataset goes through S3 and a container, and a published reward model comes back: only AWS is a stand-in."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from preceptor.artifacts.lineage import ancestors
from preceptor.artifacts.store import Artifact, ArtifactStore
from preceptor.cli import main as preceptor
from preceptor.cloud import container
from preceptor.cloud.aws import make_client
from preceptor.cloud.publish import publish
from preceptor.cloud.runner import JobStatus
from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.errors import StorageError
from preceptor.settings import Settings

Make = Callable[..., Artifact]
JOB = (
    *("--image-uri", "registry/preceptor:1", "--role-arn", "arn:aws:iam::123456789012:role/trainer"),
    *("--bucket", "s3://clinic/rlhf", "--region", "eu-central-1"),
)


def as_sagemaker_does(name: str, root: Path) -> int:
    """Bring the channels, run the entry point, store the model: what the service does around a container."""
    job = make_client("sagemaker", None).describe_training_job(TrainingJobName=name)
    s3 = make_client("s3", None)
    for channel in job["InputDataConfig"]:
        bucket, _, prefix = channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            target = root / "input" / "data" / channel["ChannelName"] / item["Key"].removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, item["Key"], str(target))
    settings = root / "input" / "config" / "hyperparameters.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(job["HyperParameters"]))
    (root / "output").mkdir()
    (root / "output" / "failure").write_text("of an attempt that was taken away")
    words = [*job["AlgorithmSpecification"]["ContainerArguments"], "--root", str(root), "--pack"]
    code = container.main(words)
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    s3.upload_file(str(root / "output" / "model.tar.gz"), bucket, key)
    return code


def test_a_reward_model_is_trained_elsewhere_and_published_here(
    aws: None,
    settings: Settings,
    make_dataset: Make,
    engine: sa.Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRECEPTOR_HOME", str(settings.home))
    monkeypatch.setenv("DATABASE_URL", str(settings.database_url))
    bucket = {"LocationConstraint": "eu-central-1"}
    make_client("s3", None).create_bucket(Bucket="clinic", CreateBucketConfiguration=bucket)
    dataset = make_dataset(settings)
    stage = ["--dataset", dataset.id, "--base_model", "all-MiniLM-L6-v2", "--mode", "frozen", "--epochs", "1"]
    assert preceptor(["cloud", "sagemaker", "reward", *stage, "--batch_size", "4", *JOB, "--no-wait"]) == 0
    name = capsys.readouterr().out.strip()
    assert as_sagemaker_does(name, tmp_path / "ml") == 0
    assert not (tmp_path / "ml" / "output" / "failure").exists()
    with engine.begin() as connection:  # a container's own database goes with it; here both use one, to save time
        for table in ("artifact_parents", "artifacts", "runs"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    capsys.readouterr()
    assert preceptor(["cloud", "sagemaker", "watch", name, "--region", "eu-central-1"]) == 0
    made = ArtifactStore(settings.artifacts_dir).open(capsys.readouterr().out.strip(), verify=True)
    assert made.id == json.loads((tmp_path / "ml" / "model" / "manifest.json").read_text())["id"]
    assert made.parents == [dataset.id]
    assert {"head.safetensors", "report.json", "prompts.jsonl"} <= set(made.files)
    request = made.metadata["cloud"].pop("request")
    assert name == f"preceptor-reward-{request[:16]}"
    assert made.metadata["cloud"] == {"backend": "sagemaker", "job": name}
    with session_scope(engine) as session:
        assert ancestors(session, made.id) == [dataset.id]
        runs = session.scalars(sa.select(Run).where(Run.artifact_id == made.id)).all()
        [run] = runs
        assert (run.stage, run.state, run.config["batch_size"]) == ("reward", "succeeded", "4")
        assert run.metrics["job"] == name

    assert preceptor(["cloud", "sagemaker", "fetch", name, "--region", "eu-central-1"]) == 0  # twice is as once
    assert capsys.readouterr().out.strip() == made.id


FLAGS = {"epochs": "3", "dataset": "dataset-0123456789abcdef"}
STATUS = JobStatus("job-1", "reward", "succeeded", "Completed", 60.0, FLAGS, "d" * 64)


@pytest.fixture
def archive(tmp_path: Path, home: Settings, make_dataset: Make) -> Callable[..., Path]:
    """The archive of a small reward model, with what the test changes in it."""

    def write(changed: dict[str, bytes | None] | None = None, **manifest: Any) -> Path:
        elsewhere = home.model_copy(update={"home": tmp_path / "elsewhere"})
        with ArtifactStore(elsewhere.artifacts_dir).building("reward_model") as build:
            (build.path / "config.json").write_text('{"a": 1}')
            build.parents.append("dataset-0123456789abcdef")
        said = json.loads((build.artifact.path / "manifest.json").read_text()) | manifest
        files: dict[str, bytes | None] = {
            "config.json": b'{"a": 1}',
            "manifest.json": json.dumps(said).encode(),
            **(changed or {}),
        }
        path = tmp_path / "model.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                if content is not None:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return path

    return write


def test_what_is_fetched_has_a_run_with_its_job_and_request(
    archive: Callable[..., Path], settings: Settings, engine: sa.Engine
) -> None:
    made = publish(archive(), STATUS, settings, backend="ray", max_bytes=10**6)
    assert publish(archive(), STATUS, settings, backend="ray", max_bytes=10**6).id == made.id
    with session_scope(engine) as session:
        [run] = session.scalars(sa.select(Run)).all()
        assert (run.stage, run.state, run.artifact_id) == ("reward", "succeeded", made.id)
        assert run.config == {**FLAGS, "cloud": {"backend": "ray", "job": "job-1", "request": "d" * 64}}
        assert ancestors(session, made.id) == ["dataset-0123456789abcdef"]


@pytest.mark.parametrize(
    ("changed", "manifest", "reason"),
    [
        ({"manifest.json": None}, {}, "was not made by preceptor"),
        ({"manifest.json": b"[]"}, {}, "not one of preceptor's"),
        ({"config.json": b'{"a": 2}'}, {}, "config.json is not what the manifest"),
        ({"extra.json": b"{}"}, {}, "does not hold the files"),
        ({"config.json": None}, {}, "does not hold the files"),
        ({}, {"kind": "policy"}, "holds a 'policy'; a reward_model"),
        ({}, {"kind": "../../x"}, "a reward_model was expected"),
        ({}, {"parents": ["dataset-fedcba9876543210"]}, "from dataset-fedcba9876543210, which the job was not"),
        ({"run.py": b""}, {}, "safetensors, JSON and text files only"),
    ],
)
def test_an_archive_that_is_not_what_it_says_is_not_published(
    archive: Callable[..., Path],
    home: Settings,
    changed: dict[str, bytes | None],
    manifest: dict[str, Any],
    reason: str,
) -> None:
    with pytest.raises(StorageError, match=reason):
        publish(archive(changed, **manifest), replace(STATUS), home, backend="ray", max_bytes=10**6)
    assert [path for path in home.artifacts_dir.rglob("*") if path.is_file()] == []
