"""From a corpus spec, `kind:path` with options after `?`, to the reader of that kind.

A package of one's own adds a kind by an entry point of the group `unglossed.corpora`: the kind's
name, and a function that takes a `Reading` and returns a `Corpus` (see `examples/corpus`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import parse_qsl

from unglossed.corpora import (
    bobsl,
    csl_daily,
    csl_news,
    dgs,
    folder,
    how2sign,
    hub,
    labels,
    must_c,
    openasl,
    packed,
    phoenix14t,
    several,
    table,
    wmt_slt,
    youtube_sl_25,
)
from unglossed.corpora.beside import ArraysBeside
from unglossed.corpora.faults import Faults
from unglossed.corpora.listing import scan
from unglossed.corpora.reading import ALL, SPLIT_NAMES, Reading
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.files import find_path
from unglossed.media.signal import check_frame_rate

Reader = Callable[[Reading], Corpus]
Texts = Literal["required", "optional"]

ENTRY_POINTS = "unglossed.corpora"
"""Group of the entry points by which other packages add kinds."""

_READERS: dict[str, Reader] = {
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
    several.KIND: several.read_several,
    "youtube_sl_25": youtube_sl_25.read_youtube_sl_25,
    "csl_news": csl_news.read_csl_news,
    "bobsl": bobsl.read_bobsl,
    "wmt_slt": wmt_slt.read_wmt_slt,
    "dgs": dgs.read_dgs,
    "hub": hub.read_hub,
}
_EXAMPLE = "phoenix14t:/data/PHOENIX-2014-T-release-v3"


@dataclass(frozen=True)
class _Option:
    """An option of a spec: its value as messages show it, and the kinds that take it.

    A value in capitals stands for any; another is the only one.
    """

    value: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    refusal: str = "which is for {kinds}"

    def takers(self) -> tuple[str, ...]:
        """The kinds of ours that take it."""
        return self.only or tuple(kind for kind in _READERS if kind not in self.without)


_OF_EACH = "which stands behind the specs that it lists"
_OPTIONS = {
    "language": _Option("CODE"),
    "media": _Option("FOLDER", without=(several.KIND,), refusal=_OF_EACH),
    "missing": _Option("skip", without=(several.KIND,), refusal=_OF_EACH),
    "tier": _Option("NAME", without=(several.KIND,), refusal=_OF_EACH),
    "frame_rate": _Option(
        "NUMBER",
        without=tuple(kind for kind in _READERS if kind not in ("table", "folder", "gfslt")),
        refusal="which is for table, folder, gfslt: the frames of {kind} have the rate of their"
        " corpus",
    ),
    "deinterlace": _Option(
        "yes",
        without=("phoenix14t", "packed", "camgoz", "must_c", several.KIND),
        refusal="which is for videos: {kind} has none",
    ),
    "faulty": _Option("skip", without=("packed", several.KIND)),
    "split": _Option("NAME", only=("table",)),
    "references": _Option("rows", only=("table",)),
    "sign": _Option("CODE", only=("youtube_sl_25",)),
    "features": _Option(
        "FOLDER",
        without=("packed", "camgoz"),
        refusal="which is not for {kind}, whose clips are in it",
    ),
    "beside": _Option(
        "FOLDER",
        without=("camgoz", several.KIND),
        refusal="which is for clips of video, not for {kind}",
    ),
    "subtitles": _Option("NAME", only=("bobsl",)),
    "text": _Option("COLUMN", only=("hub",)),
    "transcript": _Option("COLUMN", only=("hub",)),
    "clips": _Option("COLUMN", only=("hub",)),
}
_WITH_LANGUAGES = ("table", "packed", "youtube_sl_25", several.KIND)
_OF_ONE_KIND = ("sign", "subtitles", "text", "transcript", "clips")
_NO_MEDIA = "none"  # of `?media=`; a folder of that name is ./none


def is_spec(text: str) -> bool:
    """Whether a text names a corpus, `kind:path`, and not a file that is there."""
    kind, colon, _ = text.partition(":")
    return bool(colon) and not Path(text).exists() and (kind in _READERS or kind in _added())


def read_corpus(
    spec: str,
    faults: Faults | None = None,
    *,
    only: str | None = None,
    texts: Texts = "required",
) -> Corpus:
    """Read all splits of a corpus: paths and texts; no frame is opened.

        >>> rows = unglossed.read_corpus(corpus)
        >>> rows
        Corpus('phoenix14t:...', language='de', train: 8, dev: 2, test: 2)
        >>> rows.split("test")[0].text
        'regen im süden test 0'

    Args:
        spec: `kind:path`, as in `phoenix14t:/data/PHOENIX-2014-T-release-v3`. Options follow a
            question mark, with `&` between two: `language=en` says the language of the texts,
            `media=FOLDER` where the clips lie, `media=none` that no clip is looked for since only
            texts are wanted, `split=train` the split of all rows of a table,
            `tier=NAME` which tier of ELAN files to read, `frame_rate=50` the frames per second of
            frame folders. `missing=skip` leaves out and counts rows whose clip is not there,
            `faulty=skip` those that cannot be used for another reason. `language=*` reads a corpus
            in all its languages, `several:FILE` all corpora whose specs a file lists. `sign=ase` is
            for the videos in one of its sign languages, `references=rows` takes a table's rows of
            one id as several texts of one clip. `deinterlace=yes` deinterlaces videos that are
            marked as interlaced. `features=FOLDER` reads arrays instead of media: those of a clip's
            id, or of the media that it lies in. `beside=FOLDER` has arrays read beside the media.
        faults: Collects the faults of all rows, and reading goes on; None: the first one is raised.
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
    """Find the reader of a corpus; arguments as in `read_corpus`. Nothing is read yet.

    Returns:
        What reads the corpus, and raises InputError if it is not as expected.

    Raises:
        InputError: The spec is wrong, or nothing lies at its path.
    """
    if not isinstance(spec, str):
        raise InputError(
            f"corpus: found {type(spec).__name__}, expected a text kind:path, as {_EXAMPLE}"
        )
    if texts not in get_args(Texts):
        raise InputError(f"texts: found {texts!r}, expected one of {', '.join(get_args(Texts))}")
    kind, colon, rest = spec.partition(":")
    if not colon:
        raise InputError(
            f"corpus {spec!r}: no kind, expected kind:path with a kind of {_kinds()}, as {_EXAMPLE}"
        )
    reader = _find_kind(spec, kind)
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
    media = options.get("media")
    has_media = media != _NO_MEDIA
    media_root = find_path(Path(media).expanduser()) if media and has_media else None
    if media_root is not None and not media_root.is_dir():
        raise InputError(f"{media}: no such folder, expected the clips of {spec!r} there")
    for place in (root, media_root):
        if place is not None and place.is_dir():
            with scan(place):  # it may be there and still not be ours to read
                pass
    told = [f"{name}={options[name]}" for name in ("features", "beside") if name in options]
    features = options.get("features") or options.get("beside")
    told += [] if has_media else ["media=none"]
    if features and len(told) > 1:
        raise InputError(f"{spec}: found {' beside '.join(told)}, expected one of both")
    beside = find_path(Path(features).expanduser()) if features else None
    if beside is not None and not beside.is_dir():
        raise InputError(f"{features}: no such folder, expected the arrays of {spec!r} there")
    rate, split = options.get("frame_rate"), options.get("split")
    reading = Reading(
        spec=spec,
        root=root,
        language=options.get("language"),
        media_root=media_root,
        has_media=has_media,
        beside=ArraysBeside(beside, instead="features" in options) if beside else None,
        tier=options.get("tier"),
        own={name: options[name] for name in _OF_ONE_KIND if name in options},
        frame_rate=None if rate is None else check_frame_rate(rate, f"corpus {spec!r}, frame_rate"),
        deinterlace="deinterlace" in options,
        only=only,
        skip_missing="missing" in options,
        needs_text=texts == "required",
        skip_faulty="faulty" in options,
        split=split and SPLIT_NAMES.get(split.strip(), split.strip()),
        references_in_rows="references" in options,
        faults=faults,
    )
    return partial(reader, reading)


def _added() -> set[str]:
    """Names of the kinds that other packages add."""
    return set(entry_points(group=ENTRY_POINTS).names)


def known_kinds() -> list[str]:
    """Kinds of corpora that can be read; those that other packages add come last."""
    return list(dict.fromkeys([*_READERS, *sorted(_added())]))


def _kinds() -> str:
    return ", ".join(known_kinds())


def _find_kind(spec: str, kind: str) -> Reader:
    if kind in _READERS:
        return _READERS[kind]
    found = list(entry_points(group=ENTRY_POINTS, name=kind))
    if not found:
        raise InputError(f"corpus {spec!r}: unknown kind {kind!r}, expected one of {_kinds()}")
    places = sorted({entry.value for entry in found})
    if len(places) > 1:
        raise InputError(
            f"corpus {spec!r}: the kind {kind!r} is in several packages ({', '.join(places)}),"
            " expected one: uninstall the others"
        )
    try:
        return cast(Reader, found[0].load())
    except Exception as error:  # whatever a package of somebody else raises
        raise InputError(
            f"corpus {spec!r}: the reader {places[0]} cannot be imported:"
            f" {type(error).__name__}: {error}"
        ) from error


def _split_options(spec: str, kind: str, rest: str) -> tuple[str, dict[str, str]]:
    path, mark, query = rest.rpartition("?")
    if not mark:
        return rest, {}
    *forms, last = [f"{name}={option.value}" for name, option in _OPTIONS.items()]
    expected = f"{', '.join(forms)} or {last}"
    if "=" not in query:
        raise InputError(f"corpus {spec!r}: option {query!r}, expected {expected}")
    options: dict[str, str] = {}
    for key, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if key in options:
            raise InputError(f"corpus {spec!r}: found the option {key!r} twice, expected it once")
        options[key] = value
    for key, value in options.items():
        option = _OPTIONS.get(key)
        if option is None:
            raise InputError(f"corpus {spec!r}: unknown option {key!r}, expected {expected}")
        if key == "frame_rate" and "features" in options:
            continue  # that of arrays, whatever frames the corpus has
        if kind in option.without or (option.only and kind not in option.only):
            why = option.refusal.format(kind=kind, kinds=", ".join(option.takers()))
            raise InputError(f"corpus {spec!r}: found the option {key!r}, {why}")
        if key == "language" and value == ALL and kind not in _WITH_LANGUAGES:
            kinds = ", ".join(_WITH_LANGUAGES)
            raise InputError(f"corpus {spec!r}: language {value!r}, which is for {kinds}")
        if key == "language" and value != ALL and not re.fullmatch(r"[a-z]{2,3}", value):
            raise InputError(f"corpus {spec!r}: language {value!r}, expected a code as de, en, zh")
        if key == "split" and not value.strip():
            raise InputError(f"corpus {spec!r}: split {value!r}, expected a name as train")
        if not value.strip():  # as of a variable of the shell that is not set
            raise InputError(f"corpus {spec!r}: {key} {value!r}, expected {option.value}")
        if option.value.islower() and value != option.value:
            raise InputError(f"corpus {spec!r}: {key} {value!r}, expected {option.value}")
    return path, options
