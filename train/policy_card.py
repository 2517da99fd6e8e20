"""The README of a saved policy: what it is, what it was trained on, how to load it, what it is not for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from .recipe import Recipe


def card_text(recipe: Recipe, base: str, lora: bool, figures: Mapping[str, object]) -> str:
    """The card in Markdown.

    Args:
        recipe: resolved.
        base: what the adapter rests on, or where the weights started.
        lora: whether the folder holds an adapter.
        figures: what to list besides the recipe; numbers, texts, or mappings of them.
    """
    tasks = recipe.tasks
    kind = "a LoRA adapter (PEFT)" if lora else "a whole model (transformers)"
    domains = ", ".join(tasks.domains) or "all"
    trained = f"suite {tasks.suite}, split {tasks.train_split}, domains: {domains}"
    if tasks.train_limit is not None:
        trained += f", {tasks.train_limit} tasks of a seeded shuffle"
    parts = [
        f"# {recipe.name}",
        f"A policy for the clinical agent of medgym: {kind}, trained with {recipe.algorithm} from `{base}`."
        + (f" {recipe.about}." if recipe.about else ""),
        "**A research tool, not for clinical use.** It was trained on simulated cases only, its answers are not "
        "medical advice, and nothing here was validated on patients.",
        "## Training",
        _table(
            {
                "algorithm": recipe.algorithm,
                "base": base,
                "tasks": trained,
                "seed": recipe.seed,
                "optimiser steps": recipe.optim.steps,
                "learning rate": recipe.optim.learning_rate,
                **dict(_flat(figures)),
            }
        ),
        "Every setting stands in `recipe.json`; `medgym train --recipe recipe.json` runs it again.",
        "## Use",
        "`protocol.json` holds how it was prompted and sampled; other prompts or tools are outside of what it learned.",
        '```python\nfrom medgym.agent.policies.local import load_model\n\nloaded = load_model("THIS FOLDER")\n```',
        "or `medgym play --policy local:THIS_FOLDER`.",
    ]
    return "\n\n".join(parts) + "\n"


def _flat(figures: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, object]", value), f"{above}{key} / ")
        else:
            yield f"{above}{key}", value


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: object) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")
