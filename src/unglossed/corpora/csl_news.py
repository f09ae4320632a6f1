"""CSL-News (Chinese Sign Language to Chinese): clips of news, and their subtitles in one file.

Reads the release's labels, JSON or CSV, beside the clips of its archives. No video is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from unglossed.corpora.captions import on_one_line
from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.json_files import read_json
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import list_clips, list_folders
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.separated import read_separated
from unglossed.errors import InputError

LABELS = "CSL_News_Labels.json"
VIDEOS = "rgb_format"
FIELDS = ("video", "text")

_LABELS = re.compile(r"CSL_News_Labels(?:\.(?P<split>\w+))?\.(?P<kind>json|csv)")
_LABEL_FOLDERS = ("", "data/train", "data", "label", "labels", "metadata")
_VIDEO_FOLDERS = (VIDEOS, "rgb", "videos", "data/train", "data", "")


def read_csl_news(reading: Reading) -> Corpus:
    """Read the clips that the labels name; the release has no splits, so that all is train.

    `CSL_News_Labels.dev.json` beside the release's file, of the same form, makes a split dev, and
    so on. The CSV of the same content is read where there is no JSON. Archives may be unpacked into
    one folder or into one each. Rows without a text are left out and counted. Names of clips tell
    no signer; the poses that the labels name are not read.

    Args:
        reading: Its root is a folder that holds the labels, in the release's folder or directly, or
            the file of labels. Without a language it is what a generated corpus says about itself,
            else Chinese.

    Raises:
        InputError: There are no labels, or a file of them is malformed.
    """
    files = _find_labels(reading.root)
    base = reading.root if reading.root.is_dir() else reading.root.parent
    folders = _video_folders(reading.media_root or base)
    clips = list_clips(folders, reading.broken_links, look=reading.has_media)
    rows = Rows(reading, reading.language or generated_language(base) or "zh", forgiving=True)
    for split, path in files.items():
        unit = "line" if path.suffix == ".csv" else "entry"
        rows.begin(path, unit, split, id_field="video")
        for number, entry in _read_entries(reading, path):
            with rows.row(number):
                name, text = _parse(entry)
                stem = PureWindowsPath(name).stem
                rows.add(
                    number,
                    id=stem,
                    media=clips.find(stem),
                    expected=folders[0] / f"{stem}.mp4",
                    text=on_one_line(text),
                    split=split,
                )
    clips.report_leftover(rows)
    return rows.corpus("csl_news")


def _find_labels(root: Path) -> dict[str, Path]:
    """The file of each split; JSON where there are both kinds."""
    if root.is_file():
        match = _LABELS.fullmatch(root.name)
        split = match["split"] if match else None
        return {_split(split): root}
    found: dict[str, Path] = {}
    for folder in (root / name for name in _LABEL_FOLDERS):
        for path in sorted(folder.glob("CSL_News_Labels*")):
            match = _LABELS.fullmatch(path.name)
            if match and (match["kind"] == "json" or _split(match["split"]) not in found):
                found[_split(match["split"])] = path
        if found:
            return {split: found[split] for split in sorted(found, key="train".__ne__)}
    raise InputError(f"{root}: found no {LABELS}, expected it there or in {root / 'data/train'}")


def _split(name: str | None) -> str:
    return SPLIT_NAMES.get(name or "train", name or "train")


def _video_folders(root: Path) -> list[Path]:
    """Where clips may lie: a folder of all, or one for each archive."""
    places = [root / name for name in _VIDEO_FOLDERS]
    archives = [
        folder
        for place in places
        for name, folder in sorted(list_folders(place).items())
        if name.startswith("archive_")
    ]
    return list(dict.fromkeys([*places, *archives]))


def _read_entries(reading: Reading, path: Path) -> Iterator[tuple[int, object]]:
    if path.suffix == ".csv":
        names, rows = read_separated(reading, path)
        if missing := [name for name in FIELDS if name not in names]:
            raise InputError(
                f"{path}, line 1: no column {', '.join(missing)}, found"
                f" {', '.join(map(repr, names))[:200] or 'none'}"
            )
        if twice := [name for name in FIELDS if names.count(name) > 1]:
            raise InputError(f"{path}, line 1: found the column {twice[0]} twice")
        for number, fields in rows:
            yield number, dict(zip(names, fields, strict=True))
        return
    content = read_json(path)
    if not isinstance(content, list):
        kind = type(content).__name__
        raise InputError(f'{path}: found a {kind}, expected a list of {{"video", "text"}}')
    yield from enumerate(content, start=1)


def _parse(entry: object) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise RowError(f"found {str(entry)[:60]!r}, expected an object with video and text")
    values = []
    for field in FIELDS:
        value = entry.get(field)
        if value is None and field == "text":
            value = ""
        if not isinstance(value, str):
            found = "is not there" if field not in entry else f"holds {value!r:.60}"
            raise RowError(f"the field {field} {found}, expected text")
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can write half a character, which no file can hold
            reason = f"the field {field} holds half of a surrogate pair, expected whole characters"
            raise RowError(reason, FaultKind.MALFORMED_ROW) from None
        values.append(value)
    return values[0], values[1]
