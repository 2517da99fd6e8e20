"""The policy that comes with medgym: a LoRA adapter of SmolLM2-135M-Instruct, trained by this code.

Its folder holds its card with the commands that made and measured it. Knows names and places only; torch stays out.
"""

from __future__ import annotations

import os
from pathlib import Path

TRAINED = "trained"
"""Its name wherever a policy's folder is asked for."""
TRAINED_FOLDER = Path(__file__).parent / "trained"


def folder_of(spec: str | os.PathLike[str]) -> Path:
    """The folder that a policy's name stands for: the packaged one's, else the path itself."""
    return TRAINED_FOLDER if spec == TRAINED else Path(spec)
