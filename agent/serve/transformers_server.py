"""A policy behind our own OpenAI-compatible server: loaded with transformers, sampled in this process."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast, get_args

from ..policies.local import MissingExtraError, load_model
from ..policies.local.loading import Dtype
from .policy_files import PolicyFiles
from .vllm_process import VLLMSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

_HTTP = 'pip install "medgym[http,local]"'


def transformers_app(
    files: PolicyFiles,
    settings: VLLMSettings,
    *,
    device: str | None = None,
    threads: int | None = None,
    note: Callable[[str], None] | None = None,
) -> FastAPI:
    """Load the policy and make its app.

    Args:
        files: the policy.
        settings: its name, API key and limits; address and vLLM's own are not read.
        device: torch device; None takes cuda where there is one.
        threads: torch's; None finds out which number is faster.
        note: told of long steps.

    Raises:
        MissingExtraError: a package is missing.
        ValueError: a dtype that this engine has not, or a policy without a chat template.
    """
    try:
        from .completions import create_app
    except ImportError as error:
        raise MissingExtraError("serving with transformers", _HTTP) from error
    if settings.dtype not in get_args(Dtype):
        raise ValueError(f"dtype {settings.dtype} is not one of transformers': {', '.join(get_args(Dtype))}")
    loaded = load_model(
        files.adapter or files.base,
        base=files.base if files.adapter is not None else None,
        dtype=cast("Dtype", settings.dtype),
        device=device,
        threads=threads if threads is not None else "auto",
        template=files.own_template,
        progress=note,
    )
    return create_app(
        loaded,
        name=settings.name,
        root=str(files.adapter or files.base),
        parent=str(files.base) if files.adapter is not None else None,
        api_key=settings.api_key,
        max_model_len=settings.max_model_len,
        form=files.form,
        runtime_lora=settings.runtime_lora,
        max_batch=min(settings.max_num_seqs, 32),
    )


def serve_transformers(
    files: PolicyFiles,
    settings: VLLMSettings,
    ready: Callable[[Mapping[str, str]], None],
    note: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is told the versions. Raises what `transformers_app` does, and OSError."""
    app = transformers_app(files, settings, note=note)
    from .completions import serve

    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    serve(app, settings.host, settings.port, lambda _: ready(versions))
