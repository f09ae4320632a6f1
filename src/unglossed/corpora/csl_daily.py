"""CSL-Daily (Chinese Sign Language to Chinese), and generated corpora in its layout.

Reads the release as it is, at any of its folder levels, with or without its pickle. No frame is
opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import Clips, list_files, list_folders
from unglossed.corpora.pickles import read_pickle
from unglossed.corpora.reading import Reading, Rows, read_columns
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.media.frames import VIDEO_SUFFIXES

LABELS = Path("sentence_label")
VIDEO_MAP = LABELS / "video_map.txt"
PICKLE = LABELS / "csl2020ct_v2.pkl"
SPLITS = LABELS / "split_1.txt"
FRAMES = Path("sentence", "frames_512x512")
VIDEOS = Path("sentence-crop")
FIELDS = ("index", "name", "length", "gloss", "char", "word", "postag")

_SIGNER = re.compile(r"_(P[0-9]+)_")


class _Label(NamedTuple):
    name: str
    chars: list[str]
    gloss: list[str]


def read_csl_daily(reading: Reading) -> Corpus:
    """Read every split that `split_1.txt` names.

    Labels come from `video_map.txt`, or from the pickle of the same content where that file is
    missing. The `length` column is ignored: the clips of the newer release differ from it. What
    only one of the two label files names is left out and counted.

    Args:
        reading: Its root is the release's folder, or the one above or below it. Without a language
            it is what a generated corpus says about itself, else Chinese.

    Raises:
        InputError: A file is missing or malformed, or there are no clips.
    """
    base = _find_base(reading.root)
    folder, clips = _list_clips(reading, reading.media_root or base)
    splits = _read_splits(reading, base / SPLITS)
    rows = Rows(reading, reading.language or generated_language(base) or "zh")
    path, unit, labels = _open_labels(base)
    for split in dict.fromkeys(split for _, split in splits.values()):
        rows.begin(path, unit, split, id_field="name", text_field="char")
    names = set()
    for number, record in labels(reading, path):
        with rows.row(number):
            name, chars, gloss = _to_label(record)
            names.add(name)
            media = clips.find(name)
            _, split = splits.get(name, (0, ""))
            if not split and name:
                raise RowError(f"{name!r} is in no split of {SPLITS.name}", FaultKind.NO_SPLIT)
            signer = _SIGNER.search(name)
            rows.add(
                number,
                id=name,
                media=media,
                expected=folder / name,
                text="".join(chars),
                split=split,
                signer=signer[1] if signer else None,
                gloss=" ".join(gloss),
            )
    for name, (number, _) in splits.items():
        if name not in names:
            text = f"{name!r} has no {unit} in {path.name}"
            reading.report(FaultKind.LEFT_OUT, f"{base / SPLITS}, line {number}", text)
    clips.report_leftover(rows)
    return rows.corpus("csl_daily")


def _find_base(root: Path) -> Path:
    below = sorted(list_folders(root).values())
    for candidate in (root, root.resolve().parent, *below):
        if (candidate / LABELS).is_dir():
            return candidate
    raise InputError(f"{root}: found no {LABELS}, expected {root / VIDEO_MAP}")


def _list_clips(reading: Reading, root: Path) -> tuple[Path, Clips]:
    """The folder that holds the clips, and they; no look at each clip."""
    frames = sorted(root.glob("sentence*/frames_*")) + sorted(root.glob("frames_*"))
    official = root / FRAMES
    if not reading.has_media:
        return official, Clips({})
    frames.sort(key=official.__ne__)
    for folder in (*frames, root / VIDEOS, root / "sentence", root / "sentences", root):
        media = list_files(folder, VIDEO_SUFFIXES, reading.broken_links)
        for name, path in list_folders(folder, reading.broken_links).items():
            # Beside the frame folders of a release lie folders that are no clips.
            if folder in frames or _SIGNER.search(name):
                media[name] = path
        if media:
            return folder, Clips({folder: media})
    if reading.beside is not None:
        return official, Clips({})
    raise InputError(f"{root}: found no clips, expected {official}/<name> or {root / VIDEOS}")


def _read_splits(reading: Reading, path: Path) -> dict[str, tuple[int, str]]:
    """Line number and split of each name."""
    splits: dict[str, tuple[int, str]] = {}
    for number, row in read_columns(reading, path, "|", ("name", "split")):
        name = row["name"]
        if name in splits:
            text = f"name {name!r} was seen before (line {splits[name][0]}), expected each once"
            reading.report(FaultKind.DUPLICATE_ID, f"{path}, line {number}", text)
        else:
            splits[name] = number, row["split"]
    return {name: (number, split) for name, (number, split) in splits.items() if split.strip()}


def _open_labels(
    base: Path,
) -> tuple[Path, str, Callable[[Reading, Path], Iterator[tuple[int, object]]]]:
    """The label file, what its numbers count, and what reads it."""
    if (base / VIDEO_MAP).is_file():
        return base / VIDEO_MAP, "line", _read_video_map
    if (base / PICKLE).is_file():
        return base / PICKLE, "entry", _read_pickle
    raise InputError(f"{base / VIDEO_MAP}: not found, and no {PICKLE.name}, expected one of them")


def _read_video_map(reading: Reading, path: Path) -> Iterator[tuple[int, object]]:
    for number, row in read_columns(reading, path, "|", FIELDS):
        yield number, _Label(row["name"], row["char"].split(" "), row["gloss"].split())


def _read_pickle(_: Reading, path: Path) -> Iterator[tuple[int, object]]:
    content = read_pickle(path)
    info = content.get("info") if isinstance(content, dict) else None
    if not isinstance(info, list):
        raise InputError(f"{path}: found no list under 'info', expected the pickle of the release")
    yield from enumerate(info, start=1)


def _to_label(record: object) -> _Label:
    if isinstance(record, _Label):
        return record
    values = record if isinstance(record, dict) else {}
    name, chars, gloss = (values.get(key) for key in ("name", "label_char", "label_gloss"))
    if isinstance(name, str) and _is_words(chars) and _is_words(gloss):
        return _Label(name, chars, gloss)
    raise RowError("expected a name, and lists of words as label_char and label_gloss")


def _is_words(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
