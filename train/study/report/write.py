"""`write_study_report`: from a study's folder to its page, tables and pictures."""

from __future__ import annotations

from pathlib import Path

from ..records import read_study
from .page import render_page
from .pictures import write_pictures
from .tables import study_tables

PAGE_FILE = "report.md"
TABLES_FOLDER = "tables"
PLOTS_FOLDER = "plots"


def write_study_report(folder: Path, out: Path) -> Path:
    """Write the report on a study, finished or not.

    The same files in `folder`, packed or not, give the same bytes, whatever the day and wherever the folders lie; of
    pictures this holds for one version of matplotlib. An earlier report in `out` is written over.

    Args:
        folder: of the study, as `medgym study run` leaves it.
        out: takes `report.md`, `tables/*.csv` and `plots/*.svg`; made if need be.

    Returns:
        `out/report.md`.

    Raises:
        StudyError: `folder` holds no study, or a file of it is damaged.
        ImportError: matplotlib is not installed.
    """
    record = read_study(folder)
    tables = study_tables(record)
    pictures = write_pictures(record, tables, out / PLOTS_FOLDER)
    (out / TABLES_FOLDER).mkdir(parents=True, exist_ok=True)
    for name, rows in tables.csv_files().items():
        _write(out / TABLES_FOLDER / f"{name}.csv", rows)
    _write(out / PAGE_FILE, render_page(record, tables, pictures))
    return out / PAGE_FILE


def _write(path: Path, content: str) -> None:
    """As bytes: no newline is translated; what UTF-8 cannot hold (half a surrogate of a cut message) is spelled out."""
    path.write_bytes(content.encode("utf-8", "backslashreplace"))
