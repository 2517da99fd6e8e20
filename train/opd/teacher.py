"""The EMA teacher: a slow copy of the student that never gets a gradient.

Under LoRA it is a second adapter on the same base, under full fine-tuning a model of its own. Its weights are stored in
float32 in both cases (in bfloat16 a step of 0.5% is rounded away and the teacher stands still), while it computes in
the student's dtype. Making it draws nothing from the global random generators; scoring with it leaves active adapter,
`requires_grad` and training mode as they were. What it scores, and when, is `trainer`'s.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..sharding import gathered, sharded_like, whole

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER = "teacher"
STUDENT = "default"
WEIGHTS_FILE = "teacher.safetensors"

Refresh: TypeAlias = Literal["ema", "hard_copy"]


class TeacherError(RuntimeError):
    """A teacher that cannot be made, updated or loaded; the message says what to do."""


class EmaTeacher:
    """Exponential moving average of the student, with hard copies.

    Args:
        student: a PEFT model with LoRA adapter `default`, or a model of which all weights are trained. Made before the
            optimiser and before any wrapping for several processes.
        decay: share of the old teacher that stays at an EMA update; 0 makes it a copy.
        ema_every, hard_copy_every: optimiser steps between updates; 0 turns either off.
        gated: update only while the latest validation was an improvement (`validated`).
        patch: applied to the separate model once it is built, where the student's class was patched.

    Raises:
        TeacherError: the student trains weights that the teacher cannot follow.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        decay: float = 0.995,
        ema_every: int = 5,
        hard_copy_every: int = 30,
        gated: bool = False,
        patch: Callable[[PreTrainedModel], None] | None = None,
    ) -> None:
        self.decay, self.ema_every, self.hard_copy_every, self.gated = decay, ema_every, hard_copy_every, gated
        self.improved = False
        self.held_back = 0
        self._student = student
        self._lora = hasattr(student, "peft_config")
        if self._lora:
            self._model: nn.Module = _add_adapter(cast("PeftModel", student))
        else:
            self._model = _separate(cast("PreTrainedModel", student), patch)
        self._names = tuple(name for name, _ in _followed(self._model, self._lora))
        self._shadow = {
            name: target.detach().to(torch.float32)
            for name, target in _followed(self._model, self._lora)
            if target.is_floating_point() and target.dtype != torch.float32
        }
        self._refresh(0.0)

    @property
    def lora(self) -> bool:
        """Whether the teacher is an adapter of the student's model."""
        return self._lora

    @property
    def model(self) -> nn.Module:
        """The module that holds the teacher; under LoRA the student's own. Score with it inside `scoring` only."""
        return self._model

    def update(self, step: int) -> Refresh | None:
        """Follow the student after an optimiser step; says what was done. A hard copy wins where both are due."""
        hard = bool(self.hard_copy_every) and step > 0 and step % self.hard_copy_every == 0
        ema = bool(self.ema_every) and step > 0 and step % self.ema_every == 0
        if not (hard or ema):
            return None
        if self.gated and not self.improved:
            self.held_back += 1
            return None
        self._refresh(0.0 if hard else self.decay)
        return "hard_copy" if hard else "ema"

    def validated(self, improved: bool) -> None:
        """Tell a gated teacher whether the validation reward beat the best so far; until told it stays as it is."""
        self.improved = improved

    @torch.no_grad()
    def distance(self) -> float:
        """Relative distance ||teacher - student|| / ||student|| over the followed weights (under LoRA the factors)."""
        gap = norm = 0.0
        with self._weights() as weights:
            for one in weights:
                if one.source.is_floating_point():
                    held = one.source_like_stored()
                    gap += float(whole(one.stored - held).square().sum(dtype=torch.float64))
                    norm += float(whole(held).square().sum(dtype=torch.float64))
        return (gap / norm) ** 0.5 if norm else 0.0

    @contextmanager
    def scoring(self) -> Generator[nn.Module]:
        """The model to score with: teacher active, eval mode, no gradients. Everything is put back, also on errors."""
        with torch.no_grad(), _evaluating(self._model):
            if not self._lora:
                yield self._model
                return
            with _active_adapter(cast("PeftModel", self._model), ADAPTER):
                yield self._model

    @torch.no_grad()
    def state_dict(self) -> dict[str, Tensor]:
        """The stored weights, float32, whole, on the CPU. Where weights are sharded every process must call this."""
        with self._weights() as weights:
            return {one.name: whole(one.stored).detach().cpu().clone() for one in weights}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take stored weights back bit for bit. Raises TeacherError for other names, shapes or dtypes."""
        if set(state) != set(self._names):
            odd = sorted(set(state) ^ set(self._names))
            raise TeacherError(f"the stored teacher is of another model: {len(odd)} names differ, such as {odd[0]}")
        with self._weights() as weights:
            for one in weights:
                value = state[one.name]
                if value.shape != one.stored.shape or value.dtype != one.stored.dtype:
                    raise TeacherError(
                        f"{one.name}: the file has {tuple(value.shape)} {value.dtype}, the teacher "
                        f"{tuple(one.stored.shape)} {one.stored.dtype}"
                    )
                one.stored.copy_(sharded_like(value.to(one.stored.device), one.stored))
                one.publish()

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write weights (or a `state_dict` that was taken on every process) and gate into a checkpoint folder."""
        metadata = {"gate": json.dumps({"improved": self.improved, "held_back": self.held_back})}
        save_file(dict(state or self.state_dict()), folder / WEIGHTS_FILE, metadata=metadata)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises TeacherError where there is none or it does not fit."""
        path = folder / WEIGHTS_FILE
        if not path.is_file():
            raise TeacherError(f"{folder} holds no {WEIGHTS_FILE}: it was written without a teacher, start afresh")
        with safe_open(path, framework="pt") as stored:  # pyright: ignore[reportUnknownVariableType]
            gate = cast("dict[str, int]", json.loads(cast("Any", stored).metadata()["gate"]))
        self.load_state_dict(load_file(path))
        self.improved, self.held_back = bool(gate["improved"]), int(gate["held_back"])

    @torch.no_grad()
    def _refresh(self, decay: float) -> None:
        with self._weights() as weights:
            for one in weights:
                if one.stored.is_floating_point() and one.stored.dtype != torch.float32:
                    raise TeacherError(f"{one.name} is stored as {one.stored.dtype}: an EMA stalls below float32")
                if decay == 0 or not one.source.is_floating_point():
                    one.stored.copy_(one.source_like_stored())
                else:
                    one.stored.lerp_(one.source_like_stored(), 1 - decay)
                one.publish()

    @contextmanager
    def _weights(self) -> Generator[list[_Weight]]:
        """Every followed weight, looked up anew, since sharding engines replace parameters; whole under ZeRO-3."""
        targets = dict(_followed(self._model, self._lora))
        held = {**dict(self._student.named_parameters()), **dict(self._student.named_buffers())}
        sources = {name: held[_student_name(name) if self._lora else name] for name in self._names}
        with gathered([*targets.values(), *sources.values()]):
            yield [
                _Weight(name, self._shadow.get(name, targets[name].detach()), targets[name], sources[name].detach())
                for name in self._names
            ]


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight of the teacher: its float32 memory, the tensor that computes, the student's tensor."""

    name: str
    stored: Tensor
    target: Tensor
    source: Tensor

    def source_like_stored(self) -> Tensor:
        """The student's value where and how the teacher's is stored."""
        source = self.source if isinstance(self.stored, DTensor) else whole(self.source)
        return source.to(device=self.stored.device, dtype=self.stored.dtype)

    def publish(self) -> None:
        """Bring the stored value into the tensor that computes, where that is another one."""
        if self.stored.dtype != self.target.dtype:
            self.target.copy_(self.stored)


def _student_name(name: str) -> str:
    return name.replace(f".{ADAPTER}.", f".{STUDENT}.")


def _followed(model: nn.Module, lora: bool) -> list[tuple[str, Tensor]]:
    """The teacher's weights by name; tied ones once, persistent buffers too under full fine-tuning."""
    parameters = list(model.named_parameters())
    if lora:
        return [(name, value) for name, value in parameters if f".{ADAPTER}." in name]
    kept = model.state_dict().keys()
    return [*parameters, *((name, value) for name, value in model.named_buffers() if name in kept)]


def _add_adapter(student: PeftModel) -> PeftModel:
    """Give the student's model a second adapter of the same shape, float32 and frozen."""
    if STUDENT not in student.peft_config:
        raise TeacherError(f"the student's adapter must be named {STUDENT!r}, not {', '.join(student.peft_config)}")
    config = copy.deepcopy(student.peft_config[STUDENT])
    if getattr(config, "modules_to_save", None):
        raise TeacherError("a LoRA teacher cannot follow modules_to_save: train all weights (model.lora_rank = 0)")
    flags = {name: value.requires_grad for name, value in student.named_parameters()}
    active = _active(student)
    with _forked_rng(student):
        student.add_adapter(ADAPTER, config, autocast_adapter_dtype=True)
    student.set_adapter(active)
    for name, value in student.named_parameters():
        value.requires_grad_(flags.get(name, False))
        if f".{ADAPTER}." in name and value.dtype != torch.float32:
            value.data = value.data.to(torch.float32)
    outside = [name for name, flag in flags.items() if flag and f".{STUDENT}." not in name]
    if outside:
        raise TeacherError(f"the student trains weights outside its adapter, such as {outside[0]}")
    return student


def _separate(student: PreTrainedModel, patch: Callable[[PreTrainedModel], None] | None) -> PreTrainedModel:
    """A frozen model of the same class, built from the configuration, every tensor a copy of the student's.

    Not a deep copy: a patched `forward` closes over the original, so a copy would silently run the student.
    """
    with _forked_rng(student), torch.device("meta"):
        teacher = type(student)(copy.deepcopy(student.config))
    made: dict[int, Tensor] = {}
    modules = cast("list[tuple[str, nn.Module]]", list(student.named_modules()))  # pyright: ignore
    for path, module in modules:
        twin = teacher.get_submodule(path)
        for name, value in module.named_parameters(recurse=False):
            if id(value) not in made:  # tied weights stay tied
                made[id(value)] = nn.Parameter(value.detach().clone(), requires_grad=False)
            setattr(twin, name, made[id(value)])
        plain = {name: value for name, value in vars(module).items() if isinstance(value, Tensor)}
        for name, value in (*module.named_buffers(recurse=False), *plain.items()):
            setattr(twin, name, value.detach().clone())
    left = [name for name, value in teacher.named_parameters() if value.is_meta]
    if left:
        raise TeacherError(f"the student lacks weights that its configuration describes, such as {left[0]}")
    teacher.eval()
    if patch is not None:
        patch(teacher)
    return teacher


@contextmanager
def _forked_rng(model: nn.Module) -> Generator[None]:
    """The torch generators afterwards as before."""
    devices = sorted({value.device.index for value in model.parameters() if value.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):  # pyright: ignore[reportUnknownMemberType]
        yield


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _active(model: PeftModel) -> str:
    """Name of the one active adapter."""
    active = cast("object", model.active_adapter)  # pyright: ignore[reportUnknownMemberType]
    if not isinstance(active, str):
        raise TeacherError(f"exactly one adapter may be active beside a teacher, not {active}")
    return active


@contextmanager
def _active_adapter(model: PeftModel, name: str) -> Generator[None]:
    """Another adapter in place of the active one; `requires_grad` of every parameter is put back."""
    active = _active(model)
    trained = [value for value in model.parameters() if value.requires_grad]
    try:
        model.set_adapter(name, inference_mode=True)
        yield
    finally:
        model.set_adapter(active)
        for value in model.parameters():
            value.requires_grad_(False)
        for value in trained:
            value.requires_grad_(True)
