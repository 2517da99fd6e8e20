"""Which process this is. Asked here only: without `cpu=True` accelerate sees one process where two share a CPU."""

from __future__ import annotations

import atexit
from functools import cache

import torch
from accelerate import PartialState


def this_process() -> PartialState:
    """accelerate's state of this process, made for the device that training will use.

    The processes part when the interpreter exits: one that ends while the threads of a process group run is aborted now
    and then, after its work is done.
    """
    process = PartialState(cpu=not torch.cuda.is_available())
    _part_at_exit()
    return process


@cache
def _part_at_exit() -> None:
    atexit.register(PartialState().destroy_process_group)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
