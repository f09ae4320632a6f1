"""YouTube-SL-25: videos in more than 25 sign languages, with the captions that they came with.

The release lists ids of videos and their sign languages. Who has downloaded them has a folder of
videos with WebVTT captions, several for some of them: the one in the language that is written where
the video is signed is read, since others are translations of it. No video is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from unglossed.corpora.captions import Cue
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.folder import Caption, CaptionReader, reason_against_cue
from unglossed.corpora.languages import base_language
from unglossed.corpora.listing import list_entries
from unglossed.corpora.reading import ALL, Reading, read_lines
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError

METADATA = "youtube-sl-25-metadata.csv"
UNKNOWN = "???"
"""What the release says of a video whose sign language nobody knew."""

CAPTION_FOLDERS = ("subtitles", "captions", "videos")
VIDEO_FOLDER = "videos"

WRITTEN = {
    sign: tuple(written.split("/"))
    for sign, _, written in (
        pair.partition(":")
        # ISO 639-3 as the release has it, two of its countries are called by their names.
        for pair in """
        aed:es ase:en asf:en asq:de bfi:en bzs:pt csc:ca/es cse:cs csg:es csn:es csq:hr dse:nl
        dsl:da eso:et fcs:fr fse:fi fsl:fr fss:sv/fi gsg:de gss:el hks:zh hsh:hu icl:is ils:en
        inl:id ins:en/hi ise:it isg:en isr:he jos:ar jsl:ja kvk:ko lls:lt mfs:es nsl:no nzs:en
        pks:ur/en prl:es pso:pl psp:tl/en rsl:ru sfb:fr sgg:de slf:it slovenia:sl sls:en/zh ssp:es
        ssr:fr svk:sk swl:sv tsm:tr tsq:th tss:zh vgt:nl vietnam:vi
        """.split()
    )
}
"""The languages that are written where a sign language is signed, the preferred one first."""

# What video platforms call languages in another way than ISO 639-1.
_PLATFORM = {"iw": "he", "in": "id", "fil": "tl"}
_SOUND = re.compile(r"\[[^\[\]]*\]|[♪♫].*[♪♫]|[♪♫\s]+")
_CODE = re.compile(r"[a-z]{3,20}|\?\?\?")


def read_youtube_sl_25(reading: Reading) -> Corpus:
    """Read a folder of videos with captions, and the release's list of their sign languages.

    Of a video's captions those in its own written language are read: a file that has the code of
    the sign language itself (`<id>.ase.vtt`), else the first of `WRITTEN`. Cues are used as in
    YouTube-ASL (0.2 to 60 seconds, up to 300 characters), but for those that only name a sound.
    Listed videos without captions are counted as not in this copy. The release has no splits: all
    is train, unless folders say otherwise, as `folder` reads them.

    Args:
        reading: Its root is the folder with the list, or one in it. `?sign=` chooses one sign
            language, `?language=` one written language of all that are there.

    Raises:
        InputError: The list is missing, texts are in several languages of which none was chosen, or
            as `folder.read_folder`.
    """
    path = _find_metadata(reading.root)
    signed = read_metadata(reading, path)
    sign = reading.own.get("sign")
    if sign is not None and sign not in signed.values():
        codes = ", ".join(sorted(set(signed.values()))[:60])
        raise InputError(f"{path}: found no video in sign {sign!r}, expected one of {codes}")
    return _Reader(_place(reading), path, signed).read("youtube_sl_25")


def read_metadata(reading: Reading, path: Path) -> dict[str, str]:
    """Read the release's list: `id,code` a line, without a header.

    Returns:
        The sign language of each video, as the release calls it.

    Raises:
        InputError: As `reading.read_lines`, or a line is wrong and nobody collects faults.
    """
    signed: dict[str, str] = {}
    for number, line in read_lines(reading, path):
        id, comma, code = line.strip().partition(",")
        where = f"{path}, line {number}"
        if not comma or not id or not _CODE.fullmatch(code):
            text = (
                f"found {line[:60]!r}, expected a video's id, a comma and its sign language, as ase"
            )
            reading.report(FaultKind.MALFORMED_ROW, where, text)
        elif signed.setdefault(id, code) != code:
            text = f"{id!r} is listed as {signed[id]!r} before: that counts, not {code!r}"
            reading.report(FaultKind.LEFT_OUT, where, text)
    return signed


class _Reader(CaptionReader):
    """Chooses captions by a video's sign language.

    Args:
        reading: What was asked for.
        path: The release's list.
        signed: What it says: the sign language of each video.
    """

    def __init__(self, reading: Reading, path: Path, signed: Mapping[str, str]) -> None:
        self._wanted = None if reading.language == ALL else reading.language
        super().__init__(reading, (".vtt",), self._wanted, _reason_against)
        self._path = path
        self._signed = signed
        self._seen: set[str] = set()
        self._language: dict[Path, str] = {}  # by caption file that was chosen

    def read_rows(self) -> None:
        """Read all rows, and count the videos of which there is nothing."""
        super().read_rows()
        sign = self.reading.own.get("sign")
        for id, code in self._signed.items():
            if id not in self._seen and sign in (None, code):
                text = f"no captions of {id!r} (signed in {code}), expected {id}.CODE.vtt"
                self.reading.report(FaultKind.NOT_HERE, str(self._path), text)

    def choose(self, stem: str, captions: list[Caption]) -> Caption | None:
        """Choose the captions in the language that is written where a video is signed."""
        self._seen.add(stem)
        code, sign = self._signed.get(stem), self.reading.own.get("sign")
        if code is None:
            self._leave(captions[0], f"{stem!r} is not in {self._path.name}")
            return None
        if sign not in (None, code):
            self._leave(captions[0], f"sign {sign!r} was chosen, found {code!r}")
            return None
        if code not in WRITTEN:
            reason = f"the sign language of {stem!r} is {code!r}: which captions are its own?"
            self._leave(captions[0], reason)
            return None
        found: dict[tuple[int, bool, str], Caption] = {}
        for caption in captions:
            language, infix = self._written(code, caption), caption.infix
            if language not in WRITTEN[code] or self._wanted not in (None, language):
                continue
            rank = -1 if infix == code else WRITTEN[code].index(language)
            found[rank, infix not in (code, language), infix] = caption
        if not found:
            names = ", ".join(caption.infix or "no language" for caption in captions)
            expected = self._wanted or " or ".join(WRITTEN[code])
            reason = f"signed in {code!r}, found captions in {names[:60]}, none in {expected}"
            self._leave(captions[0], reason)
            return None
        best = found[min(found)]
        for caption in captions:
            if caption is not best:
                self._leave(caption, f"{best.path.name} is read of this video")
        self._language[best.path] = self._written(code, best)
        return best

    def language_of(self, stem: str, caption: Caption) -> str:
        """The language of the captions that were chosen."""
        return self._language[caption.path]

    def _leave(self, caption: Caption, reason: str) -> None:
        """Count a caption file that is left out."""
        self.reading.report(FaultKind.LEFT_OUT, str(caption.path), reason)

    def _written(self, code: str, caption: Caption) -> str:
        """The language of captions; those without one, or with the sign's, are in its first."""
        if caption.infix in ("", code):
            return WRITTEN[code][0]
        return _PLATFORM.get(caption.language, base_language(caption.language))


def _find_metadata(root: Path) -> Path:
    for folder in (root, root.resolve().parent):
        # In a browser the store's folder becomes a part of the name.
        found = sorted(name for name in list_entries(folder) if name.endswith(METADATA))
        if found:
            return folder / found[0]
    raise InputError(f"{root}: found no {METADATA}, expected the release's list of videos there")


def _place(reading: Reading) -> Reading:
    """Where captions and videos lie: in the folder, or in folders of their own in it."""
    root = reading.root
    videos = root / VIDEO_FOLDER
    for name in CAPTION_FOLDERS:
        if (root / name).is_dir():
            own = videos if name != VIDEO_FOLDER and videos.is_dir() else None
            return replace(reading, root=root / name, media_root=reading.media_root or own)
    return reading


def _reason_against(cue: Cue) -> str | None:
    if _SOUND.fullmatch(cue.text):
        return f"it names a sound: {cue.text[:60]!r}"
    return reason_against_cue(cue)
