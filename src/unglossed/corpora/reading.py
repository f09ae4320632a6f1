"""What every reader is made of: options of the user, lines of text files, rows that get checked.

A reader says what each row holds. `Rows` checks it, the same way for every corpus.
"""

from __future__ import annotations

import math
import os
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from unglossed.corpora.beside import ArraysBeside
from unglossed.corpora.faults import Fault, FaultKind, Faults, RowError, Severity
from unglossed.corpora.listing import Links, list_entries
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import composed

LOST_CHARACTER = "\ufffd"
"""What stands for a character that could not be read."""
ALL = "*"
"""What stands for all languages in `?language=`."""
SPLIT_NAMES = {"val": "dev", "valid": "dev", "validation": "dev"}
"""Names of splits that are read under another."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""Bytes that a file in UTF-16 begins with."""
FOUND_UTF16 = "found UTF-16, expected UTF-8: save the file as UTF-8"
_SPLITS = ("train", "dev", "test")
_EMPTY_LINES = ("", "\n", "\r\n")
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
        language: From `?language=`.
        media_root: Folder from `?media=`, where the clips lie.
        has_media: False after `?media=none`: a reader looks for no clip, and each row is kept.
        beside: Arrays to read, from `?features=` instead of media, from `?beside=` with them.
        split: Split of all rows of a table, from `?split=`.
        references_in_rows: `?references=rows`: rows of one id are texts of one clip.
        tier: ELAN tier from `?tier=`.
        own: Options that only its kind has, by name, as `sign`.
        frame_rate: Frames per second of frame folders, from `?frame_rate=`.
        deinterlace: `?deinterlace=yes`: interlaced videos are deinterlaced.
        only: The one split whose media have to be there; None: those of all splits.
        skip_missing: `?missing=skip`: rows whose media are not there are left out, and counted.
        skip_faulty: `?faulty=skip`: so are rows that cannot be used for another reason.
        needs_text: Rows without a text are left out; False: they are read, to be translated.
        faults: Where all faults go. None: the first error ends the reading.
        left_out: What was left out or noted on the way; it becomes the corpus's notes.
        broken_links: Dangling links in the folders of the clips.
    """

    spec: str
    root: Path
    language: str | None = None
    media_root: Path | None = None
    has_media: bool = True
    beside: ArraysBeside | None = None
    split: str | None = None
    references_in_rows: bool = False
    tier: str | None = None
    own: Mapping[str, str] = field(default_factory=dict)
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
        missing = kind is FaultKind.MISSING_MEDIA and self.skip_missing
        if missing or (kind in _OF_A_ROW and self.skip_faulty):
            kind = FaultKind.LEFT_OUT
        fault, is_error = Fault(kind, where, text), kind.severity is Severity.ERROR
        if not is_error and kind is not FaultKind.MEDIA_WITHOUT_ROW:
            self.left_out.add(fault)
        if self.faults is not None:
            self.faults.add(fault)
        elif is_error:
            raise InputError(str(fault))


def read_lines(
    reading: Reading, path: Path, *, keep_ends: bool = False
) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file, numbered from 1, without line ends and byte order mark.

    Only a line feed, or carriage return and line feed, ends a line: a text may hold one of the
    rarer characters that `str.splitlines` splits at. A line that is not UTF-8 is reported and comes
    with U+FFFD for each byte that cannot be read. Empty lines at the end are left out; a file
    without any other has one. Only a line at a time is in memory.

    Raises:
        InputError: The file cannot be read, is UTF-16, or its lines end in a carriage return alone;
            or a line is not UTF-8 and nobody collects faults.
    """
    number = 0
    held_back: list[str] = []  # empty lines, which may turn out to be those at the end
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1 and raw.startswith(UTF16_MARKS):
                    raise InputError(f"{path}: {FOUND_UTF16}")
                if number == 1 and b"\r" in raw and not raw.endswith(b"\n"):
                    raise InputError(
                        f"{path}: lines end in a carriage return alone, expected line feeds:"
                        " save the file with line ends of Unix or Windows"
                    )
                codec = "utf-8" if number > 1 else "utf-8-sig"
                try:
                    line = raw.decode(codec)
                except UnicodeDecodeError as error:
                    if not reading.skip_faulty:  # else its row will be left out, see `Rows`
                        byte = f"byte 0x{error.object[error.start]:02x} at {error.start}"
                        where = f"{path}, line {number}"
                        reading.report(FaultKind.NOT_UTF8, where, f"not UTF-8 ({byte})")
                    line = raw.decode(codec, errors="replace")
                if not keep_ends:
                    line = line.removesuffix("\n").removesuffix("\r")
                if line in _EMPTY_LINES:
                    held_back.append(line)
                    continue
                if held_back:
                    yield from enumerate(held_back, start=number - len(held_back))
                    held_back.clear()
                yield number, line
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if number == len(held_back):
        yield 1, ""


def read_columns(
    reading: Reading, path: Path, separator: str, expected: Iterable[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read rows of a file with a header and no quoting, as many label files are.

    A row with another number of fields than the header is reported and left out. The header must
    hold the `expected` names.

    Yields:
        Line number from 1, and the fields by the header's names.

    Raises:
        InputError: As `read_lines`; or the header lacks a name: the message shows the header.
    """
    lines = read_lines(reading, path)
    _, first = next(lines)
    header = first.split(separator)
    missing = [name for name in expected if name not in header]
    if missing:
        shown = {"\t": "tabs"}.get(separator, f"{separator!r}")
        raise InputError(
            f"{path}, line 1: header {first[:200]!r} has no {', '.join(missing)}, expected"
            f" {', '.join(expected)} separated by {shown}"
        )
    for number, line in lines:
        fields = line.split(separator)
        if len(fields) == len(header):
            yield number, dict(zip(header, fields, strict=True))
            continue
        names = separator.join(header) if separator.isprintable() else ", ".join(header)
        text = f"found {len(fields)} fields, expected {len(header)} ({names})"
        reading.report(FaultKind.MALFORMED_ROW, f"{path}, line {number}", text)


class Rows:
    """Collects a corpus's samples and reports what is wrong with a row.

    Args:
        reading: What was asked for.
        language: Language of rows that name none.
        forgiving: A row without a text or a length is only left out, as in data of one's own; in a
            release it is an error, since its copy is damaged.
        many: Rows may be in several languages, as with `?language=*`.
    """

    def __init__(
        self, reading: Reading, language: str, *, forgiving: bool = False, many: bool = False
    ) -> None:
        self.reading = reading
        self.language = language
        self.many = many or reading.language == ALL
        self._forgiving = forgiving
        self._num_without_text = 0
        self._splits: dict[str, list[Sample]] = {}
        self._file_of: dict[str, Path] = {}  # by split
        self._places: dict[str, tuple[str, int]] = {}  # by id: split and place, for references
        # Where each id was seen: a million of them, so no more than a number each.
        self._index_of: dict[str, int] = {}
        self._numbers = array("q")
        self._files: list[tuple[int, str, str]] = []  # index of its first row, path, unit
        self._prefix = ""
        self._id_field, self._text_field = "id", "text"
        self._entries: dict[Path, dict[str, str]] = {}  # of folders in which clips were missed

    def begin(
        self,
        path: Path,
        unit: str = "line",
        split: str | None = None,
        *,
        id_field: str = "id",
        text_field: str = "text",
    ) -> None:
        """Say which file the next rows come from, and what it calls them, their id and their text.

        Args:
            path: The file.
            unit: What `add` counts: "line", "entry", "cue", "row".
            split: A split which the file stands for, even if no row follows.
            id_field: For messages.
            text_field: For messages.
        """
        self._files.append((len(self._numbers), str(path), unit))
        self._prefix = f"{path}, {unit} "
        self._id_field, self._text_field = id_field, text_field
        if split is not None:
            split = composed(split)
            self._splits.setdefault(split, [])
            self._file_of.setdefault(split, path)

    @contextmanager
    def row(self, number: int) -> Iterator[None]:
        """Report the `RowError` that the block raises, if it does, and go on behind the block."""
        try:
            yield
        except RowError as error:
            self.report(number, str(error), error.kind)

    def report(self, number: int, text: str, kind: FaultKind = FaultKind.MALFORMED_ROW) -> None:
        """Report a fault of the row of this number, as `Reading.report` does."""
        self.reading.report(kind, self.where(number), text)

    def where(self, number: int) -> str:
        """File and row, as messages begin."""
        return f"{self._prefix}{number}"

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
        text_field: str = "",
        language: str | None = None,
        signer: str | None = None,
        gloss: str | None = None,
        transcript: str | None = None,
        references: Iterable[str] = (),
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        box: tuple[float, float, float, float] | None = None,
        frame_rate: float | None = None,
    ) -> bool:
        """Check a row and keep it as a `Sample`, whose fields most arguments are.

        Texts are brought to Unicode NFC, and nothing else is changed in them; "" is None. `number`
        is the row's place in the file. `media` is None where the clip is not there: the message
        then says where it was `expected`, and what would do as well (`or_expected`); after
        `?media=none` the place where it was expected is the sample's medium. `text_field` is how
        the file calls this text, if not as `begin` says.

        Returns:
            Whether the row was kept; a fault was reported if not.
        """
        reading, split, array, is_clip = self.reading, composed(split), None, False
        if not reading.has_media:
            media = Path(expected)
        elif reading.beside is not None:
            array, is_clip = reading.beside.find(id, split, Path(media or expected))
            if reading.beside.instead:
                media, array, box = array, None, None
                expected, or_expected = reading.beside.root / f"{id}.npy", ""
                start_seconds, end_seconds = (
                    (None, None) if is_clip else (start_seconds, end_seconds)
                )
            else:
                media = reading.beside.medium(media, array, expected)
                or_expected = or_expected or f"an array in {reading.beside.root}"
        if reading.references_in_rows and id in self._places and text.strip():
            clip = media, split, start_seconds, end_seconds, language or self.language
            return self._add_references(number, id, (text, *references), clip)
        fault = self._find_fault(id, text, text_field, start_seconds, end_seconds)
        if fault is None and media is None:
            is_used = reading.only in (None, split)
            kind = FaultKind.MISSING_MEDIA if is_used else FaultKind.LEFT_OUT
            fault = kind, self._missing(id, expected, or_expected)
        if fault is not None:
            kind = fault[0]
            self._num_without_text += kind is FaultKind.EMPTY_TEXT
            if kind in (FaultKind.EMPTY_TEXT, FaultKind.BAD_TIMES) and self._forgiving:
                self._splits.setdefault(split, [])  # reported if it stays without a row
                kind = FaultKind.USELESS_ROW
            self.report(number, fault[1], kind)
            return False
        assert media is not None
        self._index_of[id] = len(self._numbers)
        self._numbers.append(number)
        samples = self._splits.setdefault(split, [])
        if reading.references_in_rows:
            self._places[id] = split, len(samples)
        samples.append(
            Sample(
                id=id,
                media=media,
                text=text if text.isascii() else _nfc(text),
                references=_as_references(references) if references else (),
                split=split,
                language=language or self.language,
                signer=signer or None,
                gloss=gloss or None,
                transcript=_nfc(transcript) if transcript else None,
                start_seconds=start_seconds,
                end_seconds=end_seconds,
                box=box,
                frame_rate=reading.frame_rate if frame_rate is None else frame_rate,
                deinterlace=reading.deinterlace,
                array=array,
                array_is_clip=array is not None and is_clip,
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
        """Build the corpus, of the kind `name`, of all rows so far: train, dev and test first.

        Raises:
            InputError: A split has no row.
        """
        reading = self.reading
        names = [split for split in _SPLITS if split in self._splits]
        names += sorted(self._splits.keys() - set(_SPLITS))
        known = {*_SPLITS, *SPLIT_NAMES}
        for split in names:
            meant = split.strip().casefold()
            if meant in known and split not in known:
                text = f"found the split {split!r}, which is not {meant!r} and is not used as such"
                reading.report(FaultKind.ODD_SPLIT, str(reading.root), text)
        for split in [split for split in names if not self._splits[split]]:
            kind = FaultKind.EMPTY_SPLIT
            if reading.skip_missing or reading.only not in (None, split):
                kind = FaultKind.LEFT_OUT
                names.remove(split)
            text = f"found no row of the split {split!r} to use{self._why()}"
            reading.report(kind, str(self._file_of.get(split, reading.root)), text)
        if not names:
            text = f"found no row, expected at least one{self._why()}"
            reading.report(FaultKind.EMPTY_SPLIT, str(reading.root), text)
        language = self.language
        if self.many:
            counts = Counter(row.language for split in names for row in self._splits[split])
            language = next((code for code, _ in counts.most_common(1)), language)
        return Corpus(
            spec=reading.spec,
            root=reading.root,
            name=name,
            language=language,
            splits={split: tuple(self._splits[split]) for split in names},
            normalisation=normalisation,
            notes=reading.left_out.notes(),
            has_media=reading.has_media,
        )

    def count_without_text(self) -> None:
        """Count a row that the reader left out since it has no text."""
        self._num_without_text += 1

    def _find_fault(
        self, id: str, text: str, text_field: str, start: float | None, end: float | None
    ) -> tuple[FaultKind, str] | None:
        """Find why a row cannot be a sample, its media aside."""
        name, reading = self._id_field, self.reading
        if reading.skip_faulty and LOST_CHARACTER in f"{id}{text}":
            found = f"a character that is not UTF-8, or was lost before ({name} {id!r})"
            return FaultKind.NOT_UTF8, found
        if not id.strip():
            return FaultKind.MALFORMED_ROW, f"the field {name} is empty"
        if not id.isascii() and any("\ud800" <= letter <= "\udfff" for letter in id):
            found = f"{name} {id!r}: a name that is not UTF-8, expected one that is: rename it"
            return FaultKind.MALFORMED_ROW, found
        if id in self._index_of:
            found = f"{name} {id!r} was seen before ({self._place_of(id)}), expected each once"
            return FaultKind.DUPLICATE_ID, found
        if reading.needs_text and not text.strip():
            field = text_field or self._text_field
            return FaultKind.EMPTY_TEXT, f"the field {field} is empty ({name} {id!r})"
        if start is not None and not 0 <= start < math.inf:
            return FaultKind.BAD_TIMES, f"start {start}, expected seconds from 0 ({name} {id!r})"
        if end is not None and not math.isfinite(end):
            return FaultKind.BAD_TIMES, f"end {end}, expected seconds ({name} {id!r})"
        if end is not None and end <= (start or 0.0):
            found = f"end {end}, expected more than the start {start or 0.0} ({name} {id!r})"
            return FaultKind.BAD_TIMES, found
        return None

    def _why(self) -> str:
        """What was left out, for messages that nothing is left; a list of faults has it already."""
        notes = self.reading.left_out.notes() if self.reading.faults is None else ()
        is_empty = notes and self._num_without_text and not any(self._splits.values())
        hint = "; rows without a text are for `unglossed translate` alone" if is_empty else ""
        return "".join(f"; {note}" for note in notes) + hint

    def _add_references(
        self, number: int, id: str, texts: Iterable[str], clip: tuple[object, ...]
    ) -> bool:
        """Keep the texts of a row whose id was seen before as further references of its clip."""
        split, place = self._places[id]
        first = self._splits[split][place]
        if clip != (first.media, split, first.start_seconds, first.end_seconds, first.language):
            text = (
                f"id {id!r} was seen before ({self._place_of(id)}) with other media, times, split"
                " or language, expected a further text of the same clip"
            )
            self.report(number, text, FaultKind.DUPLICATE_ID)
            return False
        references = (*first.references, *_as_references(texts))
        self._splits[split][place] = replace(first, references=references)
        return True

    def _missing(self, id: str, expected: Path | str, or_expected: str) -> str:
        where, links = Path(expected), self.reading.broken_links
        link = links.get(where.name) or links.get(where.stem)
        if os.path.lexists(where) and not os.path.exists(where):  # noqa: PTH110 - never raises
            link = where
        found = ""
        if link:
            found = f": {link} is a dangling link"
        elif near := self._near_miss(where):
            found = f": found {near}, whose capitals differ"
        alternative = f", or {or_expected}" if or_expected else ""
        return f"no media for {id!r}{found}, expected {expected}{alternative}"

    def _near_miss(self, where: Path) -> str | None:
        if where.parent not in self._entries:
            try:
                names = list(list_entries(where.parent))
            except InputError:
                names = []
            known = self._entries[where.parent] = {}
            for name in names:
                for form in (name, Path(name).stem):
                    known.setdefault(composed(form).casefold(), name)
        return self._entries[where.parent].get(composed(where.name).casefold())

    def _place_of(self, id: str) -> str:
        index = self._index_of[id]
        path, unit = next((*file,) for first, *file in reversed(self._files) if first <= index)
        root = self.reading.root
        # The folder belongs to it: files of one name may lie in several.
        shown = Path(path).name if root.is_file() else os.path.relpath(path, root)
        return f"{shown}, {unit} {self._numbers[index]}"


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _as_references(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(_nfc(text) for text in texts if text.strip())
