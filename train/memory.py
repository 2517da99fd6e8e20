"""Freed memory stays with the process: on a CPU taking it anew can cost as much as computing.

Every layer of a training step frees and takes blocks of megabytes, which glibc hands back to the system at once and
gets again page by page. Kept for good, blocks of changing sizes would scatter until memory is full, so that what is
free goes back between steps.
"""

from __future__ import annotations

import ctypes
import platform

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3), malloc.h
_NEVER = 2**31 - 1  # bytes; the largest that its int takes


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed; whether it does (glibc only: others decide themselves)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(option, _NEVER) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))


def give_back_freed_memory() -> None:
    """Hand what is free back to the system now (glibc only)."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


class FreedMemory(TrainerCallback):
    """Gives freed memory back after every optimiser step."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Called by the trainer."""
        give_back_freed_memory()
