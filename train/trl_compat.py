"""The only module that names TRL: what is used of it, the seams that our trainers rest on, and how they are checked.

Verified against TRL 1.15 and 1.16. Every override and every key that is not documented API is listed in `SEAMS`; a test
checks each one against the installed version, so that a new release fails there first and nowhere else.
"""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateImportUsage=false

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

try:
    import trl
    from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
    from trl.kernels import chunked_logprob
    from trl.models.utils import unwrap_model_for_generation
    from trl.trainer import utils as trl_utils
    from trl.trainer.dpo_trainer import DataCollatorForPreference
except ImportError as error:
    raise ImportError('training needs packages that are not installed: pip install "medgym[train]"') from error

__all__ = [
    "SEAMS",
    "DPOConfig",
    "DPOTrainer",
    "DataCollatorForPreference",
    "GRPOConfig",
    "GRPOTrainer",
    "SFTConfig",
    "SFTTrainer",
    "TensorBatch",
    "generation_model",
    "missing_seams",
    "quiet",
    "score_labelled_only",
    "scoring",
]

TensorBatch: TypeAlias = dict[str, Tensor]
"""What `_generate_and_score_completions` returns and `_compute_loss` receives; tensors are (batch, ...)."""

SEAMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # override or method -> leading parameters that we rely on
        "_generate_and_score_completions": ("self", "inputs"),
        "_compute_loss": ("self", "model", "inputs"),
        "_get_per_token_logps_and_entropies": (
            "self",
            "model",
            "input_ids",
            "attention_mask",
            "logits_to_keep",
            "batch_size",
        ),
        "_prepare_inputs": ("self", "generation_batch"),
        "_get_train_sampler": ("self", "dataset"),
    }
)
SOURCE_SEAMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # method -> text that must stand in its source: undocumented behaviour that we build on
        "_generate": (
            "self.rollout_func(prompts, self)",
            'extra_fields.pop("env_mask"',
            "self.vllm_generation.sync_weights()",
            "self._last_loaded_step = self.state.global_step",
        ),
        "_generate_and_score_completions": ("inp[key] = values[i]", '"sampling_per_token_logps"', '"tool_mask"'),
        "_compute_loss": ("advantages.dim() == 1", "current_gradient_accumulation_steps"),
        "_get_per_token_logps_and_entropies": ("model(**model_inputs, labels=labels, fused_lm_head=True)",),
    }
)
HEAD_SEAM = "compact = _use_triton(hidden_states.device)"


def missing_seams() -> list[str]:
    """Seams that the installed TRL does not have as we use them, in words; empty where all is well."""
    found: list[str] = []
    for name, wanted in SEAMS.items():
        method: Callable[..., object] | None = getattr(GRPOTrainer, name, None)
        if method is None:
            found.append(f"GRPOTrainer.{name} is gone")
            continue
        held = tuple(inspect.signature(inspect.unwrap(method)).parameters)[: len(wanted)]
        if held != wanted:
            found.append(f"GRPOTrainer.{name} begins with {held}, not {wanted}")
    for name, texts in SOURCE_SEAMS.items():
        method = getattr(GRPOTrainer, name, None)
        source = inspect.getsource(inspect.unwrap(method)) if method is not None else ""
        found += [f"GRPOTrainer.{name} no longer says {text!r}" for text in texts if text not in source]
    if HEAD_SEAM not in inspect.getsource(trl_utils.add_fused_lm_head):
        found.append(f"trl.trainer.utils.add_fused_lm_head no longer says {HEAD_SEAM!r}")
    return [f"{one} (trl {trl.__version__})" for one in found]


def score_labelled_only() -> None:
    """Have the output head computed where there is a label, on a CPU too.

    TRL does so on devices with Triton and takes every position elsewhere, for those that recompile on a new shape. A
    CPU does not, and the head of a 135M model was a quarter of an SFT step (py-spy), of which a fifth is left.
    """
    held: Any = trl_utils
    held._use_triton = _scores_labelled


def _scores_labelled(device: torch.device) -> bool:
    kernels: Any = chunked_logprob
    return device.type == "cpu" or kernels._use_triton(device)


def scoring(model: nn.Module, scored: Tensor | None) -> Callable[..., Any]:
    """The model as `_get_per_token_logps_and_entropies` calls it, its log-probabilities 0 where nothing is scored.

    Args:
        model: as TRL gives it.
        scored: (batch, completion) 1 where an id counts; None scores all of the completion.
    """
    if scored is None:
        return model

    def call(*, labels: Tensor, **inputs: Any) -> Any:
        wanted = labels.clone()
        wanted[:, -scored.shape[1] :][scored == 0] = -100
        return model(labels=wanted, **inputs)

    return call


@contextmanager
def quiet() -> Generator[None]:
    """Without the warnings that TRL gives on every construction and that say nothing about this run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rollout_func.*experimental.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(trl|transformers|peft|accelerate)\..*")
        yield


@contextmanager
def generation_model(trainer: GRPOTrainer) -> Generator[nn.Module]:
    """The trainer's model, unwrapped and gathered, ready to be sampled from."""
    held: Any = trainer
    with unwrap_model_for_generation(
        held.model_wrapped,
        held.accelerator,
        gather_deepspeed3_params=held.args.ds3_gather_for_generation,
    ) as model:
        yield model
