"""The first section of the page: what ran, what came out, how certain that is, and what could not have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from ..records import StudyRecord, run_name
from .effects import LEVEL, ComparisonRow
from .markdown import NOTHING, duration, interval, listed, number, percent, probability, signed, span, table, text
from .outcomes import ArmRow
from .scores import titled
from .tables import Tables
from .times import LEFT_OUT, State, TimeRow

_STATES: tuple[State, ...] = ("finished", "untrained", "unfinished", "failed", "not run")
_NAMED = ("unfinished", "failed")


def in_short(record: StudyRecord, tables: Tables) -> str:
    """Four paragraphs, the second one with a table."""
    return (
        f"**What ran.** {_ran(record, tables.time)}\n\n"
        f"**What came out.** {_came_out(tables.arms)}\n\n"
        f"**How certain that is.** {_certain(tables.comparisons, tables.arms)}\n\n"
        f"**What could not have been seen.** {_unseen(tables.comparisons, tables.time)}\n\n"
    )


def _ran(record: StudyRecord, rows: Sequence[TimeRow]) -> str:
    own = [row for row in rows if row.state != LEFT_OUT]
    states = [_counted(state, own) for state in _STATES if any(row.state == state for row in own)]
    splits = dict.fromkeys(split for row in own for split in (*row.evaluated, *row.not_evaluated))
    measured = [f"on {text(split)} {sum(split in row.evaluated for row in own)} of {len(own)}" for split in splits]
    wall = duration(fsum(row.train_seconds + row.evaluate_seconds for row in own))
    arms = f"{len(record.taken)} of the {len(record.arms)} arms of the grid"
    return (
        f"The edition takes {arms}, with {_seeds(record.seeds)}. Runs: {len(own)}, of them {', '.join(states)}. "
        f"Evaluated: {', '.join(measured) or 'none'}. Wall time in all: {wall}."
    )


def _seeds(seeds: Sequence[int]) -> str:
    several = f"seeds {listed(map(str, seeds))} (arms that begin from no other with the first alone)"
    return several if len(seeds) > 1 else f"seed {listed(map(str, seeds))}"


def _counted(state: State, rows: Sequence[TimeRow]) -> str:
    """A number of runs; those that went wrong or are under way by name."""
    own = [row for row in rows if row.state == state]
    named = f" ({listed(run_name(row.arm, row.seed) for row in own)})" if state in _NAMED else ""
    return f"{len(own)} {state}{named}"


def _came_out(rows: Sequence[ArmRow]) -> str:
    """The reward of every arm that was evaluated, on every split."""
    done = [row for row in rows if row.composite is not None]
    if not done:
        return "No policy has been evaluated yet."
    splits = list(dict.fromkeys(row.split for row in done))
    held = {(row.arm, row.split): row for row in done}
    titles = [text(titled(split, next(row.held_out for row in done if row.split == split))) for split in splits]
    header = ("arm", "seeds:", *(f"{title}{what}:" for title in titles for what in (", reward", ", success")))
    cells = [
        (
            text(arm),
            str(max(row.seeds for row in done if row.arm == arm)),
            *(cell for split in splits for cell in _reached(held.get((arm, split)))),
        )
        for arm in dict.fromkeys(row.arm for row in done)
    ]
    said = "Mean reward with its 95% interval over tasks, and the share of cases that were answered fully right."
    return f"{said}\n\n{table(header, cells).rstrip()}"


def _reached(row: ArmRow | None) -> tuple[str, str]:
    if row is None:
        return NOTHING, NOTHING
    return f"{number(row.composite)} ({interval(row.tasks_low, row.tasks_high)})", percent(row.success)


def _certain(rows: Sequence[ComparisonRow], arms: Sequence[ArmRow]) -> str:
    tested = [row for row in rows if row.p_holm is not None]
    if not tested:
        return "Nothing has been compared yet."
    found = [row for row in tested if row.found]
    head = (
        f"Comparisons made, each of a pair of arms on a split: {len(tested)}. With a difference over tasks after "
        f"correction (Holm's p at most {LEVEL}, within family and split): {len(found) or 'none'}"
        f"{', below with 95% intervals over tasks' if found else ''}. {_about_seeds(arms)}"
    )
    return f"{head}\n\n{''.join(map(_difference, found))}".rstrip()


def _difference(row: ComparisonRow) -> str:
    pair = f"{text(row.after)} less {text(row.before)} on {text(titled(row.split, row.held_out))}"
    over_tasks = f"{signed(row.difference)} ({interval(row.tasks_low, row.tasks_high, sign=True)})"
    over_seeds = f", over {row.seed_pairs} pairs of runs {interval(row.seeds_low, row.seeds_high, sign=True)}"
    seeds = over_seeds if row.seeds_difference is not None else ""
    return f"- {pair}: {over_tasks}, p {probability(row.p_holm)} in *{text(row.family)}*{seeds}\n"


def _about_seeds(rows: Sequence[ArmRow]) -> str:
    most = max((row.seeds for row in rows), default=0)
    if most < 2:
        return (
            "These figures are of the policies that one seed gave: what another training run would give is not known."
        )
    return (
        f"The correction is over tasks and holds the policies fixed; how much depends on the training run is seen over "
        f"seeds alone, of which there are at most {most}."
    )


def _unseen(rows: Sequence[ComparisonRow], runs: Sequence[TimeRow]) -> str:
    """How large a difference had to be where none was found, and what was not compared."""
    if not rows:
        return "The edition names no comparisons."
    nothing = [row for row in rows if row.p_holm is not None and not row.found]
    known = [row for row in nothing if row.detectable is not None]
    parts = [
        _least([row for row in known if row.split == split]) for split in dict.fromkeys(row.split for row in known)
    ]
    powerless = [row for row in nothing if 2 / 2**row.groups > LEVEL]
    waiting = {(row.before, row.after) for row in rows if row.not_run and row.in_edition}
    left_out = {row.arm for row in runs} - {row.arm for row in runs if row.state != LEFT_OUT}
    said: list[str] = []
    if parts:
        said.append(
            "Where no difference was found, one had to be about this large to be seen (80% power, uncorrected):"
        )
        said.append(f"{'; '.join(parts)}. Smaller ones may well be there.")
    if len(nothing) > len(known):
        said.append(f"Comparisons whose differences do not vary between groups: {len(nothing) - len(known)};")
        said.append("how much these would have shown is not known.")
    if powerless:
        said.append(f"Comparisons of so few groups that p cannot come down to {LEVEL}: {len(powerless)}.")
    if waiting:
        said.append(f"Pairs of this edition that are not compared on every split yet: {len(waiting)}.")
    if left_out:
        said.append(f"Arms that are not in this edition, of which nothing is known: {len(left_out)}.")
    return " ".join(said) or "Every comparison that the edition names was made, and shows a difference."


def _least(rows: Sequence[ComparisonRow]) -> str:
    """Of the comparisons on one split."""
    sizes = [row.detectable for row in rows if row.detectable is not None]
    tasks, groups = sorted({row.tasks for row in rows}), sorted({row.groups for row in rows})
    return (
        f"on {text(titled(rows[0].split, rows[0].held_out))} {span(map(number, (min(sizes), max(sizes))))} of reward "
        f"({span(tasks)} tasks in {span(groups)} groups)"
    )
