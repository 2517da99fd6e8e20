"""The tiny random model of `model.path = "tiny"`: weights, and a tokenizer trained on the texts of the run's own tasks.

Made from nothing but the recipe and the tasks, so that tests and the smoke run need no download; the same recipe gives
the same bytes. Promises a plain Hugging Face folder. It is a fixture for trainers, not a policy of any worth.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..agent.chat_format import CHATML_TEMPLATE
from ..env.baselines import play_script
from ..env.baselines.play import expert
from ..env.briefing import PromptForm, cut_middle, system_prompt
from ..env.domain import load_domain
from ..env.episode import Episode
from ..tools.bars import no_progress_bars
from .cases import literature_of, pick_cases
from .recipe import Recipe, RecipeError
from .sections import Tiny

if TYPE_CHECKING:
    from typing import Any

    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

TINY = "tiny"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FORMAT = 1  # raise it when the same recipe is to give another model
PLAYED = 64  # tasks of a split whose expert transcripts the tokenizer sees; the rest add nothing but time
WORDS = r"\d| ?[^\s\d]+|\s+"
"""Single digits, so that numbers can be copied; else runs without spaces, so that one merge may span `{"name":`."""
LONGEST_TOKEN = 24
LOGIT_REACH = 24.0
"""Highest logit that a hidden state of unit RMS can give, `width` times the embedding's standard deviation. The output
is tied to the embedding, which an adapter does not train: below about 16 no answer could become likely."""


def tiny_folder(recipe: Recipe, cache_dir: Path, say: Callable[[str], None]) -> Path:
    """The folder of the recipe's tiny model under `cache_dir`, made if it is not there yet.

    Safe to call from several processes at once: one makes it, the others wait.

    Raises:
        RecipeError: the shape does not work out.
    """
    _check_shape(recipe.tiny)
    texts = list(texts_of(recipe))
    told = json.dumps([FORMAT, recipe.seed, recipe.tiny.model_dump(), _versions(), texts])
    target = cache_dir / "models" / f"tiny-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.is_dir():
            say("making the tiny model and its tokenizer")
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tiny-") as work:
                made = Path(work) / "model"
                _write(recipe, texts, made)
                os.replace(made, target)
    return target


def texts_of(recipe: Recipe) -> Iterable[str]:
    """What the model will read and is to write: system prompts, tickets, messages of the expert, observations."""
    cases, literature = pick_cases(recipe), literature_of(recipe)
    rollout = recipe.rollout
    levels = ("full", "arguments", "names", "none") if recipe.curriculum.enabled else (rollout.specs,)
    forms = [PromptForm(rollout.brief, level, rollout.observation_limit) for level in levels]
    for task in {task.id: task for task in (*cases.train[:PLAYED], *cases.val[:PLAYED])}.values():
        domain = load_domain(task.domain)
        yield from (system_prompt(domain, task.shelf(domain).offered(), form) for form in forms)
        episode = play_script(Episode(task, literature=literature), expert)
        yield from _transcript(episode, rollout.observation_limit)


def _transcript(episode: Episode, limit: int | None) -> Iterable[str]:
    yield episode.opening
    for turn in episode.turns:
        yield turn.text
        observation = turn.observation
        for call in turn.calls:
            observation = observation.replace(call.result, cut_middle(call.result, limit))
        yield observation


def _check_shape(tiny: Tiny) -> None:
    if tiny.width % tiny.heads or (tiny.width // tiny.heads) % 2:
        raise RecipeError(
            f"tiny.width = {tiny.width} must be an even multiple of tiny.heads = {tiny.heads} (rotary positions turn "
            "pairs of channels)"
        )


def _versions() -> list[str]:
    """What else the bytes depend on."""
    import tokenizers
    import torch
    import transformers

    return [tokenizers.__version__, torch.__version__, transformers.__version__]


def _write(recipe: Recipe, texts: Sequence[str], folder: Path) -> None:
    tokenizer = train_tokenizer(texts, recipe.tiny.vocabulary, recipe.tiny.context)
    model = random_model(recipe.tiny, len(tokenizer), recipe.seed)
    for config in (model.config, model.generation_config):
        held = cast("Any", config)
        held.bos_token_id, held.eos_token_id, held.pad_token_id = None, tokenizer.eos_token_id, tokenizer.pad_token_id
    with no_progress_bars():
        cast("Any", model).save_pretrained(folder)
        cast("Any", tokenizer).save_pretrained(folder)


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML's special tokens and template; the same texts give the same tokenizer.

    Args:
        texts: to train on.
        vocabulary: most tokens, special ones and 256 bytes included.
        context: positions of the model.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = cast("Any", Tokenizer)(cast("Any", models).BPE())
    splits = cast("Any", pre_tokenizers)
    backend.pre_tokenizer = splits.Sequence(
        [
            splits.Split(cast("Any", Regex)(WORDS), "isolated"),
            splits.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = cast("Any", decoders).ByteLevel()
    trainer = cast("Any", trainers).BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(splits.ByteLevel.alphabet()),
        special_tokens=list(SPECIAL),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = cast("Any", PreTrainedTokenizerFast)(
        tokenizer_object=backend,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
    tokenizer.chat_template = CHATML_TEMPLATE
    return cast("PreTrainedTokenizerFast", tokenizer)


def random_model(tiny: Tiny, vocabulary: int, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 model of that shape in float32; the caller's random state is left as it was.

    Matrices keep the variance of what goes through them (those that write into the residual stream are smaller by the
    root of their number), and the embedding is wide enough for sharp answers, see `LOGIT_REACH`.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = cast("Any", Qwen3Config)(
        vocab_size=vocabulary,
        hidden_size=tiny.width,
        intermediate_size=3 * tiny.width,
        num_hidden_layers=tiny.layers,
        num_attention_heads=tiny.heads,
        num_key_value_heads=max(1, tiny.heads // 2) if tiny.heads % 2 == 0 else tiny.heads,
        head_dim=tiny.width // tiny.heads,
        max_position_embeddings=tiny.context,
        initializer_range=tiny.width**-0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        dtype="float32",
    )
    with seeded(seed), torch.no_grad():
        model = cast("Any", Qwen3ForCausalLM)(config)
        cast("torch.Tensor", model.get_input_embeddings().weight).normal_(0.0, LOGIT_REACH / tiny.width)
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_((2 * tiny.layers) ** -0.5)
    return cast("Qwen3ForCausalLM", model.eval())


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """torch's generators seeded inside, and as they were afterwards."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        yield
