"""Low-rank updates start as nothing, learn, are published merged, and resume exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from preceptor.modeling.policy_model import load_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.lora import add_low_rank, plain_state
from preceptor.policy.run import train_with_ppo

FAST: dict[str, Any] = {
    "lora_rank": 2,
    "precision": "float32",
    "train_layers": 2,
    "batch_size": 4,
    "mini_batch_size": 4,
    "ppo_epochs": 1,
    "learning_rate": 1e-2,
    "max_new_tokens": 4,
    "held_out_prompts": 0,
}


def test_an_update_is_a_product_of_its_rank() -> None:
    layer = torch.nn.Linear(6, 5)
    before = layer.weight.detach().clone()
    body = torch.nn.Sequential(layer)
    add_low_rank(body, 2, seed=0)
    assert torch.equal(layer.weight, before)
    trained = {name: p for name, p in body.named_parameters() if p.requires_grad}
    assert sorted(tuple(p.shape) for p in trained.values()) == [(2, 6), (5, 2)]
    for parameter in trained.values():
        parameter.data.normal_()
    difference = layer.weight.detach() - before
    assert int(torch.linalg.matrix_rank(difference)) == 2
    merged = torch.nn.Sequential(torch.nn.Linear(6, 5))
    merged.load_state_dict(plain_state(body))
    x = torch.randn(3, 6)
    torch.testing.assert_close(merged(x), body(x))


def test_the_first_directions_are_about_unit_vectors_and_come_from_their_seed_alone() -> None:
    def directions(seed: int) -> torch.Tensor:
        body = torch.nn.Sequential(torch.nn.Linear(400, 4))
        before = torch.get_rng_state()
        add_low_rank(body, 3, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return next(p.detach() for name, p in body.named_parameters() if name.endswith(".a"))

    assert torch.equal(directions(1), directions(1))
    assert not torch.equal(directions(1), directions(2))
    torch.testing.assert_close(directions(1).norm(dim=1), torch.ones(3), rtol=0, atol=0.2)


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_only_the_updates_move_and_what_is_sampled_holds_them(
    kind: str, small_config: Callable[..., PolicyConfig], request: pytest.FixtureRequest
) -> None:
    model, _ = load_policy(request.getfixturevalue(kind))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    networks = make_networks(model, small_config(lora_rank=2))
    whole = sum(p.numel() for p in networks.trained_bodies()[0].parameters())
    assert 0 < sum(p.numel() for _, p in networks.policy_parameters()) < whole / 2
    for name, value in networks.sampler().state_dict().items():
        assert torch.equal(value, before[name]), name
    for _, parameter in networks.policy_parameters():
        parameter.data.normal_()
    moved = {name for name, value in networks.sampler().state_dict().items() if not torch.equal(value, before[name])}
    matrices = {name for name, value in before.items() if value.dim() == 2}
    assert moved
    assert moved <= matrices
    networks.refresh_reference()
    assert all(torch.isfinite(value).all() for value in networks.reference_state().values())


def test_the_published_policy_is_whole_and_a_stopped_run_ends_with_the_same_weights(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    from preceptor.errors import RunCanceled

    seen = [0]

    def progress(done: int, total: int, metrics: dict[str, Any]) -> None:
        seen[0] = done

    arguments = (str(tiny_llama), str(tiny_reward))
    train_with_ppo(*arguments, str(tmp_path / "unbroken"), max_updates=3, epochs=9, **FAST)
    with pytest.raises(RunCanceled):
        train_with_ppo(
            *arguments,
            str(tmp_path / "broken"),
            progress=progress,
            is_canceled=lambda: seen[0] >= 2,
            max_updates=3,
            epochs=9,
            **FAST,
        )
    train_with_ppo(*arguments, str(tmp_path / "broken"), max_updates=3, epochs=9, **FAST)
    whole, broken = (load_policy(tmp_path / name)[0].state_dict() for name in ("unbroken", "broken"))
    before = load_policy(tiny_llama)[0].state_dict()
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())
    assert any(not torch.equal(value, before[name]) for name, value in whole.items())


def test_low_rank_updates_belong_to_hydra() -> None:
    with pytest.raises(ValidationError, match="lora_rank goes with mode hydra"):
        PolicyConfig(reward_model="x", mode="full", lora_rank=4)
