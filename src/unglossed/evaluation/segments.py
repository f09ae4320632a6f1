"""Scores segments, such as the sentences found in a long video, against those that are there.

The measures are those of action segmentation: F1 at several overlaps, frame accuracy, and how far
starts and ends are off. Texts play no part unless asked; no model and no medium is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.segments import SEGMENT_SUFFIXES, Segment, read_segments
from unglossed.errors import InputError

OVERLAPS = (0.10, 0.25, 0.50)
"""Intersections over union from which a found segment counts as right."""

FRAME_RATE = 25
"""Frames a second at which frame accuracy is counted, whatever the medium has."""

_OF_OFFSETS = OVERLAPS[-1]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Offsets:
    """How far found starts, or ends, are from the true ones, in seconds; above 0 they are late.

    Attributes:
        mean: Of the signed distances: whether segments are early or late as a whole.
        median: Of the same.
        mean_absolute: Of the distances without their signs: how exact segments are.
        median_absolute: Of the same.
    """

    mean: float
    median: float
    mean_absolute: float
    median_absolute: float

    @classmethod
    def of(cls, distances: Sequence[float]) -> Offsets | None:
        """Sum distances up; None where there are none."""
        if not distances:
            return None
        found = np.array(distances)
        sizes = np.abs(found)
        return cls(*map(float, (found.mean(), np.median(found), sizes.mean(), np.median(sizes))))

    def __str__(self) -> str:
        return (
            f"{self.mean:+.2f} s (median {self.median:+.2f}),"
            f" {self.mean_absolute:.2f} s off (median {self.median_absolute:.2f})"
        )


@dataclass(frozen=True)
class SegmentScores:
    """How well segments were found.

    Attributes:
        f1: F1 in 0..1 for each of `OVERLAPS`. A found segment goes with the true one that it
            overlaps most; one that overlaps enough is a hit, and a true one is hit once. None where
            neither file has a segment.
        frame_accuracy: Share of the frames, 25 a second up to the last end, on which both say that
            somebody signs, or that nobody does. None where there is no frame.
        signing_share: Share of these frames on which somebody signs in truth. Who marks all of a
            video has it for a frame accuracy.
        start_offsets: Of the hits at 0.50; None where there are none.
        end_offsets: Of the same.
        num_hits: Hits for each of `OVERLAPS`.
        num_hypotheses: Segments found.
        num_references: True segments.
        num_files: Pairs of files, whose segments and frames are counted together.
    """

    f1: Mapping[float, float | None]
    frame_accuracy: float | None
    signing_share: float | None
    start_offsets: Offsets | None
    end_offsets: Offsets | None
    num_hits: Mapping[float, int]
    num_hypotheses: int
    num_references: int
    num_files: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, rounded to four places; overlaps are the keys "0.10" and so on."""
        return {
            "f1": {f"{overlap:.2f}": _rounded(value) for overlap, value in self.f1.items()},
            "frame_accuracy": _rounded(self.frame_accuracy),
            "signing_share": _rounded(self.signing_share),
            "start_offsets": _as_dict(self.start_offsets),
            "end_offsets": _as_dict(self.end_offsets),
            "num_hits": {f"{overlap:.2f}": hits for overlap, hits in self.num_hits.items()},
            "num_hypotheses": self.num_hypotheses,
            "num_references": self.num_references,
            "num_files": self.num_files,
        }

    def __str__(self) -> str:
        scores = ", ".join(
            f"F1@{f'{overlap:.2f}'.lstrip('0')} {_shown(f1)}" for overlap, f1 in self.f1.items()
        )
        files = f" in {self.num_files} files" if self.num_files > 1 else ""
        return "\n".join(
            [
                scores,
                f"frame accuracy {_shown(self.frame_accuracy)}"
                f" (all marked as signing: {_shown(self.signing_share)})",
                f"starts {self.start_offsets or 'n/a'}",
                f"ends   {self.end_offsets or 'n/a'}",
                f"{self.num_hypotheses} found, {self.num_references} true{files};"
                f" offsets of {self.num_hits[_OF_OFFSETS]} with an overlap of {_OF_OFFSETS}",
            ]
        )


def score_segments(
    hypotheses: Path, references: Path, *, tier: str | None = None, same_text: bool = False
) -> SegmentScores:
    """Score the segments of a file, or of the files of a folder, against the true ones.

    Args:
        hypotheses: What was found: a file that `corpora.segments.read_segments` reads, or a folder
            of such files.
        references: What is true: a file, or a folder that has a file of the same name for each of
            the other's, the suffix aside.
        tier: Tier of the ELAN files among them.
        same_text: Whether a segment can only hit one of the same text, as for subtitles that were
            aligned; a frame is right then if it shows the same text.

    Raises:
        InputError: One is a file and the other a folder, the folders have other names or several
            files of one name, a file cannot be read, or a tier is asked for and no file has tiers.
    """
    pairs = _pairs(hypotheses, references)
    if tier is not None and not any(_has_tiers(path) for pair in pairs for path in pair):
        raise InputError(f"--tier: found {tier!r} and no ELAN file, expected one (.eaf)")
    read = ((_read(found, tier), _read(true, tier)) for found, true in pairs)
    return score(read, same_text=same_text)


def score(
    pairs: Iterable[tuple[Sequence[Segment], Sequence[Segment]]], *, same_text: bool = False
) -> SegmentScores:
    """Score segments: of each recording those that were found, and the true ones.

    Args:
        pairs: (found, true) of each recording.
        same_text: See `score_segments`.
    """
    hits = dict.fromkeys(OVERLAPS, 0)
    starts: list[float] = []
    ends: list[float] = []
    num_found = num_true = num_files = num_frames = num_right = num_signing = 0
    for found, true in pairs:
        matches = _match(found, true, same_text)
        for overlap in OVERLAPS:
            hits[overlap] += sum(match.overlap >= overlap - _ROUNDING for match in matches)
        for match in matches:
            if match.overlap >= _OF_OFFSETS - _ROUNDING:
                starts.append(match.found.start_seconds - match.true.start_seconds)
                ends.append(match.found.end_seconds - match.true.end_seconds)
        said, is_so = _frames(found, true, same_text)
        num_right += int((said == is_so).sum())
        num_signing += int((is_so > 0).sum())
        num_frames += len(is_so)
        num_found, num_true = num_found + len(found), num_true + len(true)
        num_files += 1
    both = num_found + num_true
    return SegmentScores(
        f1={overlap: 2 * hits[overlap] / both if both else None for overlap in OVERLAPS},
        frame_accuracy=num_right / num_frames if num_frames else None,
        signing_share=num_signing / num_frames if num_frames else None,
        start_offsets=Offsets.of(starts),
        end_offsets=Offsets.of(ends),
        num_hits=hits,
        num_hypotheses=num_found,
        num_references=num_true,
        num_files=num_files,
    )


@dataclass(frozen=True)
class _Match:
    """A true segment and the found one that overlaps it most, of those that fit it best."""

    found: Segment
    true: Segment
    overlap: float


def _match(found: Sequence[Segment], true: Sequence[Segment], same_text: bool) -> list[_Match]:
    """The best found segment for each true one that some found one overlaps most."""
    true = sorted(true, key=lambda one: (one.start_seconds, one.end_seconds))
    starts = np.array([one.start_seconds for one in true])
    ends = np.array([one.end_seconds for one in true])
    latest = np.maximum.accumulate(ends) if len(ends) else ends
    best: dict[int, _Match] = {}
    for one in found:
        # Only these can overlap it: the others end before it, or begin after.
        first = int(np.searchsorted(latest, one.start_seconds, side="right"))
        last = int(np.searchsorted(starts, one.end_seconds, side="left"))
        if first >= last:
            continue
        near = slice(first, last)
        shared = np.minimum(ends[near], one.end_seconds)
        shared = np.maximum(shared - np.maximum(starts[near], one.start_seconds), 0.0)
        either = ends[near] - starts[near] + one.end_seconds - one.start_seconds - shared
        overlaps = shared / either
        if same_text:
            overlaps *= [other.text == one.text for other in true[near]]
        place = int(overlaps.argmax())
        match = _Match(one, true[first + place], float(overlaps[place]))
        if match.overlap > best.get(first + place, _NO_MATCH).overlap:
            best[first + place] = match
    return list(best.values())


_NO_MATCH = _Match(Segment(0.0, 0.0), Segment(0.0, 0.0), 0.0)


def _frames(
    found: Sequence[Segment], true: Sequence[Segment], same_text: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What each frame shows by either: 0 nothing, 1 signing, or the number of a text."""
    known: dict[str, int] = {}
    length = max((_frame(one.end_seconds) for one in (*found, *true)), default=0)
    labels = []
    for segments in (found, true):
        frames = np.zeros(length, np.int32)
        for one in sorted(segments, key=lambda one: (one.start_seconds, one.end_seconds)):
            label = known.setdefault(one.text, len(known) + 1) if same_text else 1
            frames[_frame(one.start_seconds) : _frame(one.end_seconds)] = label
        labels.append(frames)
    return labels[0], labels[1]


def _frame(seconds: float) -> int:
    return round(FRAME_RATE * seconds)


def _pairs(hypotheses: Path, references: Path) -> list[tuple[Path, Path]]:
    if not hypotheses.is_dir() and not references.is_dir():
        return [(hypotheses, references)]
    for path, other in ((hypotheses, references), (references, hypotheses)):
        if not path.is_dir():
            raise InputError(f"{path}: expected a folder, as {other} is one")
    found, true = _by_name(hypotheses), _by_name(references)
    for folder, own, others in ((hypotheses, found, true), (references, true, found)):
        if missing := sorted(others.keys() - own.keys()):
            example = others[missing[0]]
            raise InputError(
                f"{folder}: found no segments of the name {missing[0]!r}, expected a file for"
                f" {example} ({len(missing)} of {len(others)} have none)"
            )
    if not found:
        kinds = ", ".join(SEGMENT_SUFFIXES)
        raise InputError(f"{hypotheses}: found no file of segments, expected some ({kinds})")
    return [(found[name], true[name]) for name in sorted(found)]


def _by_name(folder: Path) -> dict[str, Path]:
    """The files of segments in a folder by their names without the suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SEGMENT_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            other = found[path.stem].name
            raise InputError(f"{path}: found {other} beside it, expected one file of a name")
        found[path.stem] = path
    return found


def _has_tiers(path: Path) -> bool:
    return path.suffix.lower() == ".eaf"


def _read(path: Path, tier: str | None) -> list[Segment]:
    return read_segments(path, tier=tier if _has_tiers(path) else None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _as_dict(offsets: Offsets | None) -> dict[str, float] | None:
    if offsets is None:
        return None
    return {name: round(value, 4) for name, value in asdict(offsets).items()}


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
