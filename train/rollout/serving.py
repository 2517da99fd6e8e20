"""Opens what samples in a rollout: the student in this process, or the vLLM server that the recipe names."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from ...agent.policies.local import MicroBatcher
from ...agent.policies.local.request import Engine
from ..recipe import Recipe
from .engines import VLLMEngine

if TYPE_CHECKING:
    from ...agent.policies.local.sampler import CausalModel
    from ..models import Student


@contextmanager
def open_engine(recipe: Recipe, student: Student, model: object | None = None) -> Generator[Engine]:
    """An engine for one rollout; its caches go with it, since the weights will change.

    Args:
        recipe: says which.
        student: tokenizer and model.
        model: the model to sample from, where a trainer has wrapped or gathered it.
    """
    from ...agent.policies.local.sampler import Sampler

    settings = recipe.rollout
    if settings.engine == "vllm":
        server = VLLMEngine(settings.base_url or "", student.base, student.chat_format.end_ids)
        try:
            yield server
        finally:
            server.close()
        return
    sampler = Sampler(cast("CausalModel", model or student.model), student.chat_format)
    with MicroBatcher(sampler, max_batch=settings.concurrency) as engine:
        yield engine
