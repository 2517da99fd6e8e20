"""Commands of this floor: `medgym play` and `sessions`, and the options that they share with `run`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from ..env.domain import find_task, load_domain
from ..env.domain_ids import domain_names
from ..env.literature import case_literature
from ..env.task import Split, Task
from ..tools.cache import state_root
from ..tools.console import CommandError, Output
from .play import PlaySettings, new_play, resume_play, unfinished
from .policies import PolicyOptions

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
PolicyName = Annotated[
    str, typer.Option("--policy", help="expert, random, do-nothing, human, openai:MODEL, local:PATH ...")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for trajectories; default: runs/<policy>.")]
OnlySplit = Annotated[str | None, typer.Option("--split", help="Only cases of it: train, val, test or heldout.")]
Suite = Annotated[str, typer.Option("--suite", help="Frozen suite of tasks.")]
Seed = Annotated[int, typer.Option("--seed", help="Picks the case and seeds the policy.")]
Guided = Annotated[bool, typer.Option("--guided", help="local: decode under the grammar of the shelf's schemas.")]
MaxTurns = Annotated[int | None, typer.Option("--max-turns", min=1, help="A smaller message budget.")]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Tokens per message.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, help="Sampling temperature.")]
BaseUrl = Annotated[
    list[str] | None, typer.Option("--base-url", help="openai: address of the server; several if given several times.")
]
TokenizerDir = Annotated[
    Path | None,
    typer.Option("--tokenizer", help="openai: folder of the tokenizer; default: where the server says its model lies."),
]
Dtype = Annotated[str, typer.Option("--dtype", help="local: float32, bfloat16 or auto.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="local: torch threads; default: by trial.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", help="Where indices and models are cached.")]
LiteratureFolder = Annotated[
    Path | None, typer.Option("--literature", help="An index made by `kb build --with-starter`; default: the starter.")
]
StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Where interrupted plays are kept.")]
Brief = Annotated[bool, typer.Option("--brief", help="A short system prompt, for small contexts.")]


def policy_options(
    guided: bool,
    tokens: int,
    temperature: float,
    base_url: list[str] | None,
    tokenizer: Path | None,
    dtype: str,
    threads: int | None,
    cache: Path | None,
) -> PolicyOptions:
    """The options of `play` and `run` for a policy."""
    if dtype not in ("float32", "bfloat16", "auto"):
        raise CommandError(f"--dtype {dtype} is not one of float32, bfloat16, auto")
    return PolicyOptions(
        guided=guided,
        max_new_tokens=tokens,
        temperature=temperature,
        dtype=dtype,
        threads=threads,
        base_url=tuple(base_url) if base_url else None,
        cache_dir=cache,
        tokenizer=None if tokenizer is None else str(tokenizer.absolute()),
    )


def _pick(domain: str | None, task: str | None, suite: str, seed: int, split: str | None = None) -> Task:
    if task is not None:
        return find_task(task, suite)
    tasks = load_domain(domain or domain_names()[0]).tasks(suite)
    tasks = tuple(one for one in tasks if split in (None, one.split))
    if not tasks:
        raise CommandError(f"no task in suite {suite} of split {split!r}: one of {', '.join(get_args(Split))}")
    return random.Random(seed).choice(tasks)


def play(
    domain: Annotated[str | None, typer.Option("--domain", help="Folder name of a domain.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="A certain case.")] = None,
    policy: PolicyName = "expert",
    patient: Annotated[str, typer.Option("--patient", help="Who answers as the patient: rule or human.")] = "rule",
    seed: Seed = 0,
    suite: Suite = "v1",
    split: OnlySplit = None,
    guided: Guided = False,
    max_turns: MaxTurns = None,
    max_new_tokens: Tokens = 512,
    temperature: Temperature = 1.0,
    base_url: BaseUrl = None,
    tokenizer: TokenizerDir = None,
    dtype: Dtype = "auto",
    threads: Threads = None,
    brief: Brief = False,
    literature: LiteratureFolder = None,
    out: Out = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Continue an interrupted play: its id, or 'last'.")
    ] = None,
    cache_dir: CacheDir = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Play one case live: a policy or a person works it, and the reward breakdown ends it."""
    output = Output(as_json)
    if patient not in ("rule", "human"):
        raise CommandError(f"--patient {patient} is not one of rule, human")
    if as_json and "human" in (policy, patient):
        raise CommandError("a person needs a terminal: leave out --json")
    root = state_root(state_dir)
    if resume is not None:
        finished = resume_play(root, resume, output, cache_dir)
    else:
        options = policy_options(guided, max_new_tokens, temperature, base_url, tokenizer, dtype, threads, cache_dir)
        chosen = _pick(domain, task, suite, seed, split)
        folder = out_folder(out, policy)
        place = checked_literature(literature)
        settings = PlaySettings(
            chosen.id, suite, seed, policy, patient, max_turns, brief, str(folder), options, literature=place
        )
        finished = new_play(root, settings, output)
    output.emit(finished)


def sessions(state_dir: StateDir = None, as_json: Json = False) -> None:
    """Plays that were interrupted and can be resumed."""
    output = Output(as_json)
    table = Table("id", "task", "policy", "turns")
    for row in unfinished(state_root(state_dir)):
        output.emit(row)
        table.add_row(*(str(row[name]) for name in ("id", "task", "policy", "turns")))
    output.say(table)


def checked_literature(folder: Path | None) -> str | None:
    """Where it lies, once it is known that cases can be worked with it."""
    case_literature(folder)
    return None if folder is None else str(folder.resolve())


def out_folder(out: Path | None, policy: str) -> Path:
    """Where trajectories go."""
    return (out or Path("runs") / policy.replace(":", "-").replace("/", "-")).absolute()
