"""The text files of a corpus, line by line: UTF-8, with the numbers that messages need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from unglossed.corpora.faults import FaultKind
from unglossed.corpora.reading import Reading
from unglossed.errors import InputError

_EMPTY_LINES = ("", "\n", "\r\n")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""Bytes that a file in UTF-16 begins with."""

FOUND_UTF16 = "found UTF-16, expected UTF-8: save the file as UTF-8"


def read_lines(
    reading: Reading, path: Path, *, keep_ends: bool = False
) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers from 1, without line ends and byte order mark.

    Only a line feed, or carriage return and line feed, ends a line: a text may hold one of the
    rarer characters that `str.splitlines` splits at. A line that is not UTF-8 is reported and comes
    with U+FFFD in the place of what cannot be read. Empty lines at the end are left out; a file
    without any other has one. Only a line at a time is in memory.

    Args:
        reading: What was asked for.
        path: The file.
        keep_ends: Leave its end at each line.

    Raises:
        InputError: The file cannot be read, is UTF-16, or its lines end in a carriage return alone;
            or a line is not UTF-8 and nobody collects faults.
    """
    number = 0
    held_back: list[str] = []  # empty lines, which may turn out to be those at the end
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1:
                    if raw.startswith(UTF16_MARKS):
                        raise InputError(f"{path}: {FOUND_UTF16}")
                    if b"\r" in raw and not raw.endswith(b"\n"):
                        raise InputError(
                            f"{path}: lines end in a carriage return alone, expected line feeds:"
                            " save the file with line ends of Unix or Windows"
                        )
                codec = "utf-8" if number > 1 else "utf-8-sig"
                try:
                    line = raw.decode(codec)
                except UnicodeDecodeError as error:
                    if not reading.skip_faulty:  # else its row will be left out, see `Rows`
                        reading.report(
                            FaultKind.NOT_UTF8,
                            f"{path}, line {number}",
                            f"not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})",
                        )
                    line = raw.decode(codec, errors="replace")
                if not keep_ends:
                    line = line.removesuffix("\n").removesuffix("\r")
                if line in _EMPTY_LINES:
                    held_back.append(line)
                    continue
                if held_back:
                    yield from enumerate(held_back, start=number - len(held_back))
                    held_back.clear()
                yield number, line
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if number == len(held_back):
        yield 1, ""


def read_columns(
    reading: Reading, path: Path, separator: str, expected: Iterable[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a file with a header and no quoting, as many label files are: quotes are plain text.

    A row with another number of fields than the header is reported and left out.

    Args:
        reading: What was asked for.
        path: The file.
        separator: Between two fields.
        expected: Names that the header must hold.

    Yields:
        Line number from 1, and the fields by the header's names.

    Raises:
        InputError: As `read_lines`; or the header lacks a name: the message lists those found.
    """
    lines = read_lines(reading, path)
    _, first = next(lines)
    header = first.split(separator)
    missing = [name for name in expected or () if name not in header]
    if missing:
        shown = {"\t": "tabs"}.get(separator, f"{separator!r}")
        raise InputError(
            f"{path}, line 1: header {first[:200]!r} has no {', '.join(missing)}, expected"
            f" {', '.join(expected or ())} separated by {shown}"
        )
    for number, line in lines:
        fields = line.split(separator)
        if len(fields) != len(header):
            reading.report(
                FaultKind.MALFORMED_ROW,
                f"{path}, line {number}",
                f"found {len(fields)} fields, expected {len(header)}"
                f" ({separator.join(header) if separator.isprintable() else ', '.join(header)})",
            )
            continue
        yield number, dict(zip(header, fields, strict=True))
