"""Opens what samples in a rollout: the student in this process, or the vLLM server that the recipe names."""

# PEFT is typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from ...agent.policies.local import RollingBatcher
from ...agent.policies.local.request import Engine
from ...agent.policies.local.rolling import PATIENCE
from ...agent.policies.served import ServedEngine
from ..models import STUDENT
from ..ranks import this_process
from ..run_context import Run
from ..sharding import whole_weights

if TYPE_CHECKING:
    from torch import Tensor

    from ...agent.policies.local.sampler import CausalModel
    from ..models import Student
    from .producer import RolloutProducer

SERVED = "served"


@contextmanager
def open_engine(
    run: Run,
    student: Student,
    producer: RolloutProducer,
    model: object | None = None,
    *,
    patience: float = PATIENCE,
) -> Generator[Engine]:
    """An engine for one rollout; its caches go with it, since the weights will change. Called on every process.

    Args:
        run: its recipe says which; a server reads the student's adapter from its folder.
        student: tokenizer and model.
        producer: plays the episodes; a batch waits for those of them that are still busy.
        model: the model to sample from, where a trainer has wrapped or gathered it.
        patience: seconds that a batch in this process waits for an episode that is in a tool.
    """
    from ...agent.policies.local.sampler import Sampler

    settings = run.recipe.rollout
    if settings.engine == "vllm":
        with _server(run, student) as engine:
            yield engine
        return
    sampler = Sampler(cast("CausalModel", model or student.model), student.chat_format)
    at_once = producer.settings.concurrency
    with RollingBatcher(sampler, max_batch=at_once, company=producer.playing, patience=patience) as engine:
        yield engine


@contextmanager
def _server(run: Run, student: Student) -> Generator[ServedEngine]:
    """The server, with the student's adapter in place; without an adapter the trainer has sent the weights.

    It is `vllm serve` with `--logprobs-mode processed_logprobs` (log-probabilities of the temperature sampled at). For
    adapters it also needs `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`, and must see the run's folder.
    Weights of a student without an adapter are TRL's to send (see `grpo.grpo_config`).
    """
    server = ServedEngine.at(
        run.recipe.rollout.base_url or "",
        student.base,
        student.chat_format.end_ids,
        logprobs="processed_logprobs",
    )
    try:
        if student.lora:
            with _adapter(run, student, server):
                yield server
        else:
            yield server
    finally:
        server.close()


@contextmanager
def _adapter(run: Run, student: Student, server: ServedEngine) -> Generator[None]:
    """Loads the adapter as it is now under a name that its weights give, and forgets it afterwards."""
    from peft import get_peft_model_state_dict

    held: Any = student.model
    dealt_out = whole_weights(held, trained=True)
    weights: dict[str, Tensor] = get_peft_model_state_dict(held, state_dict=dealt_out, adapter_name=STUDENT)
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        digest.update(weights[name].detach().float().cpu().numpy().tobytes())
    server.model = f"medgym-{digest.hexdigest()}"
    folder = run.out / SERVED / server.model
    everyone = this_process()
    if everyone.is_main_process:
        held.save_pretrained(folder, selected_adapters=[STUDENT], save_embedding_layers=False, state_dict=dealt_out)
        server.load_adapter(server.model, folder)
    everyone.wait_for_everyone()
    yield
    everyone.wait_for_everyone()
    if everyone.is_main_process:
        server.unload_adapter(server.model)
        shutil.rmtree(folder)
