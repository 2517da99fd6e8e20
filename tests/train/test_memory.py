"""Freed memory stays with the process only where that was asked for."""

import platform
import subprocess
import sys

import pytest

MEBIBYTE = 2**20
SCRIPT = """
import resource, sys, torch
from medgym.train.memory import FreedMemory, keep_freed_memory
if sys.argv[1] != "leave":
    assert keep_freed_memory()
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
block = torch.ones(64 * 2**20)
held = resident() - before
del block
if sys.argv[1] == "step ends":
    FreedMemory().on_step_end(None, None, None)
print(held, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc hands freed blocks back at once")
@pytest.mark.parametrize("how", ["keep", "step ends", "leave"])
def test_freed_memory(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    held, after = (int(value) / MEBIBYTE for value in done.stdout.split())
    assert held > 250
    assert (after > 250) is (how == "keep")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from medgym.train import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed_memory() is False
