"""Prompt token ids go in, next-token logits come out step by step, from a cache that can drop rows.

`LlamaDecoder` runs LLaMA-type models in few large matrix products over a preallocated cache; `ModelDecoder`
runs any causal language model through its own forward. Rows are left-padded, so all share one write position.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Decoder(Protocol):
    """What sampling needs of a model: B rows under way, one token a row a step.

    `states` holds the output of the lowest layers for what was read last, (B, P, d) or (B, d), where asked for.
    """

    states: Tensor | None

    @property
    def device(self) -> torch.device: ...
    def prefill(self, ids: Tensor, mask: Tensor, new_tokens: int) -> Tensor: ...
    def step(self, tokens: Tensor) -> Tensor: ...
    def select(self, rows: Tensor) -> None: ...


def make_decoder(model: Any, *, keep_layers: int | None = None) -> Decoder:
    """The fastest decoder that gives this model's own logits.

    With `keep_layers`, possible for `is_plain_llama` models only, it keeps the output of that many lowest layers.
    """
    return LlamaDecoder(model, keep_layers=keep_layers) if is_plain_llama(model) else ModelDecoder(model)


def is_plain_llama(model: Any) -> bool:
    """Whether the model is a LLaMA without biases, adapters or a shifting rope, which LlamaDecoder computes."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        type(model).__name__ == "LlamaForCausalLM"
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and rope.get("rope_type", "default") == "default"
    )


class ModelDecoder:
    """Any Hugging Face causal language model, through its forward and its growing cache."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.states: Tensor | None = None
        self.cache: Any = None
        self.mask = torch.empty(0)
        self.position = torch.empty(0)

    @property
    def device(self) -> torch.device:
        """Where token ids and rows are expected."""
        where: torch.device = self.model.device
        return where

    def prefill(self, ids: Tensor, mask: Tensor, new_tokens: int) -> Tensor:
        """Read the prompts, ids and mask (B, P) left-padded; logits of the first new token (B, V)."""
        del new_tokens  # this cache grows
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
        self.cache, self.mask, self.position = out.past_key_values, mask, positions[:, -1:]
        return out.logits[:, -1]  # type: ignore[no-any-return]

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token a row (B,); logits of the next (B, V)."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.position = self.position + 1
        out = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.position,
            past_key_values=self.cache,
            use_cache=True,
        )
        return out.logits[:, -1]  # type: ignore[no-any-return]

    def select(self, rows: Tensor) -> None:
        """Keep (or repeat) the given rows, in that order."""
        self.cache.batch_select_indices(rows)
        self.mask, self.position = self.mask[rows], self.position[rows]


class _Block(NamedTuple):
    norm1: Tensor
    qkv: Tensor  # ((H + 2 Hk) D, d): queries, keys and values in one product
    out: Tensor
    norm2: Tensor
    gate_up: Tensor  # (2 I, d)
    down: Tensor


class LlamaDecoder:
    """A LLaMA-type model with fused projections, a preallocated cache and one-query attention as products."""

    def __init__(self, model: Any, *, keep_layers: int | None = None) -> None:
        config, body = model.config, model.model
        self.keep_layers = keep_layers
        self.states: Tensor | None = None
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.eps, self.inner = config.rms_norm_eps, config.intermediate_size
        self.embed, self.rotary = body.embed_tokens.weight, body.rotary_emb
        self.norm, self.head = body.norm.weight, model.lm_head.weight
        self.blocks = [
            _Block(
                layer.input_layernorm.weight,
                torch.cat([getattr(layer.self_attn, p).weight for p in ("q_proj", "k_proj", "v_proj")]),
                layer.self_attn.o_proj.weight,
                layer.post_attention_layernorm.weight,
                torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]),
                layer.mlp.down_proj.weight,
            )
            for layer in body.layers
        ]
        self.keys: list[Tensor] = []  # a layer: (B, Hk, D, T), transposed so that q K^T reads rows
        self.values: list[Tensor] = []  # a layer: (B, Hk, T, D)
        self.bias = torch.empty(0)  # (B, 1, 1, T): minus infinity on padding
        self.positions = torch.empty(0)  # (B,) of the last token read
        self.length = 0

    @property
    def device(self) -> torch.device:
        """Where token ids and rows are expected."""
        where: torch.device = self.embed.device
        return where

    def prefill(self, ids: Tensor, mask: Tensor, new_tokens: int) -> Tensor:
        """Read the prompts, ids and mask (B, P) left-padded; logits of the first new token (B, V)."""
        batch, prompt = ids.shape
        total = prompt + new_tokens
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        x = self.embed[ids]  # (B, P, d)
        before = torch.ones(prompt, prompt, dtype=torch.bool, device=ids.device).tril()
        seen = before & mask[:, None].bool()  # (B, P, P)
        # a padded query reads itself: no row of all -inf
        seen = seen | torch.eye(prompt, dtype=torch.bool, device=ids.device)
        bias = x.new_zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None, None]  # (B, 1, 1, P, P)
        cos, sin = self.rotary(x, positions)
        cos, sin = cos[:, :, None], sin[:, :, None]  # (B, P, 1, D)
        self.keys, self.values = [], []
        for depth, block in enumerate(self.blocks):
            if depth == self.keep_layers:
                self.states = x
            q, k, v = self._project(x, block, cos, sin)  # (B, P, H or Hk, D)
            keys = x.new_zeros(batch, self.kv_heads, self.head_dim, total)
            values = x.new_zeros(batch, self.kv_heads, total, self.head_dim)
            keys[..., :prompt] = k.permute(0, 2, 3, 1)
            values[:, :, :prompt] = v.transpose(1, 2)
            self.keys.append(keys)
            self.values.append(values)
            # the H/Hk queries that share a key stand under each other: two products, faster than the fused kernel
            grouped = q.transpose(1, 2).reshape(batch, self.kv_heads, -1, self.head_dim) * self.head_dim**-0.5
            scores = (grouped @ keys[..., :prompt]).view(batch, self.kv_heads, -1, prompt, prompt) + bias
            weights = torch.softmax(scores, dim=-1).view(batch, self.kv_heads, -1, prompt)
            mixed = (weights @ values[:, :, :prompt]).view(batch, self.heads, prompt, self.head_dim)
            x = self._finish(x, mixed.transpose(1, 2).flatten(2), block)
        self.bias = x.new_zeros(batch, 1, 1, total)
        self.bias[..., :prompt].masked_fill_(~mask[:, None, None].bool(), float("-inf"))
        self.positions, self.length = positions[:, -1], prompt
        return self._logits(x[:, -1])

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token a row (B,); logits of the next (B, V)."""
        at, end = self.length, self.length + 1
        self.length, self.positions = end, self.positions + 1
        x = self.embed[tokens]  # (B, d)
        cos, sin = self.rotary(x, self.positions[:, None])  # (B, 1, D)
        bias = self.bias[..., :end]
        scale = self.head_dim**-0.5
        for depth, (block, keys, values) in enumerate(zip(self.blocks, self.keys, self.values, strict=True)):
            if depth == self.keep_layers:
                self.states = x
            q, k, v = self._project(x, block, cos, sin)  # (B, H or Hk, D)
            keys[..., at] = k
            values[:, :, at] = v
            q = q.view(len(tokens), self.kv_heads, -1, self.head_dim)  # (B, Hk, H/Hk, D)
            weights = torch.softmax((q @ keys[..., :end]) * scale + bias, dim=-1)
            x = self._finish(x, (weights @ values[:, :, :end]).flatten(1), block)
        return self._logits(x)

    def select(self, rows: Tensor) -> None:
        """Keep (or repeat) the given rows, in that order."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.bias, self.positions = self.bias[rows], self.positions[rows]

    def _project(self, x: Tensor, block: _Block, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = F.linear(self._norm(x, block.norm1), block.qkv)
        qkv = qkv.view(*x.shape[:-1], self.heads + 2 * self.kv_heads, self.head_dim)
        turned = qkv[..., : self.heads + self.kv_heads, :]
        first, second = turned.chunk(2, dim=-1)
        turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
        return turned[..., : self.heads, :], turned[..., self.heads :, :], qkv[..., -self.kv_heads :, :]

    def _finish(self, x: Tensor, mixed: Tensor, block: _Block) -> Tensor:
        x = x + F.linear(mixed, block.out)
        gate_up = F.linear(self._norm(x, block.norm2), block.gate_up)
        return x + F.linear(F.silu(gate_up[..., : self.inner]) * gate_up[..., self.inner :], block.down)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self._norm(x, self.norm), self.head)
