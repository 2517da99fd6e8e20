"""`python train/run.py ...` is `medgym train ...`; also what `accelerate launch` takes.

Runs the installed package: the copy of this folder that Python puts on the path is taken off first, since a module here
must never stand in for one of the standard library or of another package.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Hand the arguments to the one command."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here]
    if importlib.util.find_spec("medgym") is None:
        sys.exit("medgym is not installed for this Python: pip install -e '.[train]' in the repository, then run again")
    sys.argv = [sys.argv[0], "train", *sys.argv[1:]]
    try:
        runpy.run_module("medgym.cli", run_name="__main__")
    except SystemExit as ended:
        if ended.code not in (None, 0) or "medgym.train.ranks" not in sys.modules:
            raise
        sys.modules["medgym.train.ranks"].leave()


if __name__ == "__main__":
    main()
