"""A run of PPO that stops, is killed or runs out of time goes on from its last whole checkpoint, to the same bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from preceptor.errors import ConflictError, RunCanceled, StorageError
from preceptor.modeling.policy_model import load_policy
from preceptor.policy.checkpoint import RunState, load_checkpoint, save_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.metrics import MetricsLog, read_metrics
from preceptor.policy.networks import Networks
from preceptor.policy.optimize import make_optimizer

Score = Callable[[Sequence[str], Sequence[str]], Any]
PpoRun = Callable[..., tuple[Networks, RunState]]


def _weights(networks: Networks) -> dict[str, torch.Tensor]:
    named = [*networks.policy_parameters(), *networks.value_parameters()]
    return {name: parameter.detach().clone() for name, parameter in named}


@pytest.mark.parametrize("mode", ["hydra", "full"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_run_resumes_to_the_very_same_weights_and_metrics(
    mode: str,
    stop_after: int,
    small_config: Callable[..., PolicyConfig],
    letter_score: Score,
    tiny_llama: Path,
    tmp_path: Path,
    ppo_run: PpoRun,
) -> None:
    config = small_config(mode=mode, epochs=10, max_updates=5)
    whole, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "whole")
    with pytest.raises(RunCanceled, match=f"after {stop_after} of 5"):
        ppo_run(tiny_llama, config, letter_score, tmp_path / "parts", stop_after=stop_after)
    resumed, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "parts")
    expected, found = _weights(whole), _weights(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    rows = [read_metrics(tmp_path / part / "metrics.jsonl") for part in ("whole", "parts")]
    for row in (row for part in rows for row in part):
        row.pop("eps")
    assert rows[0] == rows[1]
    assert [row["update"] for row in rows[0]] == [1, 2, 3, 4, 5]


def test_a_killed_run_resumes_from_its_last_whole_checkpoint(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    config = small_config(epochs=10, max_updates=5)
    whole, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "whole")
    calls = 0

    def dies(prompts: Sequence[str], responses: Sequence[str]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # after the checkpoint at two and one roll-out more
            raise KeyboardInterrupt
        return letter_score(prompts, responses)

    with pytest.raises(KeyboardInterrupt):
        ppo_run(tiny_llama, config, dies, tmp_path / "killed")
    assert len(read_metrics(tmp_path / "killed" / "metrics.jsonl")) == 3
    torn = tmp_path / "killed" / ".checkpoint-000004-half"  # as a kill inside a checkpoint's writing leaves it
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"half")
    resumed, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "killed")
    assert [row["update"] for row in read_metrics(tmp_path / "killed" / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    expected, found = _weights(whole), _weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_resume_that_cannot_write_loses_no_row_of_the_metrics(
    tmp_path: Path, small_disk: Callable[[int], Any]
) -> None:
    with MetricsLog(tmp_path, resume_at=0, tensorboard=False) as log:
        for update in range(1, 5):
            log.write(update, {"lr": 0.1})
    with small_disk(30), pytest.raises(StorageError, match=r"metrics\.jsonl failed"):
        MetricsLog(tmp_path, resume_at=3, tensorboard=False)
    assert [row["update"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    with MetricsLog(tmp_path, resume_at=3, tensorboard=False) as log:
        log.write(4, {"lr": 0.2})
    assert [row["lr"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0.1, 0.1, 0.1, 0.2]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_checkpoint_of_other_settings_is_refused_by_name(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    with pytest.raises(RunCanceled):
        ppo_run(tiny_llama, small_config(epochs=10), letter_score, tmp_path, stop_after=1)
    with pytest.raises(ConflictError, match="learning_rate"):
        ppo_run(tiny_llama, small_config(epochs=10, learning_rate=1e-4), letter_score, tmp_path)


def test_more_time_may_be_given_to_a_stopped_run(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    with pytest.raises(RunCanceled):
        ppo_run(tiny_llama, small_config(epochs=2, batch_size=8), letter_score, tmp_path, stop_after=1)
    _, state = ppo_run(tiny_llama, small_config(epochs=2, batch_size=8, max_minutes=99), letter_score, tmp_path)
    assert state.update == 2


def test_only_the_newest_checkpoint_is_kept_and_none_is_pickled(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    ppo_run(tiny_llama, small_config(epochs=10, max_updates=5), letter_score, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000004"]
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".jsonl"}
    record = json.loads((tmp_path / "checkpoint-000004" / "state.json").read_text())
    assert record["state"]["update"] == 4


def test_a_run_that_is_stopped_again_at_once_does_not_touch_its_only_checkpoint(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    config = small_config(epochs=10, max_updates=5)
    with pytest.raises(RunCanceled):  # at two a checkpoint is due, too: it is written once
        ppo_run(tiny_llama, config, letter_score, tmp_path, stop_after=2)
    before = (tmp_path / "checkpoint-000002").stat().st_ino
    with pytest.raises(RunCanceled):
        ppo_run(tiny_llama, small_config(epochs=10, max_updates=4), letter_score, tmp_path, stop_after=0)
    assert (tmp_path / "checkpoint-000002").stat().st_ino == before


def test_a_checkpoint_of_the_same_number_at_another_place_is_replaced(
    small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config()
    networks = make_networks(load_policy(tiny_llama)[0], config)
    optimizer = make_optimizer(networks, config)
    for score in (1.0, 2.0):
        save_checkpoint(tmp_path, RunState(update=2, best_score=score), networks, optimizer, settings={})
    state = load_checkpoint(tmp_path, networks, optimizer, settings={})
    assert state is not None
    assert state.best_score == 2.0


@pytest.mark.parametrize("missing", ["checkpoint-000002/weights.safetensors", "best-000002/weights.safetensors"])
def test_a_checkpoint_of_which_a_part_did_not_come_back_is_passed_over(
    missing: str, small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config()
    networks = make_networks(load_policy(tiny_llama)[0], config)
    optimizer = make_optimizer(networks, config)
    for update in (1, 2):  # a bucket keeps what was removed here
        folder = tmp_path / str(update)
        save_checkpoint(folder, RunState(update=update, best_update=update), networks, optimizer, settings={})
        shutil.copytree(folder / f"checkpoint-{update:06d}", folder / f"best-{update:06d}")
        shutil.copytree(folder, tmp_path / "came", dirs_exist_ok=True)
    states = [load_checkpoint(tmp_path / "came", networks, optimizer, settings={})]
    (tmp_path / "came" / missing).unlink()
    states.append(load_checkpoint(tmp_path / "came", networks, optimizer, settings={}))
    assert [state and state.update for state in states] == [2, 1]
    (tmp_path / "came" / missing.replace("2", "1")).unlink()
    assert load_checkpoint(tmp_path / "came", networks, optimizer, settings={}) is None


def test_a_checkpoint_whose_weights_did_not_come_back_is_written_again(
    small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config()
    networks = make_networks(load_policy(tiny_llama)[0], config)
    optimizer = make_optimizer(networks, config)
    for _ in range(2):  # a warm start, which is made anew where its checkpoint did not come back whole
        save_checkpoint(tmp_path, RunState(), networks, optimizer, settings={})
        assert load_checkpoint(tmp_path, networks, optimizer, settings={}) is not None
        (tmp_path / "checkpoint-000000" / "weights.safetensors").unlink()


def test_a_moved_reference_survives_a_checkpoint(
    small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config()
    networks = [make_networks(load_policy(tiny_llama)[0], config) for _ in range(2)]
    with torch.no_grad():
        for _, parameter in networks[0].policy_parameters():
            parameter.add_(0.1)
    networks[0].refresh_reference()
    optimizers = [make_optimizer(each, config) for each in networks]
    assert networks[1].reference_state() == {}
    save_checkpoint(tmp_path, RunState(update=0), networks[0], optimizers[0], settings={})
    load_checkpoint(tmp_path, networks[1], optimizers[1], settings={})
    restored = networks[1].reference_state()
    assert all(torch.equal(value, restored[name]) for name, value in networks[0].reference_state().items())


def test_the_time_limit_ends_a_run_with_what_it_has(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    _, state = ppo_run(tiny_llama, small_config(epochs=1000, max_minutes=1e-9), letter_score, tmp_path)
    assert state.update == 1


def test_rates_rise_over_the_first_steps_and_the_rise_survives_a_stop(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    # 4 optimizer steps a roll-out: the sixth step, and the height, fall into the second
    config = small_config(warmup_steps=6, epochs=10, max_updates=3, early_stopping=False, checkpoint_every=1)
    whole, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "whole")
    with pytest.raises(RunCanceled):
        ppo_run(tiny_llama, config, letter_score, tmp_path / "parts", stop_after=1)
    resumed, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "parts")
    for folder in ("whole", "parts"):
        rates = [row["lr"] for row in read_metrics(tmp_path / folder / "metrics.jsonl")]
        assert rates == pytest.approx([3e-3 * 4 / 6, 3e-3, 3e-3])
    pairs = zip(whole.policy_parameters(), resumed.policy_parameters(), strict=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)
