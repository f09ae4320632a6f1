"""Annotation files of ELAN (.eaf): the annotations of each tier, with their times and lines.

What the tiers mean is the reader's work. Nothing that a file refers to is opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from unglossed.errors import InputError

_ROOT = "ANNOTATION_DOCUMENT"


@dataclass(slots=True)
class Annotation:
    """One annotation, as it is written.

    Attributes:
        line: Where it begins in the file.
        slots: Ids of the time slots of its begin and end; None: it refers to another annotation.
        reference: Id of that annotation.
        text: What it says.
    """

    line: int
    slots: tuple[str | None, str | None] | None
    reference: str | None
    text: str = ""


@dataclass
class Document:
    """What an ELAN file holds.

    Attributes:
        tiers: The annotations of each tier.
        annotations: Those of all tiers by id.
        slots: Milliseconds of each time slot, as text; None: it has no time of its own.
    """

    tiers: dict[str, list[Annotation]] = field(default_factory=dict)
    annotations: dict[str, Annotation] = field(default_factory=dict)
    slots: dict[str, str | None] = field(default_factory=dict)

    def times_of(self, annotation: Annotation) -> tuple[float, float]:
        """Begin and end in seconds of an annotation, or of that which it refers to.

        Raises:
            ValueError: It has none; the message says why.
        """
        for _ in range(len(self.tiers) + 1):  # more steps would go round in a circle
            if annotation.slots is not None:
                begin, end = map(self._seconds, annotation.slots)
                return begin, end
            if annotation.reference not in self.annotations:
                raise ValueError(f"it refers to {annotation.reference!r}, which is not there")
            annotation = self.annotations[annotation.reference]
        raise ValueError("it refers to annotations that refer to each other")

    def _seconds(self, slot: str | None) -> float:
        if slot is None:
            raise ValueError("it names no time slot for its begin or end")
        value = self.slots.get(slot)
        if value is None:
            raise ValueError(f"its time slot {slot!r} has no time, expected milliseconds")
        if not re.fullmatch("[0-9]{1,12}", value):
            raise ValueError(f"its time slot {slot!r} is {value[:60]!r}, expected milliseconds")
        return int(value) / 1000


def read_document(path: Path) -> Document:
    """Read an ELAN file.

    Raises:
        InputError: It cannot be read, is no XML or not of ELAN, or names a document type.
    """
    return _Parser(path).parse()


class _Parser:
    """Collects the document while the XML parser goes through the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document = Document()
        self._tier: list[Annotation] = []
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
            case "TIME_SLOT":
                slot = self._need(name, attributes, "TIME_SLOT_ID")
                self._document.slots[slot] = attributes.get("TIME_VALUE")
            case "TIER":
                tier = self._need(name, attributes, "TIER_ID")
                self._tier = self._document.tiers.setdefault(tier, [])
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

    def _add_annotation(
        self,
        attributes: dict[str, str],
        slots: tuple[str | None, str | None] | None,
        reference: str | None,
    ) -> None:
        annotation = Annotation(self._parser.CurrentLineNumber, slots, reference)
        self._tier.append(annotation)
        self._annotation = annotation
        if "ANNOTATION_ID" in attributes:
            self._document.annotations[attributes["ANNOTATION_ID"]] = annotation

    def _add_text(self, text: str) -> None:
        if self._in_text and self._annotation is not None:
            self._annotation.text += text

    def _end(self, name: str) -> None:
        if name == "ANNOTATION_VALUE":
            self._in_text = False
