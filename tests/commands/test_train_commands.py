"""`medgym train` and `python train/run.py`: listing, dry runs, where a run goes, what a resume refuses, exit codes."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medgym.train import commands
from medgym.train.recipe import load_recipe, recipe_names, to_json

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "train" / "run.py"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the launcher was asked for; it runs nothing and reports a summary."""
    from medgym.train import launch

    asked: list[dict[str, Any]] = []

    def fake(recipe: Any, out: Path, *, resume: bool, output: Any) -> dict[str, object]:
        asked.append({"recipe": recipe, "out": out, "resume": resume})
        return {"steps": recipe.optim.steps, "mechanisms": {"opd/ema": 2}, "signal_first": 0.123456}

    monkeypatch.setattr(launch, "launch", fake)
    return asked


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder that holds a run of the recipe grpo with seed 3."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(to_json(load_recipe("grpo", seed=3))))
    return folder


def test_alone_it_lists_the_recipes(medgym: Any) -> None:
    rows = medgym("train", "--json").rows
    assert [row["recipe"] for row in rows] == recipe_names()
    assert all(row["algorithm"] and row["about"] for row in rows)
    shown = medgym("train")
    assert shown.code == 0
    for row in rows:
        assert row["about"] in shown.out


@pytest.mark.parametrize("option", [("--dry-run",), ("--set", "seed=1"), ("--seed", 0), ("--model", "tiny")])
def test_options_without_a_recipe_are_refused(medgym: Any, option: tuple[object, ...]) -> None:
    medgym("train", *option).failed(2, "--recipe NAME")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--recipe", "smok"), "no recipe 'smok'"),
        (("--recipe", "grpo", "--set", "optm.steps=1"), "unknown key optm (nearest: optim"),
        (("--recipe", "grpo", "--set", "steps"), "section.key=value"),
        (("--recipe", "gspo", "--set", "batch.updates=1"), "set batch.updates = 2"),
        (("--recipe", "grpo", "--processes", "0", "--dry-run"), "--processes"),
        (("--recipe", "grpo", "--set", "tasks.literature=nowhere", "--dry-run"), "tasks.literature = 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line(medgym: Any, arguments: tuple[str, ...], said: str) -> None:
    medgym("train", *arguments).failed(2, said)


def test_a_dry_run_tells_all_and_leaves_nothing(medgym: Any, tmp_path: Path) -> None:
    options = ("--set", "optim.steps=7", "--set", "batch.micro=1", "--seed", 5, "--model", "tiny")
    (told,) = medgym(
        "train", "--recipe", "tt-opd", "--set", "opd.hard_copy_every=0", *options, "--dry-run", "--json"
    ).rows
    recipe = told["recipe"]
    assert (recipe["optim"]["steps"], recipe["batch"]["micro"], recipe["seed"]) == (7, 1, 5)
    assert (recipe["model"]["path"], recipe["loss"]["loss_type"]) == ("tiny", "grpo")
    assert told["batches"] == {"rows": 16, "accumulation": 16, "updates": 1}
    assert told["memory_gib"]["peak"] > 0
    assert told["problems"] == []
    shown = medgym("train", "--recipe", "smoke", "--dry-run")
    assert shown.code == 0
    for part in ("opd.ema_every", "batches divide", "memory, peak", "time per step"):
        assert part in shown.out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_whose_batches_do_not_divide_is_a_finding(medgym: Any) -> None:
    shown = medgym("train", "--recipe", "grpo", "--dry-run", "--processes", 3)
    assert shown.code == 1
    assert "problem: batch.prompts x batch.group = 4 x 4 = 16 rows do not divide" in shown.out
    assert medgym("train", "--recipe", "grpo", "--dry-run", "--processes", 3, "--json").rows[0]["problems"]


def test_a_launched_dry_run_counts_its_processes_and_speaks_once(medgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert medgym("train", "--recipe", "smoke", "--dry-run", "--json").rows[0]["processes"] == 2
    monkeypatch.setenv("RANK", "1")
    assert medgym("train", "--recipe", "smoke", "--dry-run", "--json").out == ""


def test_a_run_goes_where_it_is_said(medgym: Any, launched: list[dict[str, Any]], tmp_path: Path) -> None:
    shown = medgym("train", "--recipe", "grpo", "--seed", 4, "--set", "optim.steps=9")
    assert shown.code == 0
    assert "opd/ema" in shown.out
    assert "0.1235" in shown.out
    (told,) = medgym("train", "--recipe", "grpo", "--out", "here", "--json").rows
    assert told == {
        "out": str(tmp_path / "here"),
        "summary": {"steps": 60, "mechanisms": {"opd/ema": 2}, "signal_first": 0.123456},
    }
    first, second = launched
    assert first["recipe"] == load_recipe("grpo", ["optim.steps=9"], seed=4)
    assert (first["out"], first["resume"]) == (tmp_path / "runs" / "train" / "grpo-s4", False)
    assert second["out"] == tmp_path / "here"


@pytest.mark.parametrize("name", ["recipe.json", "metrics.jsonl"])
def test_a_folder_that_holds_a_run_is_refused(
    name: str, medgym: Any, launched: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / name).touch()
    medgym("train", "--recipe", "grpo", "--out", "used").failed(2, "already holds a run", "--resume")
    assert launched == []
    monkeypatch.setenv("RANK", "1")  # the first process may have begun to write there
    assert medgym("train", "--recipe", "grpo", "--out", "used", "--json").out == ""
    assert len(launched) == 1


def test_a_resume_takes_the_recipe_of_the_folder(medgym: Any, launched: list[dict[str, Any]], run_folder: Path) -> None:
    for more in ((), ("--set", "optim.steps=90"), ("--recipe", "grpo", "--seed", "3"), ("--out", run_folder)):
        assert medgym("train", "--resume", run_folder, *more).code == 0
    assert [one["recipe"].optim.steps for one in launched] == [60, 90, 60, 60]
    assert all(one["resume"] and one["out"] == run_folder and one["recipe"].seed == 3 for one in launched)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--set", "optim.learning_rate=1e-3"), "optim.learning_rate is 2e-05 there, 0.001 here"),
        (("--set", "optim.steps=90", "--set", "batch.group=8"), "batch.group is 4 there, 8 here"),
        (("--seed", "4"), "seed is 3 there, 4 here"),
        (("--model", "tiny"), "model.path is 'smollm2' there, 'tiny' here"),
        (("--recipe", "dr-grpo", "--seed", "3"), "algorithm is 'grpo' there, 'dr_grpo' here"),
        (("--out", "elsewhere"), "leave out --out"),
    ],
)
def test_a_resume_refuses_other_settings(
    more: tuple[str, ...], said: str, medgym: Any, launched: list[dict[str, Any]], run_folder: Path
) -> None:
    medgym("train", "--resume", run_folder, *more).failed(2, said)
    assert launched == []


def test_a_resume_without_a_run_is_refused(medgym: Any, tmp_path: Path) -> None:
    medgym("train", "--resume", tmp_path).failed(2, "holds no run to resume", "recipe.json")


def test_a_missing_package_is_one_line(medgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PACKAGES", ("torch", "not_there_at_all"))
    medgym("train", "--recipe", "smoke").failed(3, "(not_there_at_all)", 'pip install "medgym[train]"')


def failures() -> list[Any]:
    from medgym.agent.policies.local import MissingExtraError
    from medgym.agent.policies.served import ServerError
    from medgym.train.checkpoints import CheckpointError
    from medgym.train.mechanisms import MechanismSilentError
    from medgym.train.opd.splice import SpliceError
    from medgym.train.run_context import Interrupted
    from medgym.train.supervised.demonstrations import DemonstrationError
    from medgym.train.watch.detectors.alarm import Alarm
    from medgym.train.watch.detectors.watch import StoppedByDetector

    return [
        (Interrupted("stopped after step 4"), 1, "stopped after step 4; --resume"),
        (MechanismSilentError("never fired: opd/ema"), 1, "never fired: opd/ema"),
        (
            StoppedByDetector(Alarm("length_explosion", 9, "completions/mean_length", 9.0, 2.0, "grows")),
            1,
            "length_explosion",
        ),
        (DemonstrationError("no demonstration earns it"), 2, "no demonstration earns it"),
        (SpliceError("this template takes no hint"), 2, "takes no hint"),
        (CheckpointError("checkpoint-4 is incomplete"), 3, "is incomplete"),
        (ServerError("no answer"), 3, "no answer"),
        (MissingExtraError("the policy smollm2", "pip install x"), 3, "pip install x"),
    ]


def test_what_ends_a_run_is_one_line_with_its_exit_code(
    medgym: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from medgym.train import launch

    for error, code, said in failures():

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(launch, "launch", fail)
        medgym("train", "--recipe", "smoke", "--out", tmp_path / "run").failed(code, said)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "PYTHONPATH")}
    return kept | more


def test_the_script_is_the_command(medgym: Any, tmp_path: Path) -> None:
    arguments = ("--recipe", "smoke", "--dry-run", "--json")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == medgym("train", *arguments).out
    wrong = subprocess.run(
        [sys.executable, str(SCRIPT), "--recipe", "nope"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("medgym: no recipe 'nope'")


def test_the_script_takes_its_own_folder_off_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[str], list[str]]] = []
    script = runpy.run_path(str(SCRIPT))
    monkeypatch.setattr(sys, "path", [str(SCRIPT.parent), *sys.path])
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--recipe", "smoke"])
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: seen.append((name, list(sys.path), sys.argv[1:])))
    script["main"]()
    ((name, path, arguments),) = seen
    assert (name, arguments) == ("medgym.cli", ["train", "--recipe", "smoke"])
    assert str(SCRIPT.parent) not in path


def test_the_script_says_that_the_package_is_not_installed(tmp_path: Path) -> None:
    bare = [sys.executable, "-S", str(SCRIPT), "--recipe", "smoke"]  # without site-packages
    done = subprocess.run(bare, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("medgym is not installed for this Python: pip install")


@pytest.mark.slow
def test_accelerate_launches_the_script_on_two_processes(tmp_path: Path) -> None:
    config = ROOT / "train" / "accelerate" / "ddp-cpu.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += ["--main_process_port", "0", str(SCRIPT), "--recipe", "smoke", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["processes"] == 2


def test_the_accelerate_configs_are_what_their_names_say() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    held = {path.stem: load_config_from_file(str(path)) for path in (ROOT / "train" / "accelerate").glob("*.yaml")}
    kinds = {name: (str(one.distributed_type), one.num_processes, one.mixed_precision) for name, one in held.items()}
    assert kinds == {
        "ddp-cpu": ("DistributedType.MULTI_GPU", 2, "no"),
        "ddp": ("DistributedType.MULTI_GPU", 8, "no"),
        "fsdp": ("DistributedType.FSDP", 8, "bf16"),
        "deepspeed-zero3": ("DistributedType.DEEPSPEED", 8, "bf16"),
    }
    assert held["ddp-cpu"].use_cpu
