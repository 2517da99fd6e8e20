"""The sections of a recipe: every setting of a run, with its unit, its bounds and its default.

Plain data; reading and checking them together is `train.recipe`'s.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..env.briefing import SpecLevel

Algorithm: TypeAlias = Literal["sft", "dpo", "ppo", "grpo", "dapo", "dr_grpo", "gspo", "rft", "orm", "tt_opd"]
Action: TypeAlias = Literal["off", "warn", "lower", "stop"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Limit = Annotated[Positive | None, BeforeValidator(lambda value: None if value == 0 else value)]
"""None is no limit; a recipe, which cannot say None over a number that it extends, says 0."""


class Section(BaseModel):
    """Base of every section: no unknown keys, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    """The student.

    Attributes:
        path: `tiny` (random, made on the spot), `smollm2`, a Hugging Face folder, or an adapter to go on from: its
            folder, or `trained`, the one that comes with medgym.
        dtype: of the base weights; LoRA weights are always float32.
        lora_rank: 0 trains all parameters.
        lora_alpha: scale of the adapter; None takes twice the rank.
        lora_targets: module names, or `all-linear` (never the output head, which TRL reads past the adapter).
        checkpointing: recompute activations instead of keeping them.
        keep_memory: on a CPU, keep freed memory in the process until the end of a step (glibc): faster.
    """

    path: str = "smollm2"
    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    lora_rank: Count = 16
    lora_alpha: Positive | None = None
    lora_targets: str | tuple[str, ...] = "all-linear"
    checkpointing: bool = False
    keep_memory: bool = False


class Tiny(Section):
    """Shape of the random model that `model.path = "tiny"` makes; its tokenizer is trained on the tasks' own texts."""

    layers: Positive = 4
    width: Positive = 128
    heads: Positive = 4
    vocabulary: Annotated[int, Field(ge=300)] = 2048
    context: Positive = 4096


class Tasks(Section):
    """Which cases. `train_limit` and `val_limit` take the first N of a seeded shuffle; None takes all.

    `literature` is the folder of an index made by `kb build --with-starter`, "" the starter literature.
    """

    domains: tuple[str, ...] = ()
    suite: str = "v1"
    literature: str = ""
    train_split: str = "train"
    val_split: str = "val"
    train_limit: Positive | None = None
    val_limit: Positive | None = 32
    val_on_train: bool = False


class Rollout(Section):
    """How episodes are played.

    Attributes:
        engine: `transformers` in this process, or `vllm` (a server spoken to in token ids).
        base_url: of the vLLM server.
        concurrency: episodes at once in a process.
        max_turns: messages of an episode; None leaves the task's own.
        max_new_tokens: of one message.
        max_episode_tokens: of the whole stream, prompt included; an episode that is full ends there and is scored.
        temperature: of sampling; log-probabilities are those of the same temperature, as TRL trains.
        brief: a short system prompt.
        specs: how tools are told in the prompt; the curriculum starts from here.
        observation_limit: characters of one tool result, cut in the middle; None leaves it whole.
        episode_seconds: wall clock of an episode; beyond it the row is masked and its reward is None.
        on_fork: what to do where the graph changed what was recorded: `error` stops the run, `mask` masks the row.
    """

    engine: Literal["transformers", "vllm"] = "transformers"
    base_url: str | None = None
    concurrency: Positive = 16
    max_turns: Positive | None = None
    max_new_tokens: Positive = 256
    max_episode_tokens: Positive = 4096
    temperature: Annotated[float, Field(gt=0)] = 1.0
    brief: bool = True
    specs: SpecLevel = "full"
    observation_limit: Annotated[int, Field(ge=64)] | None = None
    episode_seconds: Annotated[float, Field(gt=0)] = 600.0
    on_fork: Literal["error", "mask"] = "error"


class Batch(Section):
    """Sizes. One rollout plays `prompts` x `group` episodes and serves `updates` optimiser steps.

    Attributes:
        prompts: different cases per rollout, over all processes.
        group: episodes per case (at least 2, so that they can be compared).
        micro: rows per forward pass and process; prompts x group must be a multiple of micro x processes.
        updates: optimiser steps per rollout.
    """

    prompts: Positive = 4
    group: Annotated[int, Field(ge=2)] = 4
    micro: Positive = 2
    updates: Positive = 1


class Optim(Section):
    """The optimiser (AdamW, or plain SGD for exact tests). `steps` counts optimiser steps."""

    steps: Positive = 60
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    scheduler: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Count = 0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    name: Literal["adamw", "sgd"] = "adamw"


class Loss(Section):
    """The policy loss, in TRL's terms; None takes the algorithm's preset. See `train.presets`."""

    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] | None = None
    scale_rewards: Literal["group", "batch", "none"] | None = None
    importance_level: Literal["token", "sequence"] | None = None
    epsilon: Annotated[float, Field(gt=0, lt=1)] | None = None
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    beta: Annotated[float, Field(ge=0)] = 0.0
    entropy: Annotated[float, Field(ge=0)] = 0.0
    dynamic_sampling: Count | None = None
    overlong_buffer: Count | None = None


class Length(Section):
    """Cosine length-controlled reward on the policy's own tokens (Yeo et al. 2025; constants of arXiv 2605.02943).

    `normalise = "after"` adds `weight` times the length part to the normalised advantage; `"group"` lets the cosine
    value replace the reward before the group is normalised, as the paper does.
    """

    enabled: bool = False
    normalise: Literal["after", "group"] = "after"
    weight: Annotated[float, Field(ge=0)] = 0.5
    limit: Positive | None = None
    correct_short: float = 1.1
    correct_long: float = 0.7
    wrong_short: float = 0.0
    wrong_long: float = -0.3
    exceeded: float = -0.5


class Opd(Section):
    """TT-OPD: distillation from an EMA teacher that has seen the outcome. See `train.opd`.

    Attributes:
        coefficient: of the distillation term before its schedule.
        schedule: how it falls over `phase_out_steps`: constant, linear, cosine, or gated by the unhinted KL.
        phase_out_steps: step at which linear and cosine reach `floor`; None takes all steps.
        floor: lowest factor of the schedule.
        kl_start, kl_off: the KL-gated schedule falls linearly between these drifts (nats per token).
        allow_rise: let a gated coefficient come back (re-engagement); off, it only ever falls.
        ema_decay, ema_every, hard_copy_every: the teacher; 0 turns the last two off.
        gate_on_validation: refresh the teacher only when the validation reward has improved.
        hints: outcome (right and wrong), `shuffled` (outcomes of other rows), or none.
        hint_style: whether the hint may say what was missed in the reward (`breakdown`) or only the outcome.
        privileged: `answer` lets the hint name the answer.
        hint_place: once before the first answer, or before every answer.
        max_turns, max_tokens_per_turn: truncation: first K turns, first K tokens of a turn; None (0) is all.
        kl_clip: bound on the per-token log-ratio.
        estimator: reverse (policy gradient of the reverse KL), k3 (gradient of the forward KL), or topk.
        top_k: support of the topk estimator.
        mode: loss (a term of its own) or advantage (folded into token advantages).
        sign_flip, top_ratio: upstream as it really ran: sign turned for negative advantages, most confident share.
    """

    enabled: bool = False
    coefficient: Annotated[float, Field(ge=0)] = 4.0
    schedule: Literal["constant", "linear", "cosine", "kl_gated"] = "cosine"
    phase_out_steps: Positive | None = None
    floor: Share = 0.0
    kl_start: Annotated[float, Field(ge=0)] = 0.3
    kl_off: Annotated[float, Field(gt=0)] = 0.7
    allow_rise: bool = False
    ema_decay: Annotated[float, Field(ge=0, le=1)] = 0.995
    ema_every: Count = 5
    hard_copy_every: Count = 30
    gate_on_validation: bool = False
    hints: Literal["outcome", "shuffled", "none"] = "outcome"
    hint_style: Literal["outcome", "breakdown"] = "breakdown"
    privileged: Literal["none", "answer"] = "none"
    hint_place: Literal["first", "every"] = "first"
    max_turns: Limit = None
    max_tokens_per_turn: Limit = None
    kl_clip: Annotated[float, Field(gt=0)] = 10.0
    estimator: Literal["reverse", "k3", "topk"] = "reverse"
    top_k: Positive = 32
    mode: Literal["loss", "advantage"] = "loss"
    sign_flip: bool = False
    top_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0


class Ppo(Section):
    """PPO: generalised advantage estimation over policy tokens (Schulman et al. 2016) and a value head."""

    gamma: Share = 1.0
    lam: Share = 0.95
    value_coefficient: Annotated[float, Field(ge=0)] = 0.5
    value_clip: Annotated[float, Field(gt=0)] | None = 0.2
    value_learning_rate: Annotated[float, Field(gt=0)] = 1e-3


class Demonstrations(Section):
    """Where supervised data comes from.

    Attributes:
        source: `expert` (the oracle plays the tasks) or a folder or file of trajectories.
        min_reward: composite that a trajectory needs.
        max_length: tokens of a row; a longer one is cut after its last whole turn that fits.
        per_task: most trajectories of one task.
        sample_rounds: for `rft`: rollouts of the student over all tasks, best kept.
        pair_margin: for `dpo`: least difference in reward between chosen and rejected.
    """

    source: str = "expert"
    min_reward: float = 0.5
    max_length: Positive = 4096
    per_task: Positive = 4
    sample_rounds: Positive = 4
    pair_margin: Annotated[float, Field(gt=0)] = 0.1


class Warmup(Section):
    """Supervised steps on demonstrations before RL. Stops early once `target` of val episodes earn `success`."""

    steps: Count = 0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    batch: Positive = 4
    target: Share | None = None
    success: Share = 0.5
    check_every: Positive = 50


class Dpo(Section):
    """Direct preference optimisation (Rafailov et al. 2023); tool tokens are masked."""

    beta: Annotated[float, Field(gt=0)] = 0.1


class Verifier(Section):
    """Outcome verifier: probability that a transcript is right, and what best-of-n makes of it."""

    success: Share = 0.5
    rollouts_per_task: Positive = 8
    holdout: Share = 0.25
    best_of: tuple[int, ...] = (1, 2, 4, 8)


class Curriculum(Section):
    """Progressive spec withdrawal: from these steps on the prompt tells the tools less and less."""

    enabled: bool = False
    arguments_from: Count = 20
    names_from: Count = 40
    none_from: Count = 60


class Detectors(Section):
    """What is watched and what is done about it: off, warn, lower (the coefficient, for good) or stop."""

    length_explosion: Action = "warn"
    turn_collapse: Action = "warn"
    dead_groups: Action = "warn"
    entropy_collapse: Action = "warn"
    kl_drift: Action = "lower"
    stale_teacher: Action = "warn"
    degenerate_text: Action = "warn"
    gradient_spike: Action = "warn"
    malformed_calls: Action = "warn"
    lower_factor: Share = 0.5


class Checkpoints(Section):
    """`every` counts optimiser steps (0: only at the end and on Ctrl-C); the newest `keep` stay."""

    every: Count = 10
    keep: Positive = 2


class Validation(Section):
    """Greedy-free evaluation on the val tasks: at the start, every `every` steps (0: never between) and at the end."""

    every: Count = 0
    episodes: Positive = 16
    temperature: Annotated[float, Field(gt=0)] = 1.0


class Report(Section):
    """Where metrics go besides `metrics.jsonl`, and whether plots and `report.html` are made."""

    report_to: tuple[Literal["trackio", "tensorboard", "wandb"], ...] = ()
    html: bool = True
    dashboard: bool = True
