"""Stored trajectories are played again byte for byte; `python tests/golden/regenerate.py` writes them anew."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medgym.env.replay import differences
from medgym.env.replay import replay as replayed
from medgym.env.trajectory import Trajectory, encode

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.jsonl"))


@pytest.fixture(scope="module")
def regenerate() -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / "regenerate.py"))


def stored(path: Path) -> Trajectory:
    return Trajectory.from_json(json.loads(path.read_text(encoding="utf-8")))


def test_the_files_are_those_that_the_script_writes(regenerate: dict[str, Any]) -> None:
    assert {path.name for path in FILES} == set(regenerate["CASES"])
    assert sum(path.stat().st_size for path in FILES) < 200_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_same_messages_give_the_same_bytes(path: Path) -> None:
    golden = stored(path)
    assert differences(golden) == []
    again = Trajectory.of(replayed(golden), golden.policy, suite=golden.suite, sampling=golden.sampling)
    assert encode(replace(again, versions=golden.versions)) == path.read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_policy_gives_the_same_bytes(path: Path, regenerate: dict[str, Any]) -> None:
    again = replace(regenerate["played"](path.name), versions=stored(path).versions)
    assert encode(again) == path.read_bytes()
