"""A study from beginning to end on the tiny model: killed half-way, gone on with, reported, packed, measured again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medgym.train.recipe import load_recipe
from medgym.train.study.evaluation import blocks_file, evaluate, evaluation_cases
from medgym.train.study.grid import EDITIONS
from medgym.train.study.records import read_study

pytestmark = pytest.mark.slow

ARMS = ["base", "sft", "grpo", "tt-opd", "dapo", "death-v30"]
STEPS = 4


def medgym(*command: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medgym.cli", *map(str, command)], capture_output=True, text=True, **more
    )


def steps_of(folder: Path) -> list[int]:
    """Steps of the RL stage in the metrics, in order of writing."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [line["step"] for line in lines if line.get("stage") == "rl" and "loss" in line]


@pytest.fixture(scope="module")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny edition: fewer arms, more steps, a checkpoint after each rollout."""
    text = (EDITIONS / "tiny.toml").read_text()
    text = text.replace("seeds = [0]", f"seeds = [0]\narms = {json.dumps(ARMS)}")
    text = text.replace('"optim.steps" = 2\n"optim.learning_rate"', f'"optim.steps" = {STEPS}\n"optim.learning_rate"')
    path = tmp_path_factory.mktemp("edition") / "short.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def study(edition: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed in the middle of an RL arm, without a word of warning, and gone on with."""
    out = tmp_path_factory.mktemp("study") / "out"
    command = [sys.executable, "-m", "medgym.cli", "study", "run", "--edition", str(edition), "--out", str(out)]
    with subprocess.Popen([*command, "--minutes", "20"], stderr=subprocess.DEVNULL) as runner:
        until = time.monotonic() + 900
        grpo = out / "grpo-s0" / "metrics.jsonl"
        while not (grpo.is_file() and len(steps_of(grpo.parent)) >= STEPS // 2):
            assert runner.poll() is None, (out / "ledger.jsonl").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        os.kill(runner.pid, signal.SIGKILL)
    assert len(steps_of(out / "grpo-s0")) < STEPS or not (out / "grpo-s0" / "policy").exists()
    ended = medgym("study", "run", "--out", out, "--minutes", 20, "--json")
    assert ended.returncode == 0, ended.stderr + (out / "ledger.jsonl").read_text()
    row = json.loads(ended.stdout)
    assert (row["pending"], row["given_up"], row["blocked"]) == (0, {}, [])
    return out


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm not in ("base", "sft")])
def test_no_step_is_lost_or_done_twice(study: Path, arm: str) -> None:
    assert steps_of(study / f"{arm}-s0") == list(range(1, STEPS + 1))


def test_every_mechanism_that_a_recipe_names_fired(study: Path) -> None:
    record = read_study(study)
    for run in record.runs:
        if run.arm == "base":
            continue
        assert run.summary is not None
        counts: Mapping[str, int] = run.summary["mechanisms"]  # type: ignore[assignment]
        conditional: list[str] = run.summary["mechanisms_conditional"]  # type: ignore[assignment]
        silent = [name for name, count in counts.items() if not count and name not in conditional]
        assert silent == [], run.arm
    opd = next(run for run in record.runs if run.arm == "tt-opd")
    assert opd.summary is not None
    assert {"hints", "ema_updates", "hard_copies", "truncated_turns"} & set(opd.summary["mechanisms"])  # type: ignore[call-overload]


def test_the_kill_is_in_the_ledger_and_nothing_else_went_wrong(study: Path) -> None:
    events = read_study(study).ledger
    begun = [event["job"] for event in events if event["event"] == "started"]
    assert begun.count("grpo-s0:train") == 2
    assert not [event for event in events if event["event"] == "failed"]


def test_every_policy_was_measured_on_the_same_cases(study: Path) -> None:
    found = {run.arm: run.evaluations for run in read_study(study).runs}
    assert set(found) == set(ARMS)
    for split, count in (("val", 4), ("heldout", 2)):
        cases = {arm: [one.task for one in own[split]] for arm, own in found.items()}
        assert len(set(map(tuple, cases.values()))) == 1
        assert all(
            len(own) == count and {one.split for one in found[arm][split]} == {split} for arm, own in cases.items()
        )


def test_the_report_is_whole_and_the_packed_study_gives_the_same(study: Path, tmp_path: Path) -> None:
    assert medgym("study", "report", study, "--out", tmp_path / "a").returncode == 0
    packed = tmp_path / "packed"
    row = json.loads(medgym("study", "pack", study, "--out", packed, "--json").stdout)
    assert 0 < row["bytes"] < 2**20
    assert not list(packed.rglob("*.safetensors"))
    assert medgym("study", "report", packed, "--out", tmp_path / "b").returncode == 0
    files = {
        path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()
    }
    assert files == {
        path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()
    }
    tables = {path.stem for path in files if path.suffix == ".csv"}
    assert tables == {"arms", "comparisons", "mechanisms", "alarms", "dynamics", "time"}
    assert len([path for path in files if path.suffix == ".svg"]) >= 12


def test_a_policy_measured_again_gives_the_same_figures(study: Path, tmp_path: Path) -> None:
    command = ("study", "evaluate", "--policy", study / "grpo-s0" / "policy", "--split", "val", "--n", 4, "--json")
    first = medgym(*command, "--out", tmp_path / "1.jsonl")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "1.jsonl").read_text() == (study / "grpo-s0" / "evaluation-val.jsonl").read_text()
    assert "is there already" in medgym(*command, "--out", tmp_path / "1.jsonl").stderr


def test_finished_blocks_belong_to_one_measurement(study: Path, tmp_path: Path) -> None:
    """What a call that was killed leaves beside the file is gone on with by the same policy, cases and luck only."""
    policy = tmp_path / "policy"
    shutil.copytree(study / "grpo-s0" / "policy", policy)
    recipe = load_recipe(str(policy / "recipe.json"), model__path=str(policy))
    cases = evaluation_cases(recipe, "val", 4, 0)
    out = tmp_path / "e.jsonl"

    def place(count: int = 4, seed: int = 0, temperature: float = 1.0) -> Path:
        return blocks_file(out, recipe, cases[:count], seed, temperature)

    places = [place(), place(count=3), place(seed=1), place(temperature=0.5)]
    assert place() == places[0]
    held = (study / "sft-s0" / "evaluation-val.jsonl").read_text()
    places[0].write_text(held)  # another's, so that it shows who was asked
    judged = evaluate(recipe, cases, seed=0, temperature=1.0, out=out)
    assert out.read_text() == held
    assert [one.task for one in judged] == [task.id for task in cases]
    weights = next(policy.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert len({*places, place()}) == 5
