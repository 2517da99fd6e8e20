"""Writes the synthetic metric traces beside it: `python tests/data/traces/generate.py`.

Nothing here was measured. The three deaths are drawn around the few figures that were published about them (see
README.md); every other number, all noise included, is made up here. `make(name, seed)` gives one trace.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
LABEL = "SYNTHETIC: drawn by tests/data/traces/generate.py; not the log of any run"
GROUPS, PER_GROUP = 8, 3  # prompts and rollouts of a step in the published setting
Line = dict[str, object]


@dataclass(frozen=True)
class Death:
    """What was published about a run that died."""

    settings: str
    outcome: str
    step: int


DEATHS = {
    "v29": Death("EMA 0.999 every 5 steps, coefficient 4", "collapsed: teacher corruption", 70),
    "v30": Death(
        "teacher refreshed only when validation improves, static coefficient",
        "collapsed: stale teacher, distillation gradient 10 to 20 times the RL gradient",
        74,
    ),
    "v31": Death(
        "coefficient 2.0 below KL 0.3, falling linearly to 0 at 0.7, allowed to rise again",
        "arrested: re-engagement explosion 142 to 301",
        145,
    ),
}


def rise(step: int, middle: float, width: float) -> float:
    """A smooth step from 0 to 1."""
    return 1 / (1 + math.exp(-(step - middle) / width))


class Dice:
    """Noise of the size that 24 episodes have, or `noise` times that (24 / noise squared episodes)."""

    def __init__(self, seed: int, noise: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise = noise

    def share(self, chance: float, of: int) -> float:
        """A share of `of` trials."""
        trials = max(1, round(of / self.noise**2))
        return float(self.rng.binomial(trials, min(max(chance, 0.0), 1.0)) / trials)

    def about(self, value: float, spread: float) -> float:
        """A positive number with relative noise."""
        return float(value * math.exp(self.rng.normal(0, spread * self.noise)))

    def near(self, value: float, spread: float) -> float:
        """A number with absolute noise."""
        return float(value + self.rng.normal(0, spread * self.noise))


@dataclass
class Inner:
    """The state of an imagined run in one step; the defaults are those of a sane beginning."""

    skill: float = 0.5
    damage: float = 0.0
    canary: float = 0.0
    turns: float = 5.0
    calls_per_turn: float = 1.3
    tokens: float = 90.0
    repeats: float = 0.08
    entropy: float = 0.7
    gradient: float = 3.0
    dead: float = 0.2
    malformed: float = 0.02
    phantom: float = 0.02


def observed(inner: Inner, dice: Dice) -> Line:
    """What a run in that state logs."""
    episodes = GROUPS * PER_GROUP
    accuracy = dice.share(inner.skill * (1 - inner.damage), episodes)
    turns = max(1.0, dice.near(inner.turns, 0.25))
    rate = dice.about(inner.calls_per_turn, 0.06)
    tokens = dice.about(inner.tokens, 0.08)
    evidence = min(1.0, max(0.0, dice.near(0.3 + 0.5 * inner.skill * (1 - inner.damage), 0.03)))
    calls = max(1, round(turns * rate * episodes))
    return {
        "reward": 0.15 * (1 - inner.damage) + 0.75 * accuracy,
        "reward_std": dice.about(0.3, 0.1),
        "clinical/accuracy": accuracy,
        "clinical/evidence": evidence,
        "clinical/composite": 0.15 * (1 - inner.damage) + 0.75 * accuracy,
        "turns/mean": turns,
        "turns/policy_tokens_per_turn": tokens,
        "turns/policy_tokens": turns * tokens,
        "completions/mean_length": turns * tokens * 2.2,
        "tools/calls_per_turn": rate,
        "tools/calls": turns * rate,
        "tools/malformed_frac": dice.share(inner.malformed + 0.5 * inner.canary, calls),
        "tools/phantom_frac": dice.share(inner.phantom + 0.2 * inner.canary, calls),
        "collapse/repeated_ngrams": min(1.0, max(0.0, dice.near(inner.repeats, 0.015))),
        "collapse/repeated_turns": dice.share(0.05 + 0.4 * inner.damage, round(turns * episodes)),
        "collapse/dead_groups": dice.share(inner.dead + (1 - inner.dead) * 0.9 * inner.damage, GROUPS),
        "entropy": dice.about(inner.entropy, 0.06),
        "grad_norm": dice.about(inner.gradient, 0.35),
        "loss": dice.near(0.0, 0.02),
    }


def learning(step: int, best: float = 0.62, pace: float = 30.0) -> float:
    """Accuracy of a run that goes well."""
    return 0.5 + (best - 0.5) * (1 - math.exp(-step / pace))


def v29(dice: Dice) -> list[Line]:
    """A corrupt student teaches its own teacher: they agree on loops, so that KL stays low."""
    lines: list[Line] = []
    for step in range(1, 81):
        damage = rise(step, DEATHS["v29"].step, 5)
        loops = rise(step, DEATHS["v29"].step - 5, 4)
        inner = Inner(
            skill=learning(step, 0.6, 20),
            damage=damage,
            canary=rise(step, DEATHS["v29"].step - 12, 4),
            turns=5 - 3.5 * damage,
            calls_per_turn=1.3 - 0.8 * damage,
            tokens=90 * (1 + 3 * loops),
            repeats=0.08 + 0.7 * loops,
            entropy=0.7 * math.exp(-step / 120) * (1 - 0.85 * loops),
        )
        drift = 0.12 * (1 - math.exp(-step / 25)) + 0.1 * damage
        distance = 0.0004 * step * (0.999 ** (step // 5))
        lines.append({"step": step, **observed(inner, dice), **teacher(4.0, drift, distance, dice)})
    return lines


def v30(dice: Dice) -> list[Line]:
    """Validation improves at steps 10 and 20 only, so the teacher stays where it was then."""
    lines: list[Line] = []
    refreshed = 0
    for step in range(1, 85):
        damage = rise(step, DEATHS["v30"].step, 4)
        refreshed = step if step in (10, 20) else refreshed
        away = step - refreshed
        ratio = 20 * (away / 54) ** 2
        inner = Inner(
            skill=learning(step, 0.6, 15),
            damage=damage,
            canary=rise(step, DEATHS["v30"].step - 8, 3),
            turns=5 - 3 * damage,
            calls_per_turn=1.3 - 0.6 * damage,
            tokens=90 * (1 + 1.5 * damage),
            repeats=0.08 + 0.4 * damage,
            gradient=3.0 * (1 + ratio),
        )
        found = teacher(4.0, 1.1 * (away / 50) ** 2, 0.0006 * away, dice)
        lines.append({"step": step, **observed(inner, dice), **found, "opd/signal_ratio": dice.about(ratio, 0.1)})
    return lines


def v31(dice: Dice) -> list[Line]:
    """KL passes 0.7 and turns distillation off; it falls back, distillation returns all at once, twice."""
    lines: list[Line] = []
    for step in range(1, 151):
        damage = rise(step, DEATHS["v31"].step, 3)
        drift = 0.78 * (1 - math.exp(-((step / 75) ** 2)))
        returned = step >= 132
        if returned:
            drift = (0.35, 0.5, 0.9)[(step - 132) % 3]
        coefficient = 2.0 * min(1.0, max(0.0, (0.7 - drift) / 0.4))
        burst = {139: 71.0, 142: 142.0, 145: 301.0}.get(step, 55.0 if returned and coefficient > 0 else 3.0)
        inner = Inner(
            skill=learning(step, 0.626, 40),
            damage=damage,
            canary=rise(step, DEATHS["v31"].step - 7, 2),
            turns=5 - 3 * damage,
            tokens=90 * (1 + 1.5 * damage),
            entropy=0.7 * math.exp(-step / 200),
            gradient=burst,
        )
        line = {"step": step, **observed(inner, dice), **teacher(coefficient, drift, 0.0003 * step, dice)}
        line["grad_norm"] = burst if burst > 70 else line["grad_norm"]  # the published figures, without noise
        lines.append(line)
    return lines


def teacher(coefficient: float, drift: float, distance: float, dice: Dice) -> Line:
    """What the distillation logs."""
    return {
        "opd/coefficient": coefficient,
        "opd/kl_drift": dice.about(max(drift, 1e-4), 0.08),
        "opd/kl_hint": dice.about(drift + 0.15, 0.08),
        "opd/teacher_distance": distance,
    }


def healthy_grpo(dice: Dice) -> list[Line]:
    """No teacher; messages grow by a third, entropy halves, some cases are solved by every rollout."""
    lines: list[Line] = []
    for step in range(1, 151):
        part = step / 150
        inner = Inner(
            skill=learning(step, 0.75, 60),
            tokens=90 * (1 + 0.33 * part),
            entropy=0.7 * (1 - 0.5 * part),
            dead=0.2 + 0.35 * part,
            malformed=0.04 * (1 - part),
        )
        lines.append({"step": step, **observed(inner, dice)})
    return lines


def healthy_tt_opd(dice: Dice) -> list[Line]:
    """EMA 0.995 every 5 steps, hard copy every 30, cosine phase-out by step 90."""
    lines: list[Line] = []
    student = anchor = 0.0
    for step in range(1, 151):
        student += 0.0005
        if step % 30 == 0:
            anchor = student
        elif step % 5 == 0:
            anchor += 0.005 * (student - anchor)
        distance = student - anchor
        coefficient = 4.0 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / 90)))
        found = teacher(coefficient, 0.25 * (distance / 0.015) ** 2, distance, dice) if coefficient > 0 else {}
        inner = Inner(skill=learning(step, 0.65, 40), gradient=3.0 + coefficient, entropy=0.6 - 0.2 * step / 150)
        lines.append({"step": step, **observed(inner, dice), **found})
    return lines


def healthy_withdrawal(dice: Dice) -> list[Line]:
    """Specifications go away in three steps: more questions, more phantoms, a few malformed calls, then recovery."""
    lines: list[Line] = []
    for step in range(1, 151):
        shock = sum(math.exp(-(step - at) / 8) for at in (40, 70, 100) if step >= at)
        inner = Inner(
            skill=learning(step, 0.64, 50) - 0.06 * shock,
            turns=5 + 3 * step / 150,
            malformed=0.02 + 0.03 * shock,
            phantom=0.02 + 0.15 * shock,
            gradient=3 * (1 + 0.8 * shock),
        )
        lines.append({"step": step, **observed(inner, dice)})
    return lines


def healthy_quicker(dice: Dice) -> list[Line]:
    """A wasteful policy learns to examine in fewer messages and with fewer calls, and obtains more."""
    lines: list[Line] = []
    for step in range(1, 151):
        part = min(1.0, step / 100)
        inner = Inner(
            skill=learning(step, 0.8, 40),
            turns=11 - 6.5 * part,
            calls_per_turn=1.6 - 0.3 * part,
            tokens=70 + 30 * part,
            repeats=0.15 - 0.08 * part,
            dead=0.3 + 0.2 * part,
        )
        lines.append({"step": step, **observed(inner, dice)})
    return lines


HEALTHY: dict[str, Callable[[Dice], list[Line]]] = {
    "healthy-grpo": healthy_grpo,
    "healthy-tt-opd": healthy_tt_opd,
    "healthy-withdrawal": healthy_withdrawal,
    "healthy-quicker": healthy_quicker,
}
TRACES: dict[str, Callable[[Dice], list[Line]]] = {"v29": v29, "v30": v30, "v31": v31, **HEALTHY}


def make(name: str, seed: int = 0, noise: float = 1.0) -> list[Line]:
    """The lines of a trace, in order of steps; floats to six places."""
    return [
        {"stage": "rl", **{key: round(value, 6) if isinstance(value, float) else value for key, value in line.items()}}
        for line in TRACES[name](Dice(seed, noise))
    ]


def header(name: str, seed: int) -> Line:
    """The first line of a file: what is published, and that the rest is not."""
    death = DEATHS.get(name)
    published = (
        {"settings": death.settings, "outcome": death.outcome, "step": death.step, "source": "arXiv 2605.02943, code"}
        if death
        else None
    )
    return {"label": LABEL, "name": name, "seed": seed, "published": published}


def main() -> None:
    """Write every trace."""
    for name in TRACES:
        lines = [header(name, 0), *make(name)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
