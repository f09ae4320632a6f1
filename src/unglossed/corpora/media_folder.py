"""Clips in folders: found by name, each folder being listed once, and those that nobody names."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from unglossed.corpora.listing import Links, list_entries, scan
from unglossed.corpora.reading import Rows
from unglossed.errors import InputError
from unglossed.files import Names, composed, find_path
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.frames import VIDEO_SUFFIXES
from unglossed.media.pictures import PICTURE_SUFFIXES

_DOCUMENTS = {"readme", "license", "licence"}


class MediaFolder:
    """Finds clips by their names; each folder is listed once.

    Args:
        root: What the names are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[str, Path | None] = {}
        self._clips: dict[tuple[str, str], Path] = {}  # by real folder, and name in it
        self._places: dict[str, str] = {}  # by folder as written: where that really is
        self._listed: dict[str, Names[bool | None]] = {}  # by real folder, as `list_entries`
        self._shown: dict[str, Path] = {}  # by real folder: as it was first written
        self._faults: dict[str, InputError] = {}  # by real folder that cannot be listed

    def find(self, name: str) -> Path | None:
        """Where a clip lies; None if it is not there.

        The same clip is the same object, however its name is written (relative, absolute, ...).

        Raises:
            InputError: The folder that should hold it cannot be listed.
        """
        if name not in self._found:
            folder, base = os.path.split(name.rstrip("/"))
            place = self._place(folder)
            entries = self._list(place)
            base = entries.key(base) or base
            path = self._clips.setdefault((place, base), self._folder(folder) / base)
            self._found[name] = path if entries.get(base) is not None else None
        return self._found[name]

    def report_leftover(self, rows: Rows) -> None:
        """Report clips beside those asked for, of the same kind (file or folder)."""
        if rows.reading.faults is None:
            return
        used: dict[str, set[str]] = {}
        for place, base in self._clips:
            used.setdefault(place, set()).add(base)
        above = {str(parent) for place in used for parent in Path(place).parents} | used.keys()
        for place, names in used.items():
            entries = self._listed[place]
            kinds = {entries[name] for name in names if entries.get(name) is not None}
            clips = [
                name
                for name, is_folder in entries.items()
                if name not in names
                and is_folder in kinds
                and not name.startswith(".")
                and (
                    str(Path(place, name)) not in above and _may_be_clip(Path(place, name))
                    if is_folder
                    else is_media_file(name)
                )
            ]
            rows.leftover(self._shown[place], clips, names)

    def _folder(self, folder: str) -> Path:
        return find_path(Path(self.root, folder))

    def _place(self, folder: str) -> str:
        if folder not in self._places:
            path = self._folder(folder)
            try:
                place = os.path.realpath(path)
            except (OSError, ValueError):  # no name that a folder can have
                place = str(path)
            self._places[folder] = place
            self._shown.setdefault(place, path)
        return self._places[folder]

    def _list(self, place: str) -> Names[bool | None]:
        if place in self._faults:
            raise self._faults[place]
        if place not in self._listed:
            try:
                self._listed[place] = list_entries(self._shown[place])
            except InputError as error:
                self._faults[place] = error
                raise
        return self._listed[place]


class CaptionFolder:
    """What lies in a folder: clips, texts and captions, and further folders.

    A folder of pictures is a clip. One in which captions, videos or folders lie as well is none,
    unless a caption file beside it has its name.

    Args:
        path: The folder.
        suffixes: Of files with texts or captions, in lower case; none where all are elsewhere.

    Attributes:
        path: The folder.
        captions: Files with texts or captions, sorted; those with notes on the corpus (README,
            LICENSE) are none.
        others: Files that are neither captions nor media, sorted.
        folders: Folders that are no clips, sorted.
        broken: Links that lead nowhere, in the place of a clip, by stem.
    """

    def __init__(self, path: Path, suffixes: Collection[str]) -> None:
        self.path = path
        self.captions: list[Path] = []
        self.others: list[Path] = []
        self.folders: list[Path] = []
        self.broken: Links = {}
        self._suffixes = suffixes
        self._videos: Names[list[Path]] = Names()  # and folders of pictures, by stem
        self._sounds: Names[list[Path]] = Names()
        with scan(path):  # it has to be there
            found = sorted(list_entries(path).items())
        entries = [(name, kind) for name, kind in found if not name.startswith(".")]
        self.captions = [path / name for name, kind in entries if not kind and self._names(name)]
        stems = [caption.stem for caption in self.captions]
        stems = list(map(composed, stems))
        self._named = {*stems, *(stem.rpartition(".")[0] for stem in stems)}
        for name, kind in entries:
            self._sort_in(path / name, kind)

    def has(self, stem: str) -> bool:
        """Whether there is a clip of this name."""
        return bool(self.clips(stem))

    def clips(self, stem: str) -> list[Path]:
        """The clips of this name: videos, or, if there is none, sounds."""
        return self._videos.find(stem) or self._sounds.find(stem) or []

    def unused(self, used: Collection[str]) -> list[str]:
        """File names of the clips that have none of these stems."""
        clips = [*self._videos.items(), *self._sounds.items()]
        known = set(map(composed, used))
        return [path.name for stem, paths in clips if composed(stem) not in known for path in paths]

    def _names(self, name: str) -> bool:
        """Whether a file of this name holds texts or captions."""
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        return suffix.lower() in self._suffixes and stem.lower() not in _DOCUMENTS

    def _sort_in(self, path: Path, is_folder: bool | None) -> None:
        suffix = path.suffix.lower()
        if is_folder and self._is_clip(path):
            self._videos.setdefault(path.name, []).append(path)
        elif is_folder:
            self.folders.append(path)
        elif is_folder is None:
            self.broken[path.stem if is_media_file(path.name) else path.name] = path
        elif suffix in VIDEO_SUFFIXES:
            self._videos.setdefault(path.stem, []).append(path)
        elif suffix in AUDIO_SUFFIXES:
            self._sounds.setdefault(path.stem, []).append(path)
        elif not self._names(path.name):
            self.others.append(path)

    def _is_clip(self, folder: Path) -> bool:
        try:
            if not self._suffixes or composed(folder.name) in self._named:
                return has_pictures(folder)
            entries = list_entries(folder)
        except InputError:  # who reads it will say so
            return False
        return any(map(is_picture, entries)) and not any(
            is_inner or is_media_file(name) or self._names(name)
            for name, is_inner in entries.items()
            if not name.startswith(".")
        )


def is_media_file(name: str) -> bool:
    """Whether a file's name is that of a video or a sound file."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in VIDEO_SUFFIXES or suffix in AUDIO_SUFFIXES


def has_pictures(folder: Path) -> bool:
    """Whether pictures lie directly in a folder; looks no further than the first.

    Raises:
        InputError: It cannot be listed.
    """
    with scan(folder) as entries:
        return any(is_picture(entry.name) for entry in entries)


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def _may_be_clip(folder: Path) -> bool:
    try:
        return has_pictures(folder)
    except InputError:  # what nobody can look into is told rather than passed over
        return True
