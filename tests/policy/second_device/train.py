"""Train a tiny policy on the CPU or on the second device; metrics and weights go to a folder."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy import layouts
from preceptor.policy.checkpoint import RunState, load_checkpoint, save_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import restore_best
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import train
from preceptor.policy.rollout import Prompt
from preceptor.policy.warmstart import encode_answer, warm_start

sys.path.insert(0, str(Path(__file__).parent))


def main(device: str, folder: Path, mode: str, out: Path) -> None:
    torch.set_num_threads(1)
    layouts.attention_for = lambda _: "eager"  # type: ignore[assignment]  # the same sums on both devices
    config = PolicyConfig(
        reward_model="none",
        mode=mode,  # type: ignore[arg-type]
        precision="float32",
        train_layers=2,
        batch_size=8,
        mini_batch_size=4,
        answers_per_prompt=2,
        ppo_epochs=2,
        epochs=100,
        max_updates=2,
        max_new_tokens=6,
        learning_rate=1e-3,
        gradient_checkpointing=mode == "full",
        warm_start_epochs=1,
    )
    model, tokenizer = load_policy(folder)
    prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in (f"Question {10**i}" for i in range(8))]
    on_device: Any = nullcontext()
    made: Any = nullcontext()
    if device != "cpu":
        from device import Creation, SecondDevice, move

        on_device, made = SecondDevice(), Creation()
        with on_device:
            move(model)

    def score(asked: Any, texts: Any) -> Any:
        return np.array([text.count("e") / max(1, len(text)) for text in texts])

    with on_device, made:
        networks = layouts.make_networks(model, config)
        eos = eos_ids(model, tokenizer)
        examples = [(prompt, encode_answer(tokenizer, "Eat less. See her.", eos=eos[0])) for prompt in prompts * 2]
        quiet: dict[str, Any] = {"progress": lambda *_: None, "is_canceled": lambda: False}
        warm_start(networks, tokenizer, examples, score, config, eos=eos, **quiet)
        optimizer = make_optimizer(networks, config)
        state = train(
            networks,
            optimizer,
            RunState(kl_coef=0.05),
            tokenizer,
            prompts,
            score,
            config,
            eos=eos,
            folder=out,
            settings={},
            held_out=prompts[:3],
            **quiet,
        )
        save_checkpoint(out, state, networks, optimizer, settings={})
        again = layouts.make_networks(model, config)
        assert load_checkpoint(out, again, make_optimizer(again, config), settings={}) == state
        restore_best(networks, state, folder=out)
        weights = {name: p.detach().cpu().clone() for name, p in again.policy_parameters()}
        where = {str(p.device) for _, p in (*networks.policy_parameters(), *networks.value_parameters())}
    save_file(weights, out / "weights.safetensors")
    (out / "where.json").write_text(json.dumps([sorted(where), getattr(on_device, "operations", 0)]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    sys.stdout.flush()
    os._exit(0)  # torch's threads for the second device are not joined
