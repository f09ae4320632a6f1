"""OpenASL (American Sign Language to English), and generated corpora in its layout.

Reads the release's table beside whole videos, or beside the clips that the release's script cuts
from them. No video is opened here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import Clips, list_files, list_folders
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows, read_columns, read_lines
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.media.frames import VIDEO_SUFFIXES

TABLE = "openasl-v1.0.tsv"
BOXES = "bbox-v1.0.json"
VIDEO_FOLDERS = ("raw-video", "raw_video", "raw-videos", "raw_videos", "videos", "video")
CLIP_FOLDERS = ("video-clip", "video_clip", "video-clips", "video_clips", "clips")

Box = tuple[float, float, float, float]

_COLUMNS = {
    "vid": ("vid",),
    "yid": ("yid",),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "split": ("split",),
    "raw-text": ("raw_text", "text", "en", "translation", "sentence"),
}
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]*)?)")
# Colons are forbidden on some file systems; the release's own script writes % instead.
_FOR_COLON = (":", "%", "_", "-")


def read_openasl(reading: Reading) -> Corpus:
    """Read every split that the table names; `valid` becomes dev.

    A ready-made clip `<vid>.mp4` is used as it is: the release's script has cut it to its box.
    Otherwise the clip is a part of the whole video `<yid>.mp4`, in time and, if the file of boxes
    is there, in the frame. Many videos are no longer available: `?missing=skip` leaves their rows
    out.

    Args:
        reading: Its root is the table, the release's folder, or the one above or below it. Without
            a language it is what a generated corpus says about itself, else English.

    Raises:
        InputError: There is no table, its columns are not known, or a row is malformed.
    """
    path = _find_table(reading.root)
    own = path.resolve().parent
    release = own.parent if own.name == "data" else path.parent
    folders = _media_folders(reading, release, path.parent)
    listed = folders if reading.has_media else ()
    clips = Clips(
        {folder: list_files(folder, VIDEO_SUFFIXES, reading.broken_links) for folder in listed}
    )
    boxes_path = path.with_name(BOXES)
    boxes = _read_boxes(boxes_path)
    columns = _find_columns(reading, path)
    rows = Rows(reading, reading.language or generated_language(release) or "en")
    rows.begin(path, id_field="vid", text_field=columns["raw-text"])
    num_cropped = 0
    for number, row in read_columns(reading, path, "\t"):
        with rows.row(number):
            fields = {name: row[column] for name, column in columns.items()}
            vid, yid, split = fields["vid"], fields["yid"], fields["split"].strip()
            names = (vid.replace(":", mark) for mark in _FOR_COLON)
            clip = next(filter(None, map(clips.find, names)), None)
            whole = clips.find(yid)
            start, end = (_parse_time(name, fields[name]) for name in ("start", "end"))
            if not split and vid:
                raise RowError(f"{vid!r} is in no split", FaultKind.NO_SPLIT)
            num_cropped += clip is not None and vid in boxes
            box = None
            if clip is None and whole is not None and vid in boxes:
                box = _to_box(boxes[vid])
                if box is None:
                    text = "expected [x0, y0, x1, y1] in 0..1 with x0 < x1, y0 < y1"
                    text = f"box {boxes[vid]!r}, {text}"
                    reading.report(FaultKind.MALFORMED_ROW, f"{boxes_path}, {vid}", text)
                    continue
            rows.add(
                number,
                id=vid,
                media=clip or whole,
                expected=folders[0] / f"{yid}.mp4",
                or_expected=f"the clip {vid}.mp4",
                text=fields["raw-text"],
                split=SPLIT_NAMES.get(split, split),
                start_seconds=None if clip else start,
                end_seconds=None if clip else end,
                box=box,
            )
    if num_cropped:
        text = f"boxes of {num_cropped} ready-made clips, which are cut to their boxes already"
        reading.report(FaultKind.LEFT_OUT, str(boxes_path), text)
    clips.report_leftover(rows)
    return rows.corpus("openasl")


def parse_seconds(text: str) -> float | None:
    """Read a time, in seconds or as HH:MM:SS.mmm; None if it is neither."""
    match = _CLOCK.fullmatch(text.strip())
    if match:
        hours, minutes, seconds = match.groups(default="0")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    try:
        return float(text)
    except ValueError:
        return None


def _find_table(root: Path) -> Path:
    if root.is_file():
        return root
    for folder in (root, root / "data", *sorted(list_folders(root).values())):
        tables = sorted([*folder.glob("openasl*.tsv"), *folder.glob("data/openasl*.tsv")])
        official = [path for path in tables if path.name == TABLE]
        if official:
            return official[0]
        if len(tables) > 1:
            names = ", ".join(path.name for path in tables)
            raise InputError(f"{folder}: found {names}, expected {TABLE}, or a spec with one name")
        if tables:
            return tables[0]
    raise InputError(f"{root}: found no openasl*.tsv, expected {root / 'data' / TABLE}")


def _media_folders(reading: Reading, *places: Path) -> list[Path]:
    if reading.media_root is not None:
        return [reading.media_root]
    names = (*VIDEO_FOLDERS, *CLIP_FOLDERS)
    folders = [place / name for place in places for name in names] + list(places)
    return list(dict.fromkeys(folders))


def _find_columns(reading: Reading, path: Path) -> dict[str, str]:
    """How the table calls each column that is needed."""
    _, line = next(read_lines(reading, path))
    found = {re.sub(r"[-\s]+", "_", name.strip().lower()): name for name in line.split("\t")}
    columns = {
        wanted: next((found[name] for name in names if name in found), None)
        for wanted, names in _COLUMNS.items()
    }
    missing = [name for name, column in columns.items() if column is None]
    if missing:
        raise InputError(
            f"{path}, line 1: found the columns {', '.join(found.values())[:200]!r}, expected also"
            f" {', '.join(missing)}, separated by tabs"
        )
    return {name: column for name, column in columns.items() if column is not None}


def _parse_time(name: str, value: str) -> float:
    seconds = parse_seconds(value)
    if seconds is None:
        raise RowError(f"{name} is {value!r}, expected seconds or HH:MM:SS.mmm")
    return seconds


def _read_boxes(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        boxes = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(boxes, dict):
        raise InputError(f"{path}: found no JSON object, expected vid and [x0, y0, x1, y1] in 0..1")
    return boxes


def _to_box(value: object) -> Box | None:
    if isinstance(value, list) and all(isinstance(edge, int | float) for edge in value):
        match value:
            case [left, top, right, bottom] if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
                return float(left), float(top), float(right), float(bottom)
    return None
