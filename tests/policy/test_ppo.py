"""The PPO loop on a tiny policy: it learns, ends its passes in time, and refuses rewards that cannot teach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from preceptor.errors import DataError
from preceptor.modeling.policy_model import load_policy
from preceptor.policy import blocks, ppo
from preceptor.policy.blocks import layers_of
from preceptor.policy.checkpoint import RunState
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.metrics import read_metrics
from preceptor.policy.networks import Networks
from preceptor.policy.ppo import planned_updates, prompts_of_update
from preceptor.policy.rollout import Answers, Prompt

Score = Callable[[Sequence[str], Sequence[str]], Any]
PpoRun = Callable[..., tuple[Networks, RunState]]
TRL_NAMES = {
    "objective/kl",
    "objective/rlhf_reward",
    "objective/scores",
    "objective/non_score_reward",
    "objective/entropy",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "loss/policy_avg",
    "loss/value_avg",
    "val/clipfrac_avg",
    "val/ratio",
    "val/ratio_var",
    "val/num_eos_tokens",
    "lr",
    "eps",
    "episode",
}


@pytest.mark.parametrize("mode", ["hydra", "full"])
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_the_score_rises_where_it_can_be_learned(
    kind: str,
    mode: str,
    small_config: Callable[..., PolicyConfig],
    letter_score: Score,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    ppo_run: PpoRun,
) -> None:
    sizes = {"batch_size": 64, "mini_batch_size": 32, "epochs": 100, "max_updates": 8}
    config = small_config(mode=mode, learning_rate=1e-2, target_kl=1.0, **sizes)
    ppo_run(request.getfixturevalue(kind), config, letter_score, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    scores = [row["objective/scores"] for row in rows]
    assert len(rows) == 8
    assert np.mean(scores[-2:]) > 1.5 * np.mean(scores[:2])


def test_several_answers_to_a_prompt_learn_too(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    config = small_config(answers_per_prompt=4, batch_size=32, mini_batch_size=16, epochs=100, max_updates=12)
    ppo_run(tiny_llama, config, letter_score, tmp_path)
    scores = [row["objective/scores"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert np.mean(scores[-3:]) > np.mean(scores[:3])


def test_choosing_among_more_draws_learns_too(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    draws = {"answers_per_prompt": 2, "draws_per_prompt": 8}
    config = small_config(**draws, batch_size=16, epochs=100, max_updates=10, target_kl=1.0)
    ppo_run(tiny_llama, config, letter_score, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    scores = [row["objective/scores"] for row in rows]
    assert np.mean(scores[-3:]) > 1.3 * np.mean(scores[:3])


def test_every_record_has_trls_names_and_finite_numbers(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    config = small_config(epochs=2)
    _, state = ppo_run(tiny_llama, config, letter_score, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert state.update == len(rows) == 1
    assert set(rows[0]) >= TRL_NAMES
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert rows[0]["objective/kl"] == 0  # the first roll-out comes from the reference itself
    assert rows[0]["episode"] == 16
    assert rows[0]["lr"] == 3e-3


def test_each_roll_out_learns_from_scores_scaled_clipped_and_penalized_and_from_the_present_kl_weight(
    small_config: Callable[..., PolicyConfig],
    letter_score: Score,
    tiny_llama: Path,
    tmp_path: Path,
    ppo_run: PpoRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, seeds, aims = [], [], []
    sample, targets = ppo.sample_answers, ppo.compute_targets

    def sampled(*given: Any, **how: Any) -> Answers:
        seeds.append(how["seed"])
        drawn.append(sample(*given, **how))
        return drawn[-1]

    def aimed(*given: Any, **how: Any) -> Any:
        aims.append((given[1], how["kl_coef"]))
        return targets(*given, **how)

    monkeypatch.setattr(ppo, "sample_answers", sampled)
    monkeypatch.setattr(ppo, "compute_targets", aimed)
    config = small_config(
        answers_per_prompt=2, score_clip=0.5, missing_eos_penalty=0.75, kl_horizon=16, max_updates=3, epochs=9
    )
    ppo_run(tiny_llama, config, letter_score, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert len(set(seeds)) == len(rows) == 3
    first = drawn[0].scores
    for row, answers, (scores, kl_coef) in zip(rows, drawn, aims, strict=True):
        expected = ((answers.scores - first.mean()) / first.std()).clamp(-0.5, 0.5) - 0.75 * ~answers.finished
        torch.testing.assert_close(scores, expected)
        assert row["objective/kl_coef"] == kl_coef
        assert row["objective/non_score_reward"] == pytest.approx(-kl_coef * row["objective/kl"])
        assert row["objective/rlhf_reward"] == pytest.approx(float(expected.mean()) - kl_coef * row["objective/kl"])
        lengths = [len(ids) for both in answers.token_ids for ids in both]
        assert row["val/response_length"] == np.mean(lengths)
        assert 0 < row["objective/entropy"] < 8 * np.log(256)
    assert len({kl_coef for _, kl_coef in aims}) == 3
    assert [row["epoch"] for row in rows] == [1.0, 2.0, 3.0]


def test_the_time_that_is_left_is_counted_in_minutes() -> None:
    config = PolicyConfig(reward_model="none", max_minutes=2.0)
    assert not ppo._ended(RunState(update=3, seconds=119.0), 10, config)
    assert ppo._ended(RunState(update=3, seconds=120.0), 10, config)
    assert ppo._place(RunState(update=3, seconds=60.0), 10, config) == (3, 6)
    assert ppo._place(RunState(update=3, seconds=6.0), 10, config) == (3, 10)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_constant_reward_model_is_refused_whether_or_not_its_scores_are_scaled(
    scaled: bool, small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    with pytest.raises(DataError, match="same score"):
        ppo_run(tiny_llama, small_config(normalize_scores=scaled), lambda _, rows: np.ones(len(rows)), tmp_path)


def test_scores_that_are_no_numbers_are_refused_and_counted(
    small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    def broken(prompts: Sequence[str], responses: Sequence[str]) -> Any:
        return [float("nan")] * 3 + [1.0] * (len(responses) - 3)

    with pytest.raises(DataError, match="3 scores that are not numbers for 16 answers"):
        ppo_run(tiny_llama, small_config(), broken, tmp_path)


def test_a_scorer_of_the_wrong_length_is_refused(
    small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    with pytest.raises(DataError, match="shape"):
        ppo_run(tiny_llama, small_config(), lambda _, __: [1.0], tmp_path)


def test_no_prompts_are_refused(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    with pytest.raises(DataError, match="no prompts"):
        ppo_run(tiny_llama, small_config(), letter_score, tmp_path, prompts=0)


def test_answers_that_end_at_once_are_scored_as_empty_text(
    small_config: Callable[..., PolicyConfig], tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    seen: list[str] = []

    def score(prompts: Sequence[str], responses: Sequence[str]) -> Any:
        seen.extend(responses)
        return np.arange(len(responses), dtype=np.float32)

    # at this temperature every word is about as likely, the end token among them
    config = small_config(
        temperature=50.0, batch_size=128, mini_batch_size=128, epochs=1, ppo_epochs=1, max_new_tokens=2
    )
    ppo_run(tiny_llama, config, score, tmp_path, prompts=128)
    assert len(seen) == 128
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert all(np.isfinite(value) for value in row.values())


def test_early_stopping_ends_the_passes_beyond_target_kl(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    fast = {"learning_rate": 0.05, "ppo_epochs": 6, "max_updates": 1}
    ppo_run(tiny_llama, small_config(target_kl=1e-3, **fast), letter_score, tmp_path / "a")
    ppo_run(tiny_llama, small_config(target_kl=1e-3, early_stopping=False, **fast), letter_score, tmp_path / "b")
    stopped = read_metrics(tmp_path / "a" / "metrics.jsonl")[0]
    free = read_metrics(tmp_path / "b" / "metrics.jsonl")[0]
    assert stopped["policy/stopped_early"] == 1
    assert stopped["policy/steps"] < free["policy/steps"]
    assert free["policy/stopped_early"] == 0


def test_the_adaptive_coefficient_moves_and_the_fixed_one_does_not(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    fields = {"epochs": 10, "max_updates": 3, "kl_horizon": 16}
    ppo_run(tiny_llama, small_config(**fields), letter_score, tmp_path / "a")
    ppo_run(tiny_llama, small_config(adap_kl_ctrl=False, **fields), letter_score, tmp_path / "f")
    adaptive = [row["objective/kl_coef"] for row in read_metrics(tmp_path / "a" / "metrics.jsonl")]
    fixed = [row["objective/kl_coef"] for row in read_metrics(tmp_path / "f" / "metrics.jsonl")]
    assert adaptive[1] == pytest.approx(0.01 * 0.8)  # KL 0 at first, far below its target
    assert fixed == [0.01] * 3


def test_the_first_step_of_a_rising_rate_moves_less(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    once = {"max_updates": 1, "ppo_epochs": 1, "mini_batch_size": 16}
    start = [p.clone() for _, p in make_networks(load_policy(tiny_llama)[0], small_config()).policy_parameters()]
    moved = []
    for steps in (0, 4):
        networks, _ = ppo_run(tiny_llama, small_config(warmup_steps=steps, **once), letter_score, tmp_path / str(steps))
        ends = [p.detach() for _, p in networks.policy_parameters()]
        moved.append(float(sum((end - begin).abs().sum() for end, begin in zip(ends, start, strict=True))))
    assert moved[1] == pytest.approx(moved[0] / 4, rel=1e-3)


def test_every_pass_sees_every_prompt_once_in_a_new_order(small_config: Callable[..., PolicyConfig]) -> None:
    prompts = [Prompt(str(i), [i]) for i in range(8)]
    config = small_config(batch_size=4, mini_batch_size=4, epochs=2)
    assert [planned_updates(n, config) for n in (8, 7, 1)] == [4, 4, 1]  # the last one is filled from the next pass
    order = [p.text for update in range(4) for p in prompts_of_update(prompts, update, config)]
    assert sorted(order[:8]) == sorted(order[8:]) == [str(i) for i in range(8)]
    assert order[:8] != order[8:]


def test_a_run_of_few_prompts_fills_its_batch_from_the_next_pass(small_config: Callable[..., PolicyConfig]) -> None:
    prompts = [Prompt(str(i), [i]) for i in range(3)]
    chosen = prompts_of_update(prompts, 0, small_config(batch_size=4, mini_batch_size=4))
    assert len(chosen) == 4
    assert {p.text for p in chosen[:3]} == {"0", "1", "2"}


def test_tensorboard_events_are_written_on_request(
    small_config: Callable[..., PolicyConfig], letter_score: Score, tiny_llama: Path, tmp_path: Path, ppo_run: PpoRun
) -> None:
    ppo_run(tiny_llama, small_config(tensorboard=True, max_updates=1), letter_score, tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


@pytest.fixture
def stretched_llama(tiny_llama: Path, tmp_path: Path) -> Path:
    """A LLaMA whose rope is scaled, as of version 3.1 on: transformers samples from it, with a cache."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "stretched"))
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("mode", "kind"), [("hydra", "tiny_gpt2"), ("full", "tiny_gpt2"), ("full", "stretched_llama")])
def test_activations_computed_anew_give_the_same_weights(
    mode: str,
    kind: str,
    small_config: Callable[..., PolicyConfig],
    letter_score: Score,
    tmp_path: Path,
    ppo_run: PpoRun,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, calls = [], []
    monkeypatch.setattr(blocks, "checkpoint", lambda *given, **how: (calls.append(how), checkpoint(*given, **how))[1])
    for recomputed in (False, True):
        config = small_config(mode=mode, gradient_checkpointing=recomputed, max_updates=2, epochs=9)
        networks, _ = ppo_run(request.getfixturevalue(kind), config, letter_score, tmp_path / str(recomputed))
        assert bool(calls) == recomputed
        weights.append([parameter for _, parameter in networks.policy_parameters()])
        assert all(layer.training == recomputed for body in networks.trained_bodies() for layer in layers_of(body))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
