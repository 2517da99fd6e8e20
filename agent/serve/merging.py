"""An adapter folded into its base: a whole model in the cache, made once for each adapter's bytes."""

# PEFT is typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
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
_WORDS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def merged(files: PolicyFiles, cache_dir: Path | None, note: Callable[[str], None]) -> PolicyFiles:
    """The same policy as a whole model: added up in float32, kept in the base's own precision.

    Args:
        files: of an adapter.
        cache_dir: where the merged model is kept; None takes the user's cache folder.
        note: told before the long step.

    Raises:
        MissingExtraError: peft or torch is not installed.
        FileNotFoundError: the adapter has no weights.
        ValueError: the policy has no chat template.
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
    template = files.own_template
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        loaded: Any = load_model(adapter, base=files.base, dtype="float32", device="cpu", template=template)
        import torch

        whole = loaded.model.merge_and_unload()
        config = json.loads((files.base / "config.json").read_text(encoding="utf-8"))
        stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        whole.to(getattr(torch, stored)).save_pretrained(made)
        for source, names in ((files.words, _WORDS), (adapter, (PROTOCOL_FILE,))):
            for name in names:
                if (source / name).is_file():
                    shutil.copyfile(source / name, made / name)
        (made / "chat_template.jinja").write_text(template, encoding="utf-8")
        os.replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _digest(files: PolicyFiles, adapter: Path) -> str:
    """Of all that the merged model is made of; the base's weights, which may be large, are told by size and time."""
    weights = next((adapter / name for name in _WEIGHTS if (adapter / name).is_file()), None)
    if weights is None:
        raise FileNotFoundError(f"{adapter} has no adapter weights ({' or '.join(_WEIGHTS)})")
    digest = hashlib.sha256(f"{files.base.resolve()}\0{files.own_template}".encode())
    for file in sorted((*files.base.glob("*.safetensors"), *files.base.glob("*.bin"), files.base / "config.json")):
        found = file.stat()
        digest.update(f"{file.name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    for file in (weights, adapter / "adapter_config.json", adapter / PROTOCOL_FILE, *map(files.words.joinpath, _WORDS)):
        digest.update(file.read_bytes() if file.is_file() else b"-")
    return digest.hexdigest()[:12]


def _place(cache_dir: Path | None) -> Path:
    if cache_dir is not None:
        return cache_dir / "models"
    from platformdirs import user_cache_path

    return user_cache_path("medgym") / "models"
