"""`TTOPDTrainer`: GRPO plus the pull of a hinted EMA teacher on the student's own tokens.

Reads top to bottom as one rollout does: outcomes become hints, hints are spliced into the teacher's copy of each row,
the teacher scores the sampled tokens, the term enters the loss (or the advantages), the teacher follows the student.
No second student forward is made. At coefficient 0 the teacher is not called and the step is plain GRPO's, bit for bit.
The unhinted drift, which costs a forward of its own, is measured on a drawn eighth of the rows of every rollout.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...env.task import Task
from ..grpo import ClinicalGRPOTrainer
from ..models import Student
from ..rollout.producer import RolloutProducer
from ..rollout.row import RolloutRow
from ..run_context import Run
from ..trl_compat import TensorBatch
from ..validation import Validated
from .hints import Hint, HintWriter
from .margin import HintMargin, drawn_rows
from .schedule import CoefficientSchedule
from .scoring import Scored, sampled_logps
from .splice import Spliced, Splicer
from .teacher import EmaTeacher
from .term import (
    fold_into_advantages,
    fold_scale,
    gradient_ratio,
    log_ratio,
    most_confident,
    sampled_term,
    signed,
    sum_k3,
    truncated,
    turn_index,
    turn_weights,
)
from .topk import TopkRows

logger = logging.getLogger(__name__)

UNHINTED_SHARE = 8
"""One row in so many is scored by the teacher without its hint too, two at least on each process."""
LOGPS, WEIGHTS, BEFORE, ROW = "opd_teacher_logps", "opd_weights", "opd_student_logps", "opd_row"


class TTOPDTrainer(ClinicalGRPOTrainer):
    """TT-OPD; see the module.

    Args:
        run, student, tasks, producer: as for `ClinicalGRPOTrainer`.

    Raises:
        ValueError: the chat template takes no hint, or the fold is asked for with sequence-level ratios.
    """

    def __init__(self, run: Run, student: Student, tasks: Sequence[Task], producer: RolloutProducer) -> None:
        recipe = run.recipe
        self.opd = recipe.opd
        if self.opd.mode == "advantage" and recipe.loss.importance_level == "sequence":
            raise ValueError(
                "opd.mode = 'advantage' folds a token-level term, which one ratio per sequence would weigh wrongly: "
                "set opd.mode = 'loss'"
            )
        place = self.opd.hint_place
        self.splicer = Splicer(student.chat_format, place) if self.opd.hints != "none" else None
        self.schedule = CoefficientSchedule(self.opd, recipe.optim.steps)
        self.margin = HintMargin()
        self.coefficient = self.opd.coefficient
        self._best_validation = -math.inf
        self._said_blind = False
        self._topk: TopkRows | None = None
        self._teacher_state: Mapping[str, Tensor] | None = None
        super().__init__(run, student, tasks, producer)
        self.hints = HintWriter(self.opd, recipe.seed, self.tasks.__getitem__)
        self.teacher = EmaTeacher(
            self.model,
            decay=self.opd.ema_decay,
            ema_every=self.opd.ema_every,
            hard_copy_every=self.opd.hard_copy_every,
            gated=self.opd.gate_on_validation,
        )
        self.add_callback(_TeacherFollows(self))

    # ---- a rollout: hints, splice, teacher ----------------------------------------------------------------------

    def after_scoring(self, rows: Sequence[RolloutRow], batch: TensorBatch) -> None:
        """Score the sampled tokens by the hinted teacher, unless the coefficient is 0."""
        super().after_scoring(rows, batch)
        before = self.coefficient
        self.coefficient = self.schedule.value(self.state.global_step)
        self.note("opd/coefficient", self.coefficient)
        if self.coefficient < before:
            self.run.mechanisms.fired("phase_out")
        self._topk = None
        if self.coefficient > 0:
            self._distil(rows, batch)
        elif self._may_return:  # a gated coefficient can only come back by a drift that somebody measures
            self._measure_drift(rows, batch)

    @property
    def _may_return(self) -> bool:
        opd = self.opd
        return opd.coefficient > 0 and opd.allow_rise and opd.schedule == "kl_gated"

    @property
    def teaching(self) -> bool:
        """Whether the teacher is, or may again be, of use."""
        return self.coefficient > 0 or self._may_return

    def _distil(self, rows: Sequence[RolloutRow], batch: TensorBatch) -> None:
        step, first = self.state.global_step, self.accelerator.process_index * len(rows)
        hints = self.hints.write(rows, step, first)
        spliced = [None if hint is None else self._splice(row, hint) for row, hint in zip(rows, hints, strict=True)]
        spans = [None if one is None else row.turn_spans for row, one in zip(rows, spliced, strict=True)]
        turns = turn_index(spans, batch["completion_ids"].size(1)).to(batch["completion_ids"].device)
        kept = truncated(turns, self.opd.max_turns, self.opd.max_tokens_per_turn)
        teacher = self._teacher_logps(rows, spliced, kept, batch)
        chosen = most_confident(kept, teacher, self.opd.top_ratio)
        batch[LOGPS], batch[WEIGHTS], batch[BEFORE] = teacher, turn_weights(turns, chosen), self._before(batch)
        if self.opd.estimator == "topk":
            self._topk = TopkRows(rows, spliced, batch[WEIGHTS])
            batch[ROW] = torch.arange(len(rows), device=teacher.device)
        self._count(hints, turns >= 0, kept, chosen, batch)
        self._measure_hint(rows, hints, kept, batch)

    def _splice(self, row: RolloutRow, hint: Hint) -> Spliced:
        if self.splicer is None or not hint.text:
            start, length = len(row.prompt_ids), len(row.completion_ids)
            return Spliced((*row.prompt_ids, *row.completion_ids), tuple(range(start, start + length)), ())
        return self.splicer.splice(row.prompt_ids, row.completion_ids, row.turn_spans, hint.text)

    def _teacher_logps(
        self, rows: Sequence[RolloutRow], spliced: Sequence[Spliced | None], wanted: Tensor, batch: TensorBatch
    ) -> Tensor:
        """(rows, completion) teacher log-probabilities of the wanted ids, 0 elsewhere and in rows without a stream."""
        mask = batch["completion_mask"]
        if [int(n) for n in mask.sum(dim=1)] != [len(row.completion_ids) for row in rows]:
            raise RuntimeError("TRL gave the rollout's rows back in another order or length: see trl_compat")
        places = [
            [] if one is None else [int(place) for place in wanted[at].nonzero()] for at, one in enumerate(spliced)
        ]
        scored = [
            Scored((), ()) if one is None else Scored(one.ids, [one.positions[place] for place in of_row])
            for one, of_row in zip(spliced, places, strict=True)
        ]
        with self.teacher.scoring() as model, self.accelerator.autocast():
            found = sampled_logps(
                model,
                scored,
                temperature=self.temperature,
                batch=self.args.per_device_train_batch_size,
                device=mask.device,
            )
        logps = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
        for at, values in enumerate(found):
            logps[at, places[at]] = values
        return logps

    def _before(self, batch: TensorBatch) -> Tensor:
        """(rows, completion) the student's own log-probabilities at the time of the rollout, 0 off the mask."""
        held = batch.get("old_per_token_logps", batch["sampling_per_token_logps"])
        return torch.where(_mask(batch).bool(), held, torch.zeros_like(held))

    # ---- the loss -----------------------------------------------------------------------------------------------

    def _compute_loss(self, model: nn.Module, inputs: TensorBatch) -> Tensor:
        if self.opd.mode == "advantage" and WEIGHTS in inputs:
            inputs = {**inputs, "advantages": self._folded(inputs)}
            self.run.mechanisms.fired("distillation")
        return super()._compute_loss(model, inputs)

    def _folded(self, inputs: TensorBatch) -> Tensor:
        advantages = inputs["advantages"]
        ratio = signed(
            log_ratio(inputs[BEFORE], inputs[LOGPS], self.opd.kl_clip), advantages if self.opd.sign_flip else None
        )
        scale = fold_scale(
            self.loss_type,
            _mask(inputs),
            max_length=self.recipe.rollout.max_episode_tokens,
            items=float(inputs["num_items_in_batch"]),
            processes=self.accelerator.num_processes,
            micro_batches=cast("Any", self.args).steps_per_generation,
        )
        return fold_into_advantages(advantages, ratio, inputs[WEIGHTS], self.coefficient, scale)

    def extra_loss(self, logps: Tensor, inputs: TensorBatch) -> Tensor | None:
        """The distillation term times its coefficient; None where it is folded, or off."""
        if self.opd.mode == "advantage" or WEIGHTS not in inputs:
            return super().extra_loss(logps, inputs)
        if self.opd.estimator == "topk":
            term = self._topk_term(inputs)
        else:
            term = sampled_term(logps, inputs[LOGPS], inputs[WEIGHTS], self.opd, inputs["advantages"])
        self.run.mechanisms.fired("distillation", int((inputs[WEIGHTS] > 0).any()))
        return self.coefficient * term

    def _topk_term(self, inputs: TensorBatch) -> Tensor:
        if self._topk is None:
            raise RuntimeError("the rollout's token streams are gone: a topk run resumes at rollout boundaries only")
        with self.accelerator.autocast():
            return self._topk.term(
                self.model,
                self.teacher,
                numbers=[int(at) for at in inputs[ROW]],
                weights=inputs[WEIGHTS],
                settings=self.opd,
                temperature=self.temperature,
                advantages=inputs["advantages"],
            )

    # ---- what is measured ---------------------------------------------------------------------------------------

    def _measure_hint(
        self, rows: Sequence[RolloutRow], hints: Sequence[Hint | None], kept: Tensor, batch: TensorBatch
    ) -> None:
        """The divergence from the hinted teacher, and what the hint moves."""
        self._note_k3("opd/kl_hint", batch, batch[LOGPS], kept)
        if self.splicer is None:  # without hints both divergences are one, over all rows
            self._note_k3("opd/kl_drift", batch, batch[LOGPS], kept)
            return
        sample, plain = self._measure_drift(rows, batch, [hint is not None for hint in hints])
        self._note_margin(rows, sample, (batch[LOGPS] - plain) * kept, kept)

    def _measure_drift(
        self, rows: Sequence[RolloutRow], batch: TensorBatch, told: Sequence[bool] | None = None
    ) -> tuple[list[int], Tensor]:
        """The divergence from the teacher without hints on a sample of rows; that sample and its log-probabilities."""
        known = told or [not row.masked for row in rows]
        outcomes = [row.correct if use else None for row, use in zip(rows, known, strict=True)]
        sample = drawn_rows(outcomes, self.state.global_step, UNHINTED_SHARE)
        bare = [self._splice(row, Hint("")) if at in sample else None for at, row in enumerate(rows)]
        drawn = torch.zeros_like(_mask(batch))
        drawn[sample] = 1
        wanted = (_mask(batch) * drawn).bool()
        plain = self._teacher_logps(rows, bare, wanted, batch)
        self._note_k3("opd/kl_drift", batch, plain, wanted)
        return sample, plain

    def _note_k3(self, name: str, batch: TensorBatch, teacher: Tensor, where: Tensor) -> None:
        """Mean k3 over tokens and processes; the schedule hears of the drift."""
        local = sum_k3(self._before(batch), teacher, where, self.opd.kl_clip)
        total, tokens = self._summed(local)
        if tokens:
            self.note(name, total / tokens)
            if name == "opd/kl_drift":
                self.schedule.observe(total / tokens)

    def _summed(self, local: Tensor) -> list[float]:
        """Sums over processes."""
        total = cast("Tensor", self.accelerator.reduce(local, reduction="sum"))  # pyright: ignore
        return [float(value) for value in total]

    def _note_margin(self, rows: Sequence[RolloutRow], sample: Sequence[int], shift: Tensor, kept: Tensor) -> None:
        means = shift.sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        mine = [(float(means[at]), bool(rows[at].correct)) for at in sample]
        for value, correct in cast("list[tuple[float, bool]]", gather_object(mine)):
            self.margin.add(value, correct)
        margin = self.margin.margin
        if margin is None:
            return
        self.note("opd/hint_margin", margin.value)
        self.note("opd/hint_margin_low", margin.low)
        self.note("opd/hint_margin_high", margin.high)
        if margin.spans_zero and not self._said_blind and self.run.main:
            logger.warning(
                "step %d: the hints move right answers over wrong ones by %.4f nats per token (95%%: %.4f to %.4f), "
                "which may be nothing: the teacher then pulls towards wrong answers as much as towards right ones",
                self.state.global_step,
                margin.value,
                margin.low,
                margin.high,
            )
        self._said_blind = margin.spans_zero  # once each time it comes to span 0

    def _count(
        self, hints: Sequence[Hint | None], sampled: Tensor, kept: Tensor, chosen: Tensor, batch: TensorBatch
    ) -> None:
        """Counters and the figures that need no teacher; summed over processes."""
        ratio = log_ratio(batch[BEFORE], batch[LOGPS], math.inf)
        outcomes = [None if hint is None else hint.correct for hint in hints]
        local = [
            sum(outcome is True for outcome in outcomes),
            sum(outcome is False for outcome in outcomes),
            sum(hint is None for hint in hints),
            int((kept != sampled).any(dim=1).sum()),
            int((chosen != kept).any(dim=1).sum()),
            int(((ratio.abs() > self.opd.kl_clip) & chosen).sum()),
            int(((batch["advantages"] < 0) & chosen.any(dim=1)).sum()) if batch["advantages"].dim() == 1 else 0,
        ]
        total = [int(n) for n in self._summed(torch.tensor(local, device=ratio.device))]
        names = ("hint_correct", "hint_incorrect", "", "truncation", "top_ratio", "kl_clip", "sign_flip")
        switched = self.run.mechanisms.counts
        for name, times in zip(names, total, strict=True):
            if name in switched:
                self.run.mechanisms.fired(name, times)
        if "hints" in switched:
            self.run.mechanisms.fired("hints", total[0] + total[1])
        self.note("opd/hinted_correct", total[0])
        self.note("opd/hinted_incorrect", total[1])
        self.note("opd/skipped", total[2])
        clipped = log_ratio(batch[BEFORE], batch[LOGPS], self.opd.kl_clip)
        share = gradient_ratio(clipped, batch[WEIGHTS], batch["advantages"], _mask(batch), self.coefficient)
        if math.isfinite(share):
            self.note("opd/signal_ratio", share)

    def _expect(self) -> None:
        """Register what this recipe switched on; what depends on the episodes alone may stay silent."""
        super()._expect()
        opd, mechanisms = self.opd, self.run.mechanisms
        must: list[str] = []
        may = ["hint_correct", "hint_incorrect", "kl_clip"]
        if opd.coefficient > 0:
            must.append("distillation")
            (may if opd.schedule in ("constant", "kl_gated") or opd.floor == 1 else must).append("phase_out")
            must += ["hints"] if opd.hints != "none" else []
            must += ["truncation"] if opd.max_turns or opd.max_tokens_per_turn else []
            must += ["top_ratio"] if opd.top_ratio < 1 else []
            must += ["sign_flip"] if opd.sign_flip else []
            refreshes = [name for name in ("ema", "hard_copy") if getattr(opd, f"{name}_every")]
            if opd.gate_on_validation:
                may += [*refreshes, "teacher_gate"]
            else:
                must += refreshes
        mechanisms.expect(*must)
        mechanisms.allow(*may)

    # ---- between steps ------------------------------------------------------------------------------------------

    def follow(self, step: int) -> None:
        """Let the teacher follow after an optimiser step, and note how far it is."""
        if not self.teaching:
            return
        held = self.teacher.held_back
        done = self.teacher.update(step)
        if done is not None:
            self.run.mechanisms.fired(done)
        if self.teacher.held_back > held:
            self.run.mechanisms.fired("teacher_gate")
        self.note("opd/teacher_distance", self.teacher.distance())

    def validated(self, step: int, found: Validated) -> None:
        """Open or close the gate of a gated teacher."""
        super().validated(step, found)
        self.teacher.validated(found.reward > self._best_validation)
        self._best_validation = max(self._best_validation, found.reward)

    def coefficient_lowered(self, factor: float) -> None:
        """A detector has lowered the coefficient to this share of its schedule, for good."""
        self.schedule.lower_to(factor)

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def extra_state(self) -> dict[str, object]:
        """Schedule, margin window and the gate's best value, beside what the base keeps."""
        best = None if math.isinf(self._best_validation) else self._best_validation
        held = {
            "schedule": self.schedule.state_dict(),
            "margin": self.margin.state_dict(),
            "best": best,
            "coefficient": self.coefficient,
        }
        return {**super().extra_state(), "opd": held}

    def load_extra_state(self, state: Mapping[str, object]) -> None:
        """Go on with the coefficient where the checkpoint stopped."""
        super().load_extra_state(state)
        held = cast("Mapping[str, Any]", state["opd"])
        self.schedule.load_state_dict(held["schedule"])
        self.margin.load_state_dict(held["margin"])
        self._best_validation = -math.inf if held["best"] is None else float(held["best"])
        self.coefficient = float(held["coefficient"])

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        self._teacher_state = self.teacher.state_dict()  # on every process: a sharded teacher is gathered
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._teacher_state = None

    def save_extra_files(self, folder: Path) -> None:
        """The teacher, bit for bit."""
        super().save_extra_files(folder)
        self.teacher.save(folder, self._teacher_state)

    def load_extra_files(self, folder: Path) -> None:
        """The teacher as it was saved."""
        super().load_extra_files(folder)
        self.teacher.load(folder)


class _TeacherFollows(TrainerCallback):
    """Updates the teacher after each optimiser step, before the step is logged and saved."""

    def __init__(self, trainer: TTOPDTrainer) -> None:
        self._trainer = trainer

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """One step was taken."""
        self._trainer.follow(state.global_step)


def _mask(batch: TensorBatch) -> Tensor:
    """(rows, completion) 1 on policy tokens."""
    return batch["completion_mask"] * batch["tool_mask"]
