"""Frozen suites: a committed manifest of hashes proves that a suite is rebuilt byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import cast

from .domain import SUITES, load_domain
from .domain_ids import domain_names
from .task import Task

MANIFESTS = Path(__file__).parent / "manifests"


def task_hash(task: Task) -> str:
    """sha256 over everything in a task, its sealed key included."""
    body = json.dumps(asdict(task), sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(body.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(cast("frozenset[str]", value))
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"a task holds a {type(value).__name__}, which has no plain form")


def build_manifest(suite: str) -> dict[str, str]:
    """Task id to hash, over all domains."""
    if suite not in SUITES:
        raise KeyError(f"no suite {suite!r}: one of {', '.join(SUITES)}")
    return {task.id: task_hash(task) for name in domain_names() for task in load_domain(name).tasks(suite)}


def read_manifest(suite: str) -> dict[str, str]:
    """The committed manifest; empty if the suite has none yet."""
    path = MANIFESTS / f"{suite}.json"
    return cast("dict[str, str]", json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def write_manifest(suite: str, manifest: Mapping[str, str]) -> Path:
    """Write a manifest; its path."""
    MANIFESTS.mkdir(exist_ok=True)
    path = MANIFESTS / f"{suite}.json"
    path.write_text(json.dumps(dict(sorted(manifest.items())), indent=0) + "\n", encoding="utf-8")
    return path


def manifest_differences(built: Mapping[str, str], committed: Mapping[str, str]) -> list[str]:
    """Ids of tasks that were added, are gone, or have another hash, sorted."""
    return sorted(name for name in built.keys() | committed.keys() if built.get(name) != committed.get(name))
