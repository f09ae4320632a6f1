"""Where hands and face are in a clip: from boxes, from landmarks, or by an estimate.

Boxes and landmarks are rows of JSON with the times of the clip; the estimate is `skin`. What is
done to the regions is the business of `corruption`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.skin import estimate_regions
from unglossed.files import as_path
from unglossed.media.frames import FRAME_RATE
from unglossed.media.signal import Box

Array = NDArray[np.float64]

REGIONS_FILE = "regions.jsonl"
"""The file in a corpus's folder that has the regions of its clips."""
BESIDE = ".regions.json"
"""What follows the name of media in that of a file beside them with their regions."""
REGIONS = ("hands", "face")
BOXES, LANDMARKS, ESTIMATE = "boxes", "landmarks", "skin-and-motion estimate"

# Flesh lies around the joints that landmarks mark.
_LANDMARK_MARGIN = 0.15
_RATES = (1.0, 1000.0)
# Detectors put what they guess beyond the edges somewhat outside; pixels are far outside.
_BOUNDS = (-1.0, 2.0)
_EXPECTED = (
    "for each frame a list of areas, each [left, top, right, bottom] or a list of points [x, y], in"
    " shares of the picture"
)
_EXPECTED_VALUES = "shares of the picture, 0 to 1 (a little outside, -1 to 2, at most), no pixels"


class TooFewRegions(InputError):
    """Most frames of a clip have no regions: nothing was covered, whatever the scores say."""


@dataclass(frozen=True)
class ClipRegions:
    """The regions of a clip, frame by frame.

    Attributes:
        kind: `BOXES` or `LANDMARKS`.
        frame_rate: Frames a second.
        areas: By region for each frame (areas, 4): left, top, right, bottom in shares of the
            picture.
    """

    kind: str
    frame_rate: float
    areas: Mapping[str, Sequence[Array]]

    def at(self, name: str, seconds: float) -> Array:
        """The areas of a region at a time: (areas, 4). Past the end none are known."""
        rows = self.areas[name]
        index = self._index(seconds)
        return rows[index] if index < len(rows) else np.empty((0, 4))

    def is_past(self, seconds: float, names: Collection[str] = REGIONS) -> bool:
        """Whether a time is past the end of one of some regions."""
        return self._index(seconds) >= min(len(self.areas[name]) for name in names)

    def _index(self, seconds: float) -> int:
        return round(seconds * self.frame_rate)


class RegionSource:
    """Finds the regions of a corpus's clips.

    Args:
        rows: lines of the corpus's regions by clip.
        path: of the file that they are from; None: files beside the media, else the estimate.
        estimate: whether to estimate all of them.
    """

    def __init__(
        self, rows: Mapping[str, bytes], path: Path | None = None, *, estimate: bool = False
    ) -> None:
        self._rows, self._path, self._estimate = rows, path, estimate

    @classmethod
    def of(
        cls, corpus: Corpus, samples: Sequence[Sample], given: str | Path | None
    ) -> RegionSource:
        """Look for the regions of some samples.

        Args:
            corpus: that they are of; its folder may have a `regions.jsonl`.
            samples: the ones.
            given: a file like that, or `estimate`; None: what there is.

        Raises:
            InputError: a row is damaged, or a sample has none.
        """
        if given == "estimate":
            return cls({}, estimate=True)
        folder = corpus.root if corpus.root.is_dir() else corpus.root.parent
        path = folder / REGIONS_FILE if given is None else as_path(given, "regions")
        if given is None and not path.is_file():
            for beside in {_beside(sample) for sample in samples}:
                if beside.is_file():  # refused now, not after an hour of translating
                    parse_regions(beside.read_bytes(), str(beside))
            return cls({})
        rows = _read_rows(path, {sample.id for sample in samples})
        if missing := [sample.id for sample in samples if sample.id not in rows]:
            raise InputError(
                f"{path}: found no regions of {missing[0]!r} ({len(missing)} of"
                f" {len(samples)} clips have none), expected a row for each: --regions estimate"
                " does without"
            )
        return cls(rows, path)

    def find(
        self,
        sample: Sample,
        frames: NDArray[np.uint8],
        units_per_second: float,
        names: Collection[str] = REGIONS,
    ) -> tuple[str, dict[str, list[Array]], int]:
        """The regions of a clip's frames.

        Args:
            sample: The clip.
            frames: (n, height, width, 3), what was read of it, cut to its box.
            units_per_second: How many of them there are a second.
            names: Of the regions that are asked for.

        Returns:
            How they are known; by region for each frame (areas, 4) in shares of it; how many frames
            come after the last whose regions are known.

        Raises:
            InputError: The file beside the media is damaged.
            TooFewRegions: More than half of the frames come after the last whose regions are known.
        """
        known, begin, where = None, 0.0, _beside(sample)
        if self._path is not None:
            where = self._path
            known = parse_regions(self._rows[sample.id], str(where))
        elif not self._estimate and where.is_file():
            known = parse_regions(where.read_bytes(), str(where))
            begin = sample.start_seconds or 0.0
        if known is None:
            return ESTIMATE, estimate_regions(frames), 0
        times = (begin + np.arange(len(frames)) / units_per_second).tolist()
        areas = {
            name: [_within(known.at(name, time), sample.box) for time in times] for name in names
        }
        late = sum(known.is_past(time, names) for time in times)
        if 2 * late > len(times):
            raise TooFewRegions(
                f"{where}, clip {sample.id!r}: found"
                f" {', '.join(f'{name!r} of {len(known.areas[name])} frames' for name in names)} at"
                f" {known.frame_rate:g} a second, after which {late} of the {len(times)} frames"
                " come that are read, expected at most half of them: [] for a frame in which"
                " nothing is to be covered"
            )
        return known.kind, areas, late


def _beside(sample: Sample) -> Path:
    return sample.media.with_name(sample.media.name + BESIDE)


def _within(areas: Array, box: Box | None) -> Array:
    """Areas in shares of a part of the picture."""
    if box is None:
        return areas
    left, top, right, bottom = box
    size = np.array([max(right - left, 1e-6), max(bottom - top, 1e-6)] * 2)
    return np.clip((areas - [left, top] * 2) / size, 0.0, 1.0)


def _read_rows(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The lines of some clips, each of which can be parsed."""
    rows: dict[str, bytes] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            row = _object(line, where)
            name = row.get("id")
            if not isinstance(name, str):
                raise InputError(f"{where}: found no id, expected that of a clip as 'id'")
            if name in wanted:
                if name in rows:
                    raise InputError(
                        f"{where}: found the clip {name!r} again, expected one row for each clip"
                    )
                parse_regions(line, where)
                rows[name] = line
    return rows


def parse_regions(line: bytes, where: str) -> ClipRegions:
    """Read the regions of a clip from JSON.

    Args:
        line: the JSON.
        where: names it in errors.

    Raises:
        InputError: it is damaged, or something is out of range.
    """
    row = _object(line, where)
    if isinstance(row.get("id"), str):
        where = f"{where}, clip {row['id'][:40]!r}"
    rate = row.get("frame_rate", FRAME_RATE)
    if (
        isinstance(rate, bool)
        or not isinstance(rate, (int, float))
        or not _RATES[0] <= rate <= _RATES[1]
    ):
        raise InputError(
            f"{where}: 'frame_rate' is {json.dumps(rate)[:40]}, expected 1 to 1000 a second"
        )
    kinds: set[str] = set()
    areas = {}
    for name in REGIONS:
        frames = row.get(name)
        if not isinstance(frames, list):
            raise InputError(f"{where}: found no {name!r}, expected {_EXPECTED}")
        areas[name] = [
            _areas(found, f"{where}: {name!r}, frame {number}", kinds)
            for number, found in enumerate(frames, start=1)
        ]
    return ClipRegions(LANDMARKS if LANDMARKS in kinds else BOXES, float(rate), areas)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise InputError(f"{where}: found {line[:40]!r}, expected a JSON object with regions")
    return row


def _areas(found: Any, where: str, kinds: set[str]) -> Array:
    rows = []
    if not isinstance(found, list):
        raise InputError(f"{where}: found {json.dumps(found)[:40]}, expected {_EXPECTED}")
    for number, area in enumerate(found, start=1):
        numbers = _numbers(area, 4)
        if numbers is not None:
            kinds.add(BOXES)
            _check_values(numbers, f"{where}, box {number}: found {json.dumps(area)[:60]}")
            if not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
                raise InputError(
                    f"{where}, box {number}: found {json.dumps(area)[:60]}, expected left < right"
                    " and top < bottom"
                )
            rows.append(numbers)
            continue
        points = [_numbers(point, 2) for point in area] if isinstance(area, list) else []
        if not points or None in points:
            raise InputError(f"{where}: found {json.dumps(area)[:40]}, expected {_EXPECTED}")
        kinds.add(LANDMARKS)
        for point in points:
            _check_values(point, f"{where}, landmarks {number}: found {point}")  # type: ignore[arg-type]
        low, high = np.min(points, axis=0), np.max(points, axis=0)  # type: ignore[arg-type]
        margin = _LANDMARK_MARGIN * float(np.max(high - low))
        if not margin:
            raise InputError(
                f"{where}, landmarks {number}: found {json.dumps(area)[:60]}, expected points that"
                " are not all in one place"
            )
        rows.append([*(low - margin), *(high + margin)])
    return np.clip(np.array(rows, dtype=np.float64).reshape(-1, 4), 0.0, 1.0)


def _check_values(numbers: Sequence[float], told: str) -> None:
    low, high = _BOUNDS
    if not low <= min(numbers) <= max(numbers) <= high:
        raise InputError(f"{told}, expected {_EXPECTED_VALUES}")


def _numbers(found: Any, count: int) -> list[float] | None:
    """So many finite numbers of a sane size; None: it is something else."""
    if not isinstance(found, list) or len(found) != count:
        return None
    for one in found:
        if isinstance(one, bool) or not isinstance(one, (int, float)):
            return None
        if not (math.isfinite(one) if isinstance(one, float) else True) or abs(one) > 1e6:
            return None
    return [float(one) for one in found]
