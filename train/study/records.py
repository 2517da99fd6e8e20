"""What a study's folder holds, read back: arms, seeds, metrics, evaluations. Files may be packed (`.gz`).

    DIR/study.json                          the edition: arms, seeds, comparisons, versions, hardware
    DIR/ledger.jsonl                        what was started, stopped, finished, failed, and how long it took
    DIR/<arm>-s<seed>/recipe.json           of a trained arm
    DIR/<arm>-s<seed>/metrics.jsonl         of a trained arm
    DIR/<arm>-s<seed>/evaluation-<split>.jsonl   a line per case

Owns the layout and its reading; what is computed from it is `report`'s.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..recipe import RESOLVED_FILE
from ..watch.log import FILE_NAME as METRICS_FILE
from ..watch.log import Line, parse_metrics

STUDY_FILE = "study.json"
LEDGER_FILE = "ledger.jsonl"
PACKED = ".gz"


class StudyError(ValueError):
    """A study that cannot be run or read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One case of an evaluation.

    Attributes:
        task: its id.
        group: what it shares with other cases, its condition or fact row: such cases are not independent.
        split: it belongs to.
        composite: the unshaped reward, 0 where the episode crashed or was late.
        parts: accuracy, process, safety, ... as the reward gives them; absent where a case has none.
        correct, submitted, capped: of the answer; `correct` is submitted and fully right.
        attempts: calls, messages without a call counted as one each.
        well_formed: of those, calls of an offered tool with valid arguments.
        turns, policy_tokens: of the episode.
        finish: how it ended.
    """

    task: str
    group: str
    split: str
    composite: float
    parts: Mapping[str, float]
    correct: bool
    submitted: bool
    capped: bool
    attempts: int
    well_formed: int
    turns: int
    policy_tokens: int
    finish: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One arm with one seed, as far as it has come.

    Attributes:
        arm, seed: which.
        recipe: resolved; empty for an arm that is not trained.
        lines: of its metrics.
        summary: the run's own; None while it is not finished, and where nothing is trained.
        evaluations: split to cases, in order of task id; a split that was not finished is absent.
    """

    arm: str
    seed: int
    recipe: Mapping[str, object]
    lines: Sequence[Line]
    summary: Mapping[str, object] | None
    evaluations: Mapping[str, Sequence[Judged]]


@dataclass(frozen=True, slots=True)
class ArmRecord:
    """An arm as the edition describes it: `start` is the arm whose policy it begins from, "" the untrained model."""

    name: str
    about: str
    recipe: str
    start: str


@dataclass(frozen=True, slots=True)
class Family:
    """Comparisons that are corrected together: pairs (before, after) of arms."""

    name: str
    about: str
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study's folder.

    Attributes:
        edition: its name.
        about: what it is, and what was chosen to make it fit.
        arms: of the grid, in order, those without a run included.
        taken: names of those that the edition runs.
        seeds: of arms that are trained.
        evaluation: the edition's `[evaluation]`: tasks per split, seed, temperature.
        families: of comparisons.
        versions, hardware: where it ran.
        runs: those there are, in order of arms and seeds.
        ledger: events in order of time.
    """

    edition: str
    about: str
    arms: Sequence[ArmRecord]
    taken: Sequence[str]
    seeds: Sequence[int]
    evaluation: Mapping[str, object]
    families: Sequence[Family]
    versions: Mapping[str, str]
    hardware: Mapping[str, object]
    runs: Sequence[RunRecord]
    ledger: Sequence[Mapping[str, object]]

    def of_arm(self, name: str) -> list[RunRecord]:
        """The runs of an arm, by seed."""
        return [run for run in self.runs if run.arm == name]


def run_name(arm: str, seed: int) -> str:
    """The folder of an arm with a seed."""
    return f"{arm}-s{seed}"


def evaluation_file(split: str) -> str:
    """The file of a finished evaluation."""
    return f"evaluation-{split}.jsonl"


def read_study(folder: Path) -> StudyRecord:
    """All of it. Raises StudyError where it is no study's folder, or a file is damaged."""
    if not (folder / STUDY_FILE).is_file():
        raise StudyError(
            f"{folder} holds no study: there is no {STUDY_FILE} in it (`medgym study run --out` makes one)"
        )
    held = cast("Mapping[str, object]", json.loads((folder / STUDY_FILE).read_text("utf-8")))
    arms = [ArmRecord(**arm) for arm in cast("Sequence[dict[str, str]]", held["arms"])]
    families = [
        Family(
            str(one["name"]),
            str(one["about"]),
            [(str(a), str(b)) for a, b in cast("Sequence[Sequence[str]]", one["pairs"])],
        )
        for one in cast("Sequence[Mapping[str, object]]", held["families"])
    ]
    seeds = [int(seed) for seed in cast("Sequence[int]", held["seeds"])]
    runs = [
        run
        for arm in arms
        for seed in sorted({0, *seeds})
        if (run := read_run(folder / run_name(arm.name, seed), arm.name, seed)) is not None
    ]
    ledger = text_of(folder / LEDGER_FILE)
    return StudyRecord(
        edition=str(held["edition"]),
        about=str(held["about"]),
        arms=arms,
        taken=cast("Sequence[str]", held["taken"]),
        seeds=seeds,
        evaluation=cast("Mapping[str, object]", held["evaluation"]),
        families=families,
        versions=cast("Mapping[str, str]", held["versions"]),
        hardware=cast("Mapping[str, object]", held["hardware"]),
        runs=runs,
        ledger=[json.loads(line) for line in (ledger or "").splitlines()],
    )


def read_run(folder: Path, arm: str, seed: int) -> RunRecord | None:
    """A run's folder; None where it has nothing yet."""
    recipe = text_of(folder / RESOLVED_FILE)
    metrics = text_of(folder / METRICS_FILE)
    lines, summary = parse_metrics(folder / METRICS_FILE, metrics.encode()) if metrics is not None else ([], None)
    found: dict[str, Sequence[Judged]] = {}
    for path in sorted(path for path in folder.glob("evaluation-*.jsonl*") if path.suffix in (".jsonl", PACKED)):
        split = path.name.removeprefix("evaluation-").removesuffix(PACKED).removesuffix(".jsonl")
        found[split] = _judged(path)
    if recipe is None and metrics is None and not found:
        return None
    return RunRecord(arm, seed, json.loads(recipe) if recipe else {}, lines, summary, found)


def _judged(path: Path) -> list[Judged]:
    text = text_of(path.with_name(path.name.removesuffix(PACKED))) or ""
    return sorted((Judged(**json.loads(line)) for line in text.splitlines()), key=lambda one: one.task)


def text_of(path: Path) -> str | None:
    """A file's text, packed or not; None where it is not there."""
    packed = path.with_name(path.name + PACKED)
    if path.is_file():
        return path.read_text("utf-8")
    return gzip.decompress(packed.read_bytes()).decode("utf-8") if packed.is_file() else None
