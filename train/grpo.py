"""`ClinicalGRPOTrainer`: TRL's GRPO trainer fed by LangGraph episodes; every on-policy algorithm stands on it.

Owns the way from a batch of prompts to rows, the shaped reward, dynamic sampling, the length part, the gap between
rollout and training log-probabilities, and the metrics of each rollout. What GRPO, DAPO, Dr. GRPO and GSPO differ in is
configuration alone, so their rollouts are identical. PPO and TT-OPD override `after_scoring` and `extra_loss`.
"""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor, nn
from transformers import PrinterCallback

from ..agent.policies.local.request import Engine
from ..env.task import Task
from .case_order import CaseOrder
from .checkpoints import AtomicCheckpoints
from .curriculum import first_form, spec_level, staged_form
from .length import group_value, length_parts
from .models import Student
from .ranks import this_process
from .recipe import RATIO_BASED, Recipe, RecipeError
from .rollout.producer import EpisodePlan, RolloutProducer
from .rollout.row import RolloutRow
from .rollout.serving import open_engine
from .run_context import Run
from .shaping import overlong_penalty
from .trl_compat import GRPOConfig, GRPOTrainer, TensorBatch, generation_model, quiet, score_labelled_only, scoring
from .validation import Validated
from .watch.detectors import Watch
from .watch.rollouts import is_dead, rollout_metrics


def grpo_config(recipe: Recipe, folder: Path, processes: int = 1) -> GRPOConfig:
    """TRL's settings for a recipe. Raises RecipeError where the batch does not divide."""
    batch, loss, optim = recipe.batch, recipe.loss, recipe.optim
    rows = batch.prompts * batch.group
    if rows % (batch.micro * processes):
        raise RecipeError(
            f"batch.prompts x batch.group = {rows} rows cannot be dealt to {processes} process(es) in micro-batches of "
            f"{batch.micro}: make it a multiple of {batch.micro * processes}"
        )
    if loss.dynamic_sampling and (rows // processes) % batch.group:
        raise RecipeError("loss.dynamic_sampling needs whole groups on every process: make batch.prompts a multiple")
    accumulation = rows // (batch.micro * processes)
    on_gpu = torch.cuda.is_available()
    vllm: dict[str, Any] = {}
    if recipe.rollout.engine == "vllm" and not recipe.model.lora_rank:
        if not on_gpu:
            raise RecipeError(
                "rollout.engine = 'vllm' with all parameters trained needs a CUDA device, over which TRL sends the "
                "weights: train an adapter (model.lora_rank), or set rollout.engine = 'transformers'"
            )
        vllm = {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": recipe.rollout.base_url}
        vllm["vllm_importance_sampling_mode"] = "token_truncate"  # a sequence ratio is a product over thousands of ids
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=batch.micro,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation,
        num_iterations=batch.updates,
        num_generations=batch.group,
        max_completion_length=recipe.rollout.max_episode_tokens,
        temperature=recipe.rollout.temperature,
        loss_type=loss.loss_type or "grpo",
        scale_rewards=loss.scale_rewards or "group",
        importance_sampling_level=loss.importance_level or "token",
        epsilon=loss.epsilon or 0.2,
        epsilon_high=loss.epsilon_high,
        beta=loss.beta,
        entropy_coef=loss.entropy,
        learning_rate=optim.learning_rate,
        lr_scheduler_type=optim.scheduler,
        warmup_steps=optim.warmup_steps,
        max_grad_norm=optim.max_grad_norm,
        weight_decay=optim.weight_decay,
        optim="adamw_torch" if optim.name == "adamw" else "sgd",
        max_steps=optim.steps,
        seed=recipe.seed,
        data_seed=recipe.seed,
        logging_steps=1,
        logging_first_step=True,
        save_strategy="steps" if recipe.checkpoints.every else "no",
        save_steps=recipe.checkpoints.every or 500,
        report_to=list(recipe.report.report_to) or "none",
        remove_unused_columns=False,
        gradient_checkpointing=recipe.model.checkpointing,
        disable_dropout=True,
        bf16=False,
        use_cpu=not on_gpu,
        disable_tqdm=True,
        **vllm,
    )


class ClinicalGRPOTrainer(AtomicCheckpoints, GRPOTrainer):  # pyright: ignore[reportIncompatibleMethodOverride]
    """GRPO over clinical episodes.

    Args:
        run: recipe, counters, folder.
        student: what is trained.
        tasks: training cases.
        producer: plays episodes.
    """

    def __init__(self, run: Run, student: Student, tasks: Sequence[Task], producer: RolloutProducer) -> None:
        recipe = run.recipe
        self.run = run
        self.recipe = recipe
        self.student = student
        self.producer = producer
        self.tasks = {task.id: task for task in tasks}
        self.start_form = first_form(recipe)
        self.keep_checkpoints = recipe.checkpoints.keep
        self.resume_multiple = recipe.batch.updates
        self.own_seconds = 0.0
        self.step_seconds: list[float] = []
        self.watch: Watch | None = None
        self._captured: Tensor | None = None
        self._scored: Tensor | None = None
        self._level = self.start_form.specs
        self._expect()
        score_labelled_only()
        with quiet():
            super().__init__(
                model=cast("Any", student.model),
                reward_funcs=[self._composite_reward],
                args=grpo_config(recipe, run.out / "checkpoints" / "rl", this_process().num_processes),
                train_dataset=Dataset.from_list([{"prompt": task.id} for task in tasks]),
                processing_class=cast("Any", student.tokenizer),
                rollout_func=self._rollout,
            )
        self.remove_callback(PrinterCallback)  # the metrics log and the dashboard say it

    # ---- what subclasses add ------------------------------------------------------------------------------------

    def after_scoring(self, rows: Sequence[RolloutRow], batch: TensorBatch) -> None:
        """Add to or change the scored batch, whose tensors are in the order of `rows`. Called once per rollout."""

    def extra_loss(self, logps: Tensor, inputs: TensorBatch) -> Tensor | None:
        """A term to add to the policy loss, already averaged over the micro-batch; None for none.

        Args:
            logps: (micro, completion) log-probabilities of the student, with gradient.
            inputs: the micro-batch.
        """
        return None

    def send_weights(self) -> None:
        """Have a vLLM server sample from the weights as they are now, where TRL sends it all of them."""
        held: Any = self
        if held.use_vllm:
            held.vllm_generation.sync_weights()
            held._last_loaded_step = self.state.global_step

    def validated(self, step: int, found: Validated) -> None:
        """Told of every validation between steps."""

    # ---- TRL's seams --------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: object = None) -> CaseOrder:  # pyright: ignore[reportIncompatibleMethodOverride]
        batch, args = self.recipe.batch, self.args
        return CaseOrder(
            len(self.tasks),
            prompts=batch.prompts,
            group=batch.group,
            serves=args.steps_per_generation * batch.updates,
            rollouts=self.recipe.optim.steps // batch.updates,
            seed=self.recipe.seed,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> TensorBatch:
        batch = cast("TensorBatch", super()._generate_and_score_completions(inputs))
        began = time.thread_time()
        rows = [cast("RolloutRow", row["rollout"]) for row in inputs]
        everywhere = cast("list[RolloutRow]", gather_object(rows))
        first = self.accelerator.process_index * len(rows)
        if self.recipe.length.enabled and self.recipe.length.normalise == "after":
            parts = length_parts(everywhere, self.recipe.length, self.length_limit, self.recipe.batch.group)
            mine = torch.tensor(parts[first : first + len(rows)], device=batch["advantages"].device)
            batch["advantages"] = batch["advantages"] + self.recipe.length.weight * mine
            self.run.mechanisms.fired("length_control", sum(part != 0.0 for part in parts))
        self._note(rollout_metrics(everywhere, self.recipe.batch.group))
        self.own_seconds += time.thread_time() - began
        self.after_scoring(rows, batch)
        return batch

    def _get_per_token_logps_and_entropies(self, model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        called = cast("Any", scoring(model, self._scored))
        result = cast("tuple[Any, ...]", super()._get_per_token_logps_and_entropies(called, *args, **kwargs))
        if torch.is_grad_enabled():
            self._captured = result[0]
        return result

    def _compute_loss(self, model: nn.Module, inputs: TensorBatch) -> Tensor:
        self._captured = None
        self._scored = inputs["tool_mask"]
        loss = cast("Tensor", super()._compute_loss(model, inputs))
        self._scored = None
        logps = self._captured
        if logps is None:
            raise RuntimeError("TRL no longer computes log-probabilities where they can be captured: see trl_compat")
        self._captured = None
        self._note_gap(logps.detach(), inputs)
        self._count_clipping()
        extra = self.extra_loss(logps, inputs)
        return loss if extra is None else loss + extra / self.current_gradient_accumulation_steps

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One micro-step, timed."""
        began = time.perf_counter()
        loss = super().training_step(*args, **kwargs)
        if self._step % self.current_gradient_accumulation_steps == 1 or self.current_gradient_accumulation_steps == 1:
            self.step_seconds.append(0.0)
        self.step_seconds[-1] += time.perf_counter() - began
        return loss

    # ---- rollouts -----------------------------------------------------------------------------------------------

    @property
    def length_limit(self) -> int:
        """Policy tokens of an episode beyond which length control punishes."""
        return self.recipe.length.limit or self.recipe.rollout.max_episode_tokens

    def _rollout(self, prompts: Sequence[str], _trainer: GRPOTrainer) -> dict[str, list[Any]]:
        """TRL's `rollout_func`: one row per prompt, in order."""
        began = time.perf_counter()
        self.producer.form = staged_form(self.recipe.curriculum, self.start_form, self.state.global_step)
        self._note_curriculum()
        first = self.accelerator.process_index * len(prompts)
        step = self.state.global_step
        plans = [EpisodePlan(self.tasks[task], "train", step, first + at) for at, task in enumerate(prompts)]
        with generation_model(self) as model, open_engine(self.run, self.student, self.producer, model) as engine:
            rows = self.producer.play(plans, engine)
            if self.recipe.loss.dynamic_sampling:
                rows = self._resample_dead(plans, rows, engine)
        assembling = time.thread_time()
        columns: dict[str, list[Any]] = {
            "prompt_ids": [list(row.prompt_ids) for row in rows],
            "completion_ids": [list(row.completion_ids) for row in rows],
            "logprobs": [list(row.logprobs) for row in rows],
            "env_mask": [list(row.env_mask) for row in rows],
            "rollout": rows,
        }
        own = sum(row.own_seconds for row in rows) + time.thread_time() - assembling
        self.own_seconds += own
        self._note({"rollout/seconds": time.perf_counter() - began, "rollout/own_seconds": own})
        return columns

    def _resample_dead(self, plans: Sequence[EpisodePlan], rows: list[RolloutRow], engine: Engine) -> list[RolloutRow]:
        """DAPO's dynamic sampling, bounded: groups without a difference in reward are played again on other cases."""
        group, rounds = self.recipe.batch.group, self.recipe.loss.dynamic_sampling or 0
        names = sorted(self.tasks)
        for attempt in range(1, rounds + 1):
            dead = [at for at in range(0, len(rows), group) if is_dead(rows[at : at + group])]
            if not dead:
                break
            again: list[EpisodePlan] = []
            for at in dead:
                draw = EpisodePlan(plans[at].task, "resample", plans[at].step, plans[at].row, attempt)
                task = self.tasks[names[draw.seed(self.recipe.seed) % len(names)]]
                again += [EpisodePlan(task, "train", plan.step, plan.row, attempt) for plan in plans[at : at + group]]
            played = self.producer.play(again, engine)
            for index, at in enumerate(dead):
                rows[at : at + group] = played[index * group : (index + 1) * group]
            self.run.mechanisms.fired("dynamic_sampling", len(dead))
        return rows

    def _composite_reward(self, rollout: Sequence[RolloutRow], **_: object) -> list[float | None]:
        """The shaped reward of each row; None where the row is masked."""
        return [self._shaped(row) for row in rollout]

    def _shaped(self, row: RolloutRow) -> float | None:
        value = row.composite
        if value is None:
            return None
        length = self.recipe.length
        if length.enabled and length.normalise == "group":
            value = group_value(row, length, self.length_limit)
            self.run.mechanisms.fired("length_control")
        buffer = self.recipe.loss.overlong_buffer
        if buffer:
            penalty = overlong_penalty(row.policy_tokens, self.length_limit, buffer)
            if penalty:
                self.run.mechanisms.fired("overlong_punishment")
            value += penalty
        return value

    # ---- metrics ------------------------------------------------------------------------------------------------

    def note(self, name: str, value: float) -> None:
        """Add a value to this step's metrics; it must be the same, or averageable, on every process."""
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def _note(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.note(name, value)

    def _note_curriculum(self) -> None:
        if not self.recipe.curriculum.enabled:
            return
        level = spec_level(self.recipe.curriculum, self.start_form.specs, self.state.global_step)
        if level != self._level:
            self.run.mechanisms.fired("spec_withdrawal")
            self._level = level
        self.note("curriculum/specs", float(("none", "names", "arguments", "full").index(level)))

    def _note_gap(self, logps: Tensor, inputs: TensorBatch) -> None:
        """|rollout - training| log-probability, on the first pass over a rollout, when both are of the same weights."""
        served = self._step % (self.args.steps_per_generation * self.num_iterations)
        if served >= self.args.steps_per_generation:
            return
        mask = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
        gap = (logps - inputs["sampling_per_token_logps"]).abs()[mask]
        pair = torch.stack([gap.mean(), gap.max()]) if gap.numel() else torch.zeros(2, device=logps.device)
        mean, largest = cast("Tensor", self.accelerator.gather(pair.unsqueeze(0))).unbind(1)
        self.note("rollout/logp_gap_mean", float(mean.mean()))
        self.note("rollout/logp_gap_max", float(largest.max()))

    def _count_clipping(self) -> None:
        if self.recipe.algorithm in RATIO_BASED:
            seen = self._metrics["train"].get("clip_ratio/region_mean", [])
            if seen and seen[-1] > 0:
                self.run.mechanisms.fired("clipping")

    def _expect(self) -> None:
        """Register what this recipe switched on."""
        recipe, mechanisms = self.recipe, self.run.mechanisms
        if recipe.algorithm in RATIO_BASED:
            mechanisms.expect("clipping")
        if recipe.length.enabled:
            mechanisms.expect("length_control")
        if recipe.curriculum.enabled:
            mechanisms.expect("spec_withdrawal")
        if recipe.loss.dynamic_sampling:
            mechanisms.allow("dynamic_sampling")
        if recipe.loss.overlong_buffer:
            mechanisms.allow("overlong_punishment")

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def extra_state(self) -> dict[str, object]:
        """Counters, the curriculum's stage, the detectors."""
        return {
            "mechanisms": dict(self.run.mechanisms.counts),
            "specs": self._level,
            "own_seconds": self.own_seconds,
            "step_seconds": self.step_seconds,
            "watch": self.watch.state_dict() if self.watch is not None else None,
        }

    def load_extra_state(self, state: Mapping[str, object]) -> None:
        """Go on counting where the checkpoint stopped."""
        self.run.mechanisms.load(cast("Mapping[str, int]", state["mechanisms"]))
        self._level = cast("Any", state["specs"])
        self.own_seconds = cast("float", state["own_seconds"])
        self.step_seconds = list(cast("Sequence[float]", state["step_seconds"]))
        if self.watch is not None and state["watch"] is not None:
            self.watch.load_state_dict(cast("Mapping[str, Any]", state["watch"]))
