"""Check a copy of a corpus before an hour of training is lost: one pass, all faults.

The reader reports what is wrong with rows; here come texts, media, times, and what splits share.
Nothing is changed on disk.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import ftfy
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES

from unglossed.corpora.check_media import (
    Needs,
    check_clips,
    find_other_language,
    find_unfit,
    first_of,
)
from unglossed.corpora.check_times import Limits, check_lengths, name_clip
from unglossed.corpora.faults import Fault, FaultKind, Faults, Severity
from unglossed.corpora.packed import verify_shards
from unglossed.corpora.reading import LOST_CHARACTER
from unglossed.corpora.registry import find_reader
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError, one_line


@dataclass(frozen=True)
class Report:
    """What is wrong with a copy of a corpus; prints itself as text.

    Attributes:
        spec: What the user wrote.
        faults: All faults, counted, with the first of each kind.
        num_samples: Usable samples of each split; empty if the corpus could not be read.
        num_media: Files and frame folders that these samples lie in; None: `?media=none`, nobody
            looked at them.
        deep: Whether every file was decoded.
        num_references: References of the samples beyond the first.
        num_of_language: Samples of each language.
    """

    spec: str
    faults: Faults
    num_samples: Mapping[str, int]
    num_media: int | None
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
        return "\n".join(one_line(line) for line in self._lines())

    def _lines(self) -> Iterator[str]:
        total = _counted(sum(self.num_samples.values()), "sample")
        splits = ", ".join(f"{name} {count:,}" for name, count in self.num_samples.items())
        where = "without media" if self.num_media is None else f"in {self.num_media:,} media"
        yield f"{self.spec}: {total}{splits and f' ({splits})'} {where}"
        if len(self.num_of_language) > 1:
            counts = ", ".join(f"{code} {count:,}" for code, count in self.num_of_language.items())
            yield f"languages: {counts}"
        if self.num_references:
            yield f"further references: {self.num_references:,}"
        severity = None
        for kind in self.faults:
            if kind.severity is not severity:
                severity = kind.severity
                yield from ("", f"{severity}s")
            count, examples = self.faults.count(kind), self.faults.examples(kind)
            yield f"  {kind.title}: {count:,}"
            yield from (f"    {fault}" for fault in examples)
            if count > len(examples):
                yield f"    and {count - len(examples):,} more"
        yield from ("", self._verdict())

    def _verdict(self) -> str:
        looked = "every file was decoded" if self.deep else "files were not decoded, see --deep"
        if self.num_media is None:
            looked = "no clip was looked at: media=none"
        if not list(self.faults):
            return f"Nothing wrong was found ({looked})."
        counts = ", ".join(_counted(self.faults.total(one), str(one)) for one in Severity)
        is_fit = not (self.has_errors or self.faults.count(FaultKind.MISSING_SPLIT))
        what = "" if self.num_media is not None else " language models"
        return f"{counts}: {'fit' if is_fit else 'not fit'} to train{what} on ({looked})."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def check_corpus(
    spec: str,
    *,
    deep: bool = False,
    limits: Limits | None = None,
    needs: Needs | None = None,
    num_workers: int | None = None,
    max_examples: int = 5,
    progress: bool = False,
) -> Report:
    """Find every fault of a corpus.

    Args:
        spec: As in `read_corpus`.
        deep: Decode every file as well, from beginning to end.
        limits: Lengths that clips should have; None: any.
        needs: What the recipe needs that the corpus is meant for; None: any recipe.
        num_workers: Processes that look at media; None for one per core.
        max_examples: Faults of each kind that the report names.
        progress: Show a bar on stderr.

    Returns:
        All faults. A corpus whose structure cannot be read is one of them.

    Raises:
        InputError: The spec is wrong, or nothing lies at its path; or files are to be decoded of a
            corpus that is read without them (`?media=none`).
    """
    faults = Faults(max_examples)
    read = find_reader(spec, faults)
    try:
        corpus = read()
    except InputError as error:
        where, colon, text = str(error).partition(": ")
        if not colon:
            where, text = spec, where
        faults.add(Fault(FaultKind.UNREADABLE, where, text))
        return Report(spec, faults, {}, 0, deep)
    if deep:
        corpus.require_media("--deep")
    limits = limits or Limits()
    samples = [sample for rows in corpus.splits.values() for sample in rows]
    check_texts(samples, faults, limits)
    _check_forms(corpus, faults)
    _check_splits(corpus, faults)
    unfit = find_unfit(corpus, needs)
    for fault in chain(unfit, find_other_language(corpus, needs or Needs())):
        faults.add(fault)
    num_media = None
    if corpus.has_media:
        num_media = check_clips(
            spec,
            samples,
            faults,
            deep=deep,
            limits=limits,
            needs=needs,
            num_workers=num_workers,
            progress=progress,
        )
    else:
        check_lengths(samples, faults, limits)
    if deep and corpus.name == "packed" and samples:
        shards = samples[0].media.parents[1]  # may lie elsewhere than the table, see `?media=`
        for fault in verify_shards(corpus.root, shards):
            faults.add(fault)
    return Report(
        spec,
        faults,
        {name: len(rows) for name, rows in corpus.splits.items()},
        num_media,
        deep,
        num_references=sum(len(sample.references) for sample in samples),
        num_of_language=Counter(sample.language for sample in samples),
    )


def _check_forms(corpus: Corpus, faults: Faults) -> None:
    """Warn of signs that the texts of one language have in two forms."""
    for language in corpus.languages:
        rows = (row for row in chain(*corpus.splits.values()) if row.language == language)
        texts = (text for row in rows for text in (row.text, *row.references))
        where = f"{corpus.spec}, texts in {language}"
        for found in _count_forms(texts):
            faults.add(Fault(FaultKind.TWO_FORMS, where, found))


def _check_splits(corpus: Corpus, faults: Faults) -> None:
    """Note which sentences and which signers two splits have in common."""
    texts = {name: {row.text for row in rows} for name, rows in corpus.splits.items()}
    signers = {
        name: {row.signer for row in rows if row.signer} for name, rows in corpus.splits.items()
    }
    for first, second in combinations(corpus.splits, 2):
        where = f"{second} and {first}"
        shared = texts[second] & texts[first]
        if shared:
            found = (
                f"{len(shared):,} of {len(texts[second]):,} distinct {second} sentences also occur"
                f" in {first}, such as {_cut(min(shared))!r}"
            )
            faults.add(Fault(FaultKind.SHARED_SENTENCE, where, found))
        names = sorted(signers[second] & signers[first])
        if names:
            found = (
                f"{len(names):,} of {len(signers[second]):,} {second} signers or speakers are also"
                f" in {first}: {first_of(names)}"
            )
            faults.add(Fault(FaultKind.SHARED_SIGNER, where, found))


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_AROUND = 12


# ftfy's own expression takes 20 us a sentence. What it finds holds one of these characters, always,
# and a neighbour outside ASCII as well, unless it is one of the rare ones. Plain small letters and
# common marks do not count ("größer", "l’été").
def _signs(*kinds: str) -> str:
    return "".join(MOJIBAKE_CATEGORIES[kind] for kind in kinds)


_PLAIN = _signs("lower_common", "common", "lower_accented").replace("œ", "") + "ò-öø-ü"
_RARE = "ŒœÂÃÎÐØÙ" + _signs("c1") + LOST_CHARACTER
_SUSPECT = "Ò-ÖÙ-ÜŐŌŪŲ°" + _RARE + _signs("bad", "law", "currency", "numeric", "box")
_SUSPECT += _signs("start_punctuation", "end_punctuation", "upper_accented", "upper_common")
_HAS_SUSPECT = re.compile(f"[{_SUSPECT}]").search
_HAS_PAIR = re.compile(f"[{_RARE}]|[{_SUSPECT}][{_SUSPECT}{_PLAIN}]|[{_PLAIN}][{_SUSPECT}]").search
# »Äpfel« is German, and bad for ftfy.
_QUOTES = str.maketrans(dict.fromkeys("»«›‹„“”‚‘’", '"'))

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CONTROL_TOKEN = re.compile(
    r"</?s>|<(?:pad|unk|mask|bos|eos|extra_id_\d+)>|<\|[^<>|]+\|>|\[(?:CLS|SEP|PAD|UNK|MASK|/?INST)\]"
)
_MAY_BE_ODD = re.compile(r"  |[&<\[]|^ | $").search
# What programs write where there is no value, or none that they could compute.
_NO_VALUE = {"nan", "none", "null", "<na>", "n/a", "#n/a", "#name?", "#ref!", "#value!", "#div/0!"}
# Between letters: 'quoted' words and feet (5') are no apostrophes.
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['’ʼ＇`´](?=[^\W\d_])")
# Which of the curled ones are used is a matter of language; several of them are no slip.
_STRAIGHT = re.compile('["＂]')
_CURLED = re.compile("[“”„«»]")
_SPACES = re.compile(r" {2,}")
_UNSEEN = {
    "\t": "tab",
    "\n": "line break",
    "\r": "carriage return",
    "\u00ad": "soft hyphen",
    "\u200b": "zero-width space",
    "\u200e": "left-to-right mark",
    "\u200f": "right-to-left mark",
    "\u2028": "line separator",
    "\u2029": "paragraph separator",
    "\u2060": "word joiner",
    "\ufeff": "byte order mark",
}
# The zero-width joiners U+200C and U+200D are left alone: several scripts are written with them.
_CONTROLS = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2061-\\u2064{''.join(_UNSEEN)}]")


def check_texts(samples: Sequence[Sample], faults: Faults, limits: Limits | None = None) -> None:
    """Look for texts that are damaged, odd, or longer than they should be; add them to `faults`."""
    most = (limits or Limits()).max_characters
    for sample, text in ((row, text) for row in samples for text in (row.text, *row.references)):
        damage = find_mojibake(text) if may_be_damaged(text) else None
        if damage:
            kind = FaultKind.MOJIBAKE if damage[1] else FaultKind.ODD_TEXT
            faults.add(Fault(kind, name_clip(sample), damage[0]))
        oddity = find_odd_text(text)
        if oddity is None and text.strip().lower() in _NO_VALUE:
            oddity = f"{text!r} is what programs write where there is no value"
        if oddity:
            faults.add(Fault(FaultKind.ODD_TEXT, name_clip(sample), oddity))
        if len(text) > most:
            found = f"found {len(text)} characters, expected at most {most}"
            faults.add(Fault(FaultKind.TOO_LONG, name_clip(sample), found))


def may_be_damaged(text: str) -> bool:
    """Look quickly whether `find_mojibake` may find something; never wrongly False."""
    return not text.isascii() and bool(_HAS_SUSPECT(text) and _HAS_PAIR(text))


def find_mojibake(text: str) -> tuple[str, bool] | None:
    """Find where a sentence in Unicode NFC was damaged by a wrong encoding.

    Returns:
        The place and ftfy's repair in words, and whether it is sure: ftfy can undo the damage, or
        a character was replaced by U+FFFD. None: nothing was found.
    """
    if LOST_CHARACTER in text:
        place = text.index(LOST_CHARACTER)
        return f"found {_around(text, place, place + 1)}: a character was lost (U+FFFD)", True
    match = BADNESS_RE.search(text)
    if match is None:
        return None
    found = _around(text, *match.span())
    repaired = ftfy.fix_encoding(text)
    if repaired != text:
        pairs = enumerate(zip(text, repaired, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), len(repaired) - 1)
        return f"found {found}, which was perhaps {_around(repaired, place, place + 1)}", True
    if BADNESS_RE.search(text.translate(_QUOTES)):
        return f"perhaps a wrong encoding at {found}", False
    return None


def find_odd_text(text: str) -> str | None:
    """Describe the characters of a sentence that nobody meant to write; None: there are none.

    Those are control and zero-width characters, soft hyphens, HTML entities, names of control
    tokens, several spaces in a row, and white space at either end.
    """
    is_plain = text.isprintable() and not _MAY_BE_ODD(text)
    return None if is_plain else ", ".join(_oddities(text)) or None


def _count_forms(texts: Iterable[str]) -> Iterator[str]:
    """Find signs that the texts of one language have in two forms, and count the texts of each.

    A model learns both forms, and scores take them for different: each costs points.
    """
    apostrophes: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    for text in texts:
        apostrophes.update(set(_APOSTROPHE.findall(text)))
        straight, curled = _STRAIGHT.search(text), _CURLED.search(text)
        if (straight is None) != (curled is None):
            marks["straight" if straight else "curled"] += 1
    for name, counts in (("apostrophes", apostrophes), ("quotation marks", marks)):
        if len(counts) > 1:
            found = ", ".join(f"{form} in {count:,}" for form, count in counts.most_common())
            yield f"found {name} in {len(counts)} forms: {found} texts, expected one form"


def _oddities(text: str) -> Iterator[str]:
    if text[:1].isspace():
        yield f"white space at the start {text[:_AROUND]!r}"
    if text[-1:].isspace():
        yield f"white space at the end {text[-_AROUND:]!r}"
    if match := _SPACES.search(text.strip()):
        found = _around(text.strip(), *match.span())
        yield f"{len(match[0])} spaces in a row at {found}"
    # "R&D;" looks like an entity and is none.
    named = [match for match in _ENTITY.finditer(text) if html.unescape(match[0]) != match[0]]
    if named:
        entity = named[0][0]
        yield f"HTML entity {entity!r} for {html.unescape(entity)!r}"
    if match := _CONTROL_TOKEN.search(text):
        yield f"control token {match[0]!r}, which training takes for plain letters"
    for mark in dict.fromkeys(_CONTROLS.findall(text.strip())):
        place = text.index(mark)
        name = _UNSEEN.get(mark, "control character")
        yield f"{name} U+{ord(mark):04X} at {_around(text, place, place + 1)}"


def _around(text: str, start: int, end: int) -> str:
    """A part of a text with its neighbours, quoted."""
    first, last = max(0, start - _AROUND), end + _AROUND
    before, after = "…" if first else "", "…" if last < len(text) else ""
    return repr(before + text[first:last] + after)
