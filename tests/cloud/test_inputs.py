"""A job carries every setting, its inputs by their content, and nothing that the gate holds back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from preceptor.artifacts.store import Artifact
from preceptor.cloud.inputs import MODELS, STAGES, plan_job
from preceptor.errors import GateRefused, InputError, NotFoundError, StorageError
from preceptor.evaluate.config import EvaluateConfig
from preceptor.pipeline import config_class
from preceptor.policy.config import PolicyConfig
from preceptor.privacy.scrub import SCRUBBER_VERSION
from preceptor.reward.config import RewardConfig
from preceptor.settings import Settings

Make = Callable[..., Artifact]


def test_a_job_has_every_setting_and_the_dataset_with_its_manifest(home: Settings, make_dataset: Make) -> None:
    dataset = make_dataset(home)
    job = plan_job("reward", RewardConfig(dataset=dataset.id, epochs=2, batch_size=16), home)
    assert job.flags["dataset"] == dataset.id
    assert (job.flags["epochs"], job.flags["batch_size"]) == ("2", "16")
    assert job.flags["length_feature"] == "false"
    assert job.flags["base_model"] == home.reward_model
    assert set(job.flags) == set(RewardConfig.model_fields)
    [sent] = job.inputs
    assert (sent.channel, sent.key) == ("dataset", dataset.id)
    assert sorted(sent.files) == ["deidentification.json", "manifest.json", "preferences.jsonl"]


def test_the_same_work_is_the_same_job_and_another_seed_is_another(home: Settings, make_dataset: Make) -> None:
    dataset = make_dataset(home).id
    first = plan_job("reward", RewardConfig(dataset=dataset), home)
    assert plan_job("reward", RewardConfig(dataset=dataset), home).digest == first.digest
    assert plan_job("reward", RewardConfig(dataset=dataset, seed=7), home).digest != first.digest


def test_a_dataset_whose_gate_is_not_green_is_no_job(home: Settings, make_dataset: Make) -> None:
    for said in (None, {"records": 40, "scrubbed": 39, "recognizers": {"v": 39}, "fail_closed": False}):
        with pytest.raises(GateRefused, match="stays here"):
            plan_job("reward", RewardConfig(dataset=make_dataset(home, said).id), home)


def test_an_artifact_of_another_kind_is_no_job(home: Settings, make_dataset: Make) -> None:
    dataset = make_dataset(home).id
    for stage, values in (
        ("policy", {"reward_model": dataset}),
        ("evaluate", {"policy": dataset, "reward_model": dataset, "dataset": dataset}),
    ):
        with pytest.raises(InputError, match=f"'{dataset}' is a dataset artifact; a (reward_model|policy) is wanted"):
            plan_job(stage, config_class(stage)(**values), home)


def test_a_damaged_dataset_is_no_job(home: Settings, make_dataset: Make) -> None:
    dataset = make_dataset(home, None)
    (dataset.path / "preferences.jsonl").write_text('{"prompt": "changed"}\n')
    with pytest.raises(StorageError, match="damaged"):
        plan_job("reward", RewardConfig(dataset=dataset.id), home)


def test_files_and_folders_that_nothing_vouches_for_stay(home: Settings, make_dataset: Make, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("{}\n")
    for config in (RewardConfig(dataset=str(file)), RewardConfig(dataset=str(make_dataset(home).path))):
        with pytest.raises(GateRefused, match="stays here"):
            plan_job("reward", config, home)
    with pytest.raises(NotFoundError, match="dataset-0123456789abcdef"):
        plan_job("reward", RewardConfig(dataset="dataset-0123456789abcdef"), home)


def test_the_ties_beside_a_file_of_pairs_go_along_and_pass_the_gate(home: Settings, tmp_path: Path) -> None:
    from preceptor.prepare.files import export_dataset

    file = tmp_path / "pairs.jsonl"
    said = {"records": 2, "scrubbed": 2, "recognizers": {SCRUBBER_VERSION: 2}, "fail_closed": True}
    row = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    export_dataset(file, pairs=[row], prompts=[], ties=[row], about={"deidentification": said})
    job = plan_job("reward", RewardConfig(dataset=str(file)), home)
    [sent] = job.inputs
    assert sorted(sent.files) == ["pairs.jsonl", "pairs.ties.jsonl"]
    assert all(sent.path is not None and (sent.path / name).is_file() for name in sent.files)
    assert job.flags["dataset"] == "channel:dataset/pairs.jsonl"
    export_dataset(file, pairs=[row], prompts=[], about={"deidentification": said})
    assert plan_job("reward", RewardConfig(dataset=str(file)), home).digest != job.digest
    (tmp_path / "pairs.ties.jsonl").write_text('{"prompt": "of another origin"}\n')
    with pytest.raises(GateRefused, match=r"pairs\.ties\.jsonl stays here"):
        plan_job("reward", RewardConfig(dataset=str(file)), home)


def test_every_path_in_a_policy_config_passes_the_gate(
    home: Settings, make_dataset: Make, make_child: Make, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text("{}\n")
    reward = make_child(home, "reward_model", [make_dataset(home).id]).id
    paths = [name for name, field in PolicyConfig.model_fields.items() if "Path" in str(field.annotation)]
    assert len(paths) >= 2
    for name in paths:
        values = {"reward_model": reward, name: file, "algorithm": "dpo" if name == "preferences_file" else "ppo"}
        with pytest.raises(GateRefused, match=r"prompts\.jsonl stays here"):
            plan_job("policy", PolicyConfig.model_validate(values), home)


def test_a_warm_start_takes_the_dataset_along(home: Settings, make_dataset: Make, make_child: Make) -> None:
    dataset = make_dataset(home)
    reward = make_child(home, "reward_model", [dataset.id]).id
    assert [item.channel for item in plan_job("policy", PolicyConfig(reward_model=reward), home).inputs] == [
        "reward_model"
    ]
    warm = plan_job("policy", PolicyConfig(reward_model=reward, warm_start_epochs=1), home)
    assert {item.channel: item.key for item in warm.inputs} == {"reward_model": reward, "dataset": dataset.id}


def test_a_base_model_goes_as_a_name_a_folder_or_a_place_in_s3(
    home: Settings, make_dataset: Make, model_folder: Path, tmp_path: Path
) -> None:
    dataset = make_dataset(home).id
    named = plan_job("reward", RewardConfig(dataset=dataset, base_model="bert-base-uncased"), home)
    assert named.flags["base_model"] == "bert-base-uncased"
    folder = plan_job("reward", RewardConfig(dataset=dataset, base_model=str(model_folder)), home)
    assert folder.flags["base_model"] == "channel:base_model"
    sent = folder.inputs[1]
    assert {"config.json", "model.safetensors"} <= set(sent.files)
    there = plan_job("reward", RewardConfig(dataset=dataset, base_model="s3://models/llama"), home)
    assert (there.inputs[1].uri, there.inputs[1].path) == ("s3://models/llama/", None)
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "preceptor.json").write_text("{}")
    with pytest.raises(GateRefused, match="nothing says what it was made from"):
        plan_job("reward", RewardConfig(dataset=dataset, base_model=str(trained)), home)


def test_only_weights_and_tokenizers_of_a_folder_go_along(
    home: Settings, make_dataset: Make, model_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    for name in ("notes.txt", "patients.jsonl", "pytorch_model.bin"):
        (model / name).write_text("private")
    job = plan_job("reward", RewardConfig(dataset=make_dataset(home).id, base_model=str(model)), home)
    assert {"notes.txt", "patients.jsonl", "pytorch_model.bin"}.isdisjoint(job.inputs[1].files)


def test_an_artifact_that_serves_twice_is_sent_once(home: Settings, make_dataset: Make, make_child: Make) -> None:
    dataset = make_dataset(home)
    reward = make_child(home, "reward_model", [dataset.id])
    policy = make_child(home, "policy", [reward.id], text=json.dumps({"x": 1}))
    config = EvaluateConfig(policy=policy.id, reward_model=reward.id, dataset=dataset.id, baseline=policy.id)
    job = plan_job("evaluate", config, home)
    assert sorted(item.key for item in job.inputs) == sorted([policy.id, reward.id, dataset.id])


def test_stages_that_need_the_database_run_here(home: Settings) -> None:
    with pytest.raises(InputError, match="'curate' needs the database and runs here"):
        plan_job("curate", config_class("curate")(), home)


def test_files_of_tensorboard_are_refused_before_the_job_and_not_after_it(
    home: Settings, make_dataset: Make, make_child: Make
) -> None:
    reward = make_child(home, "reward_model", [make_dataset(home).id]).id
    with pytest.raises(InputError, match="TensorBoard"):
        plan_job("policy", PolicyConfig(reward_model=reward, tensorboard=True), home)


@pytest.mark.parametrize("stage", STAGES)
def test_the_model_field_of_a_stage_exists(stage: str) -> None:
    assert MODELS[stage] in config_class(stage).model_fields


def test_every_file_of_an_evaluation_passes_the_gate(
    home: Settings, make_dataset: Make, make_child: Make, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n")
    dataset = make_dataset(home).id
    reward = make_child(home, "reward_model", [dataset]).id
    policy = make_child(home, "policy", [reward]).id
    given = {"policy": policy, "reward_model": reward, "dataset": dataset}
    files = set(EvaluateConfig.model_fields) & {"prompts", "ratings", "verdicts", "red_lines"}
    assert {"prompts", "ratings"} <= files
    for name in (*files, *given):
        with pytest.raises(GateRefused, match=r"rows\.jsonl stays here"):
            plan_job("evaluate", EvaluateConfig.model_validate(given | {name: str(file)}), home)
