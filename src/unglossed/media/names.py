"""Names of files that differ in Unicode form alone: `grüße.mp4` of macOS is that of a table.

A name is looked for as it is first, then in any other form of the same letters. Capitals always
count.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TypeVar

from unglossed.errors import InputError

V = TypeVar("V")


class Names(dict[str, V]):
    """What a folder holds, by its name there."""

    _forms: dict[str, list[str]] | None = None

    def key(self, name: str) -> str | None:
        """The name that the folder has for a name, as it is or in another form; None: not there.

        Raises:
            InputError: It has several, none of them as it is.
        """
        if name in self:
            return name
        if name.isascii():
            return None
        if self._forms is None:
            self._forms = {}
            for one in self:
                if not one.isascii():
                    self._forms.setdefault(composed(one), []).append(one)
        found = self._forms.get(composed(name), [])
        if len(found) > 1:
            raise InputError(
                f"found {' and '.join(map(ascii, found))}, which differ in Unicode form alone,"
                f" expected one of them or {name!a}"
            )
        return found[0] if found else None

    def find(self, name: str) -> V | None:
        """What bears a name, as it is or in another form; None: nothing does.

        Raises:
            InputError: As `key`.
        """
        key = self.key(name)
        return None if key is None else self[key]


def composed(name: str) -> str:
    """A name in Unicode NFC, by which names of other forms are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def find_path(path: Path) -> Path:
    """A path as the disk has it; the same path where there is no such thing in any form.

    Raises:
        InputError: As `Names.key`.
    """
    if str(path).isascii() or path.parent == path or os.path.lexists(path):
        return path
    folder = find_path(path.parent)
    try:
        names = Names.fromkeys(os.listdir(folder), True)  # noqa: PTH208
    except (OSError, ValueError):
        return folder / path.name
    return folder / (Names(names).key(path.name) or path.name)
