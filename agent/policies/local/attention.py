"""Grouped-query attention while sampling on a CPU, without copying keys and values for every query head.

transformers repeats keys and values up to the number of query heads, for all positions, in every layer and at every
sampled id, wherever a batch is padded: not every device's kernel takes groups beside a mask. The CPU's does since torch
2.9, with the same sums (`benchmarks/decode_attention.py`). All else is transformers' own attention.
"""

# transformers is typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from torch import Tensor, nn

GROUPED = "medgym_grouped_sdpa"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """As `sdpa_attention_forward`.

    Args:
        module: the attention layer.
        query: (rows, heads, new positions, width).
        key, value: (rows, groups, all positions, width).
        attention_mask: (rows, 1, new positions, all positions), True where attended to, or None.
        dropout, scaling, kwargs: as there.

    Returns:
        (rows, new positions, heads, width), and None.
    """
    grouped = query.shape[1] != key.shape[1] and attention_mask is not None
    if not grouped or torch.is_grad_enabled() or kwargs.get("position_bias") is not None:
        forward = cast("Any", sdpa_attention_forward)
        return forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, enable_gqa=True
    )
    return found.transpose(1, 2).contiguous(), None


def use_grouped_attention(model: object) -> bool:
    """Have a model use it where it can: heads in groups, attention by transformers' interface. Whether it does now."""
    held = cast("Any", model)
    config = held.config
    heads = getattr(config, "num_attention_heads", None)
    if config._attn_implementation != "sdpa" or heads in (None, getattr(config, "num_key_value_heads", heads)):
        return False
    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, sdpa_mask)
    held.set_attn_implementation(GROUPED)
    now: str = held.config._attn_implementation
    return now == GROUPED
