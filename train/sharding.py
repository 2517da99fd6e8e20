"""Weights that an engine deals out over processes (FSDP 2, DeepSpeed ZeRO-3): gathered, dealt out again, saved whole.

Read only so far: accelerate runs neither engine without GPUs. The gathering itself is tested on DTensors.
"""

# torch.distributed and DeepSpeed are typed in part.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed import get_rank
from torch.distributed.tensor import DTensor, distribute_tensor

from .recipe import Recipe, RecipeError


def whole(value: Tensor) -> Tensor:
    """All of a sharded tensor; a collective."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def sharded_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor dealt out as `like` is; a collective."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


@contextmanager
def gathered(values: Iterable[Tensor]) -> Generator[None]:
    """DeepSpeed ZeRO-3 parameters whole inside; what rank 0 changed is kept. Nothing else is touched."""
    partitioned = [value for value in values if hasattr(value, "ds_id")]
    if not partitioned:
        yield
        return
    import deepspeed  # pyright: ignore[reportMissingImports]

    with deepspeed.zero.GatheredParameters(partitioned, modifier_rank=0):  # pyright: ignore[reportUnknownMemberType]
        yield


def whole_weights(model: nn.Module, *, trained: bool = False) -> dict[str, Tensor] | None:
    """Weights by name as `state_dict` names them, on the CPU, one gathered after the other; called on every process.

    None where nothing is dealt out: the model then saves itself. All weights are kept on rank 0 only (elsewhere the
    result is empty), those of an adapter on every process.

    Args:
        model: whose parameters an engine may have replaced.
        trained: only those that learn, such as an adapter's.
    """
    parameters: list[tuple[str, Tensor]] = [
        (name, value) for name, value in model.named_parameters() if value.requires_grad or not trained
    ]
    if not any(isinstance(value, DTensor) or hasattr(value, "ds_id") for _, value in parameters):
        return None
    if not trained:
        kept = model.state_dict().keys()
        parameters += [(name, value) for name, value in model.named_buffers() if name in kept]
    keeps = trained or get_rank() == 0
    found: dict[str, Tensor] = {}
    for name, value in parameters:
        with gathered([value]):
            all_of_it = whole(value.detach())
            if keeps:
                found[name] = all_of_it.cpu().clone()
    return found


def check_sharding(recipe: Recipe, *, resume: bool) -> None:
    """Refuse what cannot work, or would go wrong silently, under the engine that accelerate was launched with.

    Raises:
        RecipeError: says what to do instead.
    """
    fsdp, zero3 = _flag("ACCELERATE_USE_FSDP"), _zero3()
    if not (fsdp or zero3):
        return
    engine = "DeepSpeed ZeRO-3" if zero3 else "FSDP"
    if fsdp and os.environ.get("FSDP_VERSION", "1") != "2":
        raise RecipeError("FSDP 1 flattens weights, which the teacher cannot follow: set fsdp_version: 2")
    if recipe.rollout.engine != "vllm":
        raise RecipeError(
            f"under {engine} a process holds a part of each weight, and episodes of unequal length cannot be sampled "
            'in it: set rollout.engine = "vllm", or launch with train/accelerate/ddp.yaml'
        )
    if recipe.warmup.steps:
        raise RecipeError(
            f"under {engine} a run has one stage: train the warm-up as a recipe of its own, then its policy"
        )
    if resume and _flag("ACCELERATE_USE_DEEPSPEED"):
        raise RecipeError(
            "DeepSpeed loads its own checkpoints and would leave out the teacher, the curriculum and the counters: "
            "start afresh, or use FSDP 2, which can be resumed"
        )


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


def _zero3() -> bool:
    return _flag("ACCELERATE_USE_DEEPSPEED") and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2") == "3"
