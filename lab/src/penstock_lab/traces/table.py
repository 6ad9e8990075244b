"""Text files of traces, plain or gzip: opened once, read line by line, with errors that name the line."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from penstock_lab.traces.errors import TraceError

_GZIP_MAGIC: Final = b"\x1f\x8b"


def open_text(path: Path) -> TextIO:
    """The file as text; gzip by its first bytes, not by its name.

    Raises:
        TraceError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
        if packed:
            return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error


def first_line(path: Path) -> str:
    """The first line that is not empty, without its end; "" for an empty file."""
    with open_text(path) as file:
        return next((line.strip() for line in file if line.strip()), "")


def header(line: str) -> list[str]:
    """Column names of a CSV header, in lower case."""
    return [name.strip().lower() for name in next(csv.reader([line]), [])]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file, by column; numbers are checked when they are asked for."""

    path: Path
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """The cell as it is, without spaces around; "" when the row has none."""
        return self.cells.get(column, "").strip()

    def number(self, column: str) -> float:
        """The cell as a finite number.

        Raises:
            TraceError: it is not one.
        """
        try:
            value = float(self.text(column))
        except ValueError:
            value = float("nan")
        if not -1e18 < value < 1e18:
            raise TraceError(f"{self.path}:{self.line}: {column} must be a number, got {self.text(column)!r}")
        return value

    def tokens(self, column: str) -> int:
        """The cell as a count of tokens; 0 counts as 1, since a request has a prompt and an answer.

        Raises:
            TraceError: it is negative or no number.
        """
        value = self.number(column)
        if not 0 <= value < 2**31:
            raise TraceError(f"{self.path}:{self.line}: {column} must be a count of tokens, got {self.text(column)!r}")
        return max(1, int(value))


def rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV file with a header.

    Args:
        path: the file.
        columns: names, in lower case, that the header must have.

    Raises:
        TraceError: a column is missing, or the file is no text.
    """
    with open_text(path) as file:
        reader = csv.reader(file)
        try:
            names = [name.strip().lower() for name in next(reader, [])]
            if missing := [name for name in columns if name not in names]:
                found = ", ".join(names) or "nothing"
                raise TraceError(f"{path}:1: the header must have {', '.join(missing)}; it has {found}")
            for cells in reader:
                if cells:
                    yield Row(path, reader.line_num, dict(zip(names, cells, strict=False)))
        except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise TraceError(f"{path}:{reader.line_num}: not a CSV file: {error}") from error
