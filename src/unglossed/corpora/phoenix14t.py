"""RWTH-PHOENIX-Weather 2014 T, and generated corpora in its layout.

Reads the release as it is, at any of its folder levels. No frame is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import Clips, list_entries, list_files, list_folders
from unglossed.corpora.reading import Reading, Rows, read_columns
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.files import Names
from unglossed.media.frames import VIDEO_SUFFIXES

INNER_FOLDER = "PHOENIX-2014-T"
ANNOTATIONS = Path("annotations", "manual")
FRAMES = Path("features", "fullFrame-210x260px")
VIDEOS = Path("videos")
HEADER = "name|video|start|end|speaker|orth|translation"
OFFICIAL_SPLITS = ("train", "dev", "test")

_FILE_PATTERN = re.compile(r"PHOENIX-2014-T\.(.+)\.corpus\.csv")
_FIELDS = HEADER.split("|")


@dataclass(frozen=True)
class AnnotationRow:
    """One line of an annotation file, its fields in the file's order and as text."""

    name: str
    video: str
    start: str
    end: str
    speaker: str
    orth: str
    translation: str


def annotation_path(base: Path, split: str) -> Path:
    """Where the annotation file of a split lies below the corpus's inner folder."""
    return base / ANNOTATIONS / f"PHOENIX-2014-T.{split}.corpus.csv"


def read_phoenix14t(reading: Reading) -> Corpus:
    """Read every split that the corpus has.

    Any other annotation file with frames of its own is a split, too. The columns `video`, `start`
    and `end` say nothing in this corpus and are ignored.

    Args:
        reading: Its root is the release's folder, or the one above or below it. Without a language
            it is what a generated corpus says about itself, else German.

    Raises:
        InputError: A file or a frame folder is missing, or an annotation file is malformed.
    """
    base = _find_base(reading.root)
    rows = Rows(reading, reading.language or generated_language(base) or "de")
    frames = reading.media_root or _frame_root(base)
    for split in _list_splits(base, frames):
        folder, clips = _list_clips(reading, base, frames / split, split)
        path = annotation_path(base, split)
        rows.begin(path, split=split, id_field="name", text_field="translation")
        for number, row in read_annotations(reading, path):
            rows.add(
                number,
                id=row.name,
                media=clips.find(row.name),
                expected=folder / row.name,
                text=row.translation,
                split=split,
                signer=row.speaker,
                gloss=row.orth,
            )
        clips.report_leftover(rows)
    return rows.corpus("phoenix14t")


def read_annotations(reading: Reading, path: Path) -> Iterator[tuple[int, AnnotationRow]]:
    """Read an annotation file: UTF-8, fields separated by `|`, quotes being plain text.

    Yields:
        Line number from 1, and row.

    Raises:
        InputError: As `read_columns`.
    """
    for number, fields in read_columns(reading, path, "|", _FIELDS):
        yield number, AnnotationRow(*(fields[name] for name in _FIELDS))


def format_annotations(rows: Iterable[AnnotationRow]) -> str:
    """Write the text of an annotation file; the inverse of `read_annotations`.

    No field may hold a `|` or a line break: the layout has no way to write them.
    """
    lines = [HEADER]
    for row in rows:
        fields = astuple(row)
        assert not any(mark in field for field in fields for mark in "|\r\n"), row
        lines.append("|".join(fields))
    return "\n".join(lines) + "\n"


def _find_base(root: Path) -> Path:
    inner = root / INNER_FOLDER
    for base in (root, inner, root / "PHOENIX-2014-T-release-v3" / INNER_FOLDER):
        if (base / ANNOTATIONS).is_dir():
            return base
    raise InputError(f"{root}: found no {ANNOTATIONS}, expected {inner / ANNOTATIONS}")


def _frame_root(base: Path) -> Path:
    """The folder of frames; copies at another size carry that size in its name."""
    if (base / FRAMES).is_dir():
        return base / FRAMES
    others = sorted((base / FRAMES.parent).glob("fullFrame-*px"))
    return others[0] if len(others) == 1 else base / FRAMES


def _list_splits(base: Path, frames: Path) -> list[str]:
    matches = map(_FILE_PATTERN.fullmatch, list_entries(base / ANNOTATIONS))
    found = {match[1] for match in matches if match}
    official = [split for split in OFFICIAL_SPLITS if split in found]
    # The release has annotation files without frames of their own (train-complex-annotation).
    extra = [
        split
        for split in sorted(found.difference(OFFICIAL_SPLITS))
        if (frames / split).is_dir() or (base / VIDEOS / split).is_dir()
    ]
    if not official + extra:
        raise InputError(
            f"{base / ANNOTATIONS}: found no annotation file, expected "
            "PHOENIX-2014-T.{train,dev,test}.corpus.csv"
        )
    return official + extra


def _list_clips(reading: Reading, base: Path, frames: Path, split: str) -> tuple[Path, Clips]:
    """The split's folder and the clips in it; one listing, no look at each clip."""
    videos, broken = base / VIDEOS / split, reading.broken_links
    folder = frames if frames.is_dir() or not videos.is_dir() else videos
    if not reading.has_media:
        return folder, Clips({})
    found = list_folders(folder, broken) if folder == frames else Names()
    return folder, Clips({folder: found or list_files(folder, VIDEO_SUFFIXES, broken)})
