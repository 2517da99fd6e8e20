"""From a name or folder to a model that can be sampled from: weights, tokenizer, chat format.

Takes a Hugging Face folder, a PEFT adapter folder (its base is found the same way), `smollm2` or `trained`, the
adapter that comes with medgym; downloads nothing.
Also settles dtype, device and the number of threads. torch, transformers and peft are imported here and only on call.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from ....tools.bars import no_progress_bars
from ...chat_format import ChatFormat, ChatTokenizer
from ..packaged import TRAINED, folder_of
from .request import MissingExtraError
from .smollm2 import Progress, smollm2_folder

if TYPE_CHECKING:
    from typing import Any

    from .sampler import CausalModel

logger = logging.getLogger(__name__)

Dtype: TypeAlias = Literal["float32", "bfloat16", "auto"]

SMOLLM2 = "smollm2"
_LOCAL = 'pip install "medgym[local]"'


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to be sampled from. `name` is what was asked for; `chat_format` holds the tokenizer's template."""

    model: CausalModel
    tokenizer: ChatTokenizer
    chat_format: ChatFormat
    name: str


def load_model(
    spec: str | os.PathLike[str],
    *,
    dtype: Dtype = "float32",
    threads: int | Literal["auto"] | None = None,
    device: str | None = None,
    template: str | None = None,
    template_options: Mapping[str, object] | None = None,
    base: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> LoadedModel:
    """Load a policy for `LocalChatModel`.

    Args:
        spec: a model folder (config.json), an adapter folder (adapter_config.json), `smollm2` or `trained`.
        dtype: `auto` takes bfloat16 for bfloat16 weights where the processor computes in it, else float32.
        threads: torch's thread count for this process; `auto` tries one and all cores for two seconds, None leaves it.
        device: torch device; None takes cuda where there is one, else cpu.
        template: a chat template instead of the tokenizer's own.
        template_options: extra variables for the template, such as `{"enable_thinking": False}`.
        base: the base model of an adapter, where it is not where `adapter_config.json` says.
        cache_dir: where `smollm2` is kept once converted; None takes the user's cache folder for medgym.
        progress: told in a few words before each long step.

    Raises:
        FileNotFoundError: `spec` is neither a known name nor a model or adapter folder.
        MissingExtraError: torch, transformers, peft or the packaged weights are not installed.
        ValueError: the chat template cannot be used.
    """
    if "torch" not in sys.modules:
        # idle threads sleep instead of spinning: beside a busy neighbour spinning was 20 times slower (measured)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch
        import transformers  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtraError("a local policy", _LOCAL) from error
    say = progress or logger.info
    folder, adapter = resolve_policy(spec, base, cache_dir, progress)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    say(f"loading {spec}")
    with no_progress_bars():
        model, tokenizer = _load(folder, adapter, _dtype(dtype, folder, device), device)
    ends = getattr(cast("Any", model).generation_config, "eos_token_id", None)
    extra = [ends] if isinstance(ends, int) else cast("list[int]", ends or [])
    chat_format = ChatFormat(tokenizer, template, extra_end_ids=extra, options=template_options)
    if threads == "auto":
        say("choosing the number of threads (two seconds)")
        torch.set_num_threads(_fastest_threads(model, device))
    elif threads is not None:
        torch.set_num_threads(threads)
    return LoadedModel(model, tokenizer, chat_format, os.fspath(spec))


def _user_cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("medgym")


def resolve_policy(
    spec: str | os.PathLike[str],
    base: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> tuple[Path, Path | None]:
    """The model folder, and the adapter folder if `spec` is one; for arguments and errors see `load_model`."""
    if spec == SMOLLM2:
        return smollm2_folder(Path(cache_dir) if cache_dir is not None else _user_cache(), progress), None
    folder = folder_of(spec)
    if (folder / "adapter_config.json").is_file():
        named = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("base_model_name_or_path")
        if named is not None and Path(str(named)).resolve() == folder.resolve() and base is None:
            raise ValueError(f"the adapter {folder} names itself as its base: give `base=`")
        try:
            below, inner = resolve_policy(base or str(named), None, cache_dir, progress)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"the adapter {folder} is for {named!r}: {error}; give `base=`") from error
        if inner is not None:
            raise ValueError(f"the base of the adapter {folder} is itself an adapter: merge that one first")
        return below, folder
    if (folder / "config.json").is_file():
        return folder, None
    raise FileNotFoundError(
        f"{os.fspath(spec)!r} is no folder with a config.json or an adapter_config.json, "
        f"and neither {SMOLLM2!r} nor {TRAINED!r}"
    )


def _load(folder: Path, adapter: Path | None, dtype: str, device: str) -> tuple[CausalModel, ChatTokenizer]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .attention import use_grouped_attention

    auto_model, auto_tokenizer = cast("Any", AutoModelForCausalLM), cast("Any", AutoTokenizer)  # typed only in part
    words = adapter if adapter is not None and (adapter / "tokenizer.json").is_file() else folder
    tokenizer = auto_tokenizer.from_pretrained(words, local_files_only=True)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"{words} has no fast tokenizer (tokenizer.json)")
    model = auto_model.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
    if device.startswith("cpu"):
        use_grouped_attention(model)
    if adapter is not None:
        try:
            from peft import PeftModel
        except ImportError as error:
            raise MissingExtraError(f"the adapter {adapter}", _LOCAL) from error
        model = cast("Any", PeftModel).from_pretrained(model, adapter)
    model = model.to(device)
    model.eval()
    return cast("CausalModel", model), cast("ChatTokenizer", tokenizer)


def _dtype(dtype: Dtype, folder: Path, device: str) -> str:
    if dtype != "auto":
        return dtype
    import torch

    config = json.loads((folder / "config.json").read_text("utf-8"))
    stored = config.get("dtype") or config.get("torch_dtype")
    if stored != "bfloat16":
        return "float32"
    if device.startswith("cpu"):
        asked = getattr(torch.cpu, "get_capabilities", None)  # newer torch only
        able = cast("dict[str, object]", asked()) if asked is not None else {}
        return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"
    return "bfloat16" if not device.startswith("cuda") or torch.cuda.is_bf16_supported() else "float32"


WORTHWHILE = 1.3


def _fastest_threads(model: CausalModel, device: str) -> int:
    """All cores if they are clearly faster right now, with what else runs on this machine; else one thread.

    One thread suffers less from a neighbour that comes later, so all cores have to win by `WORTHWHILE`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or not device.startswith("cpu"):
        return cores
    import torch

    taken: dict[int, float] = {}
    for count in (1, cores):
        torch.set_num_threads(count)
        taken[count] = _mean_time(lambda: _short_run(model), seconds=1.0)
    logger.info("seconds per forward pass of 8 tokens, by threads: %s", taken)
    return cores if taken[1] > WORTHWHILE * taken[cores] else 1


def _mean_time(run: Callable[[], None], seconds: float) -> float:
    """Mean over about `seconds`, after one run that does not count; neighbours' load is part of the answer."""
    run()
    start = time.perf_counter()
    runs = 0
    while time.perf_counter() < start + seconds:
        run()
        runs += 1
    return (time.perf_counter() - start) / runs


def _short_run(model: CausalModel) -> None:
    """One forward pass over 8 tokens: short, since a busy neighbour can make it a hundred times slower."""
    import torch

    positions = torch.arange(8).unsqueeze(0)
    with torch.no_grad():
        model(
            input_ids=torch.ones_like(positions),
            attention_mask=torch.ones_like(positions),
            position_ids=positions,
            past_key_values=None,
            use_cache=True,
            logits_to_keep=1,
        )
