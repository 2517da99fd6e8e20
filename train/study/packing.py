"""Keeps of a study what its report is made from, small enough to commit: metrics and evaluations compressed.

Trajectories, checkpoints and policies stay behind. The bytes are the same for the same content.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from ..recipe import RESOLVED_FILE
from ..watch.log import FILE_NAME as METRICS_FILE
from .records import LEDGER_FILE, PACKED, STUDY_FILE, StudyError, evaluation_file, read_study, run_name, text_of


def pack_study(folder: Path, out: Path) -> list[Path]:
    """Write the packed study; the files, in order.

    Args:
        folder: of a study, packed or not.
        out: another folder, made if need be; runs that lie there already are replaced.

    Raises:
        StudyError: `folder` is no study, or `out` is the same folder.
    """
    if out.absolute() == folder.absolute():
        raise StudyError("a study cannot be packed into its own folder: give another --out")
    study = read_study(folder)
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name in (STUDY_FILE, LEDGER_FILE):
        text = text_of(folder / name)
        if text is not None:
            written.append(_write(out / name, text, packed=False))
    for run in study.runs:
        own = run_name(run.arm, run.seed)
        shutil.rmtree(out / own, ignore_errors=True)
        (out / own).mkdir()
        for name in (METRICS_FILE, *(evaluation_file(split) for split in run.evaluations)):
            text = text_of(folder / own / name)
            if text is not None:
                written.append(_write(out / own / name, text, packed=True))
        recipe = text_of(folder / own / RESOLVED_FILE)
        if recipe is not None:
            written.append(_write(out / own / RESOLVED_FILE, recipe, packed=False))
    return written


def _write(path: Path, text: str, *, packed: bool) -> Path:
    """gzip's own clock and name are left out."""
    if not packed:
        path.write_text(text, encoding="utf-8")
        return path
    target = path.with_name(path.name + PACKED)
    target.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))
    return target
