"""What a rollout was like, in numbers: `rollout_metrics` over the rows of all processes.

Owns the names under clinical/, safety/, turns/, tools/, collapse/ and rollout/ that come from rows alone. Masked rows
count as masked and nowhere else. A figure that cannot be had (no calls, no groups) is left out, never set to 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import cast

from ..rollout.row import RolloutRow

NGRAM = 4
DIMENSIONS = ("accuracy", "process", "safety", "format", "coherence", "assertion", "evidence", "composite")
PHANTOM = frozenset({"unknown_tool", "not_on_shelf"})
"""Calls to a tool that does not exist, or that the case does not offer."""
MALFORMED = PHANTOM | {"malformed_call", "invalid_arguments"}
_NO_TOOL = frozenset({"unknown_tool", "malformed_call"})
_CUT = frozenset({"budget", "context"})
_PLACES = 6  # of a reward: below that two are one


def rollout_metrics(rows: Sequence[RolloutRow], group: int) -> dict[str, float]:
    """The figures of one rollout.

    Args:
        rows: of all processes, the members of a group next to each other.
        group: episodes per case; 1 where rows are no groups (validation).

    Raises:
        ValueError: rows do not come in whole groups of one case.
    """
    kept = [row for row in rows if not row.masked]
    found = _ends(rows)
    if group > 1:
        found |= _groups(rows, group)
    if not kept:
        return found
    return found | _clinical(kept) | _turns(kept) | _tools(kept) | _repetition(kept)


def _ends(rows: Sequence[RolloutRow]) -> dict[str, float]:
    ends = Counter(row.finish for row in rows)
    counts = {f"rollout/{end}": float(ends[end]) for end in ("timeout", "crash", "fork", "context", "dead_end")}
    return {"rollout/masked": float(sum(row.masked for row in rows)), **counts}


def _groups(rows: Sequence[RolloutRow], group: int) -> dict[str, float]:
    """Groups without a difference, on the composite that no shaping has touched."""
    if len(rows) % group:
        raise ValueError(f"{len(rows)} rows are not whole groups of {group}")
    groups = [rows[at : at + group] for at in range(0, len(rows), group)]
    mixed = [members[0].task for members in groups if len({row.task for row in members}) > 1]
    if mixed:
        raise ValueError(f"the group that begins with {mixed[0]} holds other cases: rows are out of order")
    dead = [members for members in groups if is_dead(members)]
    wrong = [members for members in dead if not any(row.correct for row in members)]
    return {"collapse/dead_groups": len(dead) / len(groups), "collapse/dead_wrong": len(wrong) / len(groups)}


def is_dead(members: Sequence[RolloutRow]) -> bool:
    """Whether a group has nothing to learn from: fewer than two scored rows, or all with one unshaped reward."""
    scored = {round(row.composite, _PLACES) for row in members if row.composite is not None}
    return len(scored) < 2


def _clinical(rows: Sequence[RolloutRow]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in DIMENSIONS:
        values = [float(value) for row in rows if (value := row.reward.get(name)) is not None]
        if values:
            found[f"clinical/{name}"] = fmean(values)
    found["clinical/success"] = fmean(bool(row.correct) for row in rows)
    found["safety/capped_frac"] = fmean(row.capped for row in rows)
    verdicts = [len(row.trajectory.verdicts) for row in rows if row.trajectory is not None]
    if verdicts:
        found["safety/verdicts"] = fmean(verdicts)
    return found


def _turns(rows: Sequence[RolloutRow]) -> dict[str, float]:
    turns = [len(row.turn_spans) for row in rows]
    tokens = [row.policy_tokens for row in rows]
    found = {
        "turns/mean": fmean(turns),
        "turns/policy_tokens": fmean(tokens),
        "turns/truncated_frac": fmean(row.finish in _CUT for row in rows),
        "turns/submitted_frac": fmean(row.finish == "submitted" for row in rows),
    }
    if sum(turns):
        found["turns/policy_tokens_per_turn"] = sum(tokens) / sum(turns)
    return found


def _tools(rows: Sequence[RolloutRow]) -> dict[str, float]:
    """Rates over all calls of the rollout, except `calls` and `phantom`, which are per episode."""
    recorded = [row for row in rows if row.trajectory is not None]
    if not recorded:
        return {}
    calls = [call for row in recorded for call in calls_of(row)]
    turns = [len(calls) for row in recorded for calls in calls_by_turn(row)]
    errors = Counter(str(call["error"]) for call in calls if call["error"] is not None)
    phantom = sum(errors[code] for code in PHANTOM)
    named = Counter(str(call["name"]) for call in calls if call["error"] not in _NO_TOOL)
    found = {
        "tools/calls": len(calls) / len(recorded),
        "tools/unique": float(len(named)),
        "tools/phantom": phantom / len(recorded),
    }
    if turns:
        found["tools/calls_per_turn"] = len(calls) / len(turns)
        good = len(calls) - sum(errors[code] for code in MALFORMED)
        # a message without a call is an attempt that failed: in this protocol every message has one, the answer's too
        found["tools/well_formed_frac"] = good / sum(max(1, made) for made in turns)
    if calls:
        found["tools/phantom_frac"] = phantom / len(calls)
        found["tools/malformed_frac"] = errors["malformed_call"] / len(calls)
        found["tools/invalid_frac"] = errors["invalid_arguments"] / len(calls)
        found["tools/failed_frac"] = errors.total() / len(calls)
        found["tools/repeated_frac"] = sum(bool(call["repeated"]) for call in calls) / len(calls)
    found |= {f"tools/share/{name}": count / named.total() for name, count in sorted(named.items())}
    return found


def calls_by_turn(row: RolloutRow) -> list[Sequence[Mapping[str, object]]]:
    """The calls of each message of a row's episode, as the trajectory holds them; none where it left no trajectory."""
    turns = row.trajectory.turns if row.trajectory is not None else ()
    return [cast("Sequence[Mapping[str, object]]", turn["calls"]) for turn in turns]


def calls_of(row: RolloutRow) -> Iterator[Mapping[str, object]]:
    """Every call of a row's episode in order."""
    for calls in calls_by_turn(row):
        yield from calls


def _repetition(rows: Sequence[RolloutRow]) -> dict[str, float]:
    """Repeats in the policy's own words: n-grams of ids within a message, and messages sent before."""
    grams = repeats = 0
    messages = again = 0
    for row in rows:
        sent: set[tuple[int, ...]] = set()
        for start, end in row.turn_spans:
            ids = row.completion_ids[start:end]
            total, repeated = ngram_repeats(ids)
            grams, repeats = grams + total, repeats + repeated
            messages, again = messages + 1, again + (ids in sent)
            sent.add(ids)
    found: dict[str, float] = {}
    if grams:
        found["collapse/repeated_ngrams"] = repeats / grams
    if messages:
        found["collapse/repeated_turns"] = again / messages
    return found


def ngram_repeats(ids: Sequence[int], n: int = NGRAM) -> tuple[int, int]:
    """Number of n-grams in a message, and how many of them stood in it before."""
    grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return len(grams), len(grams) - len(set(grams))
