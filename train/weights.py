"""Puts saved weights back into a student in place: an adapter, or all parameters."""

# The libraries at this border are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from .checkpoints import CheckpointError, load_student_adapter

if TYPE_CHECKING:
    from peft import PeftModel

    from .models import Student


def load_weights(student: Student, folder: Path) -> None:
    """Load what `save_policy` wrote into the student's own modules.

    Raises:
        CheckpointError: the folder is not of this student.
    """
    if student.lora:
        load_student_adapter(cast("PeftModel", student.model), folder)
        return
    model = cast("nn.Module", student.model)
    stored: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        stored |= load_file(file)
    if not stored:
        raise CheckpointError(f"{folder} holds no weights (model.safetensors)")
    left = model.load_state_dict(cast("Mapping[str, Tensor]", stored), strict=False)
    tied = set(cast("Mapping[str, str]", getattr(model, "_tied_weights_keys", None) or ()))
    if left.unexpected_keys or set(left.missing_keys) - tied:
        raise CheckpointError(
            f"{folder} is not of this student: missing {left.missing_keys[:3]}, unexpected {left.unexpected_keys[:3]}"
        )
