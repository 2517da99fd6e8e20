"""The command of this floor: `medgym train`. Light: torch and its kind are imported only when a run starts."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from ..agent.policies.local.request import MissingExtraError
from ..tools.console import ENVIRONMENT, FINDING, CommandError, Output, leave
from .mechanisms import MechanismSilentError
from .plan import Plan, make_plan
from .recipe import RESOLVED_FILE, Recipe, RecipeError, load_recipe, recipe_names, to_json
from .watch.log import FILE_NAME as METRICS_FILE

PACKAGES = ("torch", "transformers", "accelerate", "peft", "trl", "datasets")
EXTENDABLE = "optim.steps"  # the one setting that a resumed run may change

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="A shipped recipe's name, or a TOML or JSON file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be given again.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; default: runs/train/<name>-s<seed>.")]
Resume = Annotated[Path | None, typer.Option("--resume", help="Go on with the run in this folder.")]
ModelPath = Annotated[str | None, typer.Option("--model", help="The student: tiny, smollm2, trained, or a folder.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything that is drawn.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show settings, batches, memory and time; run nothing.")]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="With --dry-run: how many share it; default: those that run.")
]


def train(
    recipe: RecipeName = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = None,
    model: ModelPath = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """Train a policy by a recipe; alone it lists the recipes."""
    output = Output(as_json)
    if recipe is None and resume is None:
        if overrides or out or model or seed is not None or dry_run:
            raise CommandError("say which recipe: --recipe NAME (a bare `medgym train` lists them)")
        return _list(output)
    direct = {"model__path": model, "seed": seed}
    if resume is not None:
        chosen = _resumed(resume, recipe, overrides or [], direct, out)
    else:
        chosen = load_recipe(recipe or "", overrides or [], **direct)
    if dry_run:
        plan = make_plan(chosen, processes or int(os.environ.get("WORLD_SIZE", "1")))
        if _first_process():
            output.emit(plan.to_json())
            show_plan(plan, output)
        return leave(FINDING if plan.problems else 0)
    folder = (resume or out or Path("runs") / "train" / f"{chosen.name}-s{chosen.seed}").absolute()
    if resume is None and _first_process():
        _refuse_used(folder)
    return _run(chosen, folder, resume is not None, output)


def _list(output: Output) -> None:
    table = Table("recipe", "algorithm", "about")
    for name in recipe_names():
        recipe = load_recipe(name)
        output.emit({"recipe": name, "algorithm": recipe.algorithm, "about": recipe.about})
        table.add_row(name, recipe.algorithm, recipe.about)
    output.say(table)
    output.say("medgym train --recipe NAME [--set section.key=value] [--dry-run]")


def _resumed(
    folder: Path, name: str | None, overrides: list[str], direct: Mapping[str, object], out: Path | None
) -> Recipe:
    """The recipe of the run in `folder`, refused where anything but its steps is to change."""
    stored_at = folder / RESOLVED_FILE
    if not stored_at.is_file():
        raise CommandError(f"{folder} holds no run to resume: there is no {RESOLVED_FILE} in it")
    if out is not None and out.absolute() != folder.absolute():
        raise CommandError("a resumed run stays in its folder: leave out --out")
    stored = load_recipe(str(stored_at))
    wanted = load_recipe(name or str(stored_at), overrides, **direct)
    changed = differences(stored, wanted)
    changed.pop(EXTENDABLE, None)
    if changed:
        said = "; ".join(f"{key} is {there!r} there, {here!r} here" for key, (there, here) in changed.items())
        raise CommandError(f"a resumed run keeps its settings, but {EXTENDABLE}: {said}. Start a new run for those")
    return wanted


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[object, object]]:
    """Settings that two recipes do not share, by dotted name, with both values."""
    first, second = _flat(to_json(one)), _flat(to_json(other))
    return {key: (first[key], second[key]) for key in first if first[key] != second[key]}


def _flat(data: Mapping[str, object], above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= _flat(cast("Mapping[str, object]", value), f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _refuse_used(folder: Path) -> None:
    if any((folder / name).exists() for name in (RESOLVED_FILE, METRICS_FILE)):
        raise CommandError(f"{folder} already holds a run: --resume {folder} goes on with it, --out takes another one")


def _first_process() -> bool:
    """Whether this process speaks for all: torch's launcher numbers them, and without it there is one."""
    return os.environ.get("RANK", "0") == "0"


def _run(recipe: Recipe, folder: Path, resume: bool, output: Output) -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f'training needs packages that are not installed ({", ".join(missing)}): pip install "medgym[train]"',
            ENVIRONMENT,
        )
    try:
        from ..agent.policies.served import ServerError
        from .checkpoints import CheckpointError
        from .launch import launch
        from .opd.splice import SpliceError
        from .rollout.producer import RolloutError
        from .run_context import Interrupted
        from .supervised.demonstrations import DemonstrationError
        from .watch.detectors.watch import StoppedByDetector
    except ImportError as error:  # a package that is there and too old
        raise CommandError(str(error), ENVIRONMENT) from error
    try:
        summary = launch(recipe, folder, resume=resume, output=output)
    except Interrupted as stop:
        raise CommandError(f"{stop}; --resume {folder} goes on", FINDING) from stop
    except (MechanismSilentError, StoppedByDetector) as error:
        raise CommandError(str(error), FINDING) from error
    except (RecipeError, DemonstrationError, SpliceError) as error:
        raise CommandError(str(error)) from error
    except (CheckpointError, RolloutError, ServerError, MissingExtraError) as error:
        raise CommandError(str(error), ENVIRONMENT) from error
    if _first_process():
        output.emit({"out": str(folder), "summary": summary})
        _show_summary(recipe, folder, summary, output)


def _show_summary(recipe: Recipe, folder: Path, summary: Mapping[str, object], output: Output) -> None:
    table = Table(recipe.name, "")
    for key, value in _flat(summary).items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    output.say(table)
    output.say(f"run: {folder}")


def show_plan(plan: Plan, output: Output) -> None:
    """The plan as tables for people: settings first, then sizes."""
    settings = Table("setting", "value", title=plan.recipe.name)
    for key, value in _flat(to_json(plan.recipe)).items():
        settings.add_row(key, str(value))
    output.say(settings)
    output.say(_sizes(plan))
    for note in plan.notes:
        output.say(f"note: {note}")
    for problem in plan.problems:
        output.say(f"problem: {problem}", style="bold red")


def _sizes(plan: Plan) -> Table:
    table = Table("need", "estimate")
    table.add_row("processes", str(plan.processes))
    table.add_row("rows per step", f"{plan.rows} (micro-batches per process: {plan.accumulation})")
    table.add_row("batches divide", "no" if plan.problems else "yes")
    episode = plan.episode
    table.add_row(
        "episode of the expert",
        f"{episode.total:.0f} tokens: {episode.prompt:.0f} prompt, {episode.sampled:.0f} own, "
        f"{episode.observed:.0f} observed",
    )
    if plan.parameters is not None and plan.trained is not None:
        table.add_row("parameters", f"{plan.parameters:,}, trained: {plan.trained:,}")
    for name, size in plan.memory.items():
        if size:
            table.add_row(f"memory, {name.replace('_', ' ')}", f"{size:.2f} GiB")
    if plan.sharded is not None:
        table.add_row("memory, peak if sharded evenly", f"{plan.sharded:.2f} GiB")
    if plan.seconds is not None:
        low, high = plan.seconds
        whole = plan.recipe.optim.steps * low + (plan.warmup or 0.0)
        table.add_row("time per step", f"{low:.0f} s with episodes like the expert's, {high:.0f} s at their limit")
        table.add_row("time of all steps", f"{whole / 60:.0f} min with episodes like the expert's, warm-up included")
    return table
