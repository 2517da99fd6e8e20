"""Cost of distillation and of our own code in a training step, each beside plain GRPO in the same run.

`python benchmarks/train_steps.py --json` runs GRPO and TT-OPD in turns, each in a fresh process with the same model,
cases, rollout settings and seed, and prints `time_ratio` (median TT-OPD step over median GRPO step), `memory_ratio`
(peak resident memory of the processes), both as medians over the rounds with every round beside them, `own_code_share`
(CPU seconds of env, reward, recording and assembling over the seconds of a step) and the raw figures. `--model FOLDER`
takes a policy that finishes its episodes: an untuned model's end after one message, and cost less than real ones.
`model.keep_memory` is not applied: the peak is to be what a step needs, not what the allocator holds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ALGORITHMS = ("grpo", "tt_opd")
ROUNDS, STEPS = 3, 4
SETTINGS = (
    "batch.prompts=2",
    "batch.group=4",
    "batch.micro=1",
    "warmup.steps=0",
    "validation.every=0",
    "checkpoints.every=0",
    "length.enabled=false",
    "opd.schedule=constant",
    "opd.ema_every=2",
    "opd.hard_copy_every=0",
)


def one_run(algorithm: str, model: str, steps: int, settings: list[str]) -> dict[str, float]:
    """Train in this process; seconds per step (without the first), own share, tokens and peak memory."""
    from medgym.train.cases import pick_cases
    from medgym.train.models import load_student
    from medgym.train.on_policy import make_trainer
    from medgym.train.recipe import load_recipe
    from medgym.train.rollout.producer import RolloutProducer
    from medgym.train.run_context import Run
    from medgym.train.watch.log import MetricsLog

    with tempfile.TemporaryDirectory() as work:
        overrides = [*SETTINGS, f"algorithm={algorithm}", f"optim.steps={steps}", *settings]
        recipe = load_recipe("smollm2-cpu", overrides, model__path=model)
        student = load_student(recipe)
        run = Run(recipe, Path(work), MetricsLog(Path(work) / "metrics.jsonl"))
        producer = RolloutProducer(student.loaded, recipe.rollout, seed=recipe.seed)
        trainer = make_trainer(run, student, pick_cases(recipe), producer)
        trainer.train()
        lines = [line for line in trainer.state.log_history if "rollout/seconds" in line]
    return {
        "step_s": statistics.median(trainer.step_seconds[1:]),
        "rollout_s": statistics.median(line["rollout/seconds"] for line in lines[1:]),
        "tokens_per_row": statistics.mean(line["completions/mean_length"] for line in lines),
        "own_code_share": trainer.own_seconds / sum(trainer.step_seconds),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_a_process(algorithm: str, options: argparse.Namespace) -> dict[str, float]:
    """The same in a fresh interpreter, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--only", algorithm, "--model", options.model, "--steps", str(options.steps)]
    for setting in options.set:
        command += ["--set", setting]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--set", action="append", default=[], help="further settings of the recipe smollm2-cpu")
    parser.add_argument("--only", choices=ALGORITHMS, help="run one algorithm once, in this process")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(one_run(options.only, options.model, options.steps, options.set)))
        return
    rounds = [{name: in_a_process(name, options) for name in ALGORITHMS} for _ in range(options.rounds)]
    time_ratios = [one["tt_opd"]["step_s"] / one["grpo"]["step_s"] for one in rounds]
    memory_ratios = [one["tt_opd"]["peak_mib"] / one["grpo"]["peak_mib"] for one in rounds]
    figures = {
        "time_ratio": statistics.median(time_ratios),
        "time_ratios": time_ratios,
        "memory_ratio": statistics.median(memory_ratios),
        "memory_ratios": memory_ratios,
        "own_code_share": statistics.median(one[name]["own_code_share"] for one in rounds for name in ALGORITHMS),
        "rounds": rounds,
    }
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:18s} {value}")


if __name__ == "__main__":
    main()
