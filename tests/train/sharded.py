"""Run under `torchrun`: deals a student and its teacher out by FSDP 2 on CPUs and gathers them. Not a test itself."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from peft import get_peft_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from medgym.train.checkpoints import load_student_adapter
from medgym.train.models import load_student, save_policy
from medgym.train.opd.teacher import EmaTeacher
from medgym.train.recipe import parse_recipe
from medgym.train.sharding import whole_weights


def main(recipe_file: Path, cache: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    recipe = parse_recipe(json.loads(recipe_file.read_text()))
    student = load_student(recipe, cache_dir=cache)
    teacher = EmaTeacher(student.model, decay=0.5, ema_every=1, hard_copy_every=0)
    assert whole_weights(student.model) is None
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(student.model, mesh=mesh)
    with torch.no_grad():
        for parameter in student.model.parameters():
            assert isinstance(parameter, DTensor)
            if parameter.requires_grad:
                parameter.add_(1.0)
    teacher.update(1)
    found = whole_weights(student.model, trained=student.lora)
    assert bool(found) is (student.lora or dist.get_rank() == 0)
    teachers = teacher.state_dict()  # every process
    if dist.get_rank() == 0:
        save_policy(student, out / "policy", {}, state_dict=found)
        torch.save({"student": found, "teacher": teachers}, out / "held.pt")
    dist.barrier()
    if student.lora:
        with torch.no_grad():
            for parameter in student.model.parameters():
                if parameter.requires_grad:
                    parameter.zero_()
        load_student_adapter(student.model, out / "policy")
        again = whole_weights(student.model, trained=True)
        held = get_peft_model_state_dict(student.model, state_dict=again, adapter_name="default")
        before = get_peft_model_state_dict(student.model, state_dict=found, adapter_name="default")
        assert all(torch.equal(held[name], before[name]) for name in before)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
