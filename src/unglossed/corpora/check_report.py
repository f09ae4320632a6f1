"""What `check` found, as text for a terminal or as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unglossed.corpora.faults import FaultKind, Faults, Severity


@dataclass(frozen=True)
class Report:
    """What is wrong with a copy of a corpus; prints itself as text.

    Attributes:
        spec: What the user wrote.
        faults: All faults, counted, with the first of each kind.
        num_samples: Usable samples of each split; empty if the corpus could not be read.
        num_media: Files and frame folders that these samples lie in.
        deep: Whether every file was decoded.
        num_references: Further references of the samples, beside a text each.
        num_of_language: Samples of each language.
    """

    spec: str
    faults: Faults
    num_samples: Mapping[str, int]
    num_media: int
    deep: bool
    num_references: int = 0
    num_of_language: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_errors(self) -> bool:
        """Whether something was found with which training would stop or learn wrong things."""
        return self.faults.total(Severity.ERROR) > 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "corpus": self.spec,
            "deep": self.deep,
            "samples": dict(self.num_samples),
            "media": self.num_media,
            "references": self.num_references,
            "languages": dict(self.num_of_language),
            **{f"{severity}s": self.faults.total(severity) for severity in Severity},
            "faults": [
                {
                    "kind": kind.name.lower(),
                    "title": kind.title,
                    "severity": str(kind.severity),
                    "count": self.faults.count(kind),
                    "examples": [
                        {"where": fault.where, "text": fault.text}
                        for fault in self.faults.examples(kind)
                    ],
                }
                for kind in self.faults
            ],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        total = sum(self.num_samples.values())
        splits = ", ".join(f"{name} {count:,}" for name, count in self.num_samples.items())
        yield (
            f"{_one_line(self.spec)}: {_counted(total, 'sample')}"
            + (f" ({_one_line(splits)})" if splits else "")
            + f" in {self.num_media:,} media"
        )
        if len(self.num_of_language) > 1:
            told = ", ".join(f"{code} {count:,}" for code, count in self.num_of_language.items())
            yield f"languages: {told}"
        if self.num_references:
            yield f"further references: {self.num_references:,}"
        for severity in Severity:
            kinds = [kind for kind in self.faults if kind.severity is severity]
            if kinds:
                yield ""
                yield f"{severity}s"
            for kind in kinds:
                count, examples = self.faults.count(kind), self.faults.examples(kind)
                yield f"  {kind.title}: {count:,}"
                yield from (f"    {_one_line(str(fault))}" for fault in examples)
                if count > len(examples):
                    yield f"    and {count - len(examples):,} more"
        yield ""
        yield self._verdict()

    def _verdict(self) -> str:
        looked = "every file was decoded" if self.deep else "files were not decoded, see --deep"
        counts = {severity: self.faults.total(severity) for severity in Severity}
        if not sum(counts.values()):
            return f"Nothing wrong was found ({looked})."
        told = ", ".join(_counted(count, str(severity)) for severity, count in counts.items())
        is_fit = not (self.has_errors or self.faults.count(FaultKind.MISSING_SPLIT))
        end = "fit to train on" if is_fit else "not fit to train on"
        return f"{told}: {end} ({looked})."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _one_line(text: str) -> str:
    """A text that cannot break out of its line: what a terminal would act on is escaped."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text
    )
