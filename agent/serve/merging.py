"""An adapter folded into its base: a whole model in the cache, made once for each adapter's bytes."""

# PEFT is typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..policies.local import MissingExtraError
from ..policies.local.loading import load_model
from ..protocol import PROTOCOL_FILE
from .policy_files import PolicyFiles

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def merged(files: PolicyFiles, cache_dir: Path | None, note: Callable[[str], None]) -> PolicyFiles:
    """The same policy as a whole model, in the weights' own precision.

    Args:
        files: of an adapter.
        cache_dir: where the merged model is kept; None takes the user's cache folder.
        note: told before the long step.

    Raises:
        MissingExtraError: peft or torch is not installed.
        FileNotFoundError: the adapter has no weights.
    """
    adapter = files.adapter
    if adapter is None:
        return files
    target = _place(cache_dir) / f"merged-{_digest(files, adapter)}"
    if not target.is_dir():
        from filelock import FileLock

        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_dir():
                note(f"merging {adapter} into {files.base}")
                _write(files, adapter, target)
    return replace(files, base=target, adapter=None, words=target)


def _write(files: PolicyFiles, adapter: Path, target: Path) -> None:
    if find_spec("peft") is None:
        raise MissingExtraError("merging an adapter", 'pip install "medgym[train]"')
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        loaded: Any = load_model(adapter, base=files.base, dtype="auto", device="cpu")
        loaded.model.merge_and_unload().save_pretrained(made)
        for source in (files.words, adapter):
            for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", PROTOCOL_FILE):
                if (source / name).is_file():
                    shutil.copyfile(source / name, made / name)
        os.replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _digest(files: PolicyFiles, adapter: Path) -> str:
    weights = next((adapter / name for name in _WEIGHTS if (adapter / name).is_file()), None)
    if weights is None:
        raise FileNotFoundError(f"{adapter} has no adapter weights ({' or '.join(_WEIGHTS)})")
    digest = hashlib.sha256(str(files.base.resolve()).encode())
    for file in (weights, adapter / "adapter_config.json", adapter / PROTOCOL_FILE, files.words / "tokenizer.json"):
        digest.update(file.read_bytes() if file.is_file() else b"-")
    return digest.hexdigest()[:12]


def _place(cache_dir: Path | None) -> Path:
    if cache_dir is not None:
        return cache_dir / "models"
    from platformdirs import user_cache_path

    return user_cache_path("medgym") / "models"
