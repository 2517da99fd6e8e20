"""Commands of this floor: `medgym tools list | try`, `tasks list | build`, `validate`, `replay`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from ..tools.console import FINDING, CommandError, Output, leave
from ..tools.registry import all_tools
from ..tools.retrieval.index import Index
from .action import write_call
from .domain import Domain, find_task, load_domain
from .domain_ids import domain_names
from .episode import Episode
from .literature import LiteratureError, case_literature
from .replay import Difference, differences
from .suites import build_manifest, manifest_differences, read_manifest, write_manifest
from .task import Split
from .trajectory import Trajectory, read_file, trajectory_files
from .validate import LIMITS, validate_domain

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
DomainName = Annotated[str | None, typer.Option("--domain", help="Folder name of a domain; default: all.")]
Suite = Annotated[str, typer.Option("--suite", help="Frozen suite of tasks.")]
LiteratureFolder = Annotated[
    Path | None, typer.Option("--literature", help="An index made by `kb build --with-starter`; default: the starter.")
]

tools = typer.Typer(help="The tools: list them, try one.", no_args_is_help=True)
tasks = typer.Typer(help="The cases: list them, rebuild a suite.", no_args_is_help=True)


def _domains(name: str | None) -> list[Domain]:
    return [load_domain(one) for one in ([name] if name else domain_names())]


@tools.command("list")
def list_tools(domain: DomainName = None, as_json: Json = False) -> None:
    """Every tool: name, domains whose shelf has it, kind, effect, and whether it is one of the 135 core names."""
    output = Output(as_json)
    if domain is not None:
        load_domain(domain)  # says which domains there are, if not this one
    shelves = {name: {spec.name for spec in load_domain(name).shelf.offered()} for name in domain_names()}
    table = Table("name", "domain", "kind", "effect", "core")
    for spec in all_tools().values():
        holders = [name for name, names in shelves.items() if spec.name in names]
        if domain is not None and domain not in holders:
            continue
        row = {
            "name": spec.name,
            "domain": holders,
            "kind": spec.kind.value,
            "effect": spec.effect.value,
            "core": spec.core,
        }
        output.emit({**row, "description": spec.description})
        table.add_row(spec.name, ", ".join(holders), spec.kind.value, spec.effect.value, "core" if spec.core else "")
    output.say(table)


@tools.command("try")
def try_tool(
    name: Annotated[str, typer.Argument(help="Name of a tool.")],
    arguments: Annotated[str, typer.Argument(help="Arguments as a JSON object.")] = "{}",
    task: Annotated[str | None, typer.Option(help="Case to try it on; default: the first.")] = None,
    as_json: Json = False,
) -> None:
    """Call one tool on a case; `patient_id` is filled in where it is left out. Exit code 1 on a tool error."""
    output = Output(as_json)
    try:
        given: object = json.loads(arguments)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"the arguments are not JSON: {error}") from error
    chosen = find_task(task) if task else load_domain(domain_names()[0]).tasks()[0]
    episode = Episode(chosen)
    spec = all_tools().get(name)
    if spec is not None and isinstance(given, dict) and "patient_id" in spec.args.model_fields:
        filled: dict[str, object] = {"patient_id": chosen.chart.patient_id, **cast("dict[str, object]", given)}
        given = filled
    if spec is not None:
        episode.desk.shelf.offer(spec)
    call = episode.step(write_call(name, cast("object", given))).calls[0]
    result = json.loads(call.result)
    output.emit(
        {"name": name, "arguments": cast("object", given), "task": chosen.id, "error": call.error, "result": result}
    )
    output.say(json.dumps(result, indent=2, ensure_ascii=False))
    leave(FINDING if call.error else 0)


@tasks.command("list")
def list_tasks(
    domain: DomainName = None,
    suite: Suite = "v1",
    split: Annotated[str | None, typer.Option(help="train, val, test or heldout.")] = None,
    as_json: Json = False,
) -> None:
    """Every case: id, domain, split, difficulty, condition."""
    output = Output(as_json)
    if split not in (None, *get_args(Split)):
        raise CommandError(f"--split {split} is not one of {', '.join(get_args(Split))}")
    table = Table("id", "split", "difficulty", "condition")
    for one in _domains(domain):
        for task in one.tasks(suite):
            if split is not None and task.split != split:
                continue
            row = {"id": task.id, "domain": task.domain, "split": task.split, "difficulty": task.difficulty}
            output.emit({**row, "condition": task.condition})
            table.add_row(task.id, task.split, task.difficulty, task.condition)
    output.say(table)


@tasks.command("build")
def build_tasks(
    suite: Suite = "v1",
    write: Annotated[bool, typer.Option("--write", help="Replace the committed manifest with what was built.")] = False,
    as_json: Json = False,
) -> None:
    """Regenerate a suite and compare every task's hash with the committed manifest; exit code 1 on a difference."""
    output = Output(as_json)
    built = build_manifest(suite)
    if write:
        path = write_manifest(suite, built)
        output.say(f"wrote {path}")
    found = manifest_differences(built, read_manifest(suite))
    output.emit({"suite": suite, "n_tasks": len(built), "differences": len(found), "tasks": found[:20]})
    output.say(f"suite {suite}: {len(built)} tasks, {len(found)} differ from the manifest")
    for name in found[:20]:
        output.say(f"  {name}")
    leave(FINDING if found else 0)


def validate(
    domain: DomainName = None,
    suite: Suite = "v1",
    n: Annotated[int | None, typer.Option("--n", min=1, help="Only so many tasks, spread over the suite.")] = None,
    as_json: Json = False,
) -> None:
    """Prove a domain: oracle, do-nothing, random, exploit and dangerous policies, leaks, unresolved tools."""
    output = Output(as_json)
    broken = 0
    for one in _domains(domain):
        every = one.tasks(suite)
        chosen = every if n is None or n >= len(every) else [every[int(i * len(every) / n)] for i in range(n)]
        with output.progress() as shown:
            bar = shown.add_task(one.name, total=len(chosen))

            def tell(what: str, done: int, total: int, shown: Progress = shown, bar: TaskID = bar) -> None:
                shown.update(bar, description=what, completed=done, total=total)

            found = validate_domain(one, chosen, tell)
        output.emit(found.to_json())
        table = Table("measure", "value", "limit", title=f"{one.name}: {found.n_tasks} tasks")
        for name, (low, high) in LIMITS.items():
            value = getattr(found, name)
            ok = low <= value <= high
            table.add_row(name, f"{value:.4g}", f"{low:g} to {high:g}", style=None if ok else "red")
        output.say(table)
        for line in (*(f"exploit {name}: {value:.4f}" for name, value in found.exploits.items()), *found.worst):
            output.say(f"  {line}")
        broken += bool(found.failures)
    leave(FINDING if broken else 0)


def replay(
    path: Annotated[Path, typer.Argument(help="Folder of a run, or one trajectory file.", exists=True)],
    literature: LiteratureFolder = None,
    as_json: Json = False,
) -> None:
    """Play stored trajectories again and compare observations, verdicts, reward, record; exit code 1 if any differ."""
    output = Output(as_json)
    searched = case_literature(literature)
    episodes = total = 0
    with output.progress() as shown:
        bar = shown.add_task("replaying", total=None)
        for file in trajectory_files(path):
            for stored in _stored(file):
                found = _differences(file, stored, searched)
                episodes += 1
                total += len(found)
                shown.update(bar, completed=episodes)
                for one in found:
                    row = {"task": one.task, "seed": one.seed, "where": one.where}
                    output.emit({**row, "stored": one.stored, "replayed": one.replayed})
                    output.say(f"{one.task} seed {one.seed}: {one.where} differs", style="red")
    if not episodes:
        raise CommandError(f"no trajectory in {path}: the run was left before its first episode ended")
    output.emit({"episodes": episodes, "differences": total})
    output.say(f"{episodes} episodes replayed, {total} differences")
    leave(FINDING if total else 0)


def _stored(file: Path) -> Iterator[Trajectory]:
    try:
        yield from read_file(file)
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is damaged: {error}") from error


def _differences(file: Path, stored: Trajectory, literature: Callable[[], Index] | None) -> list[Difference]:
    try:
        return differences(stored, literature=literature)
    except LiteratureError as error:
        raise CommandError(f"{file}: {error}") from error
    except KeyError as error:
        raise CommandError(f"{file}: the trajectory of {stored.task} cannot be replayed: {error.args[0]}") from error
