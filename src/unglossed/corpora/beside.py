"""Arrays beside a corpus: read instead of media (`?features=`), or with them (`?beside=`)."""

from __future__ import annotations

from pathlib import Path

from unglossed.corpora.listing import list_entries
from unglossed.errors import InputError
from unglossed.files import Names
from unglossed.media.array_files import is_array_file, is_json_folder
from unglossed.media.frames import is_packed


class ArraysBeside:
    """Finds the array of a clip by its id, or that of the media which it lies in.

    Args:
        root: The folder; arrays lie in it or in a folder of their split.
        instead: Arrays are read instead of media; False: beside them, where either may be missing.
    """

    def __init__(self, root: Path, *, instead: bool = True) -> None:
        self.root = root
        self.instead = instead
        self._listed: dict[Path, Names[list[Path]]] = {}

    def find(self, id: str, split: str, media: Path) -> tuple[Path | None, bool]:
        """Find an array.

        Args:
            id: Of the clip.
            split: Of the clip.
            media: That it would lie in; its name counts, without its ending.

        Returns:
            The array, None where there is none; and whether it is that of the clip alone, whose
            times do not count then.

        Raises:
            InputError: There are two of the name, or a folder cannot be listed.
        """
        # The whole name first: a folder of frames may have a dot in it, and so no ending.
        for name in dict.fromkeys((id, media.name, media.stem)):
            for folder in (self.root, self.root / split):
                place = folder / name
                found = self._list(place.parent).find(place.name) or []
                if len(found) > 1:
                    names = " and ".join(path.name for path in found)
                    raise InputError(f"{place.parent}: found {names}, expected one array of {id!r}")
                if found:
                    return found[0], name not in (media.stem, media.name)
        return None, True

    @staticmethod
    def medium(media: Path | None, array: Path | None, expected: Path | str) -> Path | None:
        """The medium of a clip with an array beside it, where it would lie if only the array is.

        None: neither is there.
        """
        if array is not None:
            return media or Path(expected)
        return media if media is not None and (is_packed(media) or media.exists()) else None

    def _list(self, folder: Path) -> Names[list[Path]]:
        """Arrays in a folder by name without ending."""
        if folder not in self._listed:
            listed = self._listed[folder] = Names()
            for name, is_folder in sorted(list_entries(folder).items()):
                path = folder / name
                if name.startswith(".") or is_folder is None:
                    continue
                if is_folder and is_json_folder(path):
                    listed.setdefault(name, []).append(path)
                elif not is_folder and is_array_file(path):
                    listed.setdefault(path.stem, []).append(path)
        return self._listed[folder]
