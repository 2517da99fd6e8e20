"""How well a trained policy calls tools on validation cases, played as its own recipe says.

`python benchmarks/policy_calls.py --policy DIR --json` takes what a training run left in `policy/` (recipe and weights)
and prints `well_formed` (share of calls that name an offered tool with valid arguments, messages without a call counted
against it), calls per episode, phantom and malformed calls, and the validation reward with its interval.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from medgym.train.cases import pick_cases
from medgym.train.models import load_student
from medgym.train.recipe import RESOLVED_FILE, load_recipe
from medgym.train.rollout.producer import RolloutProducer
from medgym.train.run_context import Run
from medgym.train.validation import validate
from medgym.train.watch.log import MetricsLog
from medgym.train.weights import load_weights

SHOWN = ("tools/calls", "tools/phantom_frac", "tools/malformed_frac", "tools/invalid_frac", "turns/submitted_frac")


def measure(policy: Path, episodes: int, settings: list[str]) -> dict[str, float | None]:
    """Play the first `episodes` validation cases of the policy's recipe."""
    overrides = [f"tasks.val_limit={episodes}", f"validation.episodes={episodes}", *settings]
    recipe = load_recipe(str(policy / RESOLVED_FILE), overrides)
    student = load_student(recipe)
    load_weights(student, policy)
    with tempfile.TemporaryDirectory() as work:
        run = Run(recipe, Path(work), MetricsLog(Path(work) / "metrics.jsonl"))
        producer = RolloutProducer(student.loaded, recipe.rollout, seed=recipe.seed)
        found = validate(run, student, producer, pick_cases(recipe).val, 0)
    metrics = found.metrics()
    return {
        "episodes": len(found.rows),
        "temperature": recipe.validation.temperature,
        "well_formed": found.well_formed,
        **{name: metrics.get(f"val/{name}") for name in SHOWN},
        "reward": found.reward,
        "reward_low": found.low,
        "reward_high": found.high,
    }


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], help="further settings of the recipe")
    options = parser.parse_args()
    figures = measure(options.policy, options.episodes, options.set)
    print(json.dumps(figures) if options.json else figures)


if __name__ == "__main__":
    main()
