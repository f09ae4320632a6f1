"""Clips in folders: found by name, each folder being listed once, and those that nobody names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from unglossed.corpora.reading import Rows
from unglossed.errors import InputError
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.pictures import PICTURE_SUFFIXES
from unglossed.media.video import VIDEO_SUFFIXES

_DOCUMENTS = {"readme", "license", "licence"}


class MediaFolder:
    """Finds clips by their names; each folder is listed once.

    Args:
        root: What the names are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[str, Path | None] = {}
        self._listed: dict[str, dict[str, bool]] = {}  # by folder: name -> whether it is a folder

    def find(self, name: str) -> Path | None:
        """Where a clip lies; None if it is not there. The same name gives the same object."""
        if name not in self._found:
            folder, base = _parts(name)
            there = base in self._list(folder)
            self._found[name] = Path(self.root, folder, base) if there else None
        return self._found[name]

    def report_leftover(self, rows: Rows) -> None:
        """Report clips beside those asked for, of the same kind (file or folder)."""
        if rows.reading.faults is None:
            return
        used: dict[Path, set[str]] = {}
        entries: dict[Path, dict[str, bool]] = {}
        # Two ways to write a folder are one place.
        places = {folder: Path(os.path.normpath(self.root / folder)) for folder in self._listed}
        for name in self._found:
            folder, base = _parts(name)
            used.setdefault(places[folder], set()).add(base)
            entries[places[folder]] = self._listed[folder]
        above = {parent for place in used for parent in place.parents} | used.keys()
        for place, names in used.items():
            kinds = {entries[place][name] for name in names if name in entries[place]}
            clips = [
                name
                for name, is_folder in entries[place].items()
                if name not in names
                and is_folder in kinds
                and not name.startswith(".")
                and (
                    place / name not in above and has_pictures(place / name)
                    if is_folder
                    else is_media_file(name)
                )
            ]
            rows.leftover(place, clips, names)

    def _list(self, folder: str) -> dict[str, bool]:
        if folder not in self._listed:
            try:
                with os.scandir(self.root / folder) as entries:
                    self._listed[folder] = {entry.name: entry.is_dir() for entry in entries}
            except (OSError, ValueError):  # not there, or no name that a folder can have
                self._listed[folder] = {}
        return self._listed[folder]


class CaptionFolder:
    """What lies in a folder: clips, texts and captions, and further folders.

    Args:
        path: The folder.
        suffixes: Of files with texts or captions, in lower case.

    Attributes:
        path: The folder.
        captions: Files with texts or captions, sorted; those with notes on the corpus (README,
            LICENSE) are none.
        folders: Folders that are no clips, sorted.
    """

    def __init__(self, path: Path, suffixes: Collection[str]) -> None:
        self.path = path
        self.captions: list[Path] = []
        self.folders: list[Path] = []
        self._videos: dict[str, list[Path]] = {}  # and folders of pictures, by stem
        self._sounds: dict[str, list[Path]] = {}
        self._used: set[str] = set()
        with _scan(path) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
        for name, is_folder in found:
            if not name.startswith("."):
                self._sort_in(path / name, is_folder, suffixes)

    def has(self, stem: str) -> bool:
        """Whether there is a clip of this name."""
        return stem in self._videos or stem in self._sounds

    def take(self, stem: str) -> list[Path]:
        """The clips of this name, which count as used: videos, or, if there is none, sounds."""
        self._used.add(stem)
        return self._videos.get(stem) or self._sounds.get(stem, [])

    def unused(self) -> list[str]:
        """File names of the clips that were not taken."""
        clips = [*self._videos.items(), *self._sounds.items()]
        return [path.name for stem, paths in clips if stem not in self._used for path in paths]

    def _sort_in(self, path: Path, is_folder: bool, suffixes: Collection[str]) -> None:
        suffix = path.suffix.lower()
        if is_folder and has_pictures(path):
            self._videos.setdefault(path.name, []).append(path)
        elif is_folder:
            self.folders.append(path)
        elif suffix in VIDEO_SUFFIXES:
            self._videos.setdefault(path.stem, []).append(path)
        elif suffix in AUDIO_SUFFIXES:
            self._sounds.setdefault(path.stem, []).append(path)
        elif suffix in suffixes and path.stem.lower() not in _DOCUMENTS:
            self.captions.append(path)


def is_media_file(name: str) -> bool:
    """Whether a file's name is that of a video or a sound file."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in VIDEO_SUFFIXES or suffix in AUDIO_SUFFIXES


def has_pictures(folder: Path) -> bool:
    """Whether pictures lie directly in a folder; looks no further than the first."""
    with _scan(folder) as entries:
        return any(entry.name.lower().endswith(PICTURE_SUFFIXES) for entry in entries)


@contextmanager
def _scan(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from None


def _parts(name: str) -> tuple[str, str]:
    return os.path.split(name.rstrip("/"))
