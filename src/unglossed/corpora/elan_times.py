"""When the annotations of an ELAN file begin and end: the times that ELAN itself shows.

Times count from that of the file's first slot; where they lie in a medium is `Document.origin_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from unglossed.corpora.elan import Annotation, Document, Tier

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
