"""A study's folder, made of synthetic figures: nothing is trained, every number is a function of its place."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from medgym.train.study.records import Judged, StudyRecord, read_study, run_name
from medgym.train.study.report import write_study_report

STARTS = ("base", "sft")
OPD = ("opd/kl_hint", "opd/kl_drift", "opd/coefficient", "opd/hint_margin", "opd/teacher_distance")


@dataclass
class StudyFolder:
    """Writes the files of a study."""

    folder: Path
    events: list[Mapping[str, object]] = field(default_factory=list[Mapping[str, object]])

    def describe(
        self,
        arms: Sequence[tuple[str, str]],
        *,
        seeds: Sequence[int] = (0, 1, 2),
        families: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (),
        splits: Sequence[str] = ("val", "heldout"),
        left_out: Sequence[str] = (),
    ) -> None:
        """`study.json`; arms are (name, recipe), "" for one that is not trained; all but `STARTS` begin from sft."""
        held = {
            "edition": "synthetic",
            "about": "Figures that nobody trained for.\n\nSmall | and *odd*.",
            "arms": [
                {"name": n, "about": f"what {n} is", "recipe": r, "start": "" if n in STARTS else "sft"}
                for n, r in arms
            ],
            "taken": [name for name, _ in arms if name not in left_out],
            "seeds": list(seeds),
            "evaluation": {"val": 0, "heldout": 0, **dict.fromkeys(splits, 8), "seed": 7, "temperature": 1.0},
            "families": [{"name": n, "about": f"about {n}", "pairs": list(pairs)} for n, pairs in families],
            "versions": {"medgym": "0.1.0", "torch": "2.13.0"},
            "hardware": {"processor": "two cores", "memory_gib": 7.5},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "study.json").write_text(json.dumps(held))

    def write_lines(self, arm: str, seed: int, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """One JSON object a line, into a run's folder."""
        path = self.folder / run_name(arm, seed) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def train(
        self,
        arm: str,
        seed: int,
        lines: Sequence[Mapping[str, object]],
        *,
        algorithm: str = "grpo",
        summary: Mapping[str, object] | None = None,
    ) -> None:
        """`recipe.json` and `metrics.jsonl`; without a summary the run is not finished."""
        self.write_lines(arm, seed, "recipe.json", [{"name": arm, "algorithm": algorithm, "seed": seed}])
        self.write_lines(arm, seed, "metrics.jsonl", [*lines, *([{"summary": summary}] if summary else [])])

    def evaluate(self, arm: str, seed: int, split: str, rewards: Mapping[str, float], /, **values: object) -> None:
        """An evaluation of these tasks; `values` are those of every case. A task `x/1` is of the group `x`."""
        cases = [asdict(judged(task, split, reward)) | values for task, reward in rewards.items()]
        self.write_lines(arm, seed, f"evaluation-{split}.jsonl", cases)

    def event(self, kind: str, job: str, **values: object) -> None:
        """A line of the ledger."""
        at = f"2026-05-0{1 + len(self.events) % 9}T10:00:00+00:00"
        self.events.append({"event": kind, "job": job, "at": at, "attempt": 1, **values})
        (self.folder / "ledger.jsonl").write_text("".join(json.dumps(one) + "\n" for one in self.events))

    def pack(self) -> None:
        """Everything but `study.json` as `.gz`."""
        for path in sorted(self.folder.rglob("*.json*")):
            if path.name != "study.json":
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()

    def read(self) -> StudyRecord:
        return read_study(self.folder)


def judged(task: str, split: str, reward: float) -> Judged:
    """A case with this reward."""
    return Judged(
        task=task,
        group=task.partition("/")[0],
        split=split,
        composite=reward,
        parts={"accuracy": reward, "evidence": reward / 2, "composite": reward},
        correct=reward >= 0.5,
        submitted=True,
        capped=False,
        attempts=4,
        well_formed=3,
        turns=6,
        policy_tokens=300,
        finish="submitted",
    )


def rl_lines(steps: int, shift: float = 0.0, *, opd: bool = False) -> list[Mapping[str, object]]:
    """Metrics of so many steps, shifted so that runs differ."""
    lines: list[Mapping[str, object]] = []
    for step in range(1, steps + 1):
        wave = 0.1 * math.sin(step + shift) + 0.004 * step + shift / 10
        line: dict[str, object] = {"stage": "rl", "step": step, "reward": wave, "grad_norm": 1 + abs(wave)}
        line |= {f"clinical/{part}": wave for part in ("composite", "accuracy", "safety", "success", "evidence")}
        line |= {"turns/mean": 6 + wave, "turns/policy_tokens": 300 + step, "tools/calls": 5.0}
        line |= {"tools/well_formed_frac": 0.8, "entropy": 1 - wave, "collapse/dead_groups": 0.25}
        line |= {"mechanism/length_control": step, "alarm/entropy_collapse": int(step > 5), "alarm/kl_drift": 0}
        if opd:
            line |= dict.fromkeys(OPD, wave)
            line |= {"opd/hint_margin_low": wave - 0.2, "opd/hint_margin_high": wave + 0.2, "mechanism/hints": 0}
        lines.append(line)
    return lines


def summary_of(steps: int, mechanisms: Mapping[str, int], conditional: Sequence[str] = ()) -> Mapping[str, object]:
    """A run's last line."""
    found = {"steps": steps, "mechanisms": mechanisms, "mechanisms_conditional": list(conditional)}
    return {**found, "seconds_per_step": 12.5, "alarms": []}


def rewards(tasks: int, shift: float = 0.0) -> dict[str, float]:
    """Task to reward, two tasks a group."""
    return {f"row-{at // 2}/{at}": round((at * 37 % 11) / 11 * 0.8 + shift, 6) for at in range(tasks)}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., StudyFolder]:
    """An empty study of these arms; a second one needs a `name`."""

    def made(arms: Sequence[tuple[str, str]], name: str = "study", **described: object) -> StudyFolder:
        found = StudyFolder(tmp_path / name)
        found.describe(arms, **described)  # pyright: ignore[reportArgumentType]
        return found

    return made


@pytest.fixture
def uneven(tmp_path: Path) -> StudyFolder:
    """The study of `fill_unevenly`, to read and to change."""
    return fill_unevenly(StudyFolder(tmp_path / "study"))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Path]:
    """The study of `fill_unevenly` and the folder of its report, to read only."""
    folder = tmp_path_factory.mktemp("written")
    study = fill_unevenly(StudyFolder(folder / "study"))
    write_study_report(study.folder, folder / "out")
    return study, folder / "out"


def fill_unevenly(study: StudyFolder) -> StudyFolder:
    """A study that is not whole: every way in which an arm can be incomplete, once.

    `base` is not trained; `sft` has one seed and no stage `rl`; `grpo` has three seeds; `opd` has one finished run,
    one that is not and one that failed; `gspo` was evaluated on fewer tasks; `ppo` never ran.
    """
    trained = ("sft", "grpo", "opd", "gspo", "ppo")
    pairs = [("sft", "grpo"), ("grpo", "opd"), ("grpo", "gspo"), ("grpo", "ppo")]
    study.describe(
        [("base", ""), *((name, name) for name in trained)],
        families=[("algorithms", pairs), ("start", [("base", "sft")])],
    )
    for arm, seed, shift in (("base", 0, 0.0), ("sft", 0, 0.02), *(("grpo", at, 0.1 + at / 50) for at in range(3))):
        study.evaluate(arm, seed, "val", rewards(8, shift))
        study.evaluate(arm, seed, "heldout", rewards(4, shift / 2))
    loss: list[Mapping[str, object]] = [{"stage": "sft", "step": step, "loss": 1 / step} for step in range(1, 31)]
    study.train("sft", 0, loss, algorithm="sft", summary=summary_of(30, {}))
    for seed in range(3):
        study.train("grpo", seed, rl_lines(25, seed), summary=summary_of(25, {"length_control": 25}))
        study.event("started", f"grpo-s{seed}:train")
        study.event("finished", f"grpo-s{seed}:train", seconds=100.5)
        study.event("finished", f"grpo-s{seed}:evaluate", seconds=20.0)
    counts = {"length_control": 9, "hints": 0, "resampling": 0}
    done = summary_of(9, counts, ["resampling"])
    study.train("opd", 0, rl_lines(9, 0.3, opd=True), algorithm="tt_opd", summary=done)
    study.train("opd", 1, rl_lines(7, 0.4, opd=True), algorithm="tt_opd")
    study.train("opd", 2, rl_lines(3, 0.5, opd=True), algorithm="tt_opd")
    study.evaluate("opd", 0, "val", rewards(8, 0.15))
    study.event("started", "opd-s1:train")
    study.event("stopped", "opd-s1:train", seconds=30.0)
    study.event("started", "opd-s1:train")
    study.event("started", "opd-s2:train")
    study.event("failed", "opd-s2:train", seconds=7.25, attempt=2, message="RuntimeError: out of\nmemory | <b>")
    for seed in range(2):
        study.train("gspo", seed, rl_lines(4, seed), summary=summary_of(4, {"length_control": 4}))
        study.evaluate("gspo", seed, "val", rewards(6 - seed, 0.1))
    return study
