"""What a study ran on, for its report: versions of what decides the numbers, processor, memory, GPU."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("medgym", "torch", "transformers", "trl", "peft", "accelerate", "numpy")


def versions() -> dict[str, str]:
    """Package to version, and Python's own."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def hardware() -> dict[str, object]:
    """Processor, cores that this process may use, memory in GiB where the system tells, GPUs."""
    found: dict[str, object] = {"system": platform.system(), "processor": _processor(), "cores": cores()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    found["gpus"] = _gpus()
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Names as the driver gives them; none where there is no driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    said = subprocess.run([command, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return said.stdout.split("\n")[:-1] if said.returncode == 0 else []
