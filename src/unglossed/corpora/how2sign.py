"""How2Sign (American Sign Language to English), and generated corpora in its layout.

Reads the release as its own script unpacks it, or its files put together in one folder. No video
is opened here.
"""

from __future__ import annotations

import re
from pathlib import Path

from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import Clips, list_files, list_folders
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows, read_columns
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.files import Names
from unglossed.media.frames import VIDEO_SUFFIXES

REALIGNED = ("START_REALIGNED", "END_REALIGNED")
FIRST_RELEASED = ("START", "END")
TEXT_FOLDER = Path("text", "en", "raw_text")

_FILE_PATTERN = re.compile(r"how2sign_(realigned_)?(.+)\.csv")
_SIGNER = re.compile(r"-([0-9]+)-rgb_(?:front|side)$")


def label_path(base: Path, split: str) -> Path:
    """Where the release's script puts the re-aligned sentences of a split (train, val, test)."""
    folder = base / "sentence_level" / split / TEXT_FOLDER / "re_aligned"
    return folder / f"how2sign_realigned_{split}.csv"


def video_folder(base: Path, split: str) -> Path:
    """Where the release's script puts the whole videos of a split (train, val, test)."""
    return base / "video_level" / split / "rgb_front" / "raw_videos"


def read_how2sign(reading: Reading) -> Corpus:
    """Read every split that has a file of sentences; `val` becomes dev.

    A sentence is cut from its whole video by the re-aligned times. Where only the ready-made clip
    is there it is used as it is, and reported: those clips are known to be misaligned. A split
    whose sentences are only there as first released, without re-aligned times, is read and
    reported the same way.

    Args:
        reading: Its root is the release's folder, or the one above or below it. Without a language
            it is what a generated corpus says about itself, else English.

    Raises:
        InputError: There is no file of sentences, or one is malformed.
    """
    base, files = _find_files(reading.root)
    rows = Rows(reading, reading.language or generated_language(base) or "en")
    listings: dict[Path, Names[Path]] = {}
    used: set[str] = set()
    for name, path in files.items():
        folders = _media_folders(reading, base, name)
        for folder in folders if reading.has_media else ():
            if folder not in listings:
                listings[folder] = list_files(folder, VIDEO_SUFFIXES, reading.broken_links)
        present = [folder for folder in folders if folder in listings]
        clips = Clips({folder: listings[folder] for folder in present}, used)
        _read_file(rows, path, name, folders[0], clips)
    Clips(listings, used).report_leftover(rows)
    return rows.corpus("how2sign")


def _read_file(rows: Rows, path: Path, name: str, folder: Path, clips: Clips) -> None:
    realigned = "_realigned_" in path.name
    time_fields = REALIGNED if realigned else FIRST_RELEASED
    fields = ("VIDEO_NAME", "SENTENCE_NAME", *time_fields, "SENTENCE")
    split = SPLIT_NAMES.get(name, name)
    rows.begin(path, split=split, id_field="SENTENCE_NAME", text_field="SENTENCE")
    num_kept = num_misaligned = 0
    looked_for = rows.reading.has_media and rows.reading.beside is None
    for number, row in read_columns(rows.reading, path, "\t", fields):
        with rows.row(number):
            video_name, clip_name = row["VIDEO_NAME"], row["SENTENCE_NAME"]
            whole, clip = clips.find(video_name), clips.find(clip_name)
            start, end = (_parse_seconds(field, row[field]) for field in time_fields)
            signer = _SIGNER.search(video_name)
            is_whole = bool(whole) or not looked_for
            kept = rows.add(
                number,
                id=clip_name,
                media=whole or clip,
                expected=folder / f"{video_name}.mp4",
                or_expected=f"the clip {clip_name}.mp4",
                text=row["SENTENCE"],
                split=split,
                signer=signer[1] if signer else None,
                start_seconds=start if is_whole else None,
                end_seconds=end if is_whole else None,
            )
            num_kept += kept
            num_misaligned += kept and not (is_whole and realigned)
    if num_misaligned:
        found, expected = (
            ("only the ready-made clip", f"whole videos in {folder}")
            if realigned
            else ("times as first released", f"how2sign_realigned_{name}.csv")
        )
        text = f"{num_misaligned} of {num_kept} sentences have {found}, expected {expected}"
        rows.reading.report(FaultKind.MISALIGNED, str(path), text)


def _parse_seconds(field: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise RowError(f"{field} is {value!r}, expected seconds") from None


def _find_files(root: Path) -> tuple[Path, dict[str, Path]]:
    """The release's folder, and its files of sentences by the release's name of the split."""
    above = [root.resolve().parent] if root.name in ("sentence_level", "video_level") else []
    text = Path("sentence_level", "*", TEXT_FOLDER)
    places = [
        folder / "how2sign_*.csv"
        for folder in (Path(), Path("*_rgb_front_clips"), text / "re_aligned", text)
    ]
    for base in (root, *above, *sorted(list_folders(root).values())):
        found: dict[str, dict[bool, Path]] = {}
        for path in (path for place in places for path in sorted(base.glob(str(place)))):
            match = _FILE_PATTERN.fullmatch(path.name)
            if match:
                found.setdefault(match[2], {}).setdefault(bool(match[1]), path)
        if found:
            return base, {name: paths.get(True) or paths[False] for name, paths in found.items()}
    raise InputError(
        f"{root}: found no file of sentences, expected how2sign_realigned_{{train,val,test}}.csv"
        f" there or at {label_path(root, 'train')}"
    )


def _media_folders(reading: Reading, base: Path, name: str) -> list[Path]:
    """Where the videos of a split may lie, whole videos first."""
    if reading.media_root is not None:
        return [reading.media_root, reading.media_root / name]
    places = """
        sentence_level/{0}/rgb_front/raw_videos {0} {0}/raw_videos {0}_raw_videos
        {0}_raw_videos/raw_videos {0}_rgb_front_clips {0}_rgb_front_clips/raw_videos
        raw_videos videos/{0} videos .
    """
    return [video_folder(base, name), *(base / place.format(name) for place in places.split())]
