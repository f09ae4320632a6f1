"""Clips that cannot be read while a run trains: left out, counted and listed, up to a limit.

The rest of a batch trains as if such a clip were not there, and dev is scored without it, which the
scores say. What a look at headers shows is told before the first stage, see `train.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from unglossed.corpora.faults import most_unreadable
from unglossed.errors import InputError, note

SKIPPED_FILE = "skipped.jsonl"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a clip that cannot be read.

    Attributes:
        id: Of the clip.
        split: Of the clip.
        reason: What is wrong, with the medium's name.
    """

    id: str
    split: str
    reason: str


def refuse(clip: Unreadable) -> None:
    """Raise an InputError about a clip: no clip may be left out."""
    raise InputError(f"{clip.reason} (clip {clip.id!r})")


class LeftOut:
    """Counts the clips that a run leaves out, names the first of them and lists them all.

    Args:
        num_clips: of train and dev.
        limit: most clips that may be left out; None: see `most_unreadable`.
        path: where they are listed, a line each; None: nowhere.
    """

    def __init__(self, num_clips: int, limit: int | None = None, path: Path | None = None) -> None:
        self.num_clips = num_clips
        self.limit = most_unreadable(num_clips) if limit is None else limit
        self.path = path
        self._ids: set[str] = set()

    def add(self, clip: Unreadable) -> None:
        """Count a clip, if it is a new one.

        Raises:
            InputError: they are too many now.
        """
        if clip.id in self._ids:
            return
        self._ids.add(clip.id)
        count = len(self._ids)
        listed = ""
        if self.path is not None:
            self._list(clip, self.path)
            listed = f"; {self.path} lists them"
        if count > self.limit:
            raise InputError(
                f"{clip.reason} ({clip.split} clip {clip.id!r}): found {count:,} of"
                f" {self.num_clips:,} clips that cannot be read, expected at most {self.limit:,}"
                f" (--max-damaged){listed}, `unglossed corpus check --deep` finds all"
            )
        if count <= _MOST_NAMED:
            note(f"{clip.split} clip {clip.id!r} is left out: {clip.reason}")
        if count == _MOST_NAMED and self.limit > count:
            note(f"further clips that cannot be read are left out without a line each{listed}")

    def _list(self, clip: Unreadable, path: Path) -> None:
        line = json.dumps(asdict(clip), ensure_ascii=False) + "\n"
        known = path.read_text(encoding="utf-8") if path.is_file() else ""
        if line not in known.splitlines(keepends=True):  # a resumed run finds them again
            with path.open("a", encoding="utf-8") as file:
                file.write(line)

    def __str__(self) -> str:
        return f"{len(self._ids):,} of {self.num_clips:,} clips" if self._ids else ""
