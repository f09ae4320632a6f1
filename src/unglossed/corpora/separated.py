"""Rows of CSV and TSV files, by RFC 4180: quotes around a field that holds a separator or a line.

What the columns mean is their readers' matter.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from unglossed.corpora.faults import FaultKind
from unglossed.corpora.reading import Reading, read_lines
from unglossed.errors import InputError


def read_separated(
    reading: Reading, path: Path, separator: str = ","
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Open a file with a header; rows are read as they are asked for.

    Returns:
        The names of the columns; and of each row the line on which it begins and its fields, one
        for each column. Rows with others, or with wrong quotes, are reported and left out.

    Raises:
        InputError: As `read_lines`, or the header has wrong quotes.
    """
    lines = map(itemgetter(1), read_lines(reading, path, keep_ends=True))
    table = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = next(table, [])
    except csv.Error as error:
        raise InputError(f"{path}, line 1: header with wrong quotes: {error}") from error

    def rows() -> Iterator[tuple[int, list[str]]]:
        last = table.line_num
        while True:
            try:
                for fields in table:
                    number, last = last + 1, table.line_num
                    if len(fields) == len(header):
                        yield number, fields
                    elif fields:  # an empty line has none
                        text = f"found {len(fields)} fields, expected {len(header)}"
                        if len(fields) > len(header):
                            text += f", with quotes around a field that holds {separator!r}"
                        reading.report(FaultKind.MALFORMED_ROW, f"{path}, line {number}", text)
                return
            except csv.Error as error:
                text = f"wrong quotes: {error}"
                if "new-line character" in str(error):
                    text = "found a carriage return alone, expected it within quotes or not at all"
                reading.report(FaultKind.MALFORMED_ROW, f"{path}, line {last + 1}", text)
                last = table.line_num

    return header, rows()
