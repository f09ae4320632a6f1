"""A folder of clips with a text or a caption file beside each; subfolders are the splits.

`talk.mp4` and `talk.txt` are one sample. `talk.mp4` and `talk.vtt` (or .srt, .ass, .ssa, .sbv, or
.eaf of ELAN) are one sample a cue, called `talk_1`, `talk_2` and so on; cues without text are left
out. A clip is a video or a folder of pictures, or, where there is neither, an audio file. A caption
file may name its language, as in `talk.de.vtt`. A folder without subfolders for splits is the split
train. Folders in a split are read as well: `train/anna/talk.mp4` is `anna/talk`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from unglossed.corpora.captions import (
    CAPTION_SUFFIXES,
    UNREAD_SUFFIXES,
    Cue,
    count_repeated,
    on_one_line,
    read_captions,
    read_text,
)
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import (
    Links,
    has_pictures,
    is_media_file,
    is_picture,
    list_entries,
    scan,
)
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.subtitles import add_cue, report_unreadable
from unglossed.errors import InputError
from unglossed.files import Names, composed, find_path
from unglossed.media.array_files import ARRAY_SUFFIXES, is_json_folder
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.frames import VIDEO_SUFFIXES

SUFFIXES = (".txt", *CAPTION_SUFFIXES)
# Where one of these is there as well, it is the one that is meant.
_SECOND_CHOICE = (".ass", ".ssa", ".sbv")

_SPLITS = {"train", "dev", "test", *SPLIT_NAMES}
_DOCUMENTS = {"readme", "license", "licence"}
_INFIX = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]+)*")


def read_folder(reading: Reading) -> Corpus:
    """Read a folder of clips with texts or captions.

    The folders train, dev (or val, valid, validation) and test are splits, and so is any other
    folder that holds texts or captions, or clips with them further below.

    Args:
        reading: Its root is the folder. With a media root the clips lie there, in folders of the
            same names, in those without the split's, or in none. A language chooses among
            `talk.de.vtt` and `talk.en.vtt`; without one the names of the caption files tell it, or
            what a generated corpus says of itself.

    Raises:
        InputError: No language is named, or several are; captions lie both in the folder and in
            those of splits; or, where nobody collects faults, the first fault.
    """
    fallback = generated_language(reading.root)
    reader = CaptionReader(reading, SUFFIXES, reading.language, _reason_against, fallback=fallback)
    return reader.read("folder")


def _reason_against(cue: Cue) -> str | None:
    return None if cue.text else "it has no text"


class Caption(NamedTuple):
    """A caption file, and what its name says of its language: `en-US` of `a.en-US.vtt`."""

    path: Path
    infix: str

    @property
    def language(self) -> str:
        """The code of its language without a region; may be empty."""
        return self.infix.partition("-")[0]


class CaptionFolder:
    """What lies in a folder: clips, texts and captions, and further folders.

    A folder of pictures is a clip. One in which captions, videos or folders lie as well is none,
    unless a caption file beside it has its name.

    Args:
        path: The folder.
        suffixes: Of files with texts or captions, in lower case; none where all are elsewhere.

    Attributes:
        captions: Files with texts or captions, sorted, without README and LICENSE.
        others: Files that are neither captions nor media, sorted.
        folders: Folders that are no clips, sorted.
        broken: Dangling links where a clip could be, by stem.
    """

    def __init__(self, path: Path, suffixes: Collection[str]) -> None:
        self.path = path
        self.others: list[Path] = []
        self.folders: list[Path] = []
        self.broken: Links = {}
        self._suffixes = suffixes
        self._videos: Names[list[Path]] = Names()  # and folders of pictures, by stem
        self._sounds: Names[list[Path]] = Names()
        self._arrays: Names[list[Path]] = Names()
        with scan(path):  # it has to be there
            found = sorted(list_entries(path).items())
        entries = [(name, kind) for name, kind in found if not name.startswith(".")]
        self.captions = [path / name for name, kind in entries if not kind and self._names(name)]
        stems = [composed(caption.stem) for caption in self.captions]
        self._named = {*stems, *(stem.rpartition(".")[0] for stem in stems)}
        for name, is_folder in entries:
            one, suffix = path / name, Path(name).suffix.lower()
            if is_folder is None:
                self.broken[one.stem if is_media_file(name) else name] = one
            elif is_folder and not self._is_clip(one):
                self.folders.append(one)
            elif is_folder or suffix in VIDEO_SUFFIXES:
                self._videos.setdefault(name if is_folder else one.stem, []).append(one)
            elif suffix in AUDIO_SUFFIXES:
                self._sounds.setdefault(one.stem, []).append(one)
            elif suffix in ARRAY_SUFFIXES:
                self._arrays.setdefault(one.stem, []).append(one)
            elif not self._names(name):
                self.others.append(one)

    def clips(self, stem: str) -> list[Path]:
        """Get the clips of this name: videos, or if there is none audio files, or else arrays."""
        kinds = (self._videos, self._sounds, self._arrays)
        return next(filter(None, (kind.find(stem) for kind in kinds)), None) or []

    def unused(self, used: Collection[str]) -> list[str]:
        """List file names of the clips that have none of these stems."""
        clips = [*self._videos.items(), *self._sounds.items()]
        known = set(map(composed, used))
        return [path.name for stem, paths in clips if composed(stem) not in known for path in paths]

    def by_stem(self, clips: CaptionFolder) -> dict[str, list[Caption]]:
        """Group captions by clip: `talk.de.vtt` is of `talk`, unless there is a `talk.de`."""
        found: dict[str, list[Caption]] = {}
        for path in self.captions:
            stem, _, infix = path.stem.rpartition(".")
            if not stem or not _INFIX.fullmatch(infix) or clips.clips(path.stem):
                stem, infix = path.stem, ""
            found.setdefault(stem, []).append(Caption(path, infix))
        return found

    def _names(self, name: str) -> bool:
        """Whether a file of this name holds texts or captions."""
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        return suffix.lower() in self._suffixes and stem.lower() not in _DOCUMENTS

    def _is_clip(self, folder: Path) -> bool:
        try:
            if not self._suffixes or composed(folder.name) in self._named:
                return has_pictures(folder) or is_json_folder(folder)
            entries = list_entries(folder)
        except InputError:  # reported when it is read
            return False
        return any(map(is_picture, entries)) and not any(
            is_inner or is_media_file(name) or self._names(name)
            for name, is_inner in entries.items()
            if not name.startswith(".")
        )


class CaptionReader:
    """Reads corpora that have a text or caption file beside each clip.

    Args:
        reading: What was asked for.
        suffixes: Of text and caption files.
        chosen: Language asked for; caption files that name others are left out.
        reason_against: Why a cue is left out; None: it is used.
        fallback: Language of files that name none, where none is asked for.
    """

    def __init__(
        self,
        reading: Reading,
        suffixes: Collection[str],
        chosen: str | None,
        reason_against: Callable[[Cue], str | None],
        *,
        fallback: str | None = None,
    ) -> None:
        self.reading = reading
        self.chosen = chosen
        self.fallback = fallback
        self._suffixes = suffixes
        self._reason_against = reason_against
        self._rows = Rows(reading, chosen or "", forgiving=True)
        root = reading.media_root
        self._media_root = None if root is None or root.samefile(reading.root) else root
        self._folders: dict[tuple[Path, bool], CaptionFolder] = {}
        self._refused: set[Path] = set()  # folders that are not entered
        self._used: dict[Path, set[str]] = {}  # by folder: stems of the clips that were taken
        self._tiers: dict[str, Path] = {}  # by name of an ELAN tier that was read: where first

    def read(self, name: str) -> Corpus:
        """Read the corpus, which is of the kind `name`.

        Raises:
            InputError: As `read_folder`.
        """
        self.read_rows()
        return self._rows.corpus(name)

    def read_rows(self) -> None:
        """Read all rows; what is wrong with them is reported."""
        if not self.reading.root.is_dir():
            raise InputError(f"{self.reading.root}: found a file, expected a folder of clips")
        for split, base, folders in self._list_splits():
            self._rows.begin(base, split=split)
            for folder in folders:
                self._read_folder(split, base, folder)
        self._report_leftover()
        if len(self._tiers) > 1:
            text = "texts come from ELAN tiers of several names, expected one (?tier=NAME chooses)"
            found = ", ".join(f"{tier!r} in {path}" for tier, path in self._tiers.items())
            self.reading.report(FaultKind.ODD_CAPTIONS, found[:300], text)

    def _read_folder(self, split: str, base: Path, folder: CaptionFolder) -> None:
        below = folder.path.relative_to(base)
        clips = self._clips_of(folder, below)
        by_stem = folder.by_stem(clips)
        self._report_unread(folder, by_stem)
        for stem, captions in sorted(by_stem.items()):
            self._used.setdefault(clips.path, set()).add(stem)
            caption = self.choose(stem, captions)
            if caption is None:
                continue
            clip = self._choose_clip(clips, stem, caption.path)
            if clip is not None:
                self._settle_language(caption, self.language_of(stem, caption))
                self._add_clip(split, (below / stem).as_posix(), clip, caption.path)

    def _report_unread(self, folder: CaptionFolder, by_stem: Collection[str]) -> None:
        """Report captions of kinds that are not read, of clips that have no others."""
        for path in folder.others:
            base, _, infix = path.stem.rpartition(".")
            stem = base if base and _INFIX.fullmatch(infix) else path.stem
            if path.suffix.lower() in UNREAD_SUFFIXES and not {stem, path.stem} & set(by_stem):
                text = f"captions of a kind that is not read, expected {', '.join(self._suffixes)}"
                self.reading.report(FaultKind.UNREAD_CAPTIONS, str(path), text)

    def _list_splits(self) -> list[tuple[str, Path, list[CaptionFolder]]]:
        """Name, folder and folders to read of each split."""
        root = self._list(self.reading.root)
        splits = []
        for path in root.folders:
            folders = list(self._walk(path))
            if path.name in _SPLITS or any(self._is_split(path, folder) for folder in folders):
                splits.append((SPLIT_NAMES.get(path.name, path.name), path, folders))
        if not splits:
            return [("train", root.path, [root])]
        clips = self._clips_of(root, Path())
        for stem, captions in root.by_stem(clips).items():
            where, names = str(captions[0].path), ", ".join(path.name for _, path, _ in splits)
            if clips.clips(stem):
                raise InputError(
                    f"{where}: lies with its clip beside the folders of splits ({names}), expected"
                    " each clip in one of them"
                )
            text = f"no clip has this name, and it is in none of the splits {names}"
            self.reading.report(FaultKind.LEFT_OUT, where, text)
        return splits

    def _is_split(self, path: Path, folder: CaptionFolder) -> bool:
        """Whether a folder in `path`, or it itself, makes a split of it."""
        if folder.path == path or not folder.captions:
            return bool(folder.captions)
        clips = self._clips_of(folder, folder.path.relative_to(path))
        has_media = self.reading.has_media
        return any(not has_media or clips.clips(stem) for stem in folder.by_stem(clips))

    def _list(self, path: Path, *, only_media: bool = False) -> CaptionFolder:
        key = path, only_media
        if key not in self._folders:
            self._folders[key] = CaptionFolder(path, () if only_media else self._suffixes)
        return self._folders[key]

    def _walk(self, path: Path, *, only_media: bool = False) -> Iterator[CaptionFolder]:
        """A folder and all below it that are no clips."""
        if path in self._refused:
            return
        if path.resolve() in {parent.resolve() for parent in path.absolute().parents}:
            self._refused.add(path)
            text = "it is a link to a folder that it lies in"
            self.reading.report(FaultKind.LEFT_OUT, str(path), text)
            return
        try:
            folder = self._list(path, only_media=only_media)
        except InputError as error:
            self._refused.add(path)
            reason = str(error).removeprefix(f"{path}: ")
            self.reading.report(FaultKind.UNREADABLE_MEDIA, str(path), reason)
            return
        yield folder
        for inner in folder.folders:
            yield from self._walk(inner, only_media=only_media)

    def _clips_of(self, folder: CaptionFolder, below: Path) -> CaptionFolder:
        """Where the clips of a folder with captions lie, which is `below` that of its split."""
        root = self._media_root
        if root is None:
            return folder
        names = (folder.path.relative_to(self.reading.root), below, Path())
        places = [find_path(root / name) for name in names]
        return self._list(next(place for place in places if place.is_dir()), only_media=True)

    def _report_leftover(self) -> None:
        """Report all clips at the root, and at that of the media, that were not taken."""
        if self.reading.faults is None:
            return
        unused: dict[Path, set[str]] = {}
        for root in (self.reading.root, self._media_root):
            for folder in self._walk(root, only_media=root is self._media_root) if root else ():
                clips = folder.unused(self._used.get(folder.path, ()))
                unused.setdefault(folder.path, set()).update(clips)
        for path, names in unused.items():
            self._rows.leftover(path, names, ())

    def choose(self, stem: str, captions: list[Caption]) -> Caption | None:
        """Choose the one caption file of a clip; those in another language are noted."""
        first = [one for one in captions if one.path.suffix.lower() not in _SECOND_CHOICE]
        best = captions = first or captions
        if self.chosen:
            ranks = [
                [caption for caption in captions if caption.infix == self.chosen],
                [caption for caption in captions if caption.language == self.chosen],
                [caption for caption in captions if not caption.infix],
            ]
            best = next((rank for rank in ranks if rank), [])
            for caption in captions:
                if caption not in best:
                    text = f"{self.chosen!r} was chosen, found {caption.infix or 'no language'!r}"
                    self.reading.report(FaultKind.LEFT_OUT, str(caption.path), text)
        if len(best) > 1:
            others = ", ".join(caption.path.name for caption in best[1:])
            alike = len({caption.infix for caption in best}) == 1
            how = "" if alike else " (?language=CODE chooses one)"
            text = f"found {others} for the same clip, expected one{how}"
            self.reading.report(FaultKind.MALFORMED_ROW, str(best[0].path), text)
        return best[0] if len(best) == 1 else None

    def _choose_clip(self, clips: CaptionFolder, stem: str, caption: Path) -> Path | None:
        if not self.reading.has_media:
            return clips.path / f"{stem}.mp4"
        found = clips.clips(stem)
        if not found and self.reading.beside is not None:
            return clips.path / f"{stem}.mp4"  # whose array is looked for, see `Rows.add`
        if not found:
            link = clips.broken.get(stem)
            reason = f": {link} is a dangling link" if link else ""
            text = f"no media for {stem!r}{reason}, expected {clips.path / stem}.mp4"
            self.reading.report(FaultKind.MISSING_MEDIA, str(caption), text)
        elif len(found) > 1:
            names = " and ".join(path.name for path in found)
            text = f"found {names} in {clips.path}, expected one clip of this name"
            self.reading.report(FaultKind.MALFORMED_ROW, str(caption), text)
        return found[0] if len(found) == 1 else None

    def language_of(self, stem: str, caption: Caption) -> str | None:
        """Tell the language of a clip's texts; None: nothing does."""
        return self.chosen or caption.language or self.fallback

    def _settle_language(self, caption: Caption, language: str | None) -> None:
        if not language:
            raise InputError(
                f"{caption.path}: no language, expected ?language=CODE in the spec, or a name as "
                f"{caption.path.stem}.en{caption.path.suffix}"
            )
        if self._rows.language not in ("", language) and not self._rows.many:
            text = (
                f"language {language!r} beside {self._rows.language!r}, expected a choice:"
                f" ?language={self._rows.language} or ?language={language} in the spec"
            )
            self.reading.report(FaultKind.MIXED_LANGUAGES, str(caption.path), text)
            return
        self._rows.language = language

    def _add_clip(self, split: str, stem: str, clip: Path, caption: Path) -> None:
        report, rows = self.reading.report, self._rows
        is_text = caption.suffix.lower() == ".txt"
        wrong: list[tuple[str, str]] = []
        cues: list[Cue] = []
        text = ""
        try:
            if is_text:
                text = on_one_line(read_text(caption))
            else:
                cues = read_captions(
                    caption,
                    self.reading.tier,
                    lambda *fault: wrong.append(fault),
                    clip=clip.name,
                    needs_text=self.reading.needs_text,
                    note=lambda *odd: report(FaultKind.ODD_CAPTIONS, *odd),
                )
        except InputError as error:
            report_unreadable(self.reading, caption, error)
            return
        if is_text:
            rows.begin(caption)
            rows.add(1, id=stem, text=text, split=split, media=clip, expected=clip)
            return
        for fault in wrong:
            report(FaultKind.MALFORMED_ROW, *fault)
        self._note_cues(caption, cues)
        rows.begin(caption, unit="cue")
        for cue in cues:
            against = None
            if cue.text or self.reading.needs_text:
                against = self._reason_against(cue)
            if against is not None:
                if not cue.text:
                    rows.count_without_text()
                rows.report(cue.number, against, FaultKind.LEFT_OUT)
                continue
            add_cue(rows, cue, id=stem, split=split, media=clip, expected=clip)
        if not cues and not wrong:
            report(FaultKind.LEFT_OUT, str(caption), "found no cue")

    def _note_cues(self, caption: Path, cues: Sequence[Cue]) -> None:
        repeated = count_repeated(cues)
        if repeated:
            text = (
                f"{repeated} of {len(cues)} cues repeat words of the one before, as captions that"
                " roll up do: expected each sentence once"
            )
            self.reading.report(FaultKind.ODD_CAPTIONS, str(caption), text)
        for cue in cues:
            if cue.tier is not None:
                self._tiers.setdefault(cue.tier, caption)


MIN_SECONDS = 0.2
MAX_SECONDS = 60.0
MAX_CHARACTERS = 300


def read_youtube_asl(reading: Reading) -> Corpus:
    """Read a folder of videos with captions.

    A cue is used if it lasts 0.2 to 60 seconds and has 1 to 300 characters; others are counted.
    Captions are taken from `<id>.en.vtt`, else from another English one such as `<id>.en-US.vtt`,
    else from `<id>.vtt`. The release has no splits: all is train, unless subfolders say otherwise,
    as `folder` reads them.

    Raises:
        InputError: As `read_folder`.
    """
    return CaptionReader(reading, (".vtt",), reading.language or "en", reason_against_cue).read(
        "youtube_asl"
    )


def reason_against_cue(cue: Cue) -> str | None:
    """Tell why a caption of a video from the web is left out; None: it is used."""
    seconds = round(cue.end_seconds - cue.start_seconds, 6)
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        return f"it lasts {seconds:g} seconds, used are {MIN_SECONDS:g} to {MAX_SECONDS:g}"
    if len(cue.text) > MAX_CHARACTERS:
        return f"it has {len(cue.text)} characters, used are up to {MAX_CHARACTERS}"
    return None if cue.text else "it has no text"
