"""Where caches lie: the literature's index and converted model weights. `--cache-dir` moves them, nothing else does."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_state_path


def cache_root(cache_dir: Path | None = None) -> Path:
    """The cache folder: the given one, or the user's."""
    return (user_cache_path("medgym") if cache_dir is None else cache_dir).resolve()


def state_root(state_dir: Path | None = None) -> Path:
    """Where interrupted plays are kept: the given folder, or the user's state folder."""
    return (user_state_path("medgym") if state_dir is None else state_dir).resolve()


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0
