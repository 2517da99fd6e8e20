"""DPO on token pairs (Rafailov et al. 2023, arXiv 2305.18290): what the environment said is masked on both sides.

TRL's `DPOTrainer` would tokenise messages anew and count tool results as the policy's words; here its preparation is
passed by, and its collator's mask is multiplied by ours. The reference is the student as the stage began: its
log-probabilities are computed once, kept in every checkpoint, and no second model or adapter stays.
"""

# The libraries at this border are typed in part.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from ..checkpoints import STATE_FILE, CheckpointError
from ..run_context import Run, StageResult
from ..trl_compat import DataCollatorForPreference, DPOConfig, DPOTrainer, quiet
from .demonstrations import PreferencePair
from .stage import (
    Stop,
    SupervisedCheckpoints,
    check_lengths,
    check_seal,
    dataset_of,
    own_forward,
    pad_id,
    run_stage,
    seal,
    trainer_settings,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

    from ..models import Student

REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")
_IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
_MASKS = ("chosen_mask", "rejected_mask")


class MaskedPreferenceCollator(DataCollatorForPreference):
    """TRL's collator whose completion mask is 1 on the policy's own ids only."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Chosen rows above rejected ones, all (2 x pairs, longest)."""
        batch = super().torch_call(examples)
        masks = [
            torch.tensor([0] * len(example["prompt_ids"]) + list(example[name]))
            for name in _MASKS
            for example in examples
        ]
        batch["completion_mask"] = batch["completion_mask"] * pad_sequence(masks, batch_first=True)
        return batch


class TokenDPOTrainer(SupervisedCheckpoints, DPOTrainer):  # pyright: ignore[reportIncompatibleMethodOverride]
    """TRL's DPO trainer over pairs that are already ids.

    Args:
        reference: log-probabilities of an earlier session, per pair and side; None computes them with the model as
            it is.
        settings: those of `DPOTrainer`.
    """

    def __init__(self, reference: Mapping[str, Sequence[float]] | None, **settings: Any) -> None:
        self.reference = reference
        super().__init__(**settings)  # pyright: ignore[reportUnknownMemberType]
        model = cast("Any", self.model)
        if "ref" in getattr(model, "peft_config", {}):  # TRL's copy of the adapter has said what it knows
            model.delete_adapter("ref")
            model.set_adapter("default")

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = [*_IDS, *_MASKS, *REFERENCE]

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        if self.reference is None and (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            dataset = super()._precompute_ref_logps(dataset, name, batch_size)
            self.reference = {column: list(cast("Any", dataset)[column]) for column in REFERENCE}
            return dataset
        if self.reference is None:
            self.reference = self._referred(dataset, batch_size)
        for column in REFERENCE:
            dataset = cast("Any", dataset).add_column(column, list(self.reference[column]))
        return dataset

    def _referred(self, dataset: Dataset, batch_size: int) -> dict[str, list[float]]:
        """The reference's log-probability of each side of each pair, in order, on every process."""
        held = cast("Any", self)  # typed only in part
        loader = DataLoader(cast("Any", dataset), batch_size=batch_size, collate_fn=held.data_collator)
        found: dict[str, list[float]] = {name: [] for name in REFERENCE}
        for batch in held.accelerator.prepare(loader):
            sides = held.accelerator.gather_for_metrics(held.compute_ref_log_probs(held.model, batch))
            for name, side in zip(REFERENCE, sides, strict=True):
                found[name] += side.float().tolist()
        return found

    def extra_state(self) -> dict[str, object]:
        """With the reference's log-probabilities: a resumed run must not take the trained student for it."""
        return {**super().extra_state(), "reference": self.reference}


def train_dpo(
    run: Run,
    student: Student,
    pairs: Sequence[PreferencePair],
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    beta: float,
    stage: str = "dpo",
    resume: Path | None = None,
    stop: Stop | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> StageResult:
    """Prefer the chosen episodes to the rejected ones.

    Logged per step: loss, rewards/accuracies (share of pairs in the right order), rewards/margins, rewards/chosen,
    rewards/rejected, logps/chosen, logps/rejected, entropy, mean_token_accuracy, grad_norm, learning_rate.

    Args:
        run: folder, log and recipe.
        student: trained in place; as it is now it is the reference, or where resumed, as it was when the stage began.
        pairs: see `demonstrations.preference_pairs`.
        steps: optimiser steps in all, those before a resume included.
        learning_rate: peak.
        batch: pairs per step, over all processes; micro-batches are at most `batch.micro`.
        beta: strength of the pull towards the reference; small is weak.
        stage: name in metrics and folders.
        resume: a whole checkpoint of this stage.
        stop: asked after each step with the steps done.
        callbacks: further ones for the trainer.

    Raises:
        RecipeError: no pairs, pairs beyond the model's context, or a batch that cannot be dealt.
        CheckpointError: `resume` is incomplete or of other pairs.
    """
    sides = [len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs]
    check_lengths(student, sides, "demonstrations.max_length")
    settings = trainer_settings(run, stage, steps=steps, learning_rate=learning_rate, batch=batch)
    data = {name: [list(getattr(pair, name)) for pair in pairs] for name in (*_IDS, *_MASKS)}
    sealed = seal(tuple(getattr(pair, name) for name in (*_IDS, *_MASKS)) for pair in pairs)
    reference = _stored_reference(resume, sealed) if resume is not None else None
    with quiet(), own_forward(student):
        trainer = TokenDPOTrainer(
            reference,
            model=student.model,
            args=DPOConfig(**settings, beta=beta, max_length=None, precompute_ref_log_probs=True),
            data_collator=MaskedPreferenceCollator(pad_token_id=pad_id(student)),
            train_dataset=dataset_of(data),
            processing_class=student.tokenizer,
        )
        trainer.seconds = []
        trainer.rows_seal = sealed
        extra: dict[str, object] = {
            "pairs": len(pairs),
            "mean_margin": sum(pair.margin for pair in pairs) / len(pairs),
        }
        return run_stage(
            trainer, run, student, stage, batch=batch, resume=resume, stop=stop, callbacks=callbacks, extra=extra
        )


def _stored_reference(resume: Path, sealed: str) -> Mapping[str, Sequence[float]]:
    try:
        state = cast("Mapping[str, Any]", json.loads((resume / STATE_FILE).read_text("utf-8")))
    except OSError as error:
        raise CheckpointError(f"{resume} holds no {STATE_FILE}: it is no checkpoint of this stage") from error
    check_seal(str(state["rows"]), sealed)
    return cast("Mapping[str, Sequence[float]]", state["reference"])
