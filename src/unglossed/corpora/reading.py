"""One reading of a corpus: what the user asked for, and how readers turn rows into samples.

A reader says what each row holds; here it is checked, the same way for every corpus.
"""

from __future__ import annotations

import math
import os
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from unglossed.corpora.faults import Fault, FaultKind, Faults, Severity
from unglossed.corpora.listing import Links, list_entries
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import composed


def find_row_fault(
    id: str,
    id_field: str,
    seen: str | None,
    empty_field: str | None,
    start: float | None,
    end: float | None,
) -> tuple[FaultKind, str] | None:
    """Find why a row cannot be a sample, its media aside.

    Args:
        id: Name of the clip.
        id_field: How the file calls it.
        seen: Where a row has the same id; None: no row before has.
        empty_field: How the file calls the text, if that is needed and empty; None: it is not.
        start: Begin in seconds; None: that of the media.
        end: End in seconds; None: that of the media.

    Returns:
        The kind of fault, and what was found and expected; None: there is none.
    """
    named = f"({id_field} {id!r})"
    if not id.strip():
        return FaultKind.MALFORMED_ROW, f"the field {id_field} is empty"
    if not is_unicode(id):
        text = f"{id_field} {id!r}: a name that is not UTF-8, expected one that is: rename it"
        return FaultKind.MALFORMED_ROW, text
    if seen is not None:
        text = f"{id_field} {id!r} was seen before ({seen}), expected each once"
        return FaultKind.DUPLICATE_ID, text
    if empty_field is not None:
        return FaultKind.EMPTY_TEXT, f"the field {empty_field} is empty {named}"
    if not are_times(start, None):
        return FaultKind.BAD_TIMES, f"start {start}, expected seconds from 0 {named}"
    if end is not None and not math.isfinite(end):
        return FaultKind.BAD_TIMES, f"end {end}, expected seconds {named}"
    if not are_times(start, end):
        text = f"end {end}, expected more than the start {start or 0.0} {named}"
        return FaultKind.BAD_TIMES, text
    return None


def is_unicode(name: str) -> bool:
    """Whether a name is text, and not a file's whose bytes are in another encoding than UTF-8."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def are_times(start: float | None, end: float | None) -> bool:
    """Whether a clip can begin and end there; None is where its media begin or end."""
    begin = 0.0 if start is None else start
    return 0.0 <= begin < math.inf and (end is None or begin < end < math.inf)


_TO_BE_SAID = {
    FaultKind.NO_SPLIT,
    FaultKind.ODD_SPLIT,
    FaultKind.MISALIGNED,
    FaultKind.NO_TRANSCRIPTS,
    FaultKind.PARTIAL_LIST,
    FaultKind.USELESS_ROW,
    FaultKind.UNREAD_CAPTIONS,
    FaultKind.ODD_CAPTIONS,
    FaultKind.LEFT_OUT,
}
# Faults of single rows, which `?faulty=skip` leaves out.
_OF_A_ROW = {
    FaultKind.MALFORMED_ROW,
    FaultKind.NOT_UTF8,
    FaultKind.DUPLICATE_ID,
    FaultKind.EMPTY_TEXT,
    FaultKind.BAD_TIMES,
    FaultKind.UNREADABLE_MEDIA,
}


@dataclass
class Reading:
    """What a reader is given.

    Attributes:
        spec: What the user wrote, for messages.
        root: File or folder behind the spec's colon; it exists.
        language: Language the user named with `?language=`, if any.
        media_root: Folder the user named with `?media=`, if any: where the clips lie.
        split: Split of all rows of a table, from `?split=`, if the user gave it.
        references_in_rows: `?references=rows`: rows of one id are texts of one clip.
        tier: ELAN tier the user named with `?tier=`, if any.
        frame_rate: Pictures per second of frame folders, from `?frame_rate=`, if the user gave it.
        deinterlace: `?deinterlace=yes`: interlaced frames of videos are made whole.
        only: The one split whose media have to be there; None: those of all splits.
        skip_missing: `?missing=skip`: rows whose media are not there are left out, and counted.
        skip_faulty: `?faulty=skip`: so are rows that cannot be used for another reason.
        needs_text: Rows without a text are left out; False: they are read, to be translated.
        faults: Where all faults go. None: the first error ends the reading.
        left_out: What was left out or noted on the way; it becomes the corpus's notes.
        broken_links: Links in the folders of the clips that lead nowhere.
    """

    spec: str
    root: Path
    language: str | None = None
    media_root: Path | None = None
    split: str | None = None
    references_in_rows: bool = False
    tier: str | None = None
    frame_rate: float | None = None
    deinterlace: bool = False
    only: str | None = None
    skip_missing: bool = False
    skip_faulty: bool = False
    needs_text: bool = True
    faults: Faults | None = None
    left_out: Faults = field(default_factory=lambda: Faults(max_examples=1))
    broken_links: Links = field(default_factory=dict)

    def report(self, kind: FaultKind, where: str, text: str) -> None:
        """Report a fault, after which the reader goes on without the row.

        Raises:
            InputError: It is an error, and nobody collects faults.
        """
        fault = Fault(kind, where, text)
        missing = kind is FaultKind.MISSING_MEDIA and self.skip_missing
        if missing or (kind in _OF_A_ROW and self.skip_faulty):
            fault = Fault(FaultKind.LEFT_OUT, where, text)
        if fault.kind in _TO_BE_SAID:
            self.left_out.add(fault)
        if self.faults is not None:
            self.faults.add(fault)
        elif fault.kind.severity is Severity.ERROR:
            raise InputError(str(fault))


LOST_CHARACTER = "\ufffd"
"""What stands for a character that could not be read."""

ALL = "*"
"""What stands for all languages in `?language=`."""

KNOWN_SPLITS = ("train", "dev", "test", "val", "valid", "validation")
"""Names that mean something to somebody; one of them in other letters is probably a slip."""


class Rows:
    """Collects a corpus's samples and reports what is wrong with a row.

    Args:
        reading: What was asked for.
        language: Language of rows that do not say another.
        forgiving: A row without a text or a length costs itself, as in data of one's own; in a
            release it is an error, since its copy is damaged.
        many: Rows may be in several languages, as with `?language=*`.
    """

    def __init__(
        self, reading: Reading, language: str, *, forgiving: bool = False, many: bool = False
    ) -> None:
        self.reading = reading
        self.many = many or reading.language == ALL
        self._forgiving = forgiving
        self._num_without_text = 0
        self._samples: dict[str, tuple[str, int]] = {}  # by id: split and place there
        self.language = language
        self._splits: dict[str, list[Sample]] = {}
        self._number_of: dict[str, int] = {}  # by id: how many rows came before
        self._files: list[tuple[int, str, str]] = []
        self._file_of: dict[str, Path] = {}
        self._places = array("q")
        self._prefix = ""
        self._entries: dict[Path, dict[str, str]] = {}  # of folders in which clips were missed

    def begin(self, path: Path, unit: str = "line", split: str | None = None) -> None:
        """Say which file the next rows come from, and how messages count its rows.

        Args:
            path: The file.
            unit: What `add` counts: "line", "entry", "cue", "row".
            split: A split which the file stands for, even if no row follows.
        """
        self._files.append((len(self._places), str(path), unit))
        self._prefix = f"{path}, {unit} "
        if split is not None:
            split = composed(split)
            self._splits.setdefault(split, [])
            self._file_of.setdefault(split, path)

    def add(
        self,
        number: int,
        *,
        id: str,
        text: str,
        split: str,
        media: Path | None,
        expected: Path | str,
        or_expected: str = "",
        id_field: str = "id",
        text_field: str = "text",
        references: Iterable[str] = (),
        language: str | None = None,
        signer: str | None = None,
        gloss: str | None = None,
        transcript: str | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        box: tuple[float, float, float, float] | None = None,
        frame_rate: float | None = None,
    ) -> bool:
        """Check a row and keep it as a sample.

        Args:
            number: Place in the file.
            id: Name of the clip.
            text: Its sentence; Unicode NFC is made of it, and nothing else is changed.
            split: Its split.
            media: Where the clip lies; None if it is not there.
            expected: Where it was looked for.
            or_expected: What would do as well, for the message.
            id_field: How the file calls the id.
            text_field: How the file calls the text.
            references: Further translations of the clip; blank ones are left aside.
            language: Of this row's text.
            signer: Who signs; empty is None.
            gloss: Glosses separated by spaces; empty is None.
            transcript: What is said, in the language of the speech; empty is None.
            start_seconds: Begin within the media.
            end_seconds: End within the media.
            box: Part of the picture to use: left, top, right, bottom in 0..1.
            frame_rate: Pictures per second of a frame folder; None: what was asked for, or 25.

        Returns:
            Whether the row was kept; a fault was reported if not.
        """
        fault: tuple[FaultKind, str] | None = None
        split = composed(split)
        if self.reading.references_in_rows and id in self._samples and text.strip():
            clip = media, split, start_seconds, end_seconds, language or self.language
            return self._add_reference(number, id, (text, *references), clip)
        if self.reading.skip_faulty and LOST_CHARACTER in f"{id}{text}":
            text = f"a character that is not UTF-8, or was lost before ({id_field} {id!r})"
            self.reading.report(FaultKind.NOT_UTF8, f"{self._prefix}{number}", text)
            return False
        if (
            media is None
            or id in self._number_of
            or not id.strip()
            or not is_unicode(id)
            or (not text.strip() and self.reading.needs_text)
            or not are_times(start_seconds, end_seconds)
        ):
            said = bool(text.strip()) or not self.reading.needs_text
            seen = self._place_of(id) if id in self._number_of else None
            fault = find_row_fault(
                id, id_field, seen, None if said else text_field, start_seconds, end_seconds
            )
            if fault is None:
                fault = FaultKind.MISSING_MEDIA, self._missing(id, expected, or_expected)
        if fault is not None:
            kind = fault[0]
            if kind is FaultKind.MISSING_MEDIA and self.reading.only not in (None, split):
                kind = FaultKind.LEFT_OUT
            self._num_without_text += kind is FaultKind.EMPTY_TEXT
            if kind in (FaultKind.EMPTY_TEXT, FaultKind.BAD_TIMES) and self._forgiving:
                self._splits.setdefault(split, [])  # left without a row it is told
                kind = FaultKind.USELESS_ROW
            self.reading.report(kind, f"{self._prefix}{number}", fault[1])
            return False
        assert media is not None
        self._number_of[id] = len(self._places)
        self._places.append(number)
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        if self.reading.references_in_rows:
            self._samples[id] = split, len(self._splits.get(split, ()))
        self._splits.setdefault(split, []).append(
            Sample(
                id=id,
                media=media,
                text=text,
                references=_composed(references) if references else (),
                split=split,
                language=language or self.language,
                signer=signer or None,
                gloss=gloss or None,
                transcript=unicodedata.normalize("NFC", transcript) if transcript else None,
                start_seconds=start_seconds,
                end_seconds=end_seconds,
                box=box,
                frame_rate=self.reading.frame_rate if frame_rate is None else frame_rate,
                deinterlace=self.reading.deinterlace,
            )
        )
        return True

    def leftover(self, folder: Path, names: Iterable[str], used: Iterable[str]) -> None:
        """Report media of a folder that no row names."""
        if self.reading.faults is None:
            return
        known = set(map(composed, used))
        for name in sorted(name for name in set(names) if composed(name) not in known):
            self.reading.report(FaultKind.MEDIA_WITHOUT_ROW, str(folder / name), "no row names it")

    def corpus(self, name: str, normalisation: str = "nfc.v1") -> Corpus:
        """The corpus of all rows so far, train, dev and test first.

        Args:
            name: Kind of the corpus.
            normalisation: What scoring does to its texts, see `evaluation.normalisation`.

        Raises:
            InputError: A split has no row.
        """
        order = ["train", "dev", "test"]
        names = [split for split in order if split in self._splits]
        names += sorted(self._splits.keys() - set(order))
        for split in names:
            known = split.strip().casefold()
            if known in KNOWN_SPLITS and split not in KNOWN_SPLITS:
                text = f"found the split {split!r}, which is not {known!r} and is not used as such"
                self.reading.report(FaultKind.ODD_SPLIT, str(self.reading.root), text)
        for split in [split for split in names if not self._splits[split]]:
            kind = FaultKind.EMPTY_SPLIT
            if self.reading.skip_missing or self.reading.only not in (None, split):
                kind = FaultKind.LEFT_OUT
                names.remove(split)
            text = f"found no row of the split {split!r} to use{self._why()}"
            self.reading.report(kind, str(self._file_of.get(split, self.reading.root)), text)
        if not names:
            text = f"found no row, expected at least one{self._why()}"
            self.reading.report(FaultKind.EMPTY_SPLIT, str(self.reading.root), text)
        language = self.language
        if self.many:
            counts = Counter(row.language for split in names for row in self._splits[split])
            language = next((code for code, _ in counts.most_common(1)), language)
        return Corpus(
            spec=self.reading.spec,
            root=self.reading.root,
            name=name,
            language=language,
            splits={split: tuple(self._splits[split]) for split in names},
            normalisation=normalisation,
            notes=self.reading.left_out.notes(),
        )

    def _why(self) -> str:
        """What was left out, for messages that nothing is left; a list of faults has it already."""
        notes = self.reading.left_out.notes() if self.reading.faults is None else ()
        hint = ""
        if notes and self._num_without_text and not any(self._splits.values()):
            hint = "; rows without a text are for `unglossed translate` alone"
        return "".join(f"; {note}" for note in notes) + hint

    def count_without_text(self) -> None:
        """Count a row that the reader left out since it has no text."""
        self._num_without_text += 1

    def _add_reference(
        self, number: int, id: str, texts: Iterable[str], clip: tuple[object, ...]
    ) -> bool:
        """Make texts of a row of an id that was seen before further references of its clip."""
        split, place = self._samples[id]
        first = self._splits[split][place]
        known = first.media, split, first.start_seconds, first.end_seconds, first.language
        if clip != known:
            text = (
                f"id {id!r} was seen before ({self._place_of(id)}) with other media, times, split"
                " or language, expected a further text of the same clip"
            )
            self.reading.report(FaultKind.DUPLICATE_ID, f"{self._prefix}{number}", text)
            return False
        references = (*first.references, *_composed(texts))
        self._splits[split][place] = replace(first, references=references)
        return True

    def _missing(self, id: str, expected: Path | str, or_expected: str) -> str:
        where = Path(expected)
        links = self.reading.broken_links
        link = links.get(where.name) or links.get(where.stem)
        if os.path.lexists(where) and not os.path.exists(where):  # noqa: PTH110 - never raises
            link = where
        alternative = f", or {or_expected}" if or_expected else ""
        near = None if link else self._near_miss(where)
        found = f": found {near}, whose capitals differ" if near else ""
        found = f": {link} is a dangling link" if link else found
        return f"no media for {id!r}{found}, expected {expected}{alternative}"

    def _near_miss(self, where: Path) -> str | None:
        if where.parent not in self._entries:
            try:
                entries = list(list_entries(where.parent))
            except InputError:
                entries = []
            self._entries[where.parent] = {}
            for name in entries:
                for form in (name, Path(name).stem):
                    self._entries[where.parent].setdefault(composed(form).casefold(), name)
        entries_of = self._entries[where.parent]
        return entries_of.get(composed(where.name).casefold())

    def _place_of(self, id: str) -> str:
        index = self._number_of[id]
        path, unit = next(
            (path, unit) for first, path, unit in reversed(self._files) if first <= index
        )
        root = self.reading.root
        # The folder belongs to it: files of one name may lie in several.
        shown = Path(path).name if root.is_file() else os.path.relpath(path, root)
        return f"{shown}, {unit} {self._places[index]}"


def _composed(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", text) for text in texts if text.strip())
