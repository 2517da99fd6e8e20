"""The starter literature as a source of a build: a JSON-lines file in the index's folder, while the build lasts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..starter import starter_passages
from .sources import SourceFile

STARTER = ".starter.jsonl"


def write_starter(folder: Path) -> SourceFile:
    """Write the file."""
    path = folder / STARTER
    lines = (json.dumps(asdict(one), ensure_ascii=False) for one in starter_passages())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return SourceFile(path=path, format="jsonl", name="starter", licence="", collection="starter")
