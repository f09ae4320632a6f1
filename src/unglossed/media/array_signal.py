"""Arrays over time as a signal: poses (time, points, channels), or features (time, dim).

`array_files` says what is in a file. Here that is compared with what the recipe expects, brought
to its points, units and rate, and varied in training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from unglossed.config import check_settings
from unglossed.errors import InputError
from unglossed.media.array_files import ARRAY_SUFFIXES, open_array
from unglossed.media.array_settings import CONFIDENCE, ArraySettings, Told
from unglossed.media.frames import FRAME_RATE, choose_at
from unglossed.media.pose_augment import Variation
from unglossed.media.probe import Emptiness, MediaFacts
from unglossed.media.signal import Clip, Signal
from unglossed.media.skeletons import Skeleton

Floats = NDArray[np.float32]

_WHERE = Path("processor_config.json, array")  # for messages
_SAME_RATE = 0.01  # share by which rates may differ that were rounded


def rate_of(told: float | None, clip_rate: float | None) -> float:
    """Rows a second of a clip: the file's own, the row's of the corpus, or 25.

    Raises:
        InputError: File and corpus tell different ones.
    """
    if told is None:
        return clip_rate or FRAME_RATE
    if clip_rate is not None and abs(clip_rate - told) > _SAME_RATE * told:
        raise InputError(
            f"found {told:g} rows a second in the file, but a frame rate of {clip_rate:g} in the"
            " corpus, expected one of them or the same"
        )
    return told


@dataclass(frozen=True, slots=True)
class ArraySignal(Signal):
    """Clips as arrays at `settings.rate` rows a second.

    Features are read as (time, dim) float32. Poses as (time, points, channels + 1) float32: the
    points of the skeleton's groups, their coordinates in a unit that is the same for all axes, NaN
    where a point is missing, and last, the same for all points, the seconds since the clip began.
    Without settings, as where a corpus is checked for no recipe, files are read as they are.
    """

    settings: ArraySettings | None = field(default=None)

    kind: ClassVar[str] = "array"
    suffixes: ClassVar[frozenset[str]] = ARRAY_SUFFIXES
    unit: ClassVar[str] = "rows"

    @classmethod
    def of(cls, processor: Any) -> Self:
        """As the processor's `array` says."""
        return cls(check_settings(ArraySettings, processor.array, _WHERE))

    @property
    def varies(self) -> bool:
        """Where there is augmentation."""
        return self.settings is not None and self.settings.augmentation is not None

    @property
    def units_per_second(self) -> float:
        """Rows a second."""
        return FRAME_RATE if self.settings is None else self.settings.rate

    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> Floats:
        """Read the rows nearest to an even grid of times."""
        settings, file = self.settings, open_array(clip.media)
        values, told = file.values, file.told
        fault = None if settings is None else settings.fault(values.shape, told)
        if fault is not None:
            raise InputError(f"{clip.media}: {fault}")
        try:
            rate = rate_of(told.rate, clip.frame_rate)
        except InputError as error:
            raise InputError(f"{clip.media}: {error}") from None
        vary = None
        if generator is not None and settings is not None and settings.augmentation is not None:
            vary = Variation.draw(settings.augmentation, generator)
        wanted = (vary and vary.rate) or self.units_per_second
        times = np.arange(len(values)) / rate
        span = clip.start_seconds, clip.end_seconds
        chosen = choose_at(clip.media, "row", times, 1 / rate, wanted, *span)
        if limit is not None and len(chosen) > limit and wanted > self.units_per_second:
            # A clip that has room at the model's rate is not cut for being read at a higher one.
            wanted = max(self.units_per_second, wanted * limit / len(chosen))
            chosen = choose_at(clip.media, "row", times, 1 / rate, wanted, *span)
        if values.ndim == 2:
            return self.fit(clip, _features(clip.media, values[chosen]), limit, cut)
        seconds = np.arange(len(chosen)) / wanted
        if settings is None or settings.points is None:
            points = np.asarray(values[chosen], np.float32)
        else:
            points = _points(clip.media, values[chosen], settings, settings.points, told)
            if vary is not None:
                kept = vary.keep(len(points))
                points, seconds = vary.apply(points[kept], settings.points), seconds[kept]
        clock = np.broadcast_to(seconds[:, None, None].astype(np.float32), (*points.shape[:2], 1))
        return self.fit(clip, np.concatenate([points, clock], axis=2), limit, cut)

    def facts_of(self, media: Path, *, deep: bool = False) -> MediaFacts:
        """Length and shape; if `deep`, numbers that are infinite are an error."""
        file = open_array(media, whole=deep)
        if deep and file.values.dtype.kind == "f":
            if file.values.ndim == 2:
                _features(media, file.values)
            elif np.isinf(file.values).any():
                raise InputError(f"{media}: found infinite numbers")
        told, count = file.told, len(file.values)
        return MediaFacts(
            self.kind,
            count / (told.rate or FRAME_RATE),
            count,
            frame_rate=told.rate,
            shape=file.values.shape,
            told=told,
        )

    def emptiness(self, content: NDArray[Any]) -> Emptiness | None:
        """Whether no point is there, or nothing moves."""
        if content.ndim == 3:
            content = content[..., :-1]
            if np.isnan(content).all():
                return Emptiness.NO_POINTS
        if len(content) > 1 and np.array_equal(content[1:], content[:-1], equal_nan=True):
            return Emptiness.UNCHANGED
        return None


def _features(media: Path, values: NDArray[Any]) -> Floats:
    with np.errstate(over="ignore"):
        found = np.array(values, np.float32)
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{media}: found NaN or infinite numbers in {len(wrong)} rows, such as {wrong[0]},"
            " expected features that are finite"
        )
    return found


def _points(
    media: Path,
    values: NDArray[Any],
    settings: ArraySettings,
    skeleton: Skeleton,
    told: Told,
) -> Floats:
    """Points of the skeleton's groups (time, points, coordinates), NaN where missing."""
    names = skeleton.points if told.points is None else told.points
    places = {name: place for place, name in enumerate(names)}
    channels = settings.channels_of(values.shape, told)
    assert channels is not None
    with np.errstate(over="ignore"):
        values = np.asarray(values[:, [places[name] for name in skeleton.used]], np.float32)
    points = values[..., [channels.index(name) for name in settings.coordinates]]
    if np.isinf(points).any():
        raise InputError(f"{media}: found infinite numbers, expected coordinates, NaN if missing")
    missing = np.isnan(points[..., :2]).any(axis=2)
    if CONFIDENCE in channels:
        sure = values[..., channels.index(CONFIDENCE)]
        missing |= ~(sure > settings.min_confidence)
    else:
        at_zero = (points == 0).all(axis=2)
        if settings.zeros == "missing":
            missing |= at_zero
        elif settings.zeros is None and at_zero.any():
            raise InputError(
                f"{media}: found {np.count_nonzero(at_zero):,} of {at_zero.size:,} points at"
                " exactly 0, 0, expected array.zeros to say what they are: missing or values"
            )
    points = np.where(missing[..., None], np.float32(np.nan), points)
    _check_units(media, points, settings.units_of(told))
    if settings.units_of(told) == "shares":
        points = points * np.array([settings.aspect_of(told), 1.0, 1.0][: points.shape[2]], "f4")
        if settings.depth:  # MediaPipe's z has about the scale of x
            points[..., 2] *= np.float32(settings.aspect_of(told))
    return np.ascontiguousarray(points, np.float32)


def _check_units(media: Path, points: Floats, units: str) -> None:
    """Refuse coordinates that cannot be in these units."""
    known = np.abs(points[..., :2][np.isfinite(points[..., :2])])
    if not len(known) or units == "other":
        return
    largest, middle = float(known.max()), float(np.median(known))
    if units == "pixels" and largest <= 2:
        raise InputError(
            f"{media}: found coordinates up to {largest:.2f}, expected pixels: array.units says"
            " shares or other"
        )
    if units == "shares" and middle > 2:
        raise InputError(
            f"{media}: found coordinates up to {largest:.0f}, expected shares of the picture:"
            " array.units says pixels or other"
        )
