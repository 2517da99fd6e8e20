"""The student: from a recipe to a model that can be trained and sampled from, and from there to a policy folder.

Owns the adapter (LoRA in float32 on a frozen base, never on the output head), what is trainable, and what a saved
policy holds. Loading weights is `agent.policies.local`'s, the tiny random model `train.tiny`'s.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn

from ..agent.chat_format import ChatFormat
from ..agent.policies.local import LoadedModel, MissingExtraError, load_model
from ..agent.policies.packaged import folder_of
from ..env.briefing import PROTOCOL
from ..tools.bars import no_progress_bars
from .curriculum import served_form
from .policy_card import card_text
from .recipe import RESOLVED_FILE, Recipe, RecipeError, to_json
from .tiny import TINY, seeded, tiny_folder

try:
    from peft import LoraConfig, PeftModel, get_peft_model
except ImportError as error:
    raise MissingExtraError("training", 'pip install "medgym[train]"') from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

PROTOCOL_FILE = "protocol.json"
BASE_FOLDER = "base"
NO_THINKING = "{%- set enable_thinking = false -%}"
STUDENT = "default"  # PEFT's name of the adapter that learns; a teacher beside it has another

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Student:
    """A model that learns.

    Attributes:
        model: the trainable model; with an adapter a `PeftModel` whose base is frozen.
        tokenizer: of the model.
        chat_format: how streams are rendered for it.
        loaded: the same model object, for sampling.
        base: what the adapter rests on (`smollm2` or an absolute path), or where the trained weights started.
        lora: whether only an adapter learns.
        recipe: what it was made for.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerFast
    chat_format: ChatFormat
    loaded: LoadedModel
    base: str
    lora: bool
    recipe: Recipe


def load_student(
    recipe: Recipe,
    *,
    cache_dir: Path | None = None,
    device: str | None = None,
    say: Say | None = None,
) -> Student:
    """The recipe's student, without dropout, its adapter or all of its parameters trainable.

    The same recipe gives the same initial adapter; the caller's random state is left as it was.

    Args:
        recipe: its `model`, and for a tiny model its `tiny`, `tasks` and `rollout` too.
        cache_dir: where converted and tiny models are kept; None takes the user's cache folder for medgym.
        device: torch device; None takes cuda where there is one, else cpu.
        say: told in a few words before each long step.

    Raises:
        RecipeError: the adapter in `model.path` does not fit what the recipe says, or its targets name no module.
        FileNotFoundError: `model.path` is no model.
        MissingExtraError: packages or the packaged weights are not installed.
    """
    cache = cache_dir or user_cache_path("medgym")
    tell = say or logger.info
    path = recipe.model.path
    spec = str(tiny_folder(recipe, cache, tell).absolute()) if path == TINY else path
    below = _adapter_base(folder_of(spec))
    loaded = load_model(spec, dtype=recipe.model.dtype, device=device, base=below, cache_dir=cache, progress=tell)
    model = cast("PreTrainedModel | PeftModel", loaded.model)
    base = _named(below or spec)
    with seeded(recipe.seed):
        model = _trainable(model, recipe)
    _disable_dropout(model)
    chat_format = _without_thinking(loaded)
    again = LoadedModel(cast("Any", model), loaded.tokenizer, chat_format, path)
    tokenizer = cast("PreTrainedTokenizerFast", loaded.tokenizer)
    return Student(model, tokenizer, chat_format, again, base, recipe.model.lora_rank > 0, recipe)


def _without_thinking(loaded: LoadedModel) -> ChatFormat:
    """Turn off the thinking of a template that has it, for good, so that the saved policy is served as it was trained.

    In a probe of the TT-OPD authors some 66% of the answers degenerated with it and 0.5% without (their logs).
    """
    template = loaded.tokenizer.chat_template or ""
    if "enable_thinking" not in template or template.startswith(NO_THINKING):
        return loaded.chat_format
    loaded.tokenizer.chat_template = NO_THINKING + template
    return ChatFormat(loaded.tokenizer, extra_end_ids=loaded.chat_format.end_ids[1:])


def _adapter_base(folder: Path) -> str | None:
    """What the adapter in `folder` rests on, if it is one: where its card says, else the base beside it."""
    try:
        config = cast("Mapping[str, object]", json.loads((folder / "adapter_config.json").read_text("utf-8")))
    except FileNotFoundError:
        return None
    named = str(config.get("base_model_name_or_path"))
    inside = folder / BASE_FOLDER
    return str(inside) if inside.is_dir() and not Path(named).is_dir() else named


def _named(spec: str) -> str:
    """An absolute path where there is such a folder, so that an adapter finds its base from anywhere."""
    return str(Path(spec).absolute()) if Path(spec).is_dir() else spec


def _trainable(model: PreTrainedModel | PeftModel, recipe: Recipe) -> PreTrainedModel | PeftModel:
    settings = recipe.model
    if isinstance(model, PeftModel):
        if not settings.lora_rank:
            merged = cast("Any", model).merge_and_unload()
            merged.requires_grad_(True)
            return cast("PreTrainedModel", merged)
        _go_on(model, recipe)
    elif settings.lora_rank:
        model = _with_adapter(model, recipe)
    else:
        cast("Any", model).requires_grad_(True)
        return model
    wrong = [name for name, one in _parameters(model) if one.requires_grad and one.dtype != torch.float32]
    if wrong:
        raise RuntimeError(f"adapter weights are not float32: {wrong[0]}")
    return model


def _with_adapter(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    settings = recipe.model
    targets = settings.lora_targets
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        target_modules=targets if isinstance(targets, str) else list(targets),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    _refuse_head(model, config.target_modules, "model.lora_targets")
    try:
        return cast("PeftModel", get_peft_model(model, config, autocast_adapter_dtype=True))
    except ValueError as error:
        raise RecipeError(f"model.lora_targets = {targets!r} does not fit {settings.path}: {error}") from error


def _go_on(model: PeftModel, recipe: Recipe) -> None:
    """Make a loaded adapter trainable, if it is the one that the recipe describes."""
    settings = recipe.model
    held = cast("Any", model.peft_config[STUDENT])
    wanted = {"lora_rank": (held.r, settings.lora_rank), "lora_alpha": (held.lora_alpha, settings.lora_alpha)}
    for key, (there, asked) in wanted.items():
        if asked is not None and asked != there:
            raise RecipeError(f"the adapter {settings.path} has {key} {there}, not {asked}: set model.{key} = {there}")
    _refuse_head(cast("Any", model).get_base_model(), held.target_modules, f"the adapter {settings.path}")
    if getattr(held, "modules_to_save", None):
        raise RecipeError(f"the adapter {settings.path} holds whole modules, which a teacher beside it cannot share")
    held.inference_mode = False
    cast("Any", model).set_adapter(STUDENT)


def _refuse_head(model: PreTrainedModel, targets: str | Collection[str] | None, whose: str) -> None:
    """Raises RecipeError where the output head is among the targets; `all-linear` leaves it out by itself."""
    head = cast("Any", model).get_output_embeddings()
    modules = cast("Iterable[tuple[str, nn.Module]]", cast("Any", model).named_modules())
    name = next(name for name, module in modules if module is head)
    if isinstance(targets, str):
        taken = targets != "all-linear" and re.fullmatch(targets, name) is not None
    else:
        taken = any(name == target or name.endswith(f".{target}") for target in targets or ())
    if taken:
        raise RecipeError(f"{whose} takes in the output head {name}, which TRL reads past the adapter: leave it out")


def _disable_dropout(model: PreTrainedModel | PeftModel) -> None:
    """No dropout anywhere: log-probabilities of rollout and training must be those of the same function."""
    for module in cast("nn.Module", model).modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            cast("Any", module).attention_dropout = 0.0
    config = cast("Any", model).config
    for name in ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"):
        if isinstance(getattr(config, name, None), float):
            setattr(config, name, 0.0)


def _parameters(model: PreTrainedModel | PeftModel) -> list[tuple[str, nn.Parameter]]:
    return list(cast("nn.Module", model).named_parameters())


def parameter_counts(student: Student) -> tuple[int, int]:
    """Trainable parameters, and all."""
    sizes = [(one.numel(), one.requires_grad) for _, one in _parameters(student.model)]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)


def save_policy(
    student: Student,
    folder: Path,
    card: Mapping[str, object],
    *,
    state_dict: Mapping[str, Tensor] | None = None,
) -> None:
    """Write what `load_model` takes: a plain PEFT or transformers folder, whole or not at all.

    Besides weights and tokenizer it holds `protocol.json` (how the policy was prompted and sampled), `recipe.json` and
    a `README.md`. Of a PEFT model only the student's adapter is written; under an adapter of a tiny model its base lies
    in `base/`.

    Args:
        student: to save.
        folder: made anew; an earlier policy there is replaced.
        card: what the README is to say besides the recipe, such as seeds, steps and metrics; values are numbers, texts,
            or mappings of them.
        state_dict: gathered weights, where an engine shards them.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
        made = Path(work) / "policy"
        with no_progress_bars():
            _save_weights(student, made, state_dict)
            cast("Any", student.tokenizer).save_pretrained(made)
        _write_json(made / PROTOCOL_FILE, protocol_of(student.recipe))
        _write_json(made / RESOLVED_FILE, to_json(student.recipe))
        learning, total = parameter_counts(student)
        figures = {"parameters": total, "trained parameters": learning}
        text = card_text(student.recipe, student.base, student.lora, {**figures, **card})
        (made / "README.md").write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(made, folder)


def _save_weights(student: Student, folder: Path, state_dict: Mapping[str, Tensor] | None) -> None:
    model = cast("Any", student.model)
    if not student.lora:
        model.save_pretrained(folder, state_dict=state_dict)
        return
    # PEFT's default would ask the model hub whether the embedding was resized
    model.save_pretrained(folder, selected_adapters=[STUDENT], save_embedding_layers=False, state_dict=state_dict)
    path = folder / "adapter_config.json"
    config = cast("dict[str, object]", json.loads(path.read_text("utf-8")))
    targets = config["target_modules"]  # a set, in any order; sorted, so that the same policy gives the same file
    ordered = sorted(cast("list[str]", targets)) if isinstance(targets, list) else targets
    _write_json(path, {**config, "target_modules": ordered, "base_model_name_or_path": student.base})
    if student.recipe.model.path == TINY:
        shutil.copytree(student.base, folder / BASE_FOLDER)


def _write_json(path: Path, data: Mapping[str, object]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def protocol_of(recipe: Recipe) -> dict[str, object]:
    """How a policy of this recipe is prompted and sampled, so that it can be served as it was trained.

    With a curriculum, `specs` is the last stage that the run reaches.
    """
    rollout = recipe.rollout
    return {
        "calls": PROTOCOL,
        "prompt": asdict(served_form(recipe)),
        "temperature": rollout.temperature,
        "max_new_tokens": rollout.max_new_tokens,
        "max_turns": rollout.max_turns,
        "max_episode_tokens": rollout.max_episode_tokens,
        "suite": recipe.tasks.suite,
        "domains": list(recipe.tasks.domains),
    }
