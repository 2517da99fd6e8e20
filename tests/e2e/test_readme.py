"""What the README says, run literally."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_python_snippets_run(snippet: str):
    done = subprocess.run([sys.executable, "-W", "error", "-c", snippet], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_two_commands_are_make_targets():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_expert_play_of_the_readme_solves_its_case(tmp_path: Path):
    line = next(line for line in README.splitlines() if line.startswith("medgym play --policy expert --domain"))
    arguments = shlex.split(line, comments=True)[1:]
    command = [sys.executable, "-m", "medgym.cli", *arguments, "--out", str(tmp_path), "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "composite" in done.stdout
    assert (tmp_path / "trajectories.jsonl.zst").is_file()


def test_commands_of_the_readme_exist():
    done = subprocess.run([sys.executable, "-m", "medgym.cli", "--help"], capture_output=True, text=True, check=True)
    named = {name for line in README.splitlines() for name in re.findall(r"`medgym (\w+)", line)}
    assert named
    assert all(name in done.stdout for name in named)


@pytest.mark.parametrize("missing", ["torch", "transformers", "gguf"])
def test_a_local_policy_without_its_extra_says_what_to_install(missing: str, tmp_path: Path):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"sys.argv = ['medgym', 'play', '--policy', 'local:smollm2', '--state-dir', {str(tmp_path)!r},"
        f" '--out', {str(tmp_path)!r}, '--cache-dir', {str(tmp_path)!r}]\n"
        "from medgym.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
