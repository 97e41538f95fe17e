"""Bad files, models, addresses, places and values: one sentence that names them, no traceback, nothing published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

_ROW = {"prompt": "SECRET p", "chosen": "SECRET c", "rejected": "SECRET r", "response": "SECRET a"}
_GOOD = json.dumps(_ROW).encode() + b"\n"
_FILES = {
    "empty": (b"", "is empty"),
    "blank": (b"\n  \n", "is empty"),
    "half-written": (_GOOD + _GOOD[:30], "line 2 is not valid JSON. It is the last line and has no line end"),
    "not an object": (_GOOD + b"[1, 2]\n", "line 2 is not a JSON object"),
    "too deep": (_GOOD + b'{"prompt": ' + b"[" * 100_000 + b"\n", "line 2 is nested too deeply"),
    "not UTF-8": (_GOOD + b'{"prompt": "\xff\xfe"}\n', "is not UTF-8"),
    "half a character": (_GOOD + b'{"prompt": "\\ud800"}\n', "line 2 holds half of a character"),
    "no field": (b'{"id": "SECRET"}\n', "line 1"),
    "wrong type": (b'{"prompt": 5, "chosen": 5, "rejected": 5, "response": 5}\n', "line 1"),
}
_READERS: dict[str, tuple[str, ...]] = {
    "prepare_dataset": ("--feedback-file", "{input}", "--output", "{output}"),
    "train_reward_model": ("--dataset", "{input}", "--output", "{output}"),
    "generate": ("{input}", "{output}"),
    "score": ("{input}", "{output}", "--reward-model", "{reward}"),
    "scrub": ("{input}", "{output}", "--field", "prompt"),
}


def _is_one_sentence(told: Any) -> None:
    assert told.code != 0
    assert "Traceback" not in told.err
    assert "SECRET" not in told.err + told.out
    assert told.sentence.startswith(("preceptor: ", "prepare_dataset: ", "train_reward_model: ", "train_ppo: "))
    assert told.sentence.endswith(".")


@pytest.mark.parametrize("case", _FILES)
@pytest.mark.parametrize("command", _READERS)
def test_a_bad_file_is_named_with_its_line(
    command: str, case: str, run: Run, tiny_reward: Path, tmp_path: Path
) -> None:
    content, said = _FILES[case]
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(content)
    told = run(command, *(word.format(input=source, output=output, reward=tiny_reward) for word in _READERS[command]))
    _is_one_sentence(told)
    assert said in told.sentence
    assert str(source) in told.sentence
    assert {path.name for path in tmp_path.iterdir()} <= {"in.jsonl", "home"}


@pytest.mark.parametrize("command", ["prepare_dataset", "train_reward_model"])
def test_one_row_is_too_little_to_learn_and_to_measure(command: str, run: Run, tmp_path: Path) -> None:
    source = tmp_path / "one.jsonl"
    source.write_bytes(_GOOD)
    flag = "--feedback-file" if command == "prepare_dataset" else "--dataset"
    told = run(command, flag, source, "--output", tmp_path / "out")
    _is_one_sentence(told)
    assert "1 prompt only" in told.sentence
    assert not (tmp_path / "out").exists()


@pytest.fixture
def kinds(tiny_llama: Path, tiny_reward: Path, two_outputs: Path, tmp_path: Path) -> dict[str, Path]:
    """Folders that are no reward model."""
    torn, pickle, bare = tmp_path / "torn", tmp_path / "pickle", tmp_path / "bare"
    shutil.copytree(tiny_reward, torn)
    (torn / "model.safetensors").write_bytes((tiny_reward / "model.safetensors").read_bytes()[:5000])
    pickle.mkdir()
    shutil.copy(tiny_reward / "config.json", pickle)
    (pickle / "pytorch_model.bin").write_bytes(b"anything")
    bare.mkdir()
    return {"policy": tiny_llama, "two": two_outputs, "torn": torn, "pickle": pickle, "bare": bare}


@pytest.mark.parametrize("command", ["score", "train_ppo"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("policy", "is a policy"),
        ("two", "2 outputs"),
        ("torn", "Its files are damaged"),
        ("pickle", "only pickle weights"),
        ("bare", "holds no config.json"),
    ],
)
def test_a_reward_model_of_another_kind_is_refused(
    command: str, kind: str, said: str, run: Run, kinds: dict[str, Path], pairs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    words = (pairs, output) if command == "score" else ("--output", output)
    told = run(command, *words, "--reward-model", kinds[kind])
    _is_one_sentence(told)
    assert said in told.sentence
    assert not output.exists()


def test_models_that_are_not_there_or_of_another_kind_are_refused(
    run: Run, tiny_reward: Path, tiny_llama: Path, pairs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for words, said in (
        (("generate", pairs, output, "--model", "no-such-model"), "no-such-model"),
        (("generate", pairs, output, "--model", tiny_reward), "is a reward model"),
        (("generate", pairs, output, "--model", "reward_model-0123456789abcdef"), "is the id of an artifact"),
        (("score", pairs, output, "--reward-model", "no-such-model"), "no-such-model"),
        (("train_ppo", "--reward-model", "no-such-model", "--output", output), "no-such-model"),
        (("train_ppo", "--reward-model", tiny_reward, "--base-model", "no-such", "--output", output), "no-such"),
        (("train_ppo", "--reward-model", tiny_reward, "--base-model", tiny_reward, "--output", output), "is a reward"),
        (("train_reward_model", "--dataset", pairs, "--base-model", "no-such", "--output", output), "no-such"),
        (("train_reward_model", "--dataset", pairs, "--base-model", tiny_llama, "--output", output), "is a policy"),
        (("train_reward_model", "--dataset", pairs, "--base-model", "", "--output", output), "base_model"),
    ):
        told = run(*words)
        _is_one_sentence(told)
        assert said in told.sentence, words
        assert not output.exists()


@pytest.mark.parametrize("place", ["a folder", "below a file", "nowhere"])
@pytest.mark.parametrize("command", [*_READERS, "train_ppo"])
def test_an_output_that_cannot_be_written_is_named_before_the_work(
    command: str, place: str, run: Run, tiny_reward: Path, pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    places = {"a folder": tmp_path / "full", "below a file": pairs / "out", "nowhere": Path("/proc/nowhere/out")}
    words = _READERS.get(command, ("--reward-model", "{reward}", "--output", "{output}"))
    told = run(command, *(word.format(input=pairs, output=places[place], reward=tiny_reward) for word in words))
    _is_one_sentence(told)
    assert str(places[place]) in told.sentence
    assert told.err.count("\n") == 1  # no progress before it
    assert (tmp_path / "full" / "file").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} <= {"full", "pairs.jsonl", "home"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train_reward_model", "--epochs", "0"), "0 is less than 1"),
        (("train_reward_model", "--batch_size", "-4"), "-4 is less than 1"),
        (("train_reward_model", "--learning-rate", "nan"), "learning_rate"),
        (("train_ppo", "--epochs", "0"), "epochs"),
        (("train_ppo", "--batch-size", "-1"), "batch_size"),
        (("train_ppo", "--batch-size", "6"), "multiple of mini_batch_size"),
        (("train_ppo", "--epochs", "many"), "--epochs"),
        (("generate", "{pairs}", "{output}", "--model", "{policy}", "--seed", "-1"), "seed -1"),
        (("generate", "{pairs}", "{output}", "--model", "{policy}", "--n", "0"), "at least 1"),
        (("generate", "{pairs}", "{output}", "--model", "{policy}", "--temperature", "-1"), "temperature -1"),
        (("scrub", "{pairs}", "{output}", "--field", "nowhere"), "'nowhere' is missing"),
        (("reward", "--dataset", "d", "--gold-share", "2"), "preceptor: --gold-share: it should be less than"),
        (("policy", "--reward-model", "r", "--batch-size", "6"), "preceptor: batch_size must be a multiple"),
        (("policy", "--reward-model", "r", "--caution=-1"), "preceptor: --caution: it should be greater than"),
        (("evaluate", "--policy", "p", "--reward-model", "r", "--dataset", "d", "--n-prompts", "1"), "--n-prompts: it"),
        (("demo", "--cases", "5"), "preceptor: --cases: it should be greater than"),
        (
            ("release", "gate", "--policy", "p", "--report", "r", "--gates.max-kl", "0"),
            "preceptor: --gates.max-kl: it should be greater than",
        ),
    ],
)
def test_a_value_out_of_range_is_named(
    words: tuple[str, ...], said: str, run: Run, tiny_llama: Path, pairs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    told = run(*(word.format(pairs=pairs, output=output, policy=tiny_llama) for word in words))
    assert told.code != 0
    assert said in told.sentence
    assert "Traceback" not in told.err
    assert not output.exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:hunter2@127.0.0.1:9/none", "No PostgreSQL answers at postgresql://u:***@127.0.0.1:9/none"),
        ("postgresql://u:hunter2@127.0.0.1:port/none", "cannot be read"),
        ("postgresql://u:hunter2@.../none", "cannot be read"),
        ("postgresql://...", "cannot be read"),
        ("mysql://u:hunter2@h/none", "names 'mysql'"),
        ("hunter2", "cannot be read"),
    ],
)
def test_a_wrong_database_address_is_named_without_its_password(
    url: str, said: str, run: Run, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = [run("prepare_dataset", "--feedback-db", url, "--output", tmp_path / "out")]
    monkeypatch.setenv("DATABASE_URL", url)
    tried += [run("collect", "import", pairs), run("curate"), run("prepare"), run("db", "status")]
    for told in tried:
        _is_one_sentence(told)
        assert said in told.sentence
        assert "hunter2" not in told.err + told.out
    assert not (tmp_path / "out").exists()
