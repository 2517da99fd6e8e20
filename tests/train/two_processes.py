"""Run under `torchrun`: trains a recipe with the toy reward and saves what each process holds. Not a test itself."""

import json
import sys
from pathlib import Path

import torch
from conftest import odd_share

from medgym.train.cases import pick_cases
from medgym.train.grpo import ClinicalGRPOTrainer
from medgym.train.models import load_student
from medgym.train.on_policy import make_trainer
from medgym.train.ranks import leave, this_process
from medgym.train.recipe import parse_recipe
from medgym.train.rollout.producer import RolloutProducer
from medgym.train.run_context import Run
from medgym.train.watch.log import MetricsLog


def main(recipe_file: Path, cache: Path, out: Path) -> None:
    torch.set_num_threads(1)
    ClinicalGRPOTrainer._shaped = odd_share
    recipe = parse_recipe(json.loads(recipe_file.read_text()))
    student = load_student(recipe, cache_dir=cache)
    process = this_process()
    run = Run(recipe, out, MetricsLog(out / "metrics.jsonl", writes=process.is_main_process))
    producer = RolloutProducer(student.loaded, recipe.rollout, seed=recipe.seed)
    trainer = make_trainer(run, student, pick_cases(recipe), producer)
    trainer.train()
    trained = {name: value.detach() for name, value in student.model.named_parameters() if value.requires_grad}
    held = {
        "student": trained,
        "norms": [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line],
        "rewards": [line["reward"] for line in trainer.state.log_history if "reward" in line],
        "gaps": [line["rollout/logp_gap_max"] for line in trainer.state.log_history if "rollout/logp_gap_max" in line],
        "mechanisms": dict(run.mechanisms.counts),
    }
    if recipe.opd.enabled:
        held["teacher"] = trainer.teacher.state_dict()
    if recipe.algorithm == "ppo":
        held["value_head"] = {name: value.detach() for name, value in trainer.value_head.state_dict().items()}
    torch.save(held, out / f"rank{process.process_index}.pt")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
    leave()
