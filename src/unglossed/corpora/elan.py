"""Annotation files of ELAN (.eaf): the annotations of each tier, and the times that ELAN shows.

What tiers mean is the reader's work. Nothing that a file refers to is opened.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from unglossed.errors import InputError

# pympi reads such files, too, but without line numbers, units, origins of media and the order of
# parts; what stands twice replaces what came before. See docs/decisions/0007.
_ROOT = "ANNOTATION_DOCUMENT"
_LINE = "line"  # our own attribute: where an element begins
_INTEGER = re.compile("-?[0-9]{1,12}")
_SUBDIVISION = "Symbolic_Subdivision"

Span = tuple[Fraction, Fraction]
"""Begin and end in milliseconds."""


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


class Medium(NamedTuple):
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
        """Get the seconds to add to a time of this file for one of its media.

        Args:
            clip: The medium's file name. One that no link has, since it was renamed, stands for
                any of them, if these agree.

        Raises:
            ValueError: They do not; the message says so.
        """
        origins = {medium.origin_seconds for medium in self.media} or {0.0}
        for cut in (_folded, _stem):
            named = {
                medium.origin_seconds
                for medium in self.media
                if cut(clip) in map(cut, medium.names)
            }
            if named:
                origins = named
                break
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
        InputError: It cannot be read, is no XML or not of ELAN, names a document type, or has one
            name for two things.
    """
    document, own = Document(), "not a document of ELAN"

    def refuse(element: Element, text: str) -> InputError:
        return InputError(f"{path}, line {element.get(_LINE)}: {text}")

    def need(element: Element, key: str) -> str:
        if (value := element.get(key)) is None:
            raise refuse(element, f"{own}: <{element.tag}> has no {key}, expected one")
        return value

    root = _parse_xml(path)
    if root.tag != _ROOT:
        raise refuse(root, f"{own}: found <{root.tag[:60]}>, expected <{_ROOT}>")
    for header in root.iter("HEADER"):
        unit = header.get("TIME_UNITS", "milliseconds")
        if unit.casefold() != "milliseconds":
            raise refuse(header, f"TIME_UNITS is {unit[:60]!r}, expected 'milliseconds'")
    for medium in root.iter("MEDIA_DESCRIPTOR"):
        urls = [medium.get(key, "") for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL")]
        names = tuple(dict.fromkeys(filter(None, map(_file_name, urls))))
        origin = medium.get("TIME_ORIGIN", "").strip() or "0"
        if not _INTEGER.fullmatch(origin):
            raise refuse(medium, f"TIME_ORIGIN is {origin[:60]!r}, expected milliseconds")
        document.media.append(Medium(names or ("",), int(origin) / 1000))
    for one in root.iter("TIME_SLOT"):
        slot, value = need(one, "TIME_SLOT_ID"), one.get("TIME_VALUE")
        if document.slots.setdefault(slot, value) != value:
            raise refuse(one, f"found the time slot {slot[:60]!r} twice, with two times")
    for kind in root.iter("LINGUISTIC_TYPE"):
        document.constraints[need(kind, "LINGUISTIC_TYPE_ID")] = kind.get("CONSTRAINTS")
    for tier in root.iter("TIER"):
        name = need(tier, "TIER_ID")
        if name in document.tiers:
            raise refuse(tier, f"found the tier {name[:60]!r} twice, expected each name once")
        annotations = []
        for one in tier.iter():
            if one.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                continue
            slots, reference = None, one.get("ANNOTATION_REF")
            if one.tag == "ALIGNABLE_ANNOTATION":
                slots, reference = (one.get("TIME_SLOT_REF1"), one.get("TIME_SLOT_REF2")), None
            text = "".join(
                part for value in one.iter("ANNOTATION_VALUE") for part in value.itertext()
            )
            previous = one.get("PREVIOUS_ANNOTATION") or None
            annotation = Annotation(int(need(one, _LINE)), slots, reference, previous, text)
            annotations.append(annotation)
            id, known = one.get("ANNOTATION_ID"), document.annotations
            if id is not None:
                known[id] = None if id in known else annotation
        participant = tier.get("PARTICIPANT", "").strip() or None
        kind_name, parent = tier.get("LINGUISTIC_TYPE_REF"), tier.get("PARENT_REF")
        document.tiers[name] = Tier(annotations, kind_name, parent, participant)
    return document


def _parse_xml(path: Path) -> Element:
    """Read an XML file into elements that know their lines; a document type is refused."""
    parser, builder = expat.ParserCreate(), TreeBuilder()

    def begin(name: str, attributes: dict[str, str]) -> None:
        builder.start(name, {**attributes, _LINE: str(parser.CurrentLineNumber)})

    def refuse_doctype(*_: object) -> None:
        # Entities, which may name files or grow without end, live there.
        text = "found a document type, which ELAN does not write and which may be harmful"
        raise InputError(f"{path}, line {parser.CurrentLineNumber}: {text}")

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda name: builder.end(name) and None
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise InputError(f"{path}, line {error.lineno}: not XML: {reason}") from error
    except (LookupError, ValueError) as error:  # of an encoding that Python does not have
        raise InputError(f"{path}: not readable as XML: {error}") from error
    return builder.close()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    return _folded(name).rpartition(".")[0] or _folded(name)


def _file_name(url: str) -> str:
    """The file that a link of any system leads to: `talk.mp4` of `file:///C:/anna/talk.mp4`."""
    return unquote(re.split(r"[/\\]", url.strip())[-1])


class Times:
    """Finds the times of annotations.

    A time slot without a value lies evenly between its neighbours: of a tier that depends on
    another those in its own chain of annotations, else those in the file's list of slots.
    Annotations that refer to another have its time; those that divide it share that in equal
    parts, in the order that they name.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._tier_of = {one: tier for tier in document.tiers.values() for one in tier.annotations}
        self._parts: dict[tuple[int, str], list[Annotation]] = {}
        for annotation, tier in self._tier_of.items():
            if annotation.slots is None and annotation.reference is not None:
                key = id(tier), annotation.reference
                self._parts.setdefault(key, []).append(annotation)
        # Place of each part; empty: they do not divide their parent.
        self._places: dict[tuple[int, str], dict[Annotation, int]] = {}
        self._id_of = {one: name for name, one in document.annotations.items() if one is not None}
        self._spans: dict[Annotation, Span] = {}
        self._slots = {
            slot: Fraction(int(value))
            for slot, value in document.slots.items()
            if value is not None and re.fullmatch("[0-9]{1,12}", value)
        }
        if None in document.slots.values():
            self._fill_slots()

    def of(self, annotation: Annotation) -> tuple[float, float]:
        """Get begin and end in seconds of an annotation.

        Raises:
            ValueError: It has none; the message says why.
        """
        path: dict[Annotation, None] = {}
        one, known = annotation, self._document.annotations
        while one.slots is None and one not in self._spans:
            path[one] = None
            above = None if one.reference is None else known.get(one.reference)
            if above is None:
                several = one.reference in known
                reason = "which is there several times" if several else "which is not there"
                raise ValueError(f"it refers to {one.reference!r}, {reason}")
            if above in path:
                raise ValueError("it refers to annotations that refer to each other")
            one = above
        span = self._spans.get(one) or self._aligned(one.slots or ())
        for one in reversed(path):
            span = self._spans[one] = self._share(one, span)
        return float(span[0] / 1000), float(span[1] / 1000)

    def _aligned(self, slots: Sequence[str | None]) -> Span:
        known = self._document.slots
        for slot in slots:
            if slot is None:
                raise ValueError("it names no time slot for its begin or end")
            if slot in self._slots:
                continue
            if slot not in known:
                raise ValueError(f"its time slot {slot!r} is not there")
            reason = "has no time, and none before it or behind it has"
            if (value := known[slot]) is not None:
                reason = f"is {value[:60]!r}, expected milliseconds"
            raise ValueError(f"its time slot {slot!r} {reason}")
        begin, end = (self._slots[slot] for slot in slots if slot is not None)
        return begin, end

    def _share(self, annotation: Annotation, whole: Span) -> Span:
        """The part of its parent's time that an annotation has."""
        tier = self._tier_of[annotation]
        assert annotation.reference is not None
        key = id(tier), annotation.reference
        if key not in self._places:
            parts = self._parts[key]
            divide = self._document.constraints.get(tier.kind or "") == _SUBDIVISION
            divide = divide or any(part.previous for part in parts)
            self._places[key] = _places_of(parts, self._id_of) if divide else {}
        places = self._places[key]
        if not places:
            return whole
        begin, step = whole[0], (whole[1] - whole[0]) / len(places)
        place = places[annotation]
        return begin + place * step, begin + (place + 1) * step

    def _fill_slots(self) -> None:
        """Give times to the slots that have none."""
        # A tier's slots may be those of the tier that it depends on, so that one first. Only tiers
        # that depend on none have their slots in order in the file's list.
        in_file = list(self._document.slots)
        for tier in sorted(self._document.tiers.values(), key=self._depth):
            if self._depth(tier):
                for chain in _chains(tier):
                    self._fill(chain)
            else:
                self._fill(in_file, {slot for one in tier.annotations for slot in one.slots or ()})
        self._fill(in_file)

    def _depth(self, tier: Tier) -> int:
        tiers, depth, parent = self._document.tiers, 0, tier.parent
        while parent in tiers and depth <= len(tiers):  # a circle ends as well
            depth, parent = depth + 1, tiers[parent].parent
        return depth

    def _fill(self, chain: Sequence[str], wanted: set[str | None] | None = None) -> None:
        """Give the slots of a chain that have no time even ones between those that have."""
        given, found = self._document.slots, {}
        have = [
            place
            for place, slot in enumerate(chain)
            if slot in self._slots or given.get(slot) is not None
        ]
        for first, last in pairwise(have):
            begin, end = self._slots.get(chain[first]), self._slots.get(chain[last])
            if begin is None or end is None or end < begin:
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
    chains = []
    for first in sorted(after.keys() - set(after.values())):
        chain = dict.fromkeys([first])  # in order
        while (slot := after.get(next(reversed(chain)))) is not None and slot not in chain:
            chain[slot] = None
        chains.append(list(chain))
    return chains


def _places_of(
    parts: Sequence[Annotation], id_of: Mapping[Annotation, str]
) -> dict[Annotation, int]:
    """Find the place of each part of an annotation: behind the one that it names.

    Raises:
        ValueError: They are in no order.
    """
    after: dict[str, Annotation] = {}
    ids = {id_of.get(part) for part in parts}
    of = f"{parts[0].reference!r}"
    for part in parts:
        previous = part.previous
        if previous is not None and previous not in ids:
            raise ValueError(f"PREVIOUS_ANNOTATION {previous!r} is no part of {of} in its tier")
        if previous is not None and after.setdefault(previous, part) is not part:
            raise ValueError(f"two parts of {of} follow {previous!r}")
    places: dict[Annotation, int] = {}
    for first in parts:
        one = None if first.previous else first
        while one is not None:
            places[one] = len(places)
            one = after.get(id_of.get(one, ""))
    if len(places) != len(parts):
        raise ValueError(f"parts of {of} follow each other in a circle")
    return places
