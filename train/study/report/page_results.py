"""What the page says of the arms' results and of their comparisons, and what a reader has to know of the figures."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Family
from .effects import ComparisonRow
from .markdown import NOTHING, interval, listed, number, percent, points, probability, signed, table, text
from .outcomes import ArmRow
from .scores import titled

NOTES = "How the figures are made"
HOW_TO_READ = (
    "Reward is the composite before any shaping, 0 where an episode crashed or was late; means are over seeds, of the "
    "means over tasks. Parts of the reward are over the cases that have them: an episode that crashed has none. "
    "Success is an answer that was submitted and is fully right; well formed are calls of an offered tool with valid "
    "arguments, as a share of all attempts, a message without a call being one; capped are cases in which a safety "
    "verdict of severity 5 fell. Intervals are 95% percentile bootstrap intervals (Efron & Tibshirani "
    "1993).\n\n"
    "- **Over tasks**: over tasks, those of one fact row or condition resampled together (Field & Welsh 2007), since "
    "cases that ask about the same thing are not independent; each task stands for its mean over seeds. It says how "
    "sure a figure is for these very policies on cases like these. The number of such groups stands in brackets behind "
    "that of the tasks, and it is the groups that count: with few of them (20 to 50 are few; Cameron & Miller 2015) "
    "intervals come out somewhat too narrow. Where all groups gave the same there is no width, and it says nothing.\n"
    "- **Over seeds**: the seeds' means are resampled. It says how much depends on the training run. It is never wider "
    "than from the lowest to the highest seed, so with two or three seeds it is too narrow; with one there is none. "
    "In comparisons it is over runs of the same seed, or each seed of the first arm against the only run of the "
    "other.\n"
    "- **Difference**: the arm named first less the other one, over the tasks that both have.\n"
    "- **p**: of a two-sided sign-flip test over tasks (10,000 draws; Edgington & Onghena 2007, Good 2005) that flips "
    "the tasks of one fact row or condition together (Canay, Romano & Shaikh 2017). The second one is corrected within "
    "the family and split (Holm 1979), over the pairs that were tested, so that it can change while pairs are missing. "
    "Both hold the trained policies fixed, as the interval over tasks does.\n"
    "- **Could see**: the difference that these tasks would have shown with 80% power at a two-sided 5%, before "
    "correction (Cohen 1988), by a standard error that is robust to dependence within fact rows and conditions (Liang "
    "& Zeger 1986); with few groups it is too small. Where no difference was found, one smaller than that may still be "
    "there.\n\n"
)
_GUIDE = f"Figures in brackets behind tasks are groups of them; see *{NOTES}* below.\n\n"


def arms(rows: Sequence[ArmRow]) -> str:
    """Two tables per split: what was reached, and the parts of the reward."""
    if not rows:
        return "No split is known: the edition names none, and nothing was evaluated.\n\n"
    if not any(row.seeds for row in rows):
        return "No policy has been evaluated yet.\n\n"
    splits = dict.fromkeys(row.split for row in rows)
    return _GUIDE + "".join(_arms_on(split, [row for row in rows if row.split == split]) for split in splits)


def _arms_on(split: str, rows: Sequence[ArmRow]) -> str:
    header = (
        *("arm", "seeds:", "tasks:", "reward:", "95% over tasks:", "95% over seeds:", "success:", "well formed:"),
        *("submitted:", "capped:", "turns:", "policy tokens:"),
    )
    done = [row for row in rows if row.seeds]
    cells = [
        (
            text(row.arm),
            str(row.seeds),
            f"{row.tasks} ({row.groups})",
            number(row.composite),
            interval(row.tasks_low, row.tasks_high),
            interval(row.seeds_low, row.seeds_high),
            *(percent(share) for share in (row.success, row.well_formed, row.submitted, row.capped)),
            number(row.turns, 1),
            number(row.policy_tokens, 0),
        )
        for row in done
    ]
    parts = list(rows[0].parts)
    shares = [(text(row.arm), *(number(row.parts[name]) for name in parts)) for row in done]
    held = table(("arm", *(f"{text(name)}:" for name in parts)), shares) + "\n" if parts else ""
    tables = f"{table(header, cells)}\n{held}" if done else ""
    note = "Held out: conditions or fact rows that nothing was trained on.\n\n" if rows[0].held_out else ""
    missing = _items("Not evaluated", [text(row.arm) for row in rows if not row.seeds and row.in_edition])
    return f"### {text(titled(split, rows[0].held_out))}\n\n{note}{tables}{missing}"


def _items(what: str, items: Sequence[str]) -> str:
    return f"{what}: {', '.join(items)}.\n\n" if items else ""


def comparisons(rows: Sequence[ComparisonRow], families: Sequence[Family]) -> str:
    """Per family a table of what was compared, and what was not."""
    if not rows:
        return "The edition names no comparisons.\n\n"
    return "".join(_of_family(family, [row for row in rows if row.family == family.name]) for family in families)


def _of_family(family: Family, rows: Sequence[ComparisonRow]) -> str:
    made = [row for row in rows if not row.not_run]
    about = f"{text(family.about)}\n\n" if family.about else ""
    return (
        f"### {text(family.name)}\n\n{about}{_pairs(made) if made else ''}"
        + _items("Not compared", _missing([row for row in rows if row.not_run and row.in_edition], rows))
        + _items("Not in this edition", _missing([row for row in rows if row.not_run and not row.in_edition], rows))
    )


def _missing(missing: Sequence[ComparisonRow], rows: Sequence[ComparisonRow]) -> list[str]:
    """Pairs without figures: on which splits where it is not on all, and why where the edition has both arms."""
    splits = {row.split for row in rows}
    found: list[str] = []
    for before, after, why in dict.fromkeys((row.before, row.after, row.not_run) for row in missing):
        own = [row.split for row in missing if (row.before, row.after, row.not_run) == (before, after, why)]
        where = f" on {listed(own)}" if len(own) < len(splits) else ""
        reason = f" ({text(why)})" if missing[0].in_edition else ""
        found.append(f"{text(after)} less {text(before)}{where}{reason}")
    return found


def _pairs(rows: Sequence[ComparisonRow]) -> str:
    header = (
        *("pair", "split", "tasks:", "difference:", "95% over tasks:", "95% over seeds:", "p:", "p, Holm:"),
        *("could see:", "success, points:", "well formed, points:"),
    )
    cells = [
        (
            f"{text(row.after)} less {text(row.before)}",
            text(titled(row.split, row.held_out)),
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
    return table(header, cells) + "\n"


def _tasks(row: ComparisonRow) -> str:
    """How many pairs of tasks there are, in how many groups, and of how many tasks where an arm has more."""
    most = max(row.tasks_before, row.tasks_after)
    more = f", in common of {row.tasks_after} and {row.tasks_before}" if row.tasks < most else ""
    return f"{row.tasks} ({row.groups}){more}"


def _over_seeds(row: ComparisonRow) -> str:
    if not row.pairing:
        return NOTHING
    said = f"{row.seed_pairs} pairs" if row.pairing == "same seeds" else f"{row.seed_pairs} against 1"
    return f"{interval(row.seeds_low, row.seeds_high, sign=True)} ({said})"
