"""The EMA teacher: closed form, fp32 storage, no trace on the student, bit-exact checkpoints."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from medgym.train.opd.teacher import ADAPTER, WEIGHTS_FILE, EmaTeacher, TeacherError

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def base(dtype: torch.dtype = torch.float32) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen3Config(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            tie_word_embeddings=True,
        )
        return Qwen3ForCausalLM(config).to(dtype)


def lora(dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **options)
        model = get_peft_model(base(dtype), config)
        for name, value in model.named_parameters():
            if "lora_B" in name:  # zero at first: the adapter would do nothing
                nn.init.normal_(value, std=0.2)
        return model


def make(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    return lora(dtype) if kind == "lora" else base(dtype)


@pytest.fixture(params=["lora", "full"])
def student(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


def move(model: Any, amount: float = 0.1, seed: int = 0) -> None:
    """Change every trained weight."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(amount * torch.randn(value.shape, generator=generator).to(value.dtype))


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def taught(teacher: EmaTeacher) -> Tensor:
    with teacher.scoring() as model:
        return model(input_ids=IDS).logits  # type: ignore[operator]


def test_a_new_teacher_is_the_student(student: Any) -> None:
    student.eval()
    before = logits(student)
    teacher = EmaTeacher(student)
    assert torch.equal(taught(teacher), before)
    assert torch.equal(logits(student), before)
    assert teacher.distance() == 0.0


def test_the_teacher_stays_while_the_student_moves(student: Any) -> None:
    student.eval()
    teacher = EmaTeacher(student)
    before = taught(teacher)
    move(student)
    assert torch.equal(taught(teacher), before)
    assert not torch.allclose(logits(student), before, atol=1e-2)
    assert teacher.distance() > 0.01


def test_making_one_draws_nothing(student: Any) -> None:
    torch.manual_seed(5)
    random.seed(5)
    states = torch.get_rng_state().clone(), random.getstate()
    EmaTeacher(student)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_only_the_student_is_trained(student: Any) -> None:
    trained = {name for name, value in student.named_parameters() if value.requires_grad}
    teacher = EmaTeacher(student)
    assert {name for name, value in student.named_parameters() if value.requires_grad} == trained
    move(student)
    student.train()
    with teacher.scoring() as model:
        target = model(input_ids=IDS).logits  # type: ignore[operator]
        assert not target.requires_grad
    loss = (student(input_ids=IDS).logits - target).square().mean()
    loss.backward()
    held = dict(teacher.model.named_parameters())
    assert all(
        value.grad is None for name, value in held.items() if name not in trained or teacher.model is not student
    )
    assert all(
        value.grad is not None and value.grad.abs().sum() > 0 for value in student.parameters() if value.requires_grad
    )


def test_scoring_puts_everything_back(student: Any) -> None:
    teacher = EmaTeacher(student)
    student.train()
    first = next(student.modules())
    odd = next(module for module in student.modules() if not list(module.children()))
    odd.eval()  # a module that was in eval mode stays there
    flags = {name: value.requires_grad for name, value in student.named_parameters()}
    active = getattr(student, "active_adapter", None)
    for fails in (False, True):
        try:
            with teacher.scoring() as model:
                assert not any(module.training for module in model.modules())
                assert not torch.is_grad_enabled()
                if teacher.lora:
                    assert student.active_adapter == ADAPTER
                if fails:
                    raise KeyError("inside")
        except KeyError:
            assert fails
        assert torch.is_grad_enabled()
        assert first.training
        assert not odd.training
        assert {name: value.requires_grad for name, value in student.named_parameters()} == flags
        assert getattr(student, "active_adapter", None) == active


def test_a_gradient_that_waits_survives_scoring(student: Any) -> None:
    """Between the student's forward and its backward the teacher may score (topk does)."""
    teacher = EmaTeacher(student)
    student.train()
    plain = student(input_ids=IDS).logits.square().mean()
    taught(teacher)
    plain.backward()
    found = {name: value.grad.clone() for name, value in student.named_parameters() if value.grad is not None}
    student.zero_grad()
    student(input_ids=IDS).logits.square().mean().backward()
    again = {name: value.grad for name, value in student.named_parameters() if value.grad is not None}
    assert found
    assert set(found) == set(again)
    assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.995, 1.0])
def test_closed_form(student: Any, decay: float) -> None:
    """With a student that stands still after moving once: teacher = student + decay^n (start - student)."""
    teacher = EmaTeacher(student, decay=decay, ema_every=1, hard_copy_every=0)
    start = teacher.state_dict()
    move(student)
    for step in range(1, 8):
        assert teacher.update(step) == "ema"
    end = students(student, teacher)
    for name, value in teacher.state_dict().items():
        expected = end[name] + decay**7 * (start[name] - end[name])
        assert value.dtype == torch.float32
        assert torch.allclose(value, expected, atol=2e-6, rtol=0), name
        if decay == 0.0:
            assert torch.equal(value, end[name])
        if decay == 1.0:
            assert torch.equal(value, start[name])


def students(student: Any, teacher: EmaTeacher) -> dict[str, Tensor]:
    """The student's values under the teacher's names."""
    held = dict(student.named_parameters())
    return {name: held[name.replace(f".{ADAPTER}.", ".default.")].detach().float() for name in teacher.state_dict()}


def test_decay_zero_scores_as_the_student_right_after(student: Any) -> None:
    student.eval()
    teacher = EmaTeacher(student, decay=0.0, ema_every=1)
    move(student)
    teacher.update(1)
    assert torch.equal(taught(teacher), logits(student))
    assert teacher.distance() == 0.0


def test_when_it_follows(student: Any) -> None:
    teacher = EmaTeacher(student, ema_every=5, hard_copy_every=15)
    done = {step: teacher.update(step) for step in range(31)}
    assert {step: what for step, what in done.items() if what} == {
        5: "ema",
        10: "ema",
        15: "hard_copy",  # wins over the EMA that is due too
        20: "ema",
        25: "ema",
        30: "hard_copy",
    }
    off = EmaTeacher(make("full"), ema_every=0, hard_copy_every=0)
    assert not any(off.update(step) for step in range(31))


def test_a_hard_copy_is_the_student(student: Any) -> None:
    teacher = EmaTeacher(student, ema_every=0, hard_copy_every=3)
    move(student)
    distance = teacher.distance()
    assert teacher.update(2) is None
    assert teacher.distance() == distance
    assert teacher.update(3) == "hard_copy"
    assert teacher.distance() == 0.0


def test_the_gate_opens_on_improvement_only(student: Any) -> None:
    teacher = EmaTeacher(student, ema_every=1, hard_copy_every=0, gated=True)
    assert teacher.update(1) is None  # nothing is validated yet
    teacher.validated(improved=True)
    assert teacher.update(2) == "ema"
    teacher.validated(improved=False)
    assert teacher.update(3) is None
    assert teacher.held_back == 2
    free = EmaTeacher(make("full"), ema_every=1)
    free.validated(improved=False)
    assert free.update(1) == "ema"


def test_distance_is_relative(student: Any) -> None:
    teacher = EmaTeacher(student)
    with torch.no_grad():
        for value in student.parameters():
            if value.requires_grad:
                value.mul_(2.0)
    assert teacher.distance() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_bfloat16_does_not_stall_it(kind: str) -> None:
    """A step of 0.5% is below bfloat16's resolution; stored in float32 the teacher still covers 1 - 0.995^100."""
    student = make(kind, torch.bfloat16)
    teacher = EmaTeacher(student, decay=0.995, ema_every=1, hard_copy_every=0)
    start = teacher.state_dict()
    with torch.no_grad():
        for value in student.parameters():
            value.mul_(1.1 if value.requires_grad else 1.0)
    end = students(student, teacher)
    stalled = {name: value.to(torch.bfloat16) for name, value in start.items()}
    for step in range(1, 101):
        teacher.update(step)
        for name, value in stalled.items():
            value.lerp_(end[name].to(torch.bfloat16), 0.005)
    after = teacher.state_dict()
    covered, without = [
        float(
            torch.cat([(state[name].float() - start[name]).flatten() for name in start]).norm()
            / torch.cat([(end[name] - start[name]).flatten() for name in start]).norm()
        )
        for state in (after, stalled)
    ]
    assert covered == pytest.approx(1 - 0.995**100, abs=0.01)
    assert without < 0.1  # what bfloat16 storage would have done
    with teacher.scoring() as model:
        output = model(input_ids=IDS).logits  # type: ignore[operator]
    assert output.dtype == torch.bfloat16  # it computes as the student does
    if kind == "full":
        assert next(teacher.model.parameters()).dtype == torch.bfloat16
        held = dict(teacher.model.named_parameters())
        assert all(torch.equal(held[name], value.to(torch.bfloat16)) for name, value in after.items())


def test_storage_below_float32_is_refused() -> None:
    student = lora()
    teacher = EmaTeacher(student, ema_every=1)
    for name, value in student.named_parameters():
        if f".{ADAPTER}." in name:
            value.data = value.data.to(torch.bfloat16)
    with pytest.raises(TeacherError, match="EMA stalls below float32"):
        teacher.update(1)


def test_a_patched_student_does_not_answer_for_the_teacher() -> None:
    """TRL patches `forward` with a closure over the original: a deep copy would silently run the student."""
    student = base()
    original = student.forward
    student.forward = lambda *args, **kwargs: original(*args, **kwargs)
    student.eval()
    fooled = copy.deepcopy(student)
    teacher = EmaTeacher(student)
    before = logits(student)
    move(student)
    assert torch.equal(logits(fooled), logits(student))  # the trap
    assert torch.equal(taught(teacher), before)


def test_tied_weights_stay_tied_and_follow_once() -> None:
    student = base()
    teacher = EmaTeacher(student, decay=0.5, ema_every=1, hard_copy_every=0)
    model: Any = teacher.model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "lm_head.weight" not in teacher.state_dict()
    assert not any(value.requires_grad for value in model.parameters())


def test_checkpoints_are_bit_exact(student: Any, tmp_path: Path) -> None:
    teacher = EmaTeacher(student, decay=0.7, ema_every=1, hard_copy_every=0, gated=True)
    teacher.validated(improved=True)
    move(student)
    teacher.update(1)
    before = taught(teacher)
    teacher.save(tmp_path)
    state = teacher.state_dict()
    move(student, seed=3)
    teacher.update(2)
    assert not torch.equal(taught(teacher), before)
    other = EmaTeacher(lora() if teacher.lora else base(), decay=0.7, ema_every=1, gated=True)
    assert not torch.equal(taught(other), before)
    other.load(tmp_path)
    assert torch.equal(taught(other), before)
    assert other.improved
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / WEIGHTS_FILE).values())


def test_a_state_is_a_copy(student: Any) -> None:
    teacher = EmaTeacher(student, decay=0.0, ema_every=1)
    state = teacher.state_dict()
    held = {name: value.clone() for name, value in state.items()}
    move(student)
    teacher.update(1)
    assert all(torch.equal(state[name], held[name]) for name in state)


def test_another_models_teacher_is_refused(student: Any, tmp_path: Path) -> None:
    teacher = EmaTeacher(student)
    with pytest.raises(TeacherError, match="start afresh"):
        teacher.load(tmp_path)
    state = teacher.state_dict()
    name = next(iter(state))
    with pytest.raises(TeacherError, match="1 names differ"):
        teacher.load_state_dict({key: value for key, value in state.items() if key != name})
    with pytest.raises(TeacherError, match=name):
        teacher.load_state_dict({**state, name: state[name][:1]})
    with pytest.raises(TeacherError, match="bfloat16"):
        teacher.load_state_dict({**state, name: state[name].to(torch.bfloat16)})


def test_students_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(TeacherError, match="modules_to_save"):
        EmaTeacher(lora(modules_to_save=["norm"]))
    outside = lora()
    outside.get_base_model().model.norm.weight.requires_grad_(True)
    with pytest.raises(TeacherError, match=r"outside its adapter, such as .*norm"):
        EmaTeacher(outside)
    named = get_peft_model(base(), LoraConfig(r=2, target_modules=["q_proj"]), adapter_name="mine")
    with pytest.raises(TeacherError, match="must be named 'default', not mine"):
        EmaTeacher(named)


def test_a_reference_adapter_beside_it_stays() -> None:
    """TRL adds `ref` under beta > 0 with a model that is a PeftModel already."""
    student = lora()
    student.add_adapter("ref", copy.deepcopy(student.peft_config["default"]))
    held = {name: value.clone() for name, value in student.named_parameters() if ".ref." in name}
    teacher = EmaTeacher(student, decay=0.0, ema_every=1)
    move(student)
    teacher.update(1)
    taught(teacher)
    now = dict(student.named_parameters())
    assert held
    assert all(torch.equal(now[name], value) for name, value in held.items())
    assert {name for name, value in now.items() if value.requires_grad} == {n for n in now if ".default." in n}
