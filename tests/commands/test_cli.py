"""What all commands share: help, errors, exit codes, plain text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from medgym import __version__
from medgym.cli import app

MODULE = [sys.executable, "-m", "medgym.cli"]


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command and group."""
    group = typer.main.get_command(app) if group is None else group
    yield path
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, (*path, name))


COMMANDS = sorted(commands())


def test_the_commands_are_those_that_are_documented() -> None:
    wanted = "doctor|kb get|kb info|kb search|play|replay|run|sessions|tasks build|tasks list|tools list|tools try"
    assert {" ".join(path) for path in COMMANDS} >= {*wanted.split("|"), "validate", "version"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help(medgym: Any, path: tuple[str, ...]) -> None:
    result = medgym(*path, "--help")
    assert (result.code, result.err) == (0, "")
    assert "Usage: medgym" in result.out
    assert "\x1b" not in result.out


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_an_unknown_option_is_one_line(medgym: Any, path: tuple[str, ...]) -> None:
    medgym(*path, "--nope").failed(2, "--nope" if path not in GROUPS else "", f"medgym {' '.join(path)} --help")


GROUPS = {("kb",), ("tasks",), ("tools",)}


@pytest.mark.parametrize("path", [(), *sorted(GROUPS)], ids=" ".join)
def test_a_group_alone_shows_its_help(medgym: Any, path: tuple[str, ...]) -> None:
    result = medgym(*path)
    assert result.code == 2
    assert "Usage: medgym" in result.out + result.err


def test_an_unknown_command_is_one_line(medgym: Any) -> None:
    medgym("nope").failed(2, "No such command 'nope'", "medgym --help")


def test_version(medgym: Any) -> None:
    assert medgym("version").out == f"{__version__}\n"


HELPS = """
import sys
from medgym.cli import main
for path in {paths!r}:
    sys.argv = ["medgym", *path, "--help"]
    try:
        main()
    except SystemExit as left:
        assert left.code == 0
heavy = [name for name in ("torch", "transformers", "openai", "trl", "peft", "vllm", "datasets") if name in sys.modules]
assert not heavy, heavy
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELPS.format(paths=COMMANDS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_scripted_play_imports_nothing_heavy(tmp_path: Path) -> None:
    code = HELPS.format(paths=[]).replace(
        "heavy =",
        f"sys.argv = ['medgym', 'play', '--state-dir', {str(tmp_path)!r}, '--out', {str(tmp_path)!r}]\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert left.code == 0\nheavy =",
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_as_a_module_and_with_exit_codes() -> None:
    done = subprocess.run([*MODULE, "tasks", "list", "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert all("id" in json.loads(line) for line in done.stdout.splitlines())
    done = subprocess.run([*MODULE, "tasks", "list", "--domain", "nope"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("medgym: no domain 'nope': one of ")
    done = subprocess.run([*MODULE, "tools", "try", "nope"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_reader_that_closes_the_pipe_is_not_an_error_message() -> None:
    with subprocess.Popen(
        [*MODULE, "tasks", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_no_terminal_gives_plain_text(medgym: Any) -> None:
    for command in (("tasks", "list"), ("tools", "list"), ("play",), ("kb", "search", "aspirin"), ("doctor",)):
        result = medgym(*command)
        assert result.code == 0
        assert "\x1b" not in result.out
        assert "…" not in "".join(line for line in result.out.splitlines() if line.startswith("│")), "a cell was cut"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("coloured", [True, False])
def test_no_color_on_a_terminal(coloured: bool) -> None:
    import pty

    outer, inner = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**kept, "TERM": "xterm-256color"} | ({} if coloured else {"NO_COLOR": "1"})
    done = subprocess.Popen([*MODULE, "kb", "search", "aspirin", "--k", "1"], stdout=inner, env=environment)
    os.close(inner)
    shown = b""
    while True:
        try:
            read = os.read(outer, 4096)
        except OSError:  # the other side is closed
            break
        if not read:
            break
        shown += read
    os.close(outer)
    assert done.wait() == 0
    assert b"aspirin" in shown
    colours = [f"\x1b[{number}m".encode() in shown for number in range(30, 38)]
    assert not any(colours)
    assert (b"\x1b[1m" in shown) is True or not coloured
