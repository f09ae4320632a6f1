"""From a corpus spec, `kind:path` with options after `?`, to the reader of that kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args
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
)
from unglossed.corpora.faults import Faults
from unglossed.corpora.listing import scan
from unglossed.corpora.reading import ALL, Reading
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.files import find_path
from unglossed.media.signal import check_frame_rate

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
    "youtube_asl": folder.read_youtube_asl,
}
Texts = Literal["required", "optional"]
_EXAMPLE = "phoenix14t:/data/PHOENIX-2014-T-release-v3"
_OPTIONS = (
    "language=CODE, media=FOLDER, missing=skip, tier=NAME, frame_rate=NUMBER, deinterlace=yes,"
    " faulty=skip, split=NAME or references=rows"
)
_WITHOUT_VIDEO = ("phoenix14t", "packed", "camgoz", "must_c")
_WITH_RATES = ("table", "folder", "gfslt")  # the others' pictures have the rate of their corpus
# Which kinds take an option that not all take, and its only value.
_FOR = {"faulty": tuple(kind for kind in _READERS if kind != "packed")}
_FOR |= dict.fromkeys(("split", "references"), ("table",))
_WITH_LANGUAGES = ("table", "packed")
_VALUES = {"missing": "skip", "faulty": "skip", "references": "rows", "deinterlace": "yes"}


def is_spec(text: str) -> bool:
    """Whether a text names a corpus, `kind:path`, and not a file that is there."""
    return text.partition(":")[0] in _READERS and ":" in text and not Path(text).exists()


def read_corpus(
    spec: str,
    faults: Faults | None = None,
    *,
    only: str | None = None,
    texts: Texts = "required",
) -> Corpus:
    """Read all splits of a corpus.

        >>> unglossed.read_corpus(corpus).split("test")[0].text
        'regen im süden test 0'

    Args:
        spec: `kind:path`, as in `phoenix14t:/data/PHOENIX-2014-T-release-v3`. Options follow a
            question mark, `&` between two: `language=en` takes the texts to be in that language,
            `media=FOLDER` says where the clips lie, `missing=skip` leaves out and counts rows
            whose clip is not there, `faulty=skip` those that cannot be used for another reason,
            `tier=NAME` takes that tier of ELAN files, `split=train` says the split of all rows of
            a table, `language=*` reads its rows in all languages, `references=rows` takes rows of
            one id as several texts of one clip, `frame_rate=50` says how many pictures of a frame
            folder are one second, `deinterlace=yes` makes one whole picture of each frame that a
            video marks as interlaced.
        faults: Where all faults of rows go, and the reading goes on; None: the first one is raised.
        only: The split that will be used: media of other splits may be missing.
        texts: "optional": rows without a text are samples, too, with an empty one, as what is to be
            translated.

    Raises:
        InputError: The spec or what lies at the path is not as expected, or `spec` is no text.
    """
    return find_reader(spec, faults, only=only, texts=texts)()


def find_reader(
    spec: str,
    faults: Faults | None = None,
    *,
    only: str | None = None,
    texts: Texts = "required",
) -> Callable[[], Corpus]:
    """Find who reads a corpus; nothing is read yet.

    Args:
        spec: As in `read_corpus`.
        faults: As in `read_corpus`.
        only: As in `read_corpus`.
        texts: As in `read_corpus`.

    Returns:
        What reads the corpus, and raises InputError if it is not as expected.

    Raises:
        InputError: The spec is wrong, or nothing lies at its path.
    """
    kinds = ", ".join(_READERS)
    if not isinstance(spec, str):
        raise InputError(
            f"corpus: found {type(spec).__name__}, expected a text kind:path, as {_EXAMPLE}"
        )
    if texts not in get_args(Texts):
        raise InputError(f"texts: found {texts!r}, expected one of {', '.join(get_args(Texts))}")
    kind, colon, rest = spec.partition(":")
    if not colon:
        raise InputError(
            f"corpus {spec!r}: no kind, expected kind:path with a kind of {kinds}, as {_EXAMPLE}"
        )
    if kind not in _READERS:
        raise InputError(f"corpus {spec!r}: unknown kind {kind!r}, expected one of {kinds}")
    path, options = _split_options(spec, kind, rest)
    if not path:
        raise InputError(f"corpus {spec!r}: no path, expected kind:path, as {_EXAMPLE}")
    root = find_path(Path(path).expanduser())
    try:
        root.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InputError(
            f"{root}: no such file or folder, expected a corpus of the kind {kind}"
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
        needs_text=texts == "required",
        skip_faulty="faulty" in options,
        split=_split_name(options.get("split")),
        references_in_rows="references" in options,
        faults=faults,
    )
    if reading.media_root is not None and not reading.media_root.is_dir():
        raise InputError(f"{media}: no such folder, expected the clips of {spec!r} there")
    if reading.media_root is not None:
        with scan(reading.media_root):
            pass
    return partial(_READERS[kind], reading)


def _split_options(spec: str, kind: str, rest: str) -> tuple[str, dict[str, str]]:
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
        if key not in ("language", "media", "tier", "frame_rate", "split", *_VALUES):
            raise InputError(f"corpus {spec!r}: unknown option {key!r}, expected {_OPTIONS}")
        if kind not in _FOR.get(key, _READERS):
            kinds = ", ".join(_FOR[key])
            raise InputError(f"corpus {spec!r}: found the option {key!r}, which is for {kinds}")
        if key == "language" and value == ALL and kind not in _WITH_LANGUAGES:
            kinds = ", ".join(_WITH_LANGUAGES)
            raise InputError(f"corpus {spec!r}: language {value!r}, which is for {kinds}")
        if key == "language" and value != ALL and not re.fullmatch(r"[a-z]{2,3}", value):
            raise InputError(f"corpus {spec!r}: language {value!r}, expected a code as de, en, zh")
        if key == "split" and not value.strip():
            raise InputError(f"corpus {spec!r}: split {value!r}, expected a name as train")
        if value != _VALUES.get(key, value):
            raise InputError(f"corpus {spec!r}: {key} {value!r}, expected {_VALUES[key]}")
    return path, options


def _split_name(value: str | None) -> str | None:
    return None if value is None else table.SPLIT_NAMES.get(value.strip(), value.strip())


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
