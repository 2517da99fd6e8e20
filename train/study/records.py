"""What a study's folder holds, read back: arms, seeds, metrics, evaluations. Files may be packed (`.gz`).

    DIR/study.json                          the edition: arms, seeds, comparisons, versions, hardware
    DIR/ledger.jsonl                        what was started, stopped, finished, failed, and how long it took
    DIR/<arm>-s<seed>/recipe.json           of a trained arm
    DIR/<arm>-s<seed>/metrics.jsonl         of a trained arm
    DIR/<arm>-s<seed>/evaluation-<split>.jsonl   a line per case

Owns the layout and its reading, and promises that what is read has the types it says: anything else is a StudyError
that names the file. What is computed from it is `report`'s.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from ..recipe import RESOLVED_FILE
from ..watch.log import FILE_NAME as METRICS_FILE
from ..watch.log import Line, MetricsError, parse_metrics

STUDY_FILE = "study.json"
LEDGER_FILE = "ledger.jsonl"
PACKED = ".gz"

T = TypeVar("T")
_RUN = re.compile(r"(?P<arm>.+)-s(?P<seed>0|[1-9][0-9]*)")
_RESTORE = "restore it from a copy"
_RESTORE_STUDY = f"{_RESTORE}, or begin the study again in another folder"
_RESTORE_LEDGER = "delete that line, and what it says counts as not having happened"


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
    composite: FiniteFloat
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
        runs: those there are, in order of arms and seeds, with seeds that the edition does not name as well.
        ledger: events in order of time; each has the texts `event` and `job`.
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
    runs: Sequence[RunRecord] = ()
    ledger: Sequence[Mapping[str, object]] = ()

    def of_arm(self, name: str) -> list[RunRecord]:
        """The runs of an arm, by seed."""
        return [run for run in self.runs if run.arm == name]


def run_name(arm: str, seed: int) -> str:
    """The folder of an arm with a seed."""
    return f"{arm}-s{seed}"


def run_of(name: str) -> tuple[str, int] | None:
    """Arm and seed of what `run_name` gives; None for another name."""
    found = _RUN.fullmatch(name)
    return (found["arm"], int(found["seed"])) if found else None


def evaluation_file(split: str) -> str:
    """The file of a finished evaluation."""
    return f"evaluation-{split}.jsonl"


@dataclass(frozen=True, slots=True)
class _Summary:
    """What is read of a run's summary; it holds more."""

    steps: int | None = None
    seconds_per_step: float | None = None
    mechanisms: Mapping[str, int] | None = None
    mechanisms_conditional: Sequence[str] | None = None


_STUDY = TypeAdapter(StudyRecord)
_CASE = TypeAdapter(Judged)
_SUMMARY = TypeAdapter(_Summary)
_RECIPE: TypeAdapter[Mapping[str, object]] = TypeAdapter(Mapping[str, object])


def read_study(folder: Path) -> StudyRecord:
    """All of it. Raises StudyError where it is no study's folder, or a file is damaged."""
    text = text_of(folder / STUDY_FILE)
    if text is None:
        raise StudyError(
            f"{folder} holds no study: there is no {STUDY_FILE} in it (`medgym study run --out` makes one)"
        )
    described = _parsed(_STUDY, text, str(folder / STUDY_FILE), _RESTORE_STUDY)
    place = {arm.name: at for at, arm in enumerate(described.arms)}
    named = [run_of(path.name) for path in folder.iterdir() if path.is_dir()]
    known = sorted((place[run[0]], run[1], run[0]) for run in named if run is not None and run[0] in place)
    runs = [read_run(folder / run_name(arm, seed), arm, seed) for _, seed, arm in known]
    ledger = parse_ledger(folder / LEDGER_FILE, text_of(folder / LEDGER_FILE) or "")
    return replace(described, runs=[run for run in runs if run is not None], ledger=ledger)


def read_run(folder: Path, arm: str, seed: int) -> RunRecord | None:
    """A run's folder; None where it has nothing yet. Raises StudyError where a file is damaged."""
    mend = f"{_RESTORE}, or delete the folder and the lines on {run_name(arm, seed)} in {LEDGER_FILE} to run it again"
    recipe = text_of(folder / RESOLVED_FILE)
    read = _parsed(_RECIPE, recipe if recipe is not None else "{}", str(folder / RESOLVED_FILE), mend)
    metrics = content_of(folder / METRICS_FILE)
    lines, summary = _metrics(folder / METRICS_FILE, metrics, mend) if metrics is not None else ([], None)
    found: dict[str, Sequence[Judged]] = {}
    for path in sorted(path for path in folder.glob("evaluation-*.jsonl*") if path.suffix in (".jsonl", PACKED)):
        plain = path.with_name(path.name.removesuffix(PACKED))
        found[plain.stem.removeprefix("evaluation-")] = _cases(plain)
    if recipe is None and metrics is None and not found:
        return None
    return RunRecord(arm, seed, read, lines, summary, found)


def _metrics(path: Path, content: bytes, mend: str) -> tuple[list[Line], Mapping[str, object] | None]:
    try:
        lines, summary = parse_metrics(path, content)
    except MetricsError as error:
        raise StudyError(f"{error}: {mend}") from error
    if any(not isinstance(line.get("stage"), str) for line in lines):
        raise StudyError(f"{path} holds a line without a stage: {mend}")
    if summary is not None:
        _parsed(_SUMMARY, json.dumps(summary), f"the summary in {path}", mend)
    return lines, summary


def _cases(path: Path) -> list[Judged]:
    job = f"{path.parent.name}:evaluate"
    mend = f"{_RESTORE}, or delete it and the line in {LEDGER_FILE} that says {job} finished, to measure again"
    lines = (text_of(path) or "").split("\n")
    cases = [_parsed(_CASE, line, f"{path}, line {at}", mend) for at, line in enumerate(lines, 1) if line.strip()]
    return sorted(cases, key=lambda one: one.task)


def parse_ledger(path: Path, text: str) -> list[Mapping[str, object]]:
    """The events of a ledger's text; a last line without its newline, which a kill has cut, is left out.

    Raises:
        StudyError: another line is damaged; `path` is named.
    """
    return [_event(path, at, line) for at, line in enumerate(text.split("\n")[:-1], 1) if line.strip()]


def _event(path: Path, at: int, line: str) -> Mapping[str, object]:
    """By `json`: a message may hold half a character, which pydantic refuses."""
    try:
        found: object = json.loads(line)
    except ValueError as error:
        raise StudyError(f"{path}, line {at} is damaged ({error}): {_RESTORE_LEDGER}") from error
    event = cast("Mapping[str, object]", found if isinstance(found, dict) else {})
    if not (isinstance(event.get("event"), str) and isinstance(event.get("job"), str)):
        raise StudyError(f"{path}, line {at} does not say what happened to which job: {_RESTORE_LEDGER}")
    return event


def _parsed(kind: TypeAdapter[T], text: str, where: str, mend: str) -> T:
    try:
        return kind.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StudyError(f"{where} is damaged ({f'{key}: ' if key else ''}{first['msg']}): {mend}") from error


def text_of(path: Path) -> str | None:
    """A file's text, packed or not; None where it is not there. Raises StudyError where it cannot be read."""
    content = content_of(path)
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is damaged ({error}): {_RESTORE}") from error


def content_of(path: Path) -> bytes | None:
    """A file's bytes, unpacked; None where it is not there. Raises StudyError where it cannot be read."""
    packed = path.with_name(path.name + PACKED)
    try:
        if path.is_file():
            return path.read_bytes()
        return _unpacked(packed.read_bytes()) if packed.is_file() else None
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"{path if path.is_file() else packed} cannot be read ({error}): {_RESTORE}") from error


def _unpacked(content: bytes) -> bytes:
    if not content:  # which gzip takes for nothing packed
        raise EOFError("it is empty")
    return gzip.decompress(content)
