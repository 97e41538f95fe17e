"""`preceptor cloud`: one line for the job and the stage, a dry run that touches nothing, refusals."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preceptor.artifacts.store import Artifact
from preceptor.cli import main
from preceptor.cloud.config import RayConfig, SageMakerConfig
from preceptor.cloud.inputs import STAGES
from preceptor.commands.cloud import parse
from preceptor.pipeline import config_class
from preceptor.settings import Settings

Make = Callable[..., Artifact]
JOB = [
    *("--image-uri", "registry/preceptor:1", "--role-arn", "arn:aws:iam::123456789012:role/trainer"),
    *("--bucket", "s3://clinic/rlhf"),
]

_WRITTEN = {"None": "none", "()": "none", "True": "on", "False": "off"}


@pytest.fixture(autouse=True)
def _here(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRECEPTOR_HOME", str(home.home))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere/none")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run reached for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("stage", STAGES)
def test_no_option_of_the_job_is_one_of_the_stage(stage: str) -> None:
    known = set(config_class(stage).model_fields)
    assert known.isdisjoint(SageMakerConfig.model_fields)
    assert known.isdisjoint(RayConfig.model_fields)


def test_a_dry_run_prints_the_exact_request_and_touches_nothing(
    home: Settings, make_dataset: Make, no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(home)
    before = sorted(home.home.rglob("*"))
    words = ["--dataset", dataset.id, "--epochs", "3", "--batch_size", "16", *JOB, "--spot", "--dry-run"]
    assert main(["cloud", "sagemaker", "reward", *words]) == 0
    request = json.loads(capsys.readouterr().out)
    assert request["HyperParameters"]["epochs"] == "3"
    assert request["HyperParameters"]["batch_size"] == "16"
    assert (
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] == 2 * request["StoppingCondition"]["MaxRuntimeInSeconds"]
    )
    assert sorted(home.home.rglob("*")) == before
    shared = home.home.parent / "shared"
    assert main(["cloud", "ray", "reward", "--dataset", dataset.id, "--shared", str(shared), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["stage"] == "reward"
    assert not shared.exists()


def test_a_dataset_that_is_not_green_is_refused_with_the_exit_code_of_a_gate(
    home: Settings, make_dataset: Make, no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(home, None)
    for backend, words in (("sagemaker", JOB), ("ray", ["--shared", str(home.home)])):
        assert main(["cloud", backend, "reward", "--dataset", dataset.id, *words]) == 3
        assert f"{dataset.id} stays here" in capsys.readouterr().err


def test_options_of_the_job_and_of_the_stage_may_stand_in_any_order() -> None:
    words = [
        "--epochs",
        "7",
        *JOB,
        "--subnets",
        "a",
        "b",
        "--batch-size",
        "4",
        "--security-groups",
        "c",
        "--dataset",
        "d",
    ]
    config, stage = parse("sagemaker", "reward", words)
    assert isinstance(config, SageMakerConfig)
    assert (config.subnets, config.security_groups) == (("a", "b"), ("c",))
    assert stage.model_dump(include={"epochs", "batch_size", "dataset"}) == {
        "epochs": 7,
        "batch_size": 4,
        "dataset": "d",
    }


@pytest.mark.parametrize(
    "words",
    [
        ["sagemaker", "reward", "--dataset", "d", *JOB, "--epoks", "3"],
        ["sagemaker", "reward", "--dataset", "d"],
        ["sagemaker", "sing"],
        ["moon", "reward"],
    ],
)
def test_a_misspelled_command_line_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cloud", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_of_a_misspelled_option_only_that_is_called_unrecognized(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cloud", "sagemaker", "reward", "--dataset", "dataset-1", "--bukket", "s3://clinic/rlhf"])
    told = capsys.readouterr().err
    assert "--bukket" in told
    assert "dataset-1" not in told


def test_help_names_every_option_of_job_and_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cloud", "sagemaker", "policy", "--help"])
    text = capsys.readouterr().out
    for config in (SageMakerConfig, config_class("policy")):
        assert [name for name in config.model_fields if f"--{name.replace('_', '-')}" not in text] == []


def test_the_page_has_every_option_of_a_job_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cloud.md").read_text()
    for config, heading in ((SageMakerConfig, "## The job on SageMaker"), (RayConfig, "## The job on Ray")):
        section = page.split(heading)[1].split("\n## ")[0]
        rows = re.findall(r"^\| ((?:`--[\w-]+`(?:, )?)+) \| ([^|]*) \|", section, re.MULTILINE)
        written = {
            flag[2:].replace("-", "_"): value for flags, value in rows for flag in re.findall(r"--[\w-]+", flags)
        }
        for name, value in written.items():
            field = config.model_fields[name]
            true = "required" if field.is_required() else _WRITTEN.get(repr(field.default), str(field.default))
            assert value == true, f"--{name}: {value} is written, {true} is true"
        named = set(re.findall(r"--([\w-]+)", page))
        assert {name.replace("_", "-") for name in config.model_fields} - named - {"wait"} == set()


def test_the_command_needs_no_boto3_until_it_talks_to_aws(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, preceptor.commands.cloud; print({'boto3', 'torch', 'ray', 'datasets'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout.strip() == "set()"
