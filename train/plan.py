"""What a run will need, before anything is loaded: whether its batches divide, its memory, its time.

Sizes come from `train.shapes`, the length of an episode from letting the expert play a few of the run's own tasks, and
the speeds from measurements that are listed here. An estimate: within a factor of two for time, a third for memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean

from ..env.baselines import play_script
from ..env.baselines.play import expert
from ..env.briefing import cut_middle, system_prompt
from ..env.domain import load_domain
from ..env.episode import Episode
from .cases import literature_of, pick_cases
from .curriculum import first_form
from .recipe import Recipe, to_json
from .shapes import Shape, shape_of

GIB = 2**30
RUNTIME = 0.5 * GIB  # the interpreter with torch, transformers and trl loaded, no model
PLAYED = 8  # tasks that the expert plays to see how long an episode is
CHARACTERS_PER_TOKEN: Mapping[str, float] = {
    "tiny": 4.5,  # 3.8 to 5.5 measured with 2,048 tokens, the more the shorter the observations
    "smollm2": 2.9,  # 2.8 to 3.1 measured on prompts, calls and observations
}
OTHER_CHARACTERS_PER_TOKEN = 3.0  # taken to be like SmolLM2's: names of tools, JSON and figures split into many tokens
LOGIT_COPIES = 4  # float32 copies of the logits that a plain cross-entropy holds at its peak, from measured peaks
LOGIT_TILE = 1024  # positions of which TRL's fused head holds logits at once, at most
TEACHER_SHARE = 0.4  # of a training pass: one forward pass without gradient, and the splice
PREFILL_FACTOR = (
    3.0  # a forward pass against forward and backward; 633 against 210 tokens/s measured (SmolLM2, float32)
)


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured speed, tokens per second of a whole process; `generated` over 8 to 16 episodes at once."""

    parameters: float
    generated: float
    trained: float
    where: str


RATES = (
    Rate(1.05e6, 1900, 5300, "tiny Qwen3, float32, one thread, 1,000 tokens of context"),
    Rate(8.6e6, 1280, 1140, "Qwen3 of that size, float32, one thread"),
    Rate(134.5e6, 213, 326, "SmolLM2-135M, bfloat16, LoRA rank 16, two threads"),
    Rate(494.0e6, 78, 133, "a 0.5B Qwen2.5, bfloat16, LoRA rank 16, two threads"),
)
"""Measured on two shared cores (AMD Zen 5, AVX-512 with bfloat16), torch 2.13, transformers 5.17; busy neighbours made
them two to five times slower. No GPU was measured, and nothing above 0.5B: there no time is estimated."""


@dataclass(frozen=True, slots=True)
class EpisodeSize:
    """Tokens of an episode: `prompt` and `observed` are read, `sampled` are written. Means over a few tasks."""

    prompt: float
    sampled: float
    observed: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.prompt + self.sampled + self.observed


@dataclass(frozen=True, slots=True)
class Plan:
    """What `--dry-run` shows.

    Attributes:
        recipe: resolved.
        processes: that share the batch.
        problems: why the run cannot start; empty where it can.
        rows: of a step, over all processes; `accumulation` micro-batches per process.
        episode: as the expert plays it.
        parameters, trained: of the model; None where its size is not known.
        memory: GiB per process by part, nothing sharded; `sharded` the total where an engine shards it evenly.
        seconds: of a step, like the expert's episode and with every episode at its limit; None where unknown.
        warmup: seconds of all warm-up steps, like the expert's episode; None where unknown.
        notes: what the figures leave out.
    """

    recipe: Recipe
    processes: int
    problems: tuple[str, ...]
    rows: int
    accumulation: int
    episode: EpisodeSize
    parameters: int | None
    trained: int | None
    memory: Mapping[str, float]
    sharded: float | None
    seconds: tuple[float, float] | None
    warmup: float | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return {
            "recipe": to_json(self.recipe),
            "processes": self.processes,
            "problems": list(self.problems),
            "batches": {"rows": self.rows, "accumulation": self.accumulation, "updates": self.recipe.batch.updates},
            "episode_tokens": {key: round(value) for key, value in asdict(self.episode).items()},
            "parameters": self.parameters,
            "trained_parameters": self.trained,
            "memory_gib": {key: round(value, 3) for key, value in self.memory.items()},
            "memory_gib_sharded": None if self.sharded is None else round(self.sharded, 3),
            "seconds_per_step": None if self.seconds is None else [round(value, 2) for value in self.seconds],
            "seconds_warmup": None if self.warmup is None else round(self.warmup, 1),
            "notes": list(self.notes),
        }


def make_plan(recipe: Recipe, processes: int = 1) -> Plan:
    """What the recipe will need with that many processes. Loads no weights and not even torch.

    Raises:
        RecipeError: its tasks do not exist, or its literature cannot be used.
        ValueError: `processes` is below 1.
    """
    if processes < 1:
        raise ValueError(f"{processes} processes: at least 1")
    batch, shape = recipe.batch, shape_of(recipe)
    rows = rows_per_step(recipe)
    episode = expert_episode(recipe)
    notes = ["memory within about a third, time within a factor of two, on an idle machine like the measured one"]
    if shape is None:
        notes.append(f"the size of {recipe.model.path} is not known: give its folder with --model")
    parameters = None if shape is None else shape.parameters
    trained = None if shape is None else _trained(recipe, shape)
    memory = {} if shape is None else _memory(recipe, shape, episode)
    seconds = None if shape is None else _seconds(recipe, shape, episode, processes)
    if shape is not None and seconds is None:
        notes.append("no time is estimated: no speed was measured for this engine or a model of this size")
    if shape is not None and rounds_away(recipe, shape):
        notes.append(
            f"steps of {recipe.optim.learning_rate:g} are rounded away in bfloat16 weights, which stand still: set "
            "model.dtype = 'float32' (and let the engine compute in bfloat16), or train an adapter"
        )
    if recipe.rollout.engine == "vllm":
        notes.append("the memory of the vLLM server is not counted")
    return Plan(
        recipe=recipe,
        processes=processes,
        problems=tuple(batch_problems(recipe, processes)),
        rows=rows,
        accumulation=max(1, rows // (batch.micro * processes)),
        episode=episode,
        parameters=parameters,
        trained=trained,
        memory=memory,
        sharded=_sharded(memory, processes) if processes > 1 and memory else None,
        seconds=seconds,
        warmup=None if shape is None else _warmup_seconds(recipe, shape, episode, processes),
        notes=tuple(notes),
    )


def batch_problems(recipe: Recipe, processes: int) -> list[str]:
    """Why the batches cannot be dealt to that many processes, in words."""
    batch, found = recipe.batch, list[str]()
    rows, share = rows_per_step(recipe), batch.micro * processes
    if recipe.on_policy and rows % share:
        found.append(
            f"batch.prompts x batch.group = {batch.prompts} x {batch.group} = {rows} rows do not divide into "
            f"micro-batches of batch.micro x processes = {batch.micro} x {processes}: take a multiple of {share}"
        )
    if recipe.on_policy and recipe.loss.dynamic_sampling and batch.prompts % processes:
        found.append(
            f"loss.dynamic_sampling draws whole groups again, so batch.prompts = {batch.prompts} must be a multiple of "
            f"the {processes} processes"
        )
    if recipe.warmup.steps and recipe.warmup.batch % processes:
        found.append(f"warmup.batch = {recipe.warmup.batch} must be a multiple of the {processes} processes")
    if not recipe.on_policy and rows % processes:
        found.append(f"batch.prompts = {rows} rows per step must be a multiple of the {processes} processes")
    return found


def rows_per_step(recipe: Recipe) -> int:
    """Over all processes: every episode of every group, or `batch.prompts` demonstrations, pairs or examples."""
    return recipe.batch.prompts * (recipe.batch.group if recipe.on_policy else 1)


def expert_episode(recipe: Recipe) -> EpisodeSize:
    """Tokens of an episode as the expert plays the first of the run's own tasks."""
    rollout = recipe.rollout
    form, literature = first_form(recipe), literature_of(recipe)
    per_token = CHARACTERS_PER_TOKEN.get(recipe.model.path, OTHER_CHARACTERS_PER_TOKEN)
    sizes: list[tuple[int, int, int]] = []
    for task in pick_cases(recipe).train[:PLAYED]:
        episode = play_script(Episode(task, max_turns=rollout.max_turns, literature=literature), expert)
        domain = load_domain(task.domain)
        prompt = system_prompt(domain, task.shelf(domain).offered(), form) + episode.opening
        cut = [cut_middle(call.result, form.observation_limit) for turn in episode.turns for call in turn.calls]
        replies = [turn.reply for turn in episode.turns]
        sizes.append((len(prompt), sum(len(turn.text) for turn in episode.turns), sum(map(len, cut + replies))))
    prompt, sampled, observed = (fmean(column) / per_token for column in zip(*sizes, strict=True))
    return EpisodeSize(prompt, sampled, observed)


def _trained(recipe: Recipe, shape: Shape) -> int:
    model = recipe.model
    return shape.adapter_parameters(model.lora_rank, model.lora_targets) if model.lora_rank else shape.parameters


def _weight_bytes(recipe: Recipe, shape: Shape) -> int:
    return {"float32": 4, "bfloat16": 2, "auto": shape.stored_bytes}[recipe.model.dtype]


def rounds_away(recipe: Recipe, shape: Shape) -> bool:
    """Whether AdamW's step, about the learning rate, is below half of bfloat16's spacing at a typical weight (0.02)."""
    bf16 = not recipe.model.lora_rank and _weight_bytes(recipe, shape) == 2
    return bf16 and recipe.optim.name == "adamw" and recipe.optim.learning_rate < 0.02 * 2**-9


def _row_limit(recipe: Recipe, episode: EpisodeSize) -> int:
    """Tokens of the longest row that is trained on."""
    if recipe.on_policy:
        return recipe.rollout.max_episode_tokens
    return min(recipe.demonstrations.max_length, math.ceil(1.5 * episode.total))


def _memory(recipe: Recipe, shape: Shape, episode: EpisodeSize) -> dict[str, float]:
    """GiB of one process, by part. `peak` adds what is held all the time to the larger of training and sampling."""
    bytes_per = _weight_bytes(recipe, shape)
    trained, lora = _trained(recipe, shape), recipe.model.lora_rank > 0
    learns = 4 if lora else bytes_per
    states = 2 if recipe.optim.name == "adamw" else 0
    held = {
        "weights": float(shape.parameters * bytes_per),
        "adapter": float(trained * 4 if lora else 0),
        "gradients": float(trained * learns),
        "optimiser": float(trained * learns * states),
        "teacher": _teacher(recipe, shape, trained, bytes_per),
        "reference": float(shape.parameters * bytes_per) if _copies_reference(recipe) else 0.0,
    }
    length = _row_limit(recipe, episode)
    tokens = recipe.batch.micro * length * (2 if recipe.algorithm == "dpo" else 1)
    training = {"activations": _activations(recipe, shape, tokens, bytes_per)}
    seen = min(tokens, LOGIT_TILE) if recipe.on_policy else tokens
    training["logits"] = float(seen * shape.vocabulary * 4 * LOGIT_COPIES)
    sampling = {"key_value_cache": 0.0}
    if recipe.rollout.engine == "transformers" and (recipe.on_policy or recipe.algorithm in ("rft", "orm")):
        per_token = 2 * shape.caching * shape.kv_heads * shape.head * bytes_per
        sampling["key_value_cache"] = float(recipe.rollout.concurrency * recipe.rollout.max_episode_tokens * per_token)
    peak = RUNTIME + sum(held.values()) + max(sum(training.values()), sum(sampling.values()))
    parts = {**held, **training, **sampling, "runtime": RUNTIME, "peak": peak}
    return {name: size / GIB for name, size in parts.items()}


def _teacher(recipe: Recipe, shape: Shape, trained: int, bytes_per: int) -> float:
    """Kept in float32; apart from that it computes in the student's dtype, from a copy under full fine-tuning."""
    if not recipe.opd.enabled:
        return 0.0
    if recipe.model.lora_rank:
        return trained * 4.0
    return shape.parameters * (4.0 if bytes_per == 4 else 4.0 + bytes_per)


def _copies_reference(recipe: Recipe) -> bool:
    """Whether the frozen reference is a copy of the model; under LoRA it is the model without its adapter."""
    return not recipe.model.lora_rank and recipe.on_policy and recipe.loss.beta > 0


def _activations(recipe: Recipe, shape: Shape, tokens: int, bytes_per: int) -> float:
    """Kept for the backward pass: the inputs of each map, in the dtype of the weights.

    14 times the width and 6 times the inner width per token and layer give, with the rest, the peaks that were measured
    for 2 x 1,024 tokens with rank-16 adapters on 135M, 270M and 0.5B models to within 13%.
    """
    layer = 14 * shape.width + 6 * shape.inner
    if recipe.model.checkpointing:
        return float(tokens * bytes_per * (shape.layers * shape.width + layer))
    return float(tokens * bytes_per * shape.layers * layer)


def _sharded(memory: Mapping[str, float], processes: int) -> float:
    """Peak of a process where weights, gradients, optimiser, teacher and reference are dealt out evenly."""
    dealt = sum(memory[name] for name in ("weights", "gradients", "optimiser", "teacher", "reference"))
    return memory["peak"] - dealt * (1 - 1 / processes)


def _seconds(recipe: Recipe, shape: Shape, episode: EpisodeSize, processes: int) -> tuple[float, float] | None:
    """Of one optimiser step: with episodes like the expert's, and with all of them at their limit."""
    speeds = rate_at(shape.parameters)
    if speeds is None or recipe.rollout.engine == "vllm":
        return None
    generated, trained = speeds
    rows = rows_per_step(recipe) / processes
    if not recipe.on_policy:
        pair = 2 if recipe.algorithm == "dpo" else 1
        lengths = (min(episode.total, recipe.demonstrations.max_length), recipe.demonstrations.max_length)
        return (rows * pair * lengths[0] / trained, rows * pair * lengths[1] / trained)
    limit = recipe.rollout.max_episode_tokens
    passes = [recipe.opd.enabled, recipe.loss.beta > 0, recipe.model.checkpointing]  # each a forward pass more
    share = 1 + TEACHER_SHARE * sum(passes)

    def step(total: float, sampled: float) -> float:
        rollout = sampled / generated + (total - sampled) / (PREFILL_FACTOR * trained)
        return rows * (rollout / recipe.batch.updates + total * share / trained)

    total = min(episode.total, limit)
    return step(total, min(episode.sampled, total)), step(limit, max(0.0, limit - episode.prompt))


def _warmup_seconds(recipe: Recipe, shape: Shape, episode: EpisodeSize, processes: int) -> float | None:
    speeds = rate_at(shape.parameters)
    if speeds is None:
        return None
    tokens = min(episode.total, recipe.demonstrations.max_length) * recipe.warmup.batch / processes
    return recipe.warmup.steps * tokens / speeds[1]


def rate_at(parameters: int) -> tuple[float, float] | None:
    """Tokens generated and trained per second for a model of that size, between the measured ones (log-log).

    None above twice the largest model measured. Below the smallest the speed of that one.
    """
    points = [(math.log(rate.parameters), rate) for rate in RATES]
    at = max(math.log(parameters), points[0][0])
    if parameters > 2 * points[-1][1].parameters:
        return None
    pairs = list(pairwise(points))
    (low, below), (high, above) = next((pair for pair in pairs if at <= pair[1][0]), pairs[-1])
    part = (at - low) / (high - low)

    def between(first: float, second: float) -> float:
        return math.exp(math.log(first) + part * (math.log(second) - math.log(first)))

    return between(below.generated, above.generated), between(below.trained, above.trained)
