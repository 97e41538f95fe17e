"""A folder with models in; what TRL 1.12's PPOTrainer computed in one update is written there, for a test to compare.

Runs in an environment of its own. The trainer's own code computes everything; what passes through its functions for
rewards, log-probabilities and whitening, and each loss that it hands to the backward pass, is copied on the way.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def main(folder: Path) -> None:
    given = json.loads((folder / "given.json").read_text())
    seen: dict[str, Any] = {"logprobs": [], "scores": [], "losses": []}

    def watch(name: str, keep: Any) -> None:
        plain = getattr(ppo_trainer, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = plain(*args, **kwargs)
            keep(args, result)
            return result

        setattr(ppo_trainer, name, watched)

    watch("selective_log_softmax", lambda _, out: seen["logprobs"].append(out.detach().clone()))
    watch("get_reward", lambda _, out: seen["scores"].append((out[0].detach().clone(), out[1].detach().clone())))
    watch("batch_generation", lambda _, out: seen.update(rows=out[0].clone()))
    watch("masked_whiten", lambda args, out: seen.update(advantages=args[0].clone(), whitened=out.clone()))
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    tokenizer.pad_token = "<unk>"
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder / name) for name in ("policy", "reference"))
    reward, value = (AutoModelForSequenceClassification.from_pretrained(folder / name) for name in ("reward", "value"))
    optimizer = torch.optim.SGD([*policy.parameters(), *value.parameters()], lr=given["learning_rate"])
    batch = len(given["prompts"])
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(folder / "out"),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            num_ppo_epochs=given["ppo_epochs"],
            response_length=given["response"],
            total_episodes=batch,
            kl_coef=given["kl_coef"],
            temperature=1.0,
            num_sample_generations=0,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
        ),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in given["prompts"]]),
        optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)),
    )
    plain = trainer.accelerator.backward

    def backward(loss: torch.Tensor, **kwargs: Any) -> None:
        seen["losses"].append(loss.detach().clone())
        plain(loss, **kwargs)

    trainer.accelerator.backward = backward
    trainer.log = lambda *_: None
    trainer.train()
    width = seen["rows"].shape[1] - given["response"]
    (values, _), (_, scores) = seen["scores"]  # the critic is asked first, then the reward model
    found = {
        "rows": seen["rows"],
        "logprobs": seen["logprobs"][0],
        "ref_logprobs": seen["logprobs"][1],
        "values": values[:, width - 1 : -1, 0],
        "scores": scores,
        "advantages": seen["advantages"],
        "whitened": seen["whitened"],
        "losses": torch.stack(seen["losses"]),
        "trained": torch.cat([parameter.detach().flatten() for parameter in policy.parameters()]),
        "pad": torch.tensor(tokenizer.pad_token_id),
    }
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "found.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
