"""One PPO update of TRL 1.12 and of ours from the same weights and the same answers: the same losses and weights.

Where they differ on purpose is undone here by name: TRL whitens with the variance of n - 1 tokens, ours with that of n;
TRL never clips gradients, so the limit is out of reach; its critic has no bias, so ours is held at 0.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.optimize import optimize
from preceptor.policy.rollout import Answers, Prompt, Targets, compute_targets, evaluate_answers

PEER = "TRL112_PYTHON"
RATE, RESPONSE, PASSES = 0.05, 6, 3


@pytest.fixture
def models(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A policy, another reference, a critic and a reward model without dropout, and what is asked of both sides."""
    from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

    words = AutoTokenizer.from_pretrained(tiny_gpt2)
    config = GPT2Config.from_pretrained(
        tiny_gpt2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, num_labels=1, pad_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        for seed, (name, kind) in enumerate(
            [
                ("policy", GPT2LMHeadModel),
                ("reference", GPT2LMHeadModel),
                ("value", GPT2ForSequenceClassification),
                ("reward", GPT2ForSequenceClassification),
            ]
        ):
            torch.manual_seed(seed)
            made: Any = kind(config)
            made.save_pretrained(tmp_path / name)
            words.save_pretrained(tmp_path / name)
    draw = random.Random(0)
    prompts = [[draw.randrange(2, len(words)) for _ in range(draw.randint(2, 9))] for _ in range(5)]
    given = {"prompts": prompts, "learning_rate": RATE, "response": RESPONSE, "ppo_epochs": PASSES, "kl_coef": 0.05}
    (tmp_path / "given.json").write_text(json.dumps(given))
    return tmp_path


@pytest.mark.skipif(PEER not in os.environ, reason=f"{PEER} names no Python that holds trl==1.12.0")
def test_an_update_has_the_losses_and_the_weights_of_trl(
    models: Path, small_config: Callable[..., PolicyConfig]
) -> None:
    from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel

    driver = Path(__file__).parent / "peers" / "trl_update.py"
    done = subprocess.run(
        [os.environ[PEER], str(driver), str(models)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = load_file(models / "found.safetensors")
    width, pad = theirs["rows"].shape[1] - RESPONSE, int(theirs["pad"])
    prompts = [[token for token in row[:width].tolist() if token != pad] for row in theirs["rows"]]
    answers = [[row[width:].tolist()] for row in theirs["rows"]]
    assert not any(pad in answer for (answer,) in answers)  # TRL would take it for the end of the answer

    sizes = {"batch_size": 5, "mini_batch_size": 5, "ppo_epochs": PASSES, "early_stopping": False}
    config = small_config(mode="full", max_grad_norm=1e9, whiten_rewards=False, gamma=1.0, lam=0.95, **sizes)
    networks: Any = make_networks(GPT2LMHeadModel.from_pretrained(models / "policy").eval(), config)
    critic = GPT2ForSequenceClassification.from_pretrained(models / "value")
    networks._reference.load_state_dict(GPT2LMHeadModel.from_pretrained(models / "reference").state_dict())
    networks.critic.load_state_dict(critic.transformer.state_dict())
    networks.value_head.weight.data.copy_(critic.score.weight)
    networks.value_head.bias.requires_grad_(False)
    sampled = Answers([Prompt("", ids) for ids in prompts], answers, [""] * 5, torch.zeros(5) > 0, theirs["scores"])
    rollout = evaluate_answers(networks, sampled, config)
    targets = compute_targets(rollout, sampled.scores, kl_coef=0.05, config=config)

    same: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
    for name in ("logprobs", "ref_logprobs", "values"):
        torch.testing.assert_close(getattr(rollout, name), theirs[name], **same)
    assert (rollout.logprobs - rollout.ref_logprobs).abs().max() > 0.1
    torch.testing.assert_close(targets.returns - rollout.values, theirs["advantages"], **same)
    whitened = targets.advantages * (1 - 1 / rollout.mask.sum()) ** 0.5
    torch.testing.assert_close(whitened, theirs["whitened"], **same)

    optimizer = torch.optim.SGD([p for _, p in [*networks.policy_parameters(), *networks.value_parameters()]], lr=RATE)
    one = config.model_copy(update={"ppo_epochs": 1})
    losses = []
    for _ in range(PASSES):  # a pass at a time, to see the loss of each
        record = optimize(
            networks, optimizer, rollout, Targets(whitened, targets.returns, targets.rewards), one, seed=0
        )
        losses.append(record["loss/policy_avg"] + config.vf_coef * record["loss/value_avg"])
    torch.testing.assert_close(torch.tensor(losses), theirs["losses"], **same)
    assert losses[-1] < losses[0] - 1e-3  # the steps were large enough to tell right from wrong
    trained = torch.cat([parameter.detach().flatten() for parameter in networks.model.parameters()])
    torch.testing.assert_close(trained, theirs["trained"], **same)
