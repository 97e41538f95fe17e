"""A green dataset, the settings of a job, and an AWS that is none."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preceptor.artifacts.store import Artifact, ArtifactStore
from preceptor.cloud.config import SageMakerConfig
from preceptor.privacy.scrub import SCRUBBER_VERSION
from preceptor.settings import Settings, load_settings

MakeDataset = Callable[..., Artifact]
GREEN = {
    "records": 40,
    "scrubbed": 40,
    "share_scrubbed": 1.0,
    "recognizers": {SCRUBBER_VERSION: 40},
    "fail_closed": True,
}


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever credentials this machine has are out of reach."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws() -> Iterator[None]:
    from moto import mock_aws

    with mock_aws():
        yield


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """Settings of an installation whose database nobody needs."""
    return load_settings(home=tmp_path / "installation", database_url="postgresql://nowhere/none")


@pytest.fixture
def make_dataset() -> MakeDataset:
    """Publish a dataset that says `deidentified` about itself; None says nothing."""

    def make(settings: Settings, deidentified: Any = GREEN, *, topic: str = "asthma") -> Artifact:
        rows = [
            {
                "prompt": f"What helps with {topic} number {n % 10}?",
                "chosen": f"Rest, and see a doctor if it gets worse within {n} days.",
                "rejected": f"Nothing can go wrong with it in {n} days.",
                "metadata": {"split": "test" if n % 10 > 7 else "train", "rater": f"r{n % 4}"},
            }
            for n in range(40)
        ]
        with ArtifactStore(settings.artifacts_dir).building("dataset") as build:
            (build.path / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            if deidentified is not None:
                (build.path / "deidentification.json").write_text(json.dumps(deidentified))
        return build.artifact

    return make


@pytest.fixture
def make_child() -> Callable[..., Artifact]:
    """Publish an artifact made from others."""

    def make(settings: Settings, kind: str, parents: list[str], *, text: str = "{}") -> Artifact:
        with ArtifactStore(settings.artifacts_dir).building(kind) as build:
            (build.path / "preceptor.json").write_text(text)
            build.parents += parents
        return build.artifact

    return make


@pytest.fixture
def job_settings() -> Callable[..., SageMakerConfig]:
    def make(**values: Any) -> SageMakerConfig:
        given: dict[str, Any] = {
            "image_uri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/preceptor:0.1",
            "role_arn": "arn:aws:iam::123456789012:role/trainer",
            "bucket": "s3://clinic/rlhf",
        }
        return SageMakerConfig(**given | values)

    return make


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The folder of a model as `save_pretrained` writes it, with one small tensor."""
    folder = tmp_path / "base-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    (folder / "model.safetensors").write_bytes(_safetensors({"weight": [1.0, 2.0]}))
    return folder


def _safetensors(tensors: dict[str, list[float]]) -> bytes:
    """A safetensors file by hand, after its specification."""
    header: dict[str, Any] = {}
    body = b""
    for name, values in tensors.items():
        content = struct.pack(f"<{len(values)}f", *values)
        offsets = [len(body), len(body) + len(content)]
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": offsets}
        body += content
    said = json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + body


@pytest.fixture
def tensors() -> Callable[[dict[str, list[float]]], bytes]:
    return _safetensors
