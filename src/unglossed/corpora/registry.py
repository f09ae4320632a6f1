"""From a corpus spec, `kind:path` with options after `?`, to the reader of that kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from unglossed.corpora import (
    csl_daily,
    folder,
    how2sign,
    labels,
    must_c,
    openasl,
    packed,
    phoenix14t,
    table,
    youtube_asl,
)
from unglossed.corpora.faults import Faults
from unglossed.corpora.listing import scan
from unglossed.corpora.reading import Reading
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.media.clip import check_frame_rate
from unglossed.media.names import find_path

_READERS: dict[str, Callable[[Reading], Corpus]] = {
    "phoenix14t": phoenix14t.read_phoenix14t,
    "csl_daily": csl_daily.read_csl_daily,
    "how2sign": how2sign.read_how2sign,
    "openasl": openasl.read_openasl,
    "gfslt": labels.read_gfslt,
    "camgoz": labels.read_camgoz,
    "must_c": must_c.read_must_c,
    "table": table.read_table,
    "packed": packed.read_packed,
    "folder": folder.read_folder,
    "youtube_asl": youtube_asl.read_youtube_asl,
}
_EXAMPLE = "phoenix14t:/data/PHOENIX-2014-T-release-v3"
_OPTIONS = (
    "language=CODE, media=FOLDER, missing=skip, tier=NAME, frame_rate=NUMBER or deinterlace=yes"
)
_WITHOUT_VIDEO = ("phoenix14t", "packed", "camgoz", "must_c")
_WITH_RATES = ("table", "folder", "gfslt")  # the others' pictures have the rate of their corpus


def read_corpus(spec: str, faults: Faults | None = None, *, only: str | None = None) -> Corpus:
    """Read all splits of a corpus.

    Args:
        spec: `kind:path`, as in `phoenix14t:/data/PHOENIX-2014-T-release-v3`. Options follow a
            question mark, `&` between two: `language=en` takes the texts to be in that language,
            `media=FOLDER` says where the clips lie, `missing=skip` leaves out and counts rows
            whose clip is not there, `tier=NAME` takes that tier of ELAN files, `frame_rate=50` says
            how many pictures of a frame folder are one second, `deinterlace=yes` makes one whole
            picture of each frame that a video marks as interlaced.
        faults: Where all faults of rows go, and the reading goes on; None: the first one is raised.
        only: The split that will be used: media of other splits may be missing.

    Raises:
        InputError: The spec or what lies at the path is not as expected.
    """
    return find_reader(spec, faults, only=only)()


def find_reader(
    spec: str, faults: Faults | None = None, *, only: str | None = None
) -> Callable[[], Corpus]:
    """Find who reads a corpus; nothing is read yet.

    Args:
        spec: As in `read_corpus`.
        faults: As in `read_corpus`.
        only: As in `read_corpus`.

    Returns:
        What reads the corpus, and raises InputError if it is not as expected.

    Raises:
        InputError: The spec is wrong, or nothing lies at its path.
    """
    kinds = ", ".join(_READERS)
    kind, colon, rest = spec.partition(":")
    if not colon:
        raise InputError(
            f"corpus {spec!r}: no kind, expected kind:path with a kind of {kinds}, as {_EXAMPLE}"
        )
    if kind not in _READERS:
        raise InputError(f"corpus {spec!r}: unknown kind {kind!r}, expected one of {kinds}")
    path, options = _split_options(spec, rest)
    if not path:
        raise InputError(f"corpus {spec!r}: no path, expected kind:path, as {_EXAMPLE}")
    root = find_path(Path(path).expanduser())
    try:
        root.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InputError(
            f"{root}: no such file or folder, expected a corpus of the kind {kind} ({kinds})"
        ) from None
    except OSError as error:
        raise InputError(f"{root}: cannot be opened: {error.strerror}") from error
    if root.is_dir():
        with scan(root):
            pass  # it may be there and still not be ours to read
    media = options.get("media")
    reading = Reading(
        spec=spec,
        root=root,
        language=options.get("language"),
        media_root=find_path(Path(media).expanduser()) if media else None,
        tier=options.get("tier"),
        frame_rate=_frame_rate(spec, kind, options.get("frame_rate")),
        deinterlace=_deinterlace(spec, kind, options.get("deinterlace")),
        only=only,
        skip_missing="missing" in options,
        faults=faults,
    )
    if reading.media_root is not None and not reading.media_root.is_dir():
        raise InputError(f"{media}: no such folder, expected the clips of {spec!r} there")
    if reading.media_root is not None:
        with scan(reading.media_root):
            pass
    return partial(_READERS[kind], reading)


def _split_options(spec: str, rest: str) -> tuple[str, dict[str, str]]:
    path, mark, query = rest.rpartition("?")
    if not mark:
        return rest, {}
    if "=" not in query:
        raise InputError(f"corpus {spec!r}: option {query!r}, expected {_OPTIONS}")
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    options = dict(pairs)
    for key in options:
        if sum(name == key for name, _ in pairs) > 1:
            raise InputError(f"corpus {spec!r}: found the option {key!r} twice, expected it once")
    for key, value in options.items():
        if key not in ("language", "media", "missing", "tier", "frame_rate", "deinterlace"):
            raise InputError(f"corpus {spec!r}: unknown option {key!r}, expected {_OPTIONS}")
        if key == "language" and not re.fullmatch(r"[a-z]{2,3}", value):
            raise InputError(f"corpus {spec!r}: language {value!r}, expected a code as de, en, zh")
        if key == "missing" and value != "skip":
            raise InputError(f"corpus {spec!r}: missing {value!r}, expected skip")
        if key == "deinterlace" and value != "yes":
            raise InputError(f"corpus {spec!r}: deinterlace {value!r}, expected yes")
    return path, options


def _frame_rate(spec: str, kind: str, value: str | None) -> float | None:
    if value is not None and kind not in _WITH_RATES:
        kinds = ", ".join(_WITH_RATES)
        raise InputError(
            f"corpus {spec!r}: found the option 'frame_rate', which is for {kinds}: the pictures"
            f" of {kind} have the rate of their corpus"
        )
    return None if value is None else check_frame_rate(value, f"corpus {spec!r}, frame_rate")


def _deinterlace(spec: str, kind: str, value: str | None) -> bool:
    if value is not None and kind in _WITHOUT_VIDEO:
        raise InputError(
            f"corpus {spec!r}: found the option 'deinterlace', which is for videos: {kind} has none"
        )
    return value is not None
