"""Reading one fact table: the rows of a CSV file in `data/` as checked cells.

Owns the only place where a table file is opened. Promises that a bad cell, a missing column or a ragged row raises
`FactError` naming the file and the row. What the cells mean is left to `tables`.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

PACKAGE = __name__.rpartition(".")[0]
CERTAINTIES = ("high", "medium", "low")


class FactError(ValueError):
    """A fact table is not as it should be; the message names the file, the row and what to mend."""


def read_text(name: str) -> str:
    """The text of a file in `data/`.

    Raises:
        FactError: if the installed package lacks the file.
    """
    try:
        return (resources.files(PACKAGE) / "data" / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FactError(f"{name} is not in the installed package: reinstall medgym") from error


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: `text`, `number` and the others take a column's cell and check it."""

    file: str
    line: int
    cells: Mapping[str, str]

    def error(self, message: str) -> FactError:
        """The error for this row, not raised."""
        return FactError(f"{self.file}, row {self.line}: {message}")

    def text(self, column: str) -> str:
        """The cell, stripped; may be empty."""
        if column not in self.cells:
            raise self.error(f"no column {column!r}; the columns are {', '.join(self.cells)}")
        return self.cells[column].strip()

    def needed(self, column: str) -> str:
        """The cell, which must not be empty."""
        value = self.text(column)
        if not value:
            raise self.error(f"column {column!r} is empty and must not be")
        return value

    def choice(self, column: str, allowed: tuple[str, ...]) -> str:
        """The cell, which must be one of `allowed`."""
        value = self.text(column)
        if value not in allowed:
            raise self.error(f"column {column!r} is {value!r}, not one of {', '.join(allowed)}")
        return value

    def certainty(self) -> str:
        """The `certainty` cell: high, medium or low."""
        return self.choice("certainty", CERTAINTIES)

    def number(self, column: str) -> float | None:
        """The cell as a number; None where it is empty."""
        value = self.text(column)
        if not value:
            return None
        try:
            return float(value)
        except ValueError:
            raise self.error(f"column {column!r} is {value!r}, not a number") from None

    def integer(self, column: str) -> int:
        """The cell as a whole number."""
        value = self.needed(column)
        if not value.isdecimal():
            raise self.error(f"column {column!r} is {value!r}, not a whole number")
        return int(value)

    def items(self, column: str) -> tuple[str, ...]:
        """The cell split at ';'; a lone '-' means none."""
        value = self.text(column)
        return () if value == "-" else tuple(part.strip() for part in value.split(";") if part.strip())


def parse_rows(name: str, content: str) -> Iterator[Row]:
    """The rows of `content`, which is the text of a table called `name`.

    Raises:
        FactError: if the header is missing or a row has more or fewer cells than the header.
    """
    try:
        table = list(csv.reader(io.StringIO(content), strict=True))
    except csv.Error as error:
        raise FactError(f"{name} is not a well-formed CSV file: {error}") from error
    if not table or not table[0]:
        raise FactError(f"{name} is empty: the first line must name the columns")
    header = table[0]
    for line, cells in enumerate(table[1:], start=2):
        if len(cells) != len(header):
            raise FactError(f"{name}, row {line}: {len(cells)} cells, but the header has {len(header)}")
        yield Row(name, line, dict(zip(header, cells, strict=True)))


def read_rows(name: str) -> tuple[Row, ...]:
    """All rows of the table file `name` in `data/`; row numbers are line-like: the first row after the header is 2."""
    return tuple(parse_rows(name, read_text(name)))
