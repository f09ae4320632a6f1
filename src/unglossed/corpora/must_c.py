"""MuST-C (English speech to text in another language), and generated corpora in its layout.

One language pair is read at a time; its clips are parts of the talks' audio files. No audio is
opened here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from unglossed.corpora.faults import FaultKind, RowError
from unglossed.corpora.listing import Clips, list_files, list_folders
from unglossed.corpora.reading import FOUND_UTF16, UTF16_MARKS, Reading, Rows, read_lines
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.media.audio import AUDIO_SUFFIXES

MIN_SECONDS = 0.1
MAX_SECONDS = 30.0

_MAX_DEPTH = 8
_PAIR = re.compile(r"([a-z]{2,3})-([a-z]{2,3})")
_SPLITS = {"tst-COMMON": "test"}
# One line of a release's file. The 230,000 lines of a training split take a second this way, and
# half a minute with a YAML parser.
_SEGMENT = re.compile(r"- \{(\w+: [\w.+-]+(?:, \w+: [\w.+-]+)*)\}\s*")


def read_must_c(reading: Reading) -> Corpus:
    """Read every split of one language pair; `tst-COMMON` becomes test.

    What is said is each clip's transcript, where the release has it (`train.en` beside `train.de`,
    with a line for each segment).
    Segments of less than 0.1 or more than 30 seconds are left out and counted. An id is the name of
    the talk's file and the segment's place in it, from 0.

    Args:
        reading: Its root is `xx-yy`, its folder `data`, or the folder that holds `xx-yy`. Without a
            language it is `yy`.

    Raises:
        InputError: A file is missing or malformed, the texts are not as many as the segments, or
            there is more than one pair.
    """
    data, spoken, language = _find_data(reading.root)
    rows = Rows(reading, reading.language or language)
    names = [
        name
        for name, folder in list_folders(data).items()
        if (folder / "txt").is_dir() or (folder / "wav").is_dir()
    ]
    if not names:
        raise InputError(f"{data}: found no split, expected {data / 'train/txt/train.yaml'}")
    for name in sorted(names):
        _read_split(reading, rows, data, name, (spoken, language))
    return rows.corpus("must_c")


def read_segments(path: Path) -> list[Any]:
    """Read a file of segments: a YAML list of `{duration, offset, speaker_id, wav}`.

    Returns:
        The segments; every value of theirs is text.

    Raises:
        InputError: The file cannot be read, or is no YAML list.
    """
    try:
        data = path.read_bytes()
        if data.startswith(UTF16_MARKS):
            raise InputError(f"{path}: {FOUND_UTF16}")
        text = data.decode("utf-8-sig")
        matches = [_SEGMENT.fullmatch(line) for line in text.rstrip().split("\n")]
        segments = [
            dict(pair.split(": ") for pair in match[1].split(", ")) for match in matches if match
        ]
        if len(segments) == len(matches):
            return segments
        content = _load_yaml(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not YAML in UTF-8: {' '.join(str(error).split())}") from error
    if not isinstance(content, list):
        raise InputError(f"{path}: found no YAML list, expected one of segments")
    return content


def _load_yaml(path: Path, text: str) -> Any:
    """Load YAML with every value as text."""
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:  # deeply nested lists would crash the interpreter
            raise InputError(f"{path}: found lists in lists, expected one list of segments")
    return yaml.load(text, Loader=loader)


def _find_data(root: Path) -> tuple[Path, str, str]:
    """The folder of the splits, the language of the speech and that of the texts."""
    own = root.resolve()
    match = _PAIR.fullmatch(own.parent.name if own.name == "data" else own.name)
    if match:
        return root if own.name == "data" else root / "data", match[1], match[2]
    pairs = sorted(
        name
        for name, folder in list_folders(root).items()
        if _PAIR.fullmatch(name) and (folder / "data").is_dir()
    )
    if len(pairs) > 1:
        raise InputError(
            f"{root}: found {', '.join(pairs)}, expected one pair: name it, as {root / pairs[0]}"
        )
    if not pairs:
        raise InputError(f"{root}: found no language pair, expected a folder as {root / 'en-de'}")
    spoken, _, language = pairs[0].partition("-")
    return root / pairs[0] / "data", spoken, language


def _read_split(
    reading: Reading, rows: Rows, data: Path, name: str, languages: tuple[str, str]
) -> None:
    path = data / name / "txt" / f"{name}.yaml"
    said_path, text_path = (path.with_suffix(f".{language}") for language in languages)
    split = _SPLITS.get(name, name)
    segments = read_segments(path)

    def read_texts(texts_path: Path) -> tuple[list[str], str]:
        """The lines of a file, and what is wrong if they are not one for each segment."""
        lines = [line for _, line in read_lines(reading, texts_path)]
        wrong = f"found {len(lines)} lines, expected {len(segments)} as {path.name} has segments"
        return lines, "" if len(lines) == len(segments) else wrong

    texts, wrong = read_texts(text_path)
    if wrong:
        raise InputError(f"{text_path}: {wrong}")
    said: Sequence[str | None] = [None] * len(segments)
    if said_path.is_file():
        transcripts, wrong = read_texts(said_path)
        if wrong:
            # Few recipes read what is said: those that do refuse clips without it.
            reading.report(FaultKind.NO_TRANSCRIPTS, str(said_path), f"{wrong}; not used")
        else:
            said = transcripts
    folder, clips = _list_clips(reading, data, name)
    rows.begin(path, "entry", split=split)
    places: Counter[str] = Counter()
    for number, (segment, text, transcript) in enumerate(
        zip(segments, texts, said, strict=True), start=1
    ):
        with rows.row(number):
            fields = segment if isinstance(segment, dict) else {}
            wav = fields.get("wav")
            if not isinstance(wav, str) or not wav:
                raise RowError("found no wav, expected an audio file")
            stem = PurePath(wav).stem
            media = clips.find(stem)
            id = f"{stem}_{places[stem]}"
            places[stem] += 1
            start, duration = (_parse_seconds(fields, field) for field in ("offset", "duration"))
            if 0 < duration < MIN_SECONDS or duration > MAX_SECONDS:
                expected = f"expected {MIN_SECONDS:g} to {MAX_SECONDS:g}"
                reason = f"{id!r} lasts {duration:g} seconds, {expected}"
                raise RowError(reason, FaultKind.LEFT_OUT)
            rows.add(
                number,
                id=id,
                media=media,
                expected=folder / wav,
                text=text,
                text_field=f"line {number} of {text_path.name}",
                split=split,
                signer=str(fields.get("speaker_id", "")),
                transcript=transcript,
                start_seconds=start,
                end_seconds=start + duration,
            )
    clips.report_leftover(rows)


def _parse_seconds(fields: Mapping[str, Any], field: str) -> float:
    try:
        return float(fields.get(field, ""))
    except (TypeError, ValueError):
        found = f"is {fields[field]!r}" if field in fields else "is not there"
        raise RowError(f"{field} {found}, expected seconds") from None


def _list_clips(reading: Reading, data: Path, name: str) -> tuple[Path, Clips]:
    """The folder of a split's audio files, and what is in it by stem."""
    root = reading.media_root
    official = data / name / "wav"
    folders = [official] if root is None else [root / name / "wav", root / name, root]
    if not reading.has_media:
        return official, Clips({})
    for folder in folders:
        media = list_files(folder, AUDIO_SUFFIXES, reading.broken_links)
        if media:
            break
    return folder, Clips({folder: media})
