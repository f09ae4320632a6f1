"""Label files that circulate in the field: GFSLT's and Uni-Sign's, and those of Camgoz.

They are pickles from elsewhere and read as plain data. Their features are dropped: the frames lie
in a folder of their own. No frame is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.listing import MediaFolder
from unglossed.corpora.pickles import read_pickle
from unglossed.corpora.reading import Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.media.pictures import list_pictures

NORMALISATION = "nfc_no_final_stop.v1"
"""Of both kinds: their texts end in " .", or not, depending on who made the file."""

_SPLITS = ("train", "dev", "test")
_CHINESE = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True)
class _Kind:
    """A kind of label file; the first group of `files` is the split."""

    name: str
    files: re.Pattern[str]
    example: str
    container: type[dict[object, object]] | type[list[object]]
    allowed: Mapping[str, Callable[..., object]]  # what its pickles may name, see `read_pickle`
    longest: int | None  # longer text and bytes are dropped while reading


_GFSLT = _Kind(
    name="gfslt",
    files=re.compile(r"labels.*\.(train|dev|test)"),
    example="labels.train",
    container=dict,
    allowed={},
    longest=None,
)
_CAMGOZ = _Kind(
    name="camgoz",
    # The ending is that of the copies without features.
    files=re.compile(r"[^.].*\.(train|dev|test)(?:\.annotations_only\.gzip)?"),
    example="phoenix14t.pami0.train",
    container=list,
    allowed={  # all that a tensor of features names
        "torch._utils._rebuild_tensor_v2": lambda *_: None,
        "torch.storage._load_from_bytes": lambda *_: None,
        "collections.OrderedDict": lambda: {},
    },
    longest=4096,
)


def read_gfslt(reading: Reading) -> Corpus:
    """Read GFSLT-style label files: `labels.train`, `labels.dev`, `labels.test`.

    The media of an entry is the folder that its `imgs_path` lies in, or its `video_path`, or a
    folder or video of its `name`. A folder is used as a whole: where `imgs_path` lists only a part
    of it, that is noted. The field `length` is ignored.

    Args:
        reading: Its root is the folder of the label files; the clips lie there, or in `?media=`.
            Without a language it is Chinese if the texts are, else German.

    Raises:
        InputError: A label file is missing, no plain pickle or malformed, or media are missing.
    """
    return _read(reading, _GFSLT)


def read_camgoz(reading: Reading) -> Corpus:
    """Read Camgoz-style label files: `phoenix14t.pami0.train` and the like, with features or not.

    The media of an entry is a folder or video of its `name`, which begins with the split.

    Args:
        reading: As in `read_gfslt`.

    Raises:
        InputError: As `read_gfslt`.
    """
    return _read(reading, _CAMGOZ)


def _read(reading: Reading, kind: _Kind) -> Corpus:
    rows = Rows(reading, reading.language or "")
    clips = MediaFolder(
        reading.media_root or reading.root, reading.broken_links, look=reading.has_media
    )
    for split, path in _find_files(reading.root, kind).items():
        entries = _read_entries(path, kind)
        rows.language = rows.language or _language_of(entries)
        rows.begin(path, "entry", split, id_field="name")
        for number, (key, value) in enumerate(entries, start=1):
            try:
                entry = _parse(value)
                media, expected = _find_clip(clips, entry, split)
                if media is not None and entry.frames:
                    _compare_frames(rows, number, entry.frames, media)
            except RowError as error:
                shown = "" if key is None else f" (key {str(key)[:100]!r})"
                rows.report(number, f"{error}{shown}", error.kind)
                continue
            rows.add(
                number,
                id=entry.name,
                media=media,
                expected=expected,
                text=entry.text,
                split=split,
                signer=entry.signer,
                gloss=entry.gloss,
            )
    clips.report_leftover(rows, only_clips=True)
    return rows.corpus(kind.name, NORMALISATION)


def _find_files(root: Path, kind: _Kind) -> dict[str, Path]:
    expected = f"{kind.example} and the like for {', '.join(_SPLITS[1:])}"
    if not root.is_dir():
        raise InputError(f"{root}: found a file, expected the folder that holds {expected}")
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        match = kind.files.fullmatch(path.name)
        if match is None:
            continue
        if match[1] in found:
            raise InputError(
                f"{root}: found {found[match[1]].name} and {path.name}, expected one label file"
                f" for the split {match[1]}"
            )
        found[match[1]] = path
    if not found:
        raise InputError(
            f"{root}: found no label file of the kind {kind.name}, expected {expected}"
        )
    return {split: found[split] for split in _SPLITS if split in found}


def _read_entries(path: Path, kind: _Kind) -> list[tuple[object, object]]:
    """Read keys (None in a list) and entries."""
    content = read_pickle(path, kind.allowed, kind.longest)
    if isinstance(content, dict) and kind.container is dict:
        return list(content.items())
    if isinstance(content, list) and kind.container is list:
        return [(None, value) for value in content]
    other = _CAMGOZ if kind is _GFSLT else _GFSLT
    hint = f"; the kind {other.name} has one" if isinstance(content, other.container) else ""
    raise InputError(
        f"{path}: found a {type(content).__name__}, expected a {kind.container.__name__} of entries"
        f"{hint}"
    )


def _language_of(entries: list[tuple[object, object]]) -> str:
    texts = [value.get("text") for _, value in entries if isinstance(value, dict)]
    chinese = sum(1 for text in texts if isinstance(text, str) and _CHINESE.search(text))
    return "zh" if chinese * 2 > len(texts) else "de"


class _Entry(NamedTuple):
    name: str
    text: str
    signer: str
    gloss: str
    video: str
    frames: list[str]


def _parse(value: object) -> _Entry:
    if not isinstance(value, dict):
        raise RowError(f"found {type(value).__name__}, expected a dict with name and text")
    for field in ("name", "text"):
        if field not in value:
            names = ", ".join(map(str, value))
            raise RowError(f"the field {field!r} is missing, found {names[:200] or 'none'}")
    # Uni-Sign has a list of glosses, or '' where there is none.
    listed = isinstance(value.get("gloss"), list)
    return _Entry(
        name=_text(value, "name"),
        text=_text(value, "text"),
        signer=_text(value, "signer", optional=True),
        gloss=" ".join(_texts(value, "gloss")) if listed else _text(value, "gloss", optional=True),
        video=_text(value, "video_path", optional=True),
        frames=_texts(value, "imgs_path"),
    )


def _text(entry: dict[object, object], field: str, optional: bool = False) -> str:
    value = entry.get(field)
    if optional and value is None:
        return ""
    if not isinstance(value, str):
        found = type(value).__name__ if value is not None else "None (or a very long text)"
        raise RowError(f"the field {field!r}: found {found}, expected text")
    return value


def _texts(entry: dict[object, object], field: str) -> list[str]:
    value = entry.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError(f"the field {field!r}: found {type(value).__name__}, expected a list")
    if not value and field == "imgs_path":
        raise RowError(f"the field {field!r}: found an empty list, expected frames")
    texts = [item for item in value if isinstance(item, str)]
    if len(texts) < len(value):
        raise RowError(f"the field {field!r}: found other items than text, expected text")
    return texts


def _find_clip(clips: MediaFolder, entry: _Entry, split: str) -> tuple[Path | None, Path]:
    """Find an entry's media, and where they are expected.

    Raises:
        RowError: The entry's path leaves the folder, its frames are not in one folder, or the
            folder that should hold them cannot be listed.
    """
    name, field = entry.name, "name"
    if entry.frames:
        folders = {frame.rpartition("/")[0] for frame in entry.frames}
        if len(folders) > 1:
            found = f"found frames of {len(folders)} folders"
            raise RowError(f"the field 'imgs_path': {found}, expected one")
        name, field = folders.pop() or entry.name, "imgs_path"
    elif entry.video:
        name, field = entry.video, "video_path"
    elif not entry.name.strip():
        return None, clips.root  # an empty name is reported as such
    # As Windows reads it both separators and drives count, whatever made the file.
    path = PureWindowsPath(name)
    if path.anchor or not path.parts or ".." in path.parts or "\0" in name:
        raise RowError(
            f"the field {field!r}: found {name[:200]!r}, which leaves the folder of the clips"
            f" {clips.root}, expected a path below it"
        )
    place = PurePosixPath(name)
    with_split = place if place.parts[0] == split else PurePosixPath(split) / place
    try:
        if field == "video_path":
            return clips.find(str(place)), clips.root / place
        tries = (clips.find(str(one), by_stem=True) for one in (place, with_split))
        return next(filter(None, tries), None), clips.root / with_split
    except InputError as error:
        raise RowError(str(error), FaultKind.UNREADABLE_MEDIA) from error


def _compare_frames(rows: Rows, number: int, frames: list[str], media: Path) -> None:
    """Compare a list of frames with those there are; copies may have another picture format."""
    if not media.is_dir():
        return
    listed = {frame.rpartition("/")[2].rsplit(".", 1)[0]: frame for frame in frames}
    try:
        present = {name.rsplit(".", 1)[0] for name in list_pictures(media)}
    except InputError:
        present = set()
    missing = [frame for stem, frame in listed.items() if stem not in present]
    if missing:
        found = f"{len(missing)} of the {len(frames)} frames of 'imgs_path' are not in {media}"
        raise RowError(f"{found}, as {missing[0][:200]!r}", FaultKind.MISSING_MEDIA)
    if len(present) > len(listed):
        found = f"'imgs_path' lists {len(listed)} of the {len(present)} frames in {media}"
        text = f"{found}: the list is ignored, all are used"
        rows.report(number, text, FaultKind.PARTIAL_LIST)
