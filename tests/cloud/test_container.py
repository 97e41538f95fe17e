"""Inside the image, hyperparameters become the stage's own command line and inputs become artifacts again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from preceptor.artifacts.store import Artifact, ArtifactStore
from preceptor.cloud import container
from preceptor.cloud.container import channels, flags, keep_checkpoints, link_inputs, main
from preceptor.cloud.inputs import plan_job
from preceptor.errors import InputError, StorageError
from preceptor.pipeline import config_class
from preceptor.policy.config import PolicyConfig
from preceptor.reward.config import RewardConfig
from preceptor.settings import Settings

Make = Callable[..., Artifact]


@pytest.mark.parametrize("odd", [False, True])
def test_a_config_survives_the_way_through_hyperparameters(
    home: Settings, make_dataset: Make, make_child: Make, odd: bool
) -> None:
    dataset = make_dataset(home)
    reward = make_child(home, "reward_model", [dataset.id]).id
    more: dict[str, Any] = {"early_stopping": False, "kl_budget": 2.5, "learning_rate": 1e-7} if odd else {}
    for stage, config in (
        ("reward", RewardConfig(dataset=dataset.id, base_model="gpt2", length_feature=odd)),
        ("policy", PolicyConfig(reward_model=reward, base_model="gpt2", **more)),
    ):
        words = flags(stage, plan_job(stage, config, home).flags, {})
        assert tyro.cli(config_class(stage), args=words, config=(tyro.conf.AvoidSubcommands,)) == config


def test_an_unknown_hyperparameter_and_a_missing_input_are_told() -> None:
    with pytest.raises(InputError, match="no setting 'warmth'"):
        flags("reward", {"warmth": "3"}, {})
    with pytest.raises(InputError, match="'base_model' did not come"):
        flags("reward", {"base_model": "channel:base_model"}, {})
    assert flags("policy", {"early_stopping": "True", "tensorboard": "False"}, {}) == [
        "--early-stopping",
        "--no-tensorboard",
    ]
    given = {"prompts_file": "channel:prompts_file/p.jsonl"}
    assert flags("policy", given, {"prompts_file": Path("/in/p")}) == ["--prompts-file", "/in/p/p.jsonl"]


def test_channels_are_the_folders_that_came_or_what_the_service_says(tmp_path: Path) -> None:
    (tmp_path / "input" / "data" / "dataset").mkdir(parents=True)
    found = channels(tmp_path, {"SM_CHANNEL_REWARD_MODEL": "/elsewhere/r", "SM_MODEL_DIR": "/m"})
    assert found == {"dataset": tmp_path / "input" / "data" / "dataset", "reward_model": Path("/elsewhere/r")}
    assert channels(tmp_path, {"SM_CHANNEL_DATASET": "/elsewhere/d"}) == {"dataset": Path("/elsewhere/d")}


def test_an_input_is_an_artifact_again_when_it_came_whole(home: Settings, make_dataset: Make, tmp_path: Path) -> None:
    dataset = make_dataset(home)
    came = Path(shutil.copytree(dataset.path, tmp_path / "came"))
    link_inputs({"dataset": came, "base_model": tmp_path}, tmp_path / "store")
    assert ArtifactStore(tmp_path / "store").open(dataset.id, verify=True).files == dataset.files
    (came / "preferences.jsonl").write_text("")
    with pytest.raises(StorageError, match="The input dataset did not arrive whole"):
        link_inputs({"dataset": came}, tmp_path / "store")


def test_checkpoints_stay_where_the_service_keeps_them_but_for_torn_ones(
    tmp_path: Path, tensors: Callable[[dict[str, list[float]]], bytes]
) -> None:
    kept, whole = tmp_path / "checkpoints", tensors({"w": [1.0, 2.0]})
    content = {
        "policy-1/checkpoint-000010/model.safetensors": whole,
        "policy-1/checkpoint-000020/model.safetensors": whole[:-3],
        "policy-1/checkpoint-000020/optimizer.json": b"{}",
        "policy-1/checkpoint-000030/optimizer.json": b'{"groups": [{"lr"',
        "policy-1/checkpoint-000040/optimizer.json": b"{}",
        "policy-1/best-000020/weights.safetensors": whole[:-3],
        "reward-1/last/model.safetensors": whole[:-3],
        "reward-1/best/model.safetensors": whole,
        "reward-2/last/model.safetensors": whole,
    }
    for name, written in content.items():
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_bytes(written)
    keep_checkpoints(kept, tmp_path / "work")
    left = sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file())
    assert left == [
        "policy-1/checkpoint-000010/model.safetensors",
        "policy-1/checkpoint-000040/optimizer.json",
        "reward-1/best/model.safetensors",
        "reward-2/last/model.safetensors",
    ]
    (tmp_path / "work" / "new").write_text("x")
    assert (kept / "new").is_file()


def test_a_checkpoint_that_was_being_written_costs_none_of_those_before_it(
    tmp_path: Path, tensors: Callable[[dict[str, list[float]]], bytes]
) -> None:
    kept, whole = tmp_path / "checkpoints", tensors({"w": [1.0, 2.0]})
    content = {
        "policy-1/checkpoint-000010/weights.safetensors": whole,
        "policy-1/best-000010/weights.safetensors": whole,
        "policy-1/.checkpoint-000020-k3j/weights.safetensors": whole[:-3],
        "reward-1/last/model.safetensors": whole,
        "reward-1/.last-x_7/model.safetensors": whole,
    }
    for name, written in content.items():
        (kept / name).parent.mkdir(parents=True)
        (kept / name).write_bytes(written)
    keep_checkpoints(kept, tmp_path / "work")
    assert sorted(path.relative_to(kept).as_posix() for path in kept.glob("*/*")) == [
        "policy-1/best-000010",
        "policy-1/checkpoint-000010",
        "reward-1/last",
    ]


@pytest.fixture
def run_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a Python script where a stage would run, below `tmp_path`."""
    real = container._execute

    def run(script: str, *more: str) -> int:
        monkeypatch.setattr(container, "_execute", lambda _command, env: real([sys.executable, "-c", script], env))
        (tmp_path / "input" / "config").mkdir(parents=True, exist_ok=True)
        (tmp_path / "input" / "config" / "hyperparameters.json").write_text(json.dumps({"epochs": "1"}))
        return main(["reward", "--root", str(tmp_path), *more])

    return run


def test_a_stage_that_refuses_leaves_its_last_sentence_and_its_exit_code(
    tmp_path: Path, run_script: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    said = "print('preceptor: A warning.'); print('preceptor: The loss is not a number.'); print('bye')"
    assert run_script(f"print('working'); {said}; raise SystemExit(3)") == 3
    assert (tmp_path / "output" / "failure").read_text() == "preceptor: The loss is not a number."
    assert "working" in capfd.readouterr().out
    assert run_script("print('Traceback'); print('no memory ' * 500); raise SystemExit(4)") == 4
    assert (tmp_path / "output" / "failure").read_text() == ("no memory " * 500)[:1024]


def test_what_the_stage_made_last_is_left_for_collection_unless_it_is_torn(
    home: Settings, make_dataset: Make, make_child: Make, tmp_path: Path, run_script: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("SM_MODEL_DIR", raising=False)
    first = make_dataset(home)
    last = make_child(home, "reward_model", [first.id])
    script = (
        "import os, shutil, stat; home = os.environ['PRECEPTOR_HOME']; print(oct(os.stat(home).st_mode))\n"
        f"shutil.copytree({str(home.artifacts_dir)!r}, home + '/artifacts', dirs_exist_ok=True)\n"
        f"print({first.id!r}); print({last.id!r}); print('done')"
    )
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "failure").write_text("of an attempt before this one")
    assert run_script(script) == 0
    assert "0o40755" in capfd.readouterr().out  # the database server is another user
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["manifest.json", "preceptor.json"]
    assert not (tmp_path / "output" / "failure").exists()
    (last.path / "preceptor.json").chmod(0o600)
    (last.path / "preceptor.json").write_text("changed")
    assert run_script(script) == 1
    assert last.id in (tmp_path / "output" / "failure").read_text()


def test_a_stop_of_the_service_reaches_the_stage_as_ctrl_c() -> None:
    script = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs start without it
        "try:\n"
        "    for _ in range(100): os.kill(os.getppid(), signal.SIGTERM); time.sleep(0.1)\n"
        "except KeyboardInterrupt:\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN); print('ended in order'); raise SystemExit(130)"
    )
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # one that comes early ends no test run
    try:
        assert container._execute([sys.executable, "-c", script], dict(os.environ)) == (130, ["ended in order"])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_job_without_settings_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["reward", "--root", str(tmp_path)]) == 1
    assert "hyperparameters.json cannot be read" in (tmp_path / "output" / "failure").read_text()
    assert "hyperparameters.json" in capfd.readouterr().err
