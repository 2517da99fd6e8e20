"""The shape of the house: floors, packages, sizes, dependencies."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("tools", "env", "agent", "eval", "train")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def sources() -> list[Path]:
    return sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def test_packages_are_the_folders_on_disk():
    folders = {"medgym"} | {
        f"medgym.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}" for path in sources()
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == folders


def test_every_package_folder_has_an_init():
    missing = [path.parent for path in sources() if not (path.parent / "__init__.py").is_file()]
    assert missing == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_downward(path: Path):
    own = FLOORS.index(path.relative_to(ROOT).parts[0])
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(name.name.split(".")[0] == "medgym" for name in node.names), "imports inside are relative"
        if not isinstance(node, ast.ImportFrom):
            continue
        assert not (node.module or "").startswith("medgym"), "imports inside are relative"
        if node.level > depth:
            target = (node.module or node.names[0].name).split(".")[0]
            assert target != "cli"
            if target in FLOORS:
                assert FLOORS.index(target) <= own, f"line {node.lineno} imports {target}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_are_small(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < (700 if path.parts[len(ROOT.parts)] == "train" else 400)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= 80, f"{node.name} has {size} lines"


@pytest.mark.parametrize("floor", [floor for floor in FLOORS if (ROOT / floor).is_dir()])
def test_a_bare_checkout_is_refused(floor: str):
    done = subprocess.run([sys.executable, "-c", f"import {floor}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"medgym.{floor}" in done.stderr


def test_the_core_is_light():
    core = PYPROJECT["project"]["dependencies"]
    assert len(core) <= 12
    assert not any("torch" in name or "transformers" in name for name in core)


def test_extras_are_there():
    assert {"openai", "local", "train", "serve", "mcp", "fast", "ui", "dev"} <= set(
        PYPROJECT["project"]["optional-dependencies"]
    )


def test_constraints_pin_what_is_installed_by_name():
    pinned = {
        re.split(r"[=<>]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["local"]]
    wanted += [name for name in PYPROJECT["project"]["optional-dependencies"]["dev"] if not name.startswith("medgym")]
    names = {re.split(r"[\[<>=; ]", name)[0].lower().replace("_", "-") for name in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_langgraph_json_names_a_graph_in_module_form():
    for target in json.loads((ROOT / "langgraph.json").read_text())["graphs"].values():
        module, _, name = target.partition(":")
        assert "/" not in module
        graph = getattr(import_module(module), name)({"configurable": {"policy": "do-nothing"}})
        assert {"policy", "act"} <= set(graph.nodes) or {"model", "tools"} <= set(graph.nodes)


def test_version_is_one():
    assert import_module("medgym").__version__ == PYPROJECT["project"]["version"]


@pytest.mark.slow
def test_the_wheel_holds_every_data_file(tmp_path: Path):
    import zipfile

    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    data = [
        path
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*")
        if path.suffix in {".csv", ".toml", ".md", ".json"}
    ]
    assert len(data) > 20
    assert {f"medgym/{path.relative_to(ROOT).as_posix()}" for path in data} <= names
    assert not any(name.split("/")[0] in FLOORS for name in names)
