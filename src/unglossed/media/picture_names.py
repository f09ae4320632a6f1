"""The order of a folder's pictures, told from the numbers in their names.

A folder is one row of frames. Masks, depth maps or second copies among them would be frames too and
slow the clip down, so that pictures which cannot be one row are an error that names both.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from unglossed.errors import InputError

_DIGITS_ALIKE = str.maketrans("123456789", "000000000")
_PLACES = 18  # after the point of a fraction
_REMEDY = "keep one picture a frame in the folder, and the others elsewhere"


class _Name(NamedTuple):
    """A file's name: the text around its numbers, these, and their digits."""

    text: tuple[str, ...]
    numbers: tuple[int, ...]
    name: str
    digits: tuple[str, ...]


def order_pictures(folder: Path, names: Sequence[str]) -> list[str]:
    """Order the pictures of a folder by the numbers in their names.

    Args:
        folder: Where they lie, for messages.
        names: Their names, at least one.

    Raises:
        InputError: Two have one number (0001.png and 0001.jpg, or 0001_mask.png), or some have a
            number and others have none.
    """
    # Names that differ in their digits alone, as they nearly always do, are in order as they are.
    if len({name.translate(_DIGITS_ALIKE) for name in names}) == 1:
        return sorted(names)
    rows: dict[tuple[str, ...], list[_Name]] = {}
    for one in sorted(map(_split, names), key=_place):
        rows.setdefault(one.text, []).append(one)
    for text, row in rows.items():
        if _are_fractions(row):
            rows[text] = row = sorted(map(_with_fraction, row), key=_place)
        _check_numbers(folder, row)
    if len(rows) > 1:
        _check_rows(folder, sorted(rows.values(), key=lambda row: (-len(row), row[0].text)))
    return [one.name for one in sorted((one for row in rows.values() for one in row), key=_place)]


def pictures_each(names: Sequence[str]) -> int:
    """How many pictures each number seems to have: 2 of 0001_0, 0001_1, 0002_0, 0002_1, ...

    Names like these may as well be parts that follow each other, so that this is a guess.

    Args:
        names: As `order_pictures` gives them.

    Returns:
        1, unless each of two numbers in the names comes with each of the other.
    """
    numbers = {one.numbers for one in map(_split, names)}
    if len({len(row) for row in numbers}) > 1:
        return 1
    columns = [len(set(column)) for column in zip(*numbers, strict=True)]
    varying = [count for count in columns if count > 1]
    return min(varying) if len(varying) > 1 and math.prod(varying) == len(names) else 1


def _split(name: str) -> _Name:
    text = re.split(r"([0-9]+)", os.path.splitext(name)[0].casefold())  # noqa: PTH122
    return _Name(tuple(text[::2]), tuple(map(int, text[1::2])), name, tuple(text[1::2]))


def _are_fractions(row: Sequence[_Name]) -> bool:
    """Whether names end in decimal fractions, as 0.08 and 0.2 of seconds: not so 0.8 and 0.20."""
    if len(row[0].digits) < 2 or row[0].text[-2:] != (".", ""):
        return False
    last = [one.digits[-1] for one in row]
    least = min(map(len, last))
    return any(len(digits) > least and digits.startswith("0") for digits in last)


def _with_fraction(one: _Name) -> _Name:
    """The name whose last number counts in the first places after the point."""
    return one._replace(numbers=(*one.numbers[:-1], int(one.digits[-1].ljust(_PLACES, "0"))))


def _place(one: _Name) -> tuple[tuple[int, ...], str]:
    return one.numbers, one.name


def _check_numbers(folder: Path, row: Iterable[_Name]) -> None:
    """Refuse names that differ in their ending, their zeros or their capitals alone."""
    found: dict[tuple[int, ...], str] = {}
    for one in row:
        other = found.setdefault(one.numbers, one.name)
        if other != one.name:
            raise _two(folder, *sorted((other, one.name)))


def _check_rows(folder: Path, rows: Sequence[Sequence[_Name]]) -> None:
    """Refuse rows of other names, unless each goes on where others have no picture."""
    first = rows[0]
    if all(not one.numbers for row in rows for one in row):
        return
    # A number that is the same in the whole of a row belongs to its name, as in `mask2_0001`.
    columns = [
        place
        for place in range(len(first[0].numbers))
        if len({one.numbers[place] for one in first}) > 1
    ] or list(range(len(first[0].numbers)))
    found: dict[tuple[int, ...], str] = {}
    for row in rows:
        for one in sorted(row, key=_place):
            if len(one.numbers) != len(first[0].numbers):
                counts = f"{len(first)} pictures as {first[0].name}, {len(row)} as {one.name}"
                raise InputError(f"{folder}: found {counts}, expected one row of frames: {_REMEDY}")
            number = tuple(one.numbers[place] for place in columns)
            other = found.setdefault(number, one.name)
            if other != one.name:
                raise _two(folder, other, one.name)


def _two(folder: Path, one: str, other: str) -> InputError:
    return InputError(
        f"{folder}: found {one} and {other}, two pictures of one number, expected one: {_REMEDY}"
    )
