"""What the page says of the arms' results and of their comparisons, and what a reader has to know of the figures."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Family
from .effects import ComparisonRow, by_panel
from .markdown import NOTHING, interval, number, percent, points, probability, signed, table, text
from .outcomes import ArmRow
from .scores import titled

HOW_TO_READ = (
    "Reward is the composite before any shaping, 0 where an episode crashed or was late; means are over seeds, of the "
    "means over tasks. Intervals are 95% percentile bootstrap intervals (Efron & Tibshirani 1993).\n\n"
    "- **Over tasks**: the tasks' means over seeds are resampled. It says how sure a figure is for these very "
    "policies on cases like these. Tasks are taken as independent; where a suite asks about one condition or fact "
    "row several times they are not quite, and the interval is too narrow. Where all tasks gave the same it has no "
    "width, and says nothing.\n"
    "- **Over seeds**: the seeds' means are resampled. It says how much depends on the training run. It is never wider "
    "than from the lowest to the highest seed, so with two or three seeds it is too narrow; with one there is none.\n"
    "- Parts of the reward are over the cases that have them: an episode that crashed has none.\n\n"
)
HOW_TO_COMPARE = (
    "The difference is the arm named first less the other one, over the tasks that both have.\n\n"
    "- **p** is of a two-sided sign-flip test over tasks (10,000 draws; Edgington & Onghena 2007, Good 2005). The "
    "second one is corrected within the family and split (Holm 1979), over the pairs that were tested, so that it can "
    "change while pairs are missing. Both hold the trained policies fixed, as the interval over tasks does.\n"
    "- **Could see** is the difference that these tasks would have shown with 80% power at a two-sided 5%, before "
    "correction (Cohen 1988). Where no difference was found, one smaller than that may still be there.\n"
    "- **Over seeds** are runs of the same seed, or each seed of the first arm against the only run of the other.\n\n"
)


def arms(rows: Sequence[ArmRow]) -> str:
    """Two tables per split: what was reached, and the parts of the reward."""
    if not rows:
        return "No split is known: the edition names none, and nothing was evaluated.\n\n"
    return "".join(
        _arms_on(split, [row for row in rows if row.split == split])
        for split in dict.fromkeys(row.split for row in rows)
    )


def _arms_on(split: str, rows: Sequence[ArmRow]) -> str:
    header = (
        *("arm", "seeds:", "tasks:", "reward:", "95% over tasks:", "95% over seeds:", "success:", "well formed:"),
        *("submitted:", "capped:", "turns:", "policy tokens:"),
    )
    cells = [
        (
            text(row.arm),
            str(row.seeds) if row.seeds else "not evaluated",
            str(row.tasks) if row.seeds else NOTHING,
            number(row.composite),
            interval(row.tasks_low, row.tasks_high),
            interval(row.seeds_low, row.seeds_high),
            *(percent(share) for share in (row.success, row.well_formed, row.submitted, row.capped)),
            number(row.turns, 1),
            number(row.policy_tokens, 0),
        )
        for row in rows
    ]
    parts = list(rows[0].parts)
    shares = [(text(row.arm), *(number(row.parts[name]) for name in parts)) for row in rows if row.seeds]
    held = table(("arm", *(f"{text(name)}:" for name in parts)), shares) + "\n" if parts else ""
    return f"{_heading('###', split, rows[0].held_out)}{table(header, cells)}\n{held}"


def _heading(level: str, split: str, held_out: bool) -> str:
    """Of a split, that nobody takes held-out cases for others."""
    note = "Held out: conditions or fact rows that nothing was trained on.\n\n" if held_out else ""
    return f"{level} {text(titled(split, held_out) or 'no split yet')}\n\n{note}"


def comparisons(rows: Sequence[ComparisonRow], families: Sequence[Family]) -> str:
    """A table per family and split, under the family's name."""
    if not rows:
        return "The edition names no comparisons.\n\n"
    parts: list[str] = []
    for family in families:
        parts.append(f"### {text(family.name)}\n\n" + (f"{text(family.about)}\n\n" if family.about else ""))
        for (name, split), own in by_panel(rows).items():
            if name == family.name:
                parts.append(f"{_heading('####', split, own[0].held_out)}{_pairs(own)}\n")
    return "".join(parts)


def _pairs(rows: Sequence[ComparisonRow]) -> str:
    header = (
        *("pair", "tasks:", "difference:", "95% over tasks:", "95% over seeds:", "p:", "p, Holm:", "could see:"),
        *("success, points:", "well formed, points:"),
    )
    cells = [
        (
            f"{text(row.after)} less {text(row.before)}",
            _tasks(row),
            signed(row.difference),
            interval(row.tasks_low, row.tasks_high, sign=True),
            _over_seeds(row),
            probability(row.p),
            probability(row.p_holm),
            number(row.detectable),
            points(row.success_difference),
            points(row.well_formed_difference),
        )
        for row in rows
    ]
    return table(header, cells)


def _tasks(row: ComparisonRow) -> str:
    """How many pairs of tasks there are, and of how many, where an arm has more."""
    if row.not_run:
        return f"not run: {text(row.not_run)}"
    most = max(row.tasks_before, row.tasks_after)
    return str(row.tasks) if row.tasks == most else f"{row.tasks} in common of {row.tasks_after} and {row.tasks_before}"


def _over_seeds(row: ComparisonRow) -> str:
    if not row.pairing:
        return NOTHING
    said = f"{row.seed_pairs} pairs" if row.pairing == "same seeds" else f"{row.seed_pairs} against 1"
    return f"{interval(row.seeds_low, row.seeds_high, sign=True)} ({said})"
