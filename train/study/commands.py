"""The verbs of `medgym study`. Light: torch and matplotlib are imported when something is run or drawn."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.table import Table

from ...agent.policies.packaged import folder_of
from ...tools.console import ENVIRONMENT, FINDING, CommandError, Output, leave
from ..recipe import RESOLVED_FILE, RecipeError, load_recipe
from .grid import Edition, load_edition
from .records import STUDY_FILE, Judged, StudyError

study = typer.Typer(help="Many training runs of a grid in slices of time, and their report.", no_args_is_help=True)

DEFAULT_EDITION = "cpu"
REPORT_FOLDER = "report"

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]


@study.command("run")
def run(
    out: Annotated[Path, typer.Option("--out", help="The study's folder; an earlier call's is gone on with.")],
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="Return before so many minutes are over.")] = 60,
    slots: Annotated[int, typer.Option("--slots", min=1, help="Jobs at once on this device.")] = 1,
    edition: Annotated[str | None, typer.Option("--edition", help="cpu, gpu, tiny, or a TOML file.")] = None,
    arms: Annotated[str | None, typer.Option("--arms", help="Only these arms of the grid, with commas.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="These seeds, with commas.")] = None,
    as_json: Json = False,
) -> None:
    """Work on a study until the time is up; call it again to go on. Exit code 1 where a job failed twice."""
    try:
        from .child import stored_edition
        from .runner import prepare, run_study
    except ImportError as error:
        raise CommandError('a study trains: pip install "medgym[train]"', ENVIRONMENT) from error
    output = Output(as_json)
    try:
        named = edition or arms or seeds or not (out / STUDY_FILE).is_file()
        prepare(_edition(edition, arms, seeds) if named else stored_edition(out), out)
        outcome = run_study(out, slots=slots, minutes=minutes, say=output.note)
    except (StudyError, RecipeError) as error:
        raise CommandError(str(error)) from error
    row: dict[str, object] = {"finished": outcome.finished, "pending": outcome.pending}
    output.emit({**row, "given_up": dict(outcome.given_up), "blocked": list(outcome.blocked)})
    output.say(f"{outcome.finished} jobs finished, {outcome.pending} to do" + (": call again" * bool(outcome.pending)))
    for name, message in outcome.given_up.items():
        output.say(f"given up after two failures: {name}\n{message}", style="red")
    for name in outcome.blocked:
        output.say(f"cannot begin: {name}", style="red")
    leave(FINDING if outcome.given_up else 0)


def _edition(name: str | None, arms: str | None, seeds: str | None) -> Edition:
    try:
        numbers = [int(seed) for seed in seeds.split(",")] if seeds else []
    except ValueError as error:
        raise CommandError(f"--seeds {seeds} is no list of whole numbers such as 0,1,2") from error
    return load_edition(name or DEFAULT_EDITION, arms.split(",") if arms else [], numbers)


@study.command("report")
def report(
    folder: Annotated[Path, typer.Argument(help="Of a study, packed or not.")],
    out: Annotated[Path | None, typer.Option("--out", help="Default: `report` in the study's folder.")] = None,
    as_json: Json = False,
) -> None:
    """Tables and plots of a study, from its folder alone: the same files whenever they are made."""
    from .report import write_study_report

    output = Output(as_json)
    try:
        page = write_study_report(folder, out or folder / REPORT_FOLDER)
    except StudyError as error:
        raise CommandError(str(error)) from error
    except ImportError as error:
        raise CommandError(str(error), ENVIRONMENT) from error
    output.emit({"report": str(page)})
    output.say(f"report: {page}")


@study.command("pack")
def pack(
    folder: Annotated[Path, typer.Argument(help="Of a study.")],
    out: Annotated[Path, typer.Option("--out", help="Where the packed study goes.")],
    as_json: Json = False,
) -> None:
    """Keep what a report is made from: metrics and evaluations, compressed; no policies, no trajectories."""
    from .packing import pack_study

    output = Output(as_json)
    try:
        written = pack_study(folder, out)
    except StudyError as error:
        raise CommandError(str(error)) from error
    output.emit({"files": [str(path) for path in written], "bytes": sum(path.stat().st_size for path in written)})
    output.say(f"{len(written)} files, {sum(path.stat().st_size for path in written) / 1024:.0f} KiB: {out}")


@study.command("evaluate")
def evaluate_policy(
    policy: Annotated[str, typer.Option("--policy", help="Folder of a policy, trained, or smollm2 with --recipe.")],
    out: Annotated[Path, typer.Option("--out", help="File that takes a line per case.")],
    recipe: Annotated[str | None, typer.Option("--recipe", help="Prompts and limits; default: the policy's.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value over the recipe.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, val, test or heldout.")] = "val",
    n: Annotated[int, typer.Option("--n", min=1, help="So many cases of the split.")] = 240,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of cases and of sampling.")] = 0,
    temperature: Annotated[float, typer.Option("--temperature", min=0.01, help="Of sampling.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure one policy as the study measures every arm; a call that was cut off is gone on with."""
    try:
        from .evaluation import evaluate, evaluation_cases
    except ImportError as error:
        raise CommandError('measuring a trained policy needs: pip install "medgym[train]"', ENVIRONMENT) from error
    output = Output(as_json)
    named = recipe or str(folder_of(policy) / RESOLVED_FILE)
    if recipe is None and not Path(named).is_file():
        raise CommandError(f"{policy} holds no {RESOLVED_FILE}: say with --recipe how it is prompted")
    if out.exists():
        raise CommandError(f"{out} is there already: remove it, or give another --out")
    try:
        chosen = load_recipe(named, overrides or [], model__path=policy)
        cases = evaluation_cases(chosen, split, n, seed)
    except RecipeError as error:
        raise CommandError(str(error)) from error
    judged = evaluate(chosen, cases, seed=seed, temperature=temperature, out=out, say=output.note)
    found = summary_of(judged, seed)
    output.emit({"policy": policy, "split": split, "seed": seed, "temperature": temperature, **found})
    table = Table(policy, f"{len(judged)} cases of {split}")
    for key, value in found.items():
        table.add_row(key.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    output.say(table)
    output.say(f"cases: {out}")


def summary_of(judged: list[Judged], seed: int) -> dict[str, float | int]:
    """The figures of a policy's card: mean reward with a 95% bootstrap interval, and shares.

    The interval resamples cases, those of one fact row or condition together.
    """
    from ..watch.intervals import bootstrap_mean

    groups = [one.group for one in judged]
    reward = bootstrap_mean([one.composite for one in judged], clusters=groups, seed=seed)
    return {
        "cases": len(judged),
        "reward": reward.value,
        "reward_low": reward.low,
        "reward_high": reward.high,
        "right": fmean(one.correct for one in judged),
        "submitted": fmean(one.submitted for one in judged),
        "well_formed": sum(one.well_formed for one in judged) / sum(one.attempts for one in judged),
        "turns": fmean(one.turns for one in judged),
        "policy_tokens": fmean(one.policy_tokens for one in judged),
    }
