"""A language model and a config go in; the layout that the config names comes out, ready to train."""

from __future__ import annotations

from typing import Any

from preceptor.modeling.device import attention_for
from preceptor.policy.blocks import fuse_activations, recompute_activations
from preceptor.policy.config import PolicyConfig
from preceptor.policy.full import FullNetworks
from preceptor.policy.hydra import HydraNetworks
from preceptor.policy.networks import Networks
from preceptor.policy.packed import attend_row_by_row
from preceptor.policy.processes import ALONE, Processes


def make_networks(model: Any, config: PolicyConfig, *, processes: Processes = ALONE) -> Networks:
    """Lay out `model` (float32, evaluation mode) for training as the config says; the model is taken over.

    Only where the config shards the weights do they spread over the processes.
    """
    place = processes.device if config.sharding == "fsdp" else model.device
    if place.type == "cpu":
        attend_row_by_row(model)
        fuse_activations(model)
    else:
        model.set_attn_implementation(attention_for(place))
    networks: Networks
    if config.mode == "hydra":
        networks = HydraNetworks(
            model,
            train_layers=config.train_layers,
            lora_rank=config.lora_rank,
            precision=config.precision,
            seed=config.seed,
        )
    elif config.sharding == "fsdp":
        from preceptor.policy.sharded import ShardedNetworks

        networks = ShardedNetworks(model, precision=config.precision, processes=processes)
    else:
        networks = FullNetworks(model, precision=config.precision)
    if config.gradient_checkpointing:
        for body in networks.trained_bodies():
            recompute_activations(body)
    return networks
