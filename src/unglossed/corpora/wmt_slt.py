"""WMT-SLT (Swiss German Sign Language to German): SRF's news and FocusNews, with subtitles.

Reads the training data as its archives unpack, whole videos beside folders of subtitles. No video
is opened here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import list_clips, list_files, list_folders
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.subtitles import add_subtitles
from unglossed.errors import InputError

SUBTITLES = "subtitles"
VIDEOS = "videos"
PARTS = (Path("srf", "parallel"), Path("focusnews"))
"""Where the archives of the training data put videos and subtitles."""

_DEPTH = 3
_SPLITS = {"train", "dev", "test", "test_seen", *SPLIT_NAMES}


def read_wmt_slt(reading: Reading) -> Corpus:
    """Read every part that has a folder of subtitles: SRF's, FocusNews, or both.

    A part below a folder that is called as a split (dev, test) is that split, any other is train,
    as the training data have none. A sample is a subtitle, called by its video and its number.

    Args:
        reading: Its root is the folder of the unpacked archives, or one in it. With a media root
            the videos lie there, in folders of the same names or in none. Without a language it is
            what a generated corpus says about itself, else German.

    Raises:
        InputError: There are no subtitles, or, where nobody collects faults, the first fault.
    """
    root = reading.root
    parts = list(_find_parts(root, _DEPTH))
    if not parts:
        expected = " or ".join(str(root / part / SUBTITLES) for part in PARTS)
        raise InputError(f"{root}: found no folder {SUBTITLES}, expected {expected}")
    rows = Rows(reading, reading.language or generated_language(root) or "de", forgiving=True)
    for part in parts:
        below = part.relative_to(root)
        split = next((name for name in reversed(below.parts) if name in _SPLITS), "train")
        folders = [part / VIDEOS]
        if reading.media_root is not None:
            places = (below / VIDEOS, below, Path(VIDEOS), Path())
            folders = [reading.media_root / place for place in places]
        clips = list_clips(folders, reading.broken_links, look=reading.has_media)
        for name, path in sorted(list_files(part / SUBTITLES, (".srt", ".vtt")).items()):
            add_subtitles(
                rows,
                path,
                id=name,
                split=SPLIT_NAMES.get(split, split),
                media=clips.find(name),
                expected=folders[0] / f"{name}.mp4",
            )
        if reading.media_root is None:
            clips.report_leftover(rows)
    return rows.corpus("wmt_slt")


def _find_parts(folder: Path, depth: int) -> Iterator[Path]:
    """Folders, no deeper than `depth`, in which subtitles lie."""
    found = list_folders(folder)
    if SUBTITLES in found:
        yield folder
        return
    for _, inner in sorted(found.items()) if depth else ():
        yield from _find_parts(inner, depth - 1)
