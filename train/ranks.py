"""Which process this is. Asked here only: without `cpu=True` accelerate sees one process where two share a CPU."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from functools import cache
from typing import NoReturn

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


def leave() -> NoReturn:
    """End a process whose work is done. One of several waits for the others, and skips the interpreter's teardown.

    There torch's threads abort a process now and then, and its launcher would take finished work for failed.
    """
    process = this_process()
    if process.num_processes > 1:  # pyright: ignore[reportUnknownMemberType]
        process.wait_for_everyone()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    sys.exit(0)
