"""The starter literature as a source of a build: a JSON-lines file in the index's folder, while the build lasts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..starter import starter_passages
from .prepare import Rules
from .sources import SourceFile

STARTER = ".starter.jsonl"
STARTER_RULES = Rules(words=1000, limit=1000)  # it comes in as it is, whatever rules hold for the other sources


def write_starter(folder: Path) -> SourceFile:
    """Write the file."""
    path = folder / STARTER
    lines = (json.dumps(asdict(one), ensure_ascii=False) for one in starter_passages())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return SourceFile(path=path, format="jsonl", name="starter", licence="", collection="starter")
