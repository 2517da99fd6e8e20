"""A run that is killed at random moments, or stopped by Ctrl-C, loses nothing and ends as one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from medgym.env.trajectory import Trajectory
from medgym.train.checkpoints import latest_checkpoint, step_of
from medgym.train.rollout.store import whole_trajectories

pytestmark = pytest.mark.slow

KILLS = 10
RECIPE = """
about = "A warm-up and TT-OPD, small"
algorithm = "tt_opd"
[model]
path = "tiny"
lora_rank = 4
[tiny]
layers = 2
width = 64
vocabulary = 1200
[tasks]
domains = ["medical_qa"]
train_limit = 4
val_limit = 2
[rollout]
max_new_tokens = 24
max_episode_tokens = 1200
observation_limit = 200
specs = "names"
[batch]
prompts = 2
group = 2
micro = 2
[optim]
steps = 8
learning_rate = 1e-3
[warmup]
steps = 6
[opd]
coefficient = 0.5
ema_every = 1
hard_copy_every = 4
phase_out_steps = 6
[checkpoints]
every = 2
[validation]
every = 4
episodes = 2
[report]
dashboard = false
"""


def command(arguments: Sequence[str], cache: str) -> None:
    """The command in a process of its own, its output kept out of the test's."""
    import torch

    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = cache
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    from medgym.cli import app

    app([*arguments, "--json"], standalone_mode=True)


@pytest.fixture(scope="module")
def starter() -> Any:
    """Processes that begin with the heavy packages already imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medgym.train.launch", "medgym.cli"])
    return context


def run(starter: Any, arguments: Sequence[str], cache: Path, seconds: float | None = None) -> bool:
    """Whether it came to its end; killed after `seconds`."""
    process = starter.Process(target=command, args=(list(arguments), str(cache)))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return False
    assert process.exitcode == 0
    return True


def stored(folder: Path) -> list[Trajectory]:
    return list(whole_trajectories(folder / "trajectories" / "rank0.jsonl.zst"))


def played(folder: Path) -> set[str]:
    """What was done in each stored episode, and where it belongs."""
    return {json.dumps([one.task, one.seed, one.sampling, one.actions]) for one in stored(folder)}


def metric_lines(folder: Path) -> list[tuple[str, int, bool]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert list(lines[-1]) == ["summary"]
    return [(line["stage"], line["step"], "val_reward" in line) for line in lines[:-1]]


def one_life(starter: Any, recipe: Path, folder: Path, cache: Path, waits: Iterator[float]) -> int:
    """Run it to its end, killed whenever `waits` says so; the number of kills."""
    kills = 0
    while True:
        before = stored(folder)
        begun = (folder / "recipe.json").is_file()
        arguments = ["--resume", str(folder)] if begun else ["--recipe", str(recipe), "--out", str(folder)]
        finished = run(starter, ["train", *arguments], cache, next(waits, None))
        assert stored(folder)[: len(before)] == before
        if finished:
            return kills
        kills += 1


@dataclass(frozen=True)
class Scene:
    """A recipe, a warm cache, and the run of the recipe that nothing disturbed."""

    recipe: Path
    cache: Path
    straight: Path
    seconds: float


@pytest.fixture(scope="module")
def scene(starter: Any, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("killed")
    recipe, cache, straight = folder / "killed.toml", folder / "cache", folder / "straight"
    recipe.write_text(RECIPE)
    one_life(starter, recipe, folder / "cold", cache, iter(()))
    began = time.monotonic()
    one_life(starter, recipe, straight, cache, iter(()))
    return Scene(recipe, cache, straight, time.monotonic() - began)


def assert_ended_alike(scene: Scene, folder: Path) -> None:
    one, other = (load_file(end / "policy" / "adapter_model.safetensors") for end in (scene.straight, folder))
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-6
    assert metric_lines(folder) == metric_lines(scene.straight)
    assert played(scene.straight) <= played(folder)


def test_ten_kills_change_nothing(starter: Any, scene: Scene, tmp_path: Path) -> None:
    draw = random.Random(7)
    kills, lives = 0, 0
    while kills < KILLS:
        folder = tmp_path / f"life{lives}"
        waits = [draw.uniform(0.15, 0.8) * scene.seconds for _ in range(KILLS - kills)]
        kills += one_life(starter, scene.recipe, folder, scene.cache, iter(waits))
        lives += 1
        assert_ended_alike(scene, folder)


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(starter: Any, scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    arguments = ["train", "--recipe", str(scene.recipe), "--out", str(folder)]
    process = starter.Process(target=command, args=(arguments, str(scene.cache)))
    process.start()
    metrics = folder / "metrics.jsonl"
    while process.is_alive() and not (metrics.is_file() and '"stage": "rl", "step": 1,' in metrics.read_text()):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 1
    newest = latest_checkpoint(folder / "checkpoints" / "rl")
    assert newest is not None
    assert step_of(newest) < 8
    assert not (folder / "policy").exists()
    one_life(starter, scene.recipe, folder, scene.cache, iter(()))
    assert_ended_alike(scene, folder)
