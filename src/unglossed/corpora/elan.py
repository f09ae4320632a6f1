"""Annotation files of ELAN (.eaf): the annotations of each tier, the time slots, and the media.

What stands in the file, and nothing else: `elan_times` finds the times that ELAN shows, and what
the tiers mean is the reader's work. Nothing that a file refers to is opened.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from unglossed.errors import InputError

_ROOT = "ANNOTATION_DOCUMENT"
_INTEGER = re.compile("-?[0-9]{1,12}")


@dataclass(slots=True, eq=False)
class Annotation:
    """One annotation, as it is written.

    Attributes:
        line: Where it begins in the file.
        slots: Ids of the time slots of its begin and end; None: it refers to another annotation.
        reference: Id of that annotation.
        previous: Id of the part before it, where several divide the one that it refers to.
        text: What it says.
    """

    line: int
    slots: tuple[str | None, str | None] | None
    reference: str | None
    previous: str | None = None
    text: str = ""


@dataclass
class Tier:
    """A tier: its annotations in the order of the file.

    Attributes:
        annotations: What it holds.
        kind: Name of its linguistic type.
        parent: Name of the tier that it depends on.
        participant: Whose words it holds, where the file tells.
    """

    annotations: list[Annotation] = field(default_factory=list)
    kind: str | None = None
    parent: str | None = None
    participant: str | None = None


@dataclass(frozen=True)
class Medium:
    """A medium that a file is linked to.

    Attributes:
        names: What its file is called, by each of its addresses; without folders.
        origin_seconds: Where in the medium the time 0 of the annotations lies.
    """

    names: tuple[str, ...]
    origin_seconds: float


@dataclass
class Document:
    """What an ELAN file holds.

    Attributes:
        tiers: Tiers by name.
        annotations: Annotations of all tiers by id; None: several have it.
        slots: Milliseconds of each time slot, as text, in the order of the file; None: it has no
            time of its own.
        constraints: How annotations of each linguistic type lie in their parents.
        media: Media that it is linked to.
    """

    tiers: dict[str, Tier] = field(default_factory=dict)
    annotations: dict[str, Annotation | None] = field(default_factory=dict)
    slots: dict[str, str | None] = field(default_factory=dict)
    constraints: dict[str, str | None] = field(default_factory=dict)
    media: list[Medium] = field(default_factory=list)

    def origin_of(self, clip: str) -> float:
        """Seconds by which a time of this file lies later in one of its media.

        Args:
            clip: The medium's file name. One that no link has, since it was renamed, stands for
                any of them, if these agree.

        Raises:
            ValueError: They do not; the message says so.
        """
        wanted = _folded(clip)
        for cut in (_folded, _stem):
            found = {
                medium.origin_seconds
                for medium in self.media
                if any(cut(name) == cut(wanted) for name in medium.names)
            }
            if found:
                break
        origins = found or {medium.origin_seconds for medium in self.media} or {0.0}
        if len(origins) == 1:
            return origins.pop()
        listed = ", ".join(
            f"{' or '.join(medium.names)!r} ({1000 * medium.origin_seconds:.0f})"
            for medium in self.media
        )
        raise ValueError(
            f"linked to media of different TIME_ORIGIN: {listed[:300]}, expected one of these names"
            f" for the clip {clip!r}"
        )


def read_document(path: Path) -> Document:
    """Read an ELAN file.

    Raises:
        InputError: It cannot be read, is no XML or not of ELAN, or names a document type.
    """
    return _Parser(path).parse()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    return _folded(name).rpartition(".")[0] or _folded(name)


def _file_name(url: str) -> str:
    """The file that a link of any system leads to: `talk.mp4` of `file:///C:/anna/talk.mp4`."""
    return unquote(re.split(r"[/\\]", url.strip())[-1])


class _Parser:
    """Collects the document while the XML parser goes through the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document = Document()
        self._tier = Tier()
        self._annotation: Annotation | None = None
        self._in_text = False
        self._is_first = True
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add_text

    def parse(self) -> Document:
        try:
            self._parser.Parse(self._path.read_bytes(), True)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from None
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise InputError(f"{self._path}, line {error.lineno}: not XML: {reason}") from error
        except (LookupError, ValueError) as error:  # of an encoding that Python does not have
            raise InputError(f"{self._path}: not readable as XML: {error}") from error
        return self._document

    def _refuse(self, text: str) -> InputError:
        return InputError(f"{self._path}, line {self._parser.CurrentLineNumber}: {text}")

    def _refuse_doctype(self, *_: object) -> None:
        # Entities, which may name files or grow without end, live there.
        text = "found a document type, which ELAN does not write and which may be harmful"
        raise self._refuse(text)

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if self._is_first and name != _ROOT:
            raise self._refuse(f"not a document of ELAN: found <{name[:60]}>, expected <{_ROOT}>")
        self._is_first = False
        match name:
            case "HEADER":
                self._begin_header(attributes)
            case "MEDIA_DESCRIPTOR":
                self._add_medium(attributes)
            case "TIME_SLOT":
                self._add_slot(attributes)
            case "TIER":
                self._begin_tier(attributes)
            case "LINGUISTIC_TYPE":
                kind = self._need(name, attributes, "LINGUISTIC_TYPE_ID")
                self._document.constraints[kind] = attributes.get("CONSTRAINTS")
            case "ALIGNABLE_ANNOTATION":
                begin, end = attributes.get("TIME_SLOT_REF1"), attributes.get("TIME_SLOT_REF2")
                self._add_annotation(attributes, (begin, end), None)
            case "REF_ANNOTATION":
                self._add_annotation(attributes, None, attributes.get("ANNOTATION_REF"))
            case "ANNOTATION_VALUE":
                self._in_text = True

    def _need(self, element: str, attributes: dict[str, str], name: str) -> str:
        if name not in attributes:
            raise self._refuse(f"not a document of ELAN: <{element}> has no {name}, expected one")
        return attributes[name]

    def _begin_header(self, attributes: dict[str, str]) -> None:
        unit = attributes.get("TIME_UNITS", "milliseconds")
        if unit.casefold() != "milliseconds":
            raise self._refuse(f"TIME_UNITS is {unit[:60]!r}, expected 'milliseconds'")

    def _add_medium(self, attributes: dict[str, str]) -> None:
        urls = (attributes.get("RELATIVE_MEDIA_URL", ""), attributes.get("MEDIA_URL", ""))
        names = tuple(dict.fromkeys(name for name in map(_file_name, urls) if name))
        origin = attributes.get("TIME_ORIGIN", "").strip() or "0"
        if not _INTEGER.fullmatch(origin):
            raise self._refuse(f"TIME_ORIGIN is {origin[:60]!r}, expected milliseconds")
        self._document.media.append(Medium(names or ("",), int(origin) / 1000))

    def _add_slot(self, attributes: dict[str, str]) -> None:
        slot = self._need("TIME_SLOT", attributes, "TIME_SLOT_ID")
        value = attributes.get("TIME_VALUE")
        if self._document.slots.setdefault(slot, value) != value:
            raise self._refuse(f"found the time slot {slot[:60]!r} twice, with two times")

    def _begin_tier(self, attributes: dict[str, str]) -> None:
        name = self._need("TIER", attributes, "TIER_ID")
        if name in self._document.tiers:
            raise self._refuse(f"found the tier {name[:60]!r} twice, expected each name once")
        kind, parent = attributes.get("LINGUISTIC_TYPE_REF"), attributes.get("PARENT_REF")
        self._tier = Tier([], kind, parent, attributes.get("PARTICIPANT", "").strip() or None)
        self._document.tiers[name] = self._tier

    def _add_annotation(
        self,
        attributes: dict[str, str],
        slots: tuple[str | None, str | None] | None,
        reference: str | None,
    ) -> None:
        line, previous = self._parser.CurrentLineNumber, attributes.get("PREVIOUS_ANNOTATION")
        annotation = Annotation(line, slots, reference, previous or None)
        self._tier.annotations.append(annotation)
        self._annotation = annotation
        id, known = attributes.get("ANNOTATION_ID"), self._document.annotations
        if id is not None:
            known[id] = None if id in known else annotation

    def _add_text(self, text: str) -> None:
        if self._in_text and self._annotation is not None:
            self._annotation.text += text

    def _end(self, name: str) -> None:
        if name == "ANNOTATION_VALUE":
            self._in_text = False


_SUBDIVISION = "Symbolic_Subdivision"

Span = tuple[Fraction, Fraction]


class Times:
    """Finds the times of annotations.

    A time slot without a value lies evenly between its neighbours: of a tier that depends on
    another those in its own chain of annotations, else those in the file's list of slots.
    Annotations that refer to another have its time; those that divide it share that in equal
    parts, in the order that they name.

    Args:
        document: The file.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._tier_of = {
            annotation: tier for tier in document.tiers.values() for annotation in tier.annotations
        }
        self._parts: dict[tuple[int, str], list[Annotation]] = {}
        for annotation, tier in self._tier_of.items():
            if annotation.slots is None and annotation.reference is not None:
                key = id(tier), annotation.reference
                self._parts.setdefault(key, []).append(annotation)
        # Place of each part; empty: they do not divide their parent. Or why there is no row.
        self._places: dict[tuple[int, str], dict[Annotation, int] | str] = {}
        self._id_of = {one: name for name, one in document.annotations.items() if one is not None}
        self._spans: dict[Annotation, Span | str] = {}
        self._slots: dict[str, Fraction | str] = {}
        self._read_slots()

    def of(self, annotation: Annotation) -> tuple[float, float]:
        """Begin and end in seconds of an annotation.

        Raises:
            ValueError: It has none; the message says why.
        """
        begin, end = self._span(annotation)
        return float(begin / 1000), float(end / 1000)

    def _span(self, annotation: Annotation) -> Span:
        """Begin and end in milliseconds."""
        path: list[Annotation] = []
        span: Span | str | None = None
        one: Annotation | None = annotation
        while span is None:
            assert one is not None
            if one in path:
                span = "it refers to annotations that refer to each other"
            elif one in self._spans:
                span = self._spans[one]
            elif one.slots is not None:
                span = self._aligned(one.slots)
                self._spans[one] = span
            else:
                path.append(one)
                reference = one.reference
                one = self._document.annotations.get(reference) if reference is not None else None
                if one is None:
                    several = reference in self._document.annotations
                    reason = "which is there several times" if several else "which is not there"
                    span = f"it refers to {reference!r}, {reason}"
        for one in reversed(path):
            if not isinstance(span, str):
                span = self._share(one, span)
            self._spans[one] = span
        if isinstance(span, str):
            raise ValueError(span)
        return span

    def _aligned(self, slots: tuple[str | None, str | None]) -> Span | str:
        found = []
        for slot in slots:
            if slot is None:
                return "it names no time slot for its begin or end"
            time = self._slots.get(slot, f"its time slot {slot!r} is not there")
            if isinstance(time, str):
                return time
            found.append(time)
        return found[0], found[1]

    def _share(self, annotation: Annotation, whole: Span) -> Span | str:
        """The part of its parent's time that an annotation has."""
        tier = self._tier_of[annotation]
        assert annotation.reference is not None
        key = id(tier), annotation.reference
        if key not in self._places:
            parts = self._parts[key]
            divides = self._document.constraints.get(tier.kind or "") == _SUBDIVISION
            if divides or any(part.previous for part in parts):
                self._places[key] = _places_of(parts, self._id_of)
            else:
                self._places[key] = {}
        places = self._places[key]
        if isinstance(places, str):
            return places
        if not places:
            return whole
        begin, step = whole[0], (whole[1] - whole[0]) / len(places)
        place = places[annotation]
        return begin + place * step, begin + (place + 1) * step

    def _read_slots(self) -> None:
        for slot, value in self._document.slots.items():
            if value is not None and re.fullmatch("[0-9]{1,12}", value):
                self._slots[slot] = Fraction(int(value))
            elif value is not None:
                text = f"its time slot {slot!r} is {value[:60]!r}, expected milliseconds"
                self._slots[slot] = text
        if len(self._slots) == len(self._document.slots):
            return
        # A tier's slots may be those of the tier that it depends on, so that one first. Only tiers
        # that depend on none have their slots in order in the file's list.
        tiers = sorted(self._document.tiers.values(), key=self._depth)
        for tier in tiers:
            if self._depth(tier):
                for chain in _chains(tier):
                    self._fill(chain)
            else:
                wanted = {slot for one in tier.annotations for slot in one.slots or ()}
                self._fill(list(self._document.slots), wanted)
        self._fill(list(self._document.slots))
        for slot in self._document.slots:
            if slot not in self._slots:
                text = f"its time slot {slot!r} has no time, and none before it or behind it has"
                self._slots[slot] = text

    def _depth(self, tier: Tier) -> int:
        tiers, depth, parent = self._document.tiers, 0, tier.parent
        while parent in tiers and depth <= len(tiers):  # a circle ends as well
            depth, parent = depth + 1, tiers[parent].parent
        return depth

    def _fill(self, chain: Sequence[str], wanted: set[str | None] | None = None) -> None:
        """Give the slots of a chain that have no time even ones between those that have."""
        have = [place for place, slot in enumerate(chain) if slot in self._slots]
        found: dict[str, Fraction] = {}
        for first, last in pairwise(have):
            begin, end = self._slots[chain[first]], self._slots[chain[last]]
            if isinstance(begin, str) or isinstance(end, str) or end < begin:
                continue
            for place in range(first + 1, last):
                if wanted is None or chain[place] in wanted:
                    share = Fraction(place - first, last - first)
                    found[chain[place]] = begin + share * (end - begin)
        self._slots.update(found)


def _chains(tier: Tier) -> list[list[str]]:
    """The time slots of annotations that lie end to end."""
    after: dict[str, str] = {}
    for annotation in tier.annotations:
        begin, end = annotation.slots or (None, None)
        if begin is not None and end is not None:
            after.setdefault(begin, end)
    firsts = after.keys() - set(after.values())
    chains = []
    for first in sorted(firsts):
        chain = [first]
        while chain[-1] in after and after[chain[-1]] not in chain:  # a circle ends as well
            chain.append(after[chain[-1]])
        chains.append(chain)
    return chains


def _places_of(
    parts: Sequence[Annotation], id_of: Mapping[Annotation, str]
) -> dict[Annotation, int] | str:
    """The place of each part of an annotation: behind the one that it names; or what is wrong."""
    after: dict[str, Annotation] = {}
    ids = {id_of.get(part) for part in parts}
    for part in parts:
        previous = part.previous
        if previous is not None and previous not in ids:
            return f"PREVIOUS_ANNOTATION {previous!r} is no part of {part.reference!r} in its tier"
        if previous is not None and after.setdefault(previous, part) is not part:
            return f"two parts of {part.reference!r} follow {previous!r}"
    places: dict[Annotation, int] = {}
    for first in parts:
        part_or_none = None if first.previous else first
        while part_or_none is not None:
            places[part_or_none] = len(places)
            part_or_none = after.get(id_of.get(part_or_none, ""))
    if len(places) != len(parts):
        return f"parts of {parts[0].reference!r} follow each other in a circle"
    return places
