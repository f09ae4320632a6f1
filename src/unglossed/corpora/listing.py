"""What lies in a folder: listed once, clips found in it by name, and those that nobody names."""

from __future__ import annotations

import errno
import os
from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from unglossed.errors import InputError
from unglossed.files import Names, find_path
from unglossed.media.array_files import split_key
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.frames import VIDEO_SUFFIXES
from unglossed.media.pictures import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from unglossed.corpora.reading import Rows

_NOT_THERE = (errno.ENOENT, errno.ENAMETOOLONG)

Links = dict[str, Path]
"""Dangling links, by the name or stem under which a clip would be looked for."""


def scan(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """As `os.scandir`, with an error that a user understands.

    Raises:
        InputError: The folder cannot be listed; the cause is an `OSError`.
    """
    try:
        return os.scandir(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error


def list_entries(folder: Path) -> Names[bool | None]:
    """List the names in a folder, and whether each is a folder; None: a dangling link.

    A folder that is not there has none.

    Raises:
        InputError: It is there, but cannot be listed.
    """
    try:
        with scan(folder) as entries:
            return Names((entry.name, _is_folder(entry)) for entry in entries)
    except InputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NOT_THERE:
            return Names()
        raise
    except ValueError:  # as in a name with a zero byte
        return Names()


def list_folders(folder: Path, broken: Links | None = None) -> Names[Path]:
    """List the folders directly in a folder by name; none if it is not there.

    Args:
        folder: Where to look.
        broken: Takes the dangling links.

    Raises:
        InputError: As `list_entries`.
    """
    found: Names[Path] = Names()
    for name, is_folder in _visible(folder):
        if is_folder:
            found[name] = folder / name
        elif is_folder is None and broken is not None:
            broken[name] = folder / name
    return found


def list_files(folder: Path, suffixes: Collection[str], broken: Links | None = None) -> Names[Path]:
    """List the files directly in a folder with one of the suffixes (as ".mp4"), by stem.

    Hidden files are ignored; a folder that is not there has none.

    Args:
        folder: Where to look.
        suffixes: In lower case.
        broken: Takes the dangling links.

    Raises:
        InputError: As `list_entries`.
    """
    found: Names[Path] = Names()
    for name, is_folder in sorted(_visible(folder)):
        path = folder / name
        if is_folder or path.suffix.lower() not in suffixes:
            continue
        if is_folder is not None:
            found.setdefault(path.stem, path)
        elif broken is not None:
            broken[path.stem] = path
    return found


def is_media_file(name: str) -> bool:
    """Whether a file's name is that of a video or an audio file."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in VIDEO_SUFFIXES or suffix in AUDIO_SUFFIXES


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def has_pictures(folder: Path) -> bool:
    """Whether pictures lie directly in a folder; looks no further than the first.

    Raises:
        InputError: It cannot be listed.
    """
    with scan(folder) as entries:
        return any(is_picture(entry.name) for entry in entries)


class Clips:
    """The clips of a release, found by name in folders that were listed before.

    Args:
        listings: What is in each folder, by name; a name in several is taken from the first.
        used: Takes the names that are asked for; several objects may share it.
    """

    def __init__(self, listings: Mapping[Path, Names[Path]], used: set[str] | None = None) -> None:
        self._listings = listings
        self._used = set() if used is None else used
        self._found = Names(ChainMap(*listings.values()))

    def find(self, name: str) -> Path | None:
        """Find the clip of a name; None if it is not there."""
        self._used.add(name)
        return self._found.find(name)

    def report_leftover(self, rows: Rows) -> None:
        """Report the clips that nobody asked for."""
        for folder, names in self._listings.items():
            rows.leftover(folder, names, self._used)


def list_clips(folders: Iterable[Path], broken: Links, *, look: bool = True) -> Clips:
    """The videos of folders, by name.

    Args:
        folders: Where to look.
        broken: Takes the dangling links.
        look: False: nothing is looked for, and nothing found.

    Raises:
        InputError: As `list_entries`.
    """
    wanted = folders if look else ()
    return Clips({folder: list_files(folder, VIDEO_SUFFIXES, broken) for folder in wanted})


class MediaFolder:
    """Finds clips by paths as somebody wrote them; each folder is listed once.

    Args:
        root: What the paths are relative to.
        broken: Takes dangling links that a stem leads to.
        look: False: nothing is looked for, and nothing found.
    """

    def __init__(self, root: Path, broken: Links | None = None, *, look: bool = True) -> None:
        self.root = root
        self._look = look
        self._broken: Links = {} if broken is None else broken
        self._found: dict[str, Path | None] = {}
        self._clips: dict[tuple[str, str], Path] = {}  # by real folder, and name in it
        self._places: dict[str, str] = {}  # by folder as written: where that really is
        self._listed: dict[str, Names[bool | None] | InputError] = {}  # by real folder
        self._stems: dict[str, Names[str]] = {}  # by real folder: names of its videos by stem
        self._shown: dict[str, Path] = {}  # by real folder: as it was first written

    def find(self, name: str, *, by_stem: bool = False) -> Path | None:
        """Find a clip; None if it is not there.

        The same clip is the same object, however its name is written (relative, absolute, ...).

        Args:
            name: Path of a file or folder; of an array in a file with its key, see `split_key`.
            by_stem: The suffix of a video may be missing in it.

        Raises:
            InputError: The folder that should hold it cannot be listed.
        """
        if not self._look:
            return None
        file, key = split_key(Path(name))
        if key is not None:
            found = self.find(str(file))
            return None if found is None else Path(f"{found}#{key}")
        if name not in self._found:
            folder, base = os.path.split(name.rstrip("/"))
            place = self._place(folder)
            entries = self._list(place)
            base = entries.key(base) or (by_stem and self._stems_of(place).find(base)) or base
            path = self._clips.setdefault((place, base), self._folder(folder) / base)
            self._found[name] = path if entries.get(base) is not None else None
        return self._found[name]

    def report_leftover(self, rows: Rows, *, only_clips: bool = False) -> None:
        """Report clips beside those that were found, of the same kind (file or folder).

        Args:
            rows: Where they are reported.
            only_clips: Each folder beside them is a clip, even an empty one, and each video.
        """
        if rows.reading.faults is None:
            return
        used: dict[str, set[str]] = {}
        for place, base in self._clips:
            used.setdefault(place, set()).add(base)
        above = {str(parent) for place in used for parent in Path(place).parents} | used.keys()

        def is_clip(path: Path, is_folder: bool | None) -> bool:
            if not is_folder or str(path) in above:
                return not is_folder and is_media_file(path.name)
            try:
                return only_clips or has_pictures(path)
            except InputError:  # report what nobody can look into rather than ignore it
                return True

        for place, names in used.items():
            entries = self._list(place)
            kinds = {entries[name] for name in names if entries.get(name) is not None}
            if kinds and only_clips:
                kinds = {False, True}
            others = [
                name
                for name, kind in entries.items()
                if kind in kinds and not name.startswith(".") and name not in names
            ]
            clips = [name for name in others if is_clip(Path(place, name), entries[name])]
            rows.leftover(self._shown[place], clips, names)

    def _stems_of(self, place: str) -> Names[str]:
        if place not in self._stems:
            stems = self._stems[place] = Names()
            for name, is_folder in sorted(self._list(place).items()):
                stem, suffix = os.path.splitext(name)  # noqa: PTH122
                if is_folder or suffix.lower() not in VIDEO_SUFFIXES:
                    continue
                if is_folder is None:
                    self._broken[stem] = self._shown[place] / name
                else:
                    stems.setdefault(stem, name)
        return self._stems[place]

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
        if place not in self._listed:
            try:
                self._listed[place] = list_entries(self._shown[place])
            except InputError as error:
                self._listed[place] = error
        found = self._listed[place]
        if isinstance(found, InputError):
            raise found
        return found


def _visible(folder: Path) -> list[tuple[str, bool | None]]:
    try:
        entries = list_entries(folder)
    except InputError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return []
        raise
    return [(name, kind) for name, kind in entries.items() if not name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    try:
        if entry.is_dir():
            return True
        # Only a link costs a look at the file.
        return None if entry.is_symlink() and not entry.is_file() else False
    except OSError:  # such as links that go round in a circle
        return None
