"""PPO over clinical episodes: a value head on the policy's last hidden state, GAE that skips the environment's tokens.

The policy loss is the trainer's own clipped ratio; only the advantages (one per token) and the value loss are added.
TRL has no PPO any more. Schulman et al. 2017 (arXiv 1707.06347) and 2016 (arXiv 1506.02438).
"""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..env.task import Task
from .grpo import ClinicalGRPOTrainer
from .models import Student
from .rollout.producer import RolloutProducer
from .rollout.row import RolloutRow
from .run_context import Run
from .trl_compat import TensorBatch

VALUE_FILE = "value_head.safetensors"


def policy_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns over policy tokens only.

    Environment tokens are no decisions: the token before an observation is followed directly by the first one after.

    Args:
        rewards, values: (batch, tokens); the value of a token is that of the state it was sampled in.
        mask: (batch, tokens), 1 on policy tokens.
        gamma, lam: discount per policy token, and the trace.

    Returns:
        Advantages and returns, (batch, tokens), 0 off the mask.
    """
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    trace = torch.zeros_like(values[:, 0])
    kept = mask.bool()
    for at in range(values.shape[1] - 1, -1, -1):
        here = kept[:, at]
        error = rewards[:, at] + gamma * following - values[:, at]
        trace = torch.where(here, error + gamma * lam * trace, trace)
        following = torch.where(here, values[:, at], following)
        advantages[:, at] = torch.where(here, trace, advantages[:, at])
    return advantages, torch.where(kept, advantages + values, torch.zeros_like(values))


def whiten(values: Tensor, mask: Tensor, add: Callable[[Tensor], Tensor] = lambda sums: sums) -> Tensor:
    """Zero mean and unit variance over the mask, 0 elsewhere.

    Args:
        values, mask: (batch, tokens).
        add: sums a vector over all processes, so that each whitens by the same figures.
    """
    kept = values * mask
    count, total, squares = add(torch.stack([mask.sum().to(values.dtype), kept.sum(), (kept**2).sum()])).unbind()
    if count < 2:
        return kept
    mean = total / count
    variance = (squares / count - mean**2).clamp(min=0.0) * count / (count - 1)
    return (values - mean) / (variance.sqrt() + 1e-6) * mask


class ClinicalPPOTrainer(ClinicalGRPOTrainer):
    """PPO; see the module."""

    def __init__(self, run: Run, student: Student, tasks: Sequence[Task], producer: RolloutProducer) -> None:
        run.mechanisms.expect("value_update", "env_tokens_skipped")
        super().__init__(run, student, tasks, producer)
        width = int(cast("Any", student.model).config.get_text_config().hidden_size)
        generator = torch.Generator().manual_seed(run.recipe.seed)
        self.value_head = nn.Linear(width, 1).to(self.accelerator.device, torch.float32)
        with torch.no_grad():
            self.value_head.weight.copy_(torch.randn(1, width, generator=generator) * 0.01)
            self.value_head.bias.zero_()
        self._hidden: list[Tensor] = []
        _last_norm(cast("nn.Module", student.model)).register_forward_hook(self._keep_hidden)
        self._collect = False

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The student's optimiser, with the value head as a group of its own."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if made:
            settings = self.recipe.ppo
            optimizer.add_param_group(
                {"params": list(self.value_head.parameters()), "lr": settings.value_learning_rate, "weight_decay": 0.0}
            )
        return optimizer

    def _keep_hidden(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        if self._collect:
            self._hidden.append(output)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        self._hidden, self._collect = [], True
        try:
            return super()._get_per_token_logps_and_entropies(*args, **kwargs)
        finally:
            self._collect = False

    def _values(self, completion: int) -> Tensor:
        """(rows, completion) values of the states in which the completion's tokens were chosen."""
        hidden = torch.cat(self._hidden)[:, -completion - 1 : -1]
        self._hidden = []
        return self.value_head(hidden.float()).squeeze(-1)

    def after_scoring(self, rows: Sequence[RolloutRow], batch: TensorBatch) -> None:
        """Replace the group advantages by those of the value head."""
        completion = batch["completion_ids"].shape[1]
        mask = batch["completion_mask"] * batch["tool_mask"]
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        with torch.no_grad():
            self._get_per_token_logps_and_entropies(
                self.model, ids, attention, completion, batch_size=self.args.per_device_train_batch_size
            )
            values = self._values(completion)
        rewards = torch.zeros_like(values)
        for at, row in enumerate(rows):
            shaped = self._shaped(row)
            if shaped is not None and row.turn_spans:
                rewards[at, row.turn_spans[-1][1] - 1] = shaped
        settings = self.recipe.ppo
        advantages, returns = policy_advantages(rewards, values, mask, gamma=settings.gamma, lam=settings.lam)
        batch["advantages"] = whiten(advantages, mask, self._add)
        batch["value_old"], batch["value_target"] = values, returns
        self.run.mechanisms.fired(
            "env_tokens_skipped", int((batch["completion_mask"] * (1 - batch["tool_mask"])).sum())
        )
        variance = returns[mask.bool()].var()
        self.note("ppo/value_mean", float(values[mask.bool()].mean()))
        self.note("ppo/explained_variance", float(1 - (returns - values)[mask.bool()].var() / (variance + 1e-8)))

    def extra_loss(self, logps: Tensor, inputs: TensorBatch) -> Tensor | None:
        """The value loss, clipped around the old values where the recipe says so."""
        settings = self.recipe.ppo
        mask = inputs["completion_mask"] * inputs["tool_mask"]
        values = self._values(inputs["completion_ids"].shape[1])
        target, old = inputs["value_target"], inputs["value_old"]
        error = (values - target) ** 2
        if settings.value_clip is not None:
            near = old + (values - old).clamp(-settings.value_clip, settings.value_clip)
            error = torch.maximum(error, (near - target) ** 2)
        share = self.accelerator.num_processes * self.current_gradient_accumulation_steps
        loss = 0.5 * (error * mask).sum() * share / inputs["num_items_in_batch"].clamp(min=1.0)
        self.note("ppo/value_loss", float(loss.detach()))
        self.run.mechanisms.fired("value_update")
        return settings.value_coefficient * loss

    def _add(self, sums: Tensor) -> Tensor:
        return cast("Tensor", self.accelerator.reduce(sums, reduction="sum"))

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One micro-step. The head is no part of the model, so its gradients are cleared and averaged here."""
        if self._step % self.current_gradient_accumulation_steps == 0:
            self.value_head.zero_grad()
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            for parameter in self.value_head.parameters():
                if parameter.grad is not None:
                    parameter.grad = cast("Tensor", self.accelerator.reduce(parameter.grad, reduction="mean"))
        return loss

    def save_extra_files(self, folder: Path) -> None:
        """The value head beside the adapter."""
        super().save_extra_files(folder)
        state = cast("Mapping[str, Tensor]", self.value_head.state_dict())
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, folder / VALUE_FILE)

    def load_extra_files(self, folder: Path) -> None:
        """The value head of the checkpoint."""
        super().load_extra_files(folder)
        self.value_head.load_state_dict(load_file(folder / VALUE_FILE))


def _last_norm(model: nn.Module) -> nn.Module:
    """The norm before the output head: the `norm` of the innermost decoder."""
    base: Any = model
    base = base.get_base_model() if hasattr(base, "get_base_model") else base
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else base.model
    norm = getattr(decoder, "norm", None) or getattr(decoder, "final_layernorm", None)
    if norm is None:
        raise ValueError(f"{type(decoder).__name__} has no final norm that is known here: PPO needs its hidden states")
    return cast("nn.Module", norm)
