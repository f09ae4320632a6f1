"""The Public DGS Corpus (German Sign Language to German, or English): conversations in ELAN files.

Reads the translations of both people of a conversation from `<id>.eaf`, beside the videos that show
one of them each. No video is opened here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from unglossed.corpora.captions import Cue, folded, read_tier
from unglossed.corpora.elan import Document, Times, read_document
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.json_files import read_json
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import Clips, list_clips, list_files, list_folders
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.subtitles import report_unreadable
from unglossed.errors import InputError
from unglossed.files import Names

TEXT_TIERS = {
    "de": ("Deutsche_Übersetzung",),
    "en": ("Translation_into_English", "Englische_Übersetzung"),
}
"""Tiers of translations by language, without the letter of the person at their end."""
GLOSS_TIERS = ("Lexem_Gebärde_r", "Lexem_Gebärde_l")
"""Tiers of the signs of either hand, again without the letter of the person."""
VIEWS = {"A": "_1a1", "B": "_1b1"}
"""What the name of a video that shows one person has behind the conversation's."""
ANNOTATIONS = "eaf"
VIDEOS = "videos"

_ANNOTATION_FOLDERS = ("", ANNOTATIONS, "elan", "annotations")
_ILEX = ".ilex"
_ILEX_FOLDERS = (*_ANNOTATION_FOLDERS, "ilex")
_VIDEO_FOLDERS = (VIDEOS, "")


def read_dgs(reading: Reading) -> Corpus:
    """Read every translated sentence of the conversations that are there.

    A sample is a sentence of one person, called `<id>_A_1` and so on in the order of time, and cut
    from the video that shows this person. Its glosses are the signs of both hands that lie within
    it, in the order of time. A list of conversations for each split (`split*.json`) in the folder
    is used; without one all is train.

    Args:
        reading: Its root is a folder with the ELAN files, or one that holds `eaf`. Without a
            language it is what a generated corpus says about itself, else German; `?language=en`
            reads the English translations.

    Raises:
        InputError: There are no ELAN files, the language is another, or, where nobody collects
            faults, the first fault. Exports of iLex alone are named.
    """
    base = reading.root
    language = reading.language or generated_language(base) or "de"
    if language not in TEXT_TIERS:
        raise InputError(
            f"corpus {reading.spec!r}: language {language!r}, expected one of the translations,"
            f" {' or '.join(TEXT_TIERS)}"
        )
    files = _list_annotations(base)
    splits = _read_splits(base)
    folders = _video_folders(reading.media_root or base, files)
    clips = list_clips(folders, reading.broken_links, look=reading.has_media)
    rows = Rows(reading, language, forgiving=True)
    for split in dict.fromkeys(splits.values()):
        rows.begin(base, split=split)
    for id, path in files.items():
        split = splits.get(id, "") if splits else "train"
        if not split:
            reading.report(FaultKind.NO_SPLIT, str(path), f"{id!r} is in no split")
            continue
        try:
            document = read_document(path)
            _add(rows, path, document, split, clips, folders[0])
        except InputError as error:
            report_unreadable(reading, path, error)
    for id in splits:
        if id not in files:
            text = f"no ELAN file of {id!r} ({splits[id]}), expected {id}.eaf"
            reading.report(FaultKind.NOT_HERE, str(base), text)
    for id, path in _list_conversations(base, _ILEX_FOLDERS, _ILEX).items():
        if id not in files and id not in splits:
            text = f"an export of iLex is not read, expected the ELAN file {id}.eaf as well"
            reading.report(FaultKind.NOT_HERE, str(path), text)
    return rows.corpus("dgs")


def _add(
    rows: Rows, path: Path, document: Document, split: str, clips: Clips, folder: Path
) -> None:
    """Add the sentences of a conversation."""
    tiers = {folded(name): name for name in document.tiers}

    def find(kinds: Sequence[str], person: str) -> Iterator[str]:
        names = (tiers.get(folded(f"{kind}_{person}")) for kind in kinds)
        return (name for name in names if name is not None)

    def report(where: str, text: str) -> None:
        rows.reading.report(FaultKind.MALFORMED_ROW, where, text)

    times = Times(document)
    num_tiers = 0
    for person, view in VIEWS.items():
        name = next(find(TEXT_TIERS[rows.language], person), None)
        if name is None:
            continue
        num_tiers += 1
        video = f"{path.stem}{view}"
        media = clips.find(video)
        clip = media.name if media else f"{video}.mp4"
        sentences = read_tier(path, document, times, name, clip, report)
        signs = [
            sign
            for tier in find(GLOSS_TIERS, person)
            for sign in read_tier(path, document, times, tier, clip, report)
        ]
        signs.sort(key=lambda sign: sign.start_seconds)
        rows.begin(path, unit=f"tier {name!r}, annotation", split=split)
        for sentence in sentences:
            rows.add(
                sentence.number,
                id=f"{path.stem}_{person}_{sentence.number}",
                media=media,
                expected=folder / f"{video}.mp4",
                text=sentence.text,
                split=split,
                gloss=_glosses(signs, sentence),
                start_seconds=sentence.start_seconds,
                end_seconds=sentence.end_seconds,
            )
    if not num_tiers:
        expected = " or ".join(f"{kind}_A" for kind in TEXT_TIERS[rows.language])
        text = f"found no translation, expected a tier {expected}"
        rows.reading.report(FaultKind.LEFT_OUT, str(path), text)


def _glosses(signs: Sequence[Cue], sentence: Cue) -> str:
    """The signs that lie within a sentence, with spaces between them."""
    first = bisect_left(signs, sentence.start_seconds, key=lambda sign: sign.start_seconds)
    last = bisect_left(signs, sentence.end_seconds, key=lambda sign: sign.start_seconds)
    inside = (sign for sign in signs[first:last] if sign.end_seconds <= sentence.end_seconds)
    return " ".join("_".join(sign.text.split()) for sign in inside if sign.text)


def _list_annotations(base: Path) -> Names[Path]:
    """The ELAN file of each conversation."""
    files = _list_conversations(base, _ANNOTATION_FOLDERS, ".eaf")
    if files:
        return files
    others = _list_conversations(base, _ILEX_FOLDERS, _ILEX)
    if others:
        id, path = min(others.items())
        raise InputError(
            f"{path}: found an export of iLex, which is not read, expected the ELAN file of the"
            f" same transcript, {id}.eaf, in {base / ANNOTATIONS}"
        )
    raise InputError(f"{base}: found no .eaf files, expected them there or in {base / ANNOTATIONS}")


def _list_conversations(base: Path, folders: Sequence[str], suffix: str) -> Names[Path]:
    """The file of each conversation: all in the first folder that has any, or each in its own."""
    for folder in (base / name for name in folders):
        found = list_files(folder, (suffix,))
        if not found:
            for _, inner in sorted(list_folders(folder).items()):
                for name, path in list_files(inner, (suffix,)).items():
                    if name == inner.name:
                        found[name] = path
        if found:
            return found
    return Names()


def _video_folders(root: Path, files: Names[Path]) -> list[Path]:
    """Where videos may lie: in one folder, or in one for each conversation."""
    places = [root / name for name in _VIDEO_FOLDERS]
    own = [
        folder
        for place in places
        for name, folder in sorted(list_folders(place).items())
        if name in files
    ]
    return [*places, *own]


def _read_splits(base: Path) -> dict[str, str]:
    """The split of each conversation; nothing where there is no list."""
    paths = sorted(base.glob("split*.json"))
    if not paths:
        return {}
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise InputError(f"{base}: found {names}, expected one list of splits")
    path = paths[0]
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f'{path}: expected {{"train": [...], "dev": [...], "test": [...]}}')
    splits: dict[str, str] = {}
    for name, ids in content.items():
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            hint = "; a list of sentences is not read" if isinstance(ids, dict) else ""
            raise InputError(f"{path}: {name!r} is no list of conversations{hint}")
        if not name.strip() or not name.isprintable():
            raise InputError(f"{path}: found the split {name!r}, expected a name as train")
        for id in ids:
            split = SPLIT_NAMES.get(str(name), str(name))
            if splits.setdefault(id, split) != split:
                raise InputError(f"{path}: found {id!r} in {splits[id]!r} and in {split!r}")
    return splits
