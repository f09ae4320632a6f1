"""Arrays over time as a signal: poses (time, points, channels), or features (time, dim).

`array_files` says what is in a file. Here that is compared with what the recipe expects, brought
to its points, units and rate, and varied in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from unglossed.config import AS_LIST, WHOLE, Settings, check_settings
from unglossed.errors import InputError
from unglossed.media.array_files import (
    ARRAY_SUFFIXES,
    CONFIDENCE,
    Told,
    open_array,
)
from unglossed.media.frames import FRAME_RATE, choose_at
from unglossed.media.pose_augment import PoseAugmentation, Rate, Share, Variation
from unglossed.media.probe import Emptiness, MediaFacts
from unglossed.media.signal import Clip, Signal
from unglossed.media.skeletons import SKELETONS, Skeleton

Floats = NDArray[np.float32]

_WHERE = Path("processor_config.json, array")  # for messages
_SAME_RATE = 0.01  # share by which rates may differ that were rounded
_POSE_KEYS = ("channels", "depth", "units", "aspect_ratio", "zeros", "min_confidence")


class ArraySettings(Settings):
    """What arrays hold, and how they are read: poses with a `skeleton`, or features with a `dim`.

    What a file tells of itself has to agree.
    """

    dim: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    """Width of features (time, dim)."""
    skeleton: Skeleton | str | None = None
    """Points of poses (time, points, channels): openpose, mediapipe, coco_wholebody, or points,
    groups, edges, mirrored and shoulders of one of your own."""
    channels: Annotated[tuple[Literal["x", "y", "z", "confidence"], ...], AS_LIST] | None = None
    """Of each point, in the order of files that do not tell. None: x, y where there are two."""
    depth: bool = False
    """Read z beside x and y."""
    units: Literal["pixels", "shares", "other"] | None = None
    """Of coordinates; shares are those of the picture's width and height. None: as the file tells,
    else pixels."""
    aspect_ratio: Annotated[float, Field(ge=0.1, le=10)] | None = None
    """Width of the picture over its height, for shares in files that do not tell it."""
    zeros: Literal["missing", "values"] | None = None
    """What a point at exactly 0, 0 is, where there is no confidence. None: none is expected."""
    min_confidence: Share = 0.0
    """A point that is not surer than this is missing."""
    rate: Rate = FRAME_RATE
    """Rows a second that the model reads; those of the file nearest in time are taken."""
    max_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """A longer clip is cut at its end, in training and when it is translated."""
    augmentation: PoseAugmentation | None = None
    """Of poses."""

    @model_validator(mode="after")
    def _one_kind(self) -> ArraySettings:
        if (self.dim is None) == (self.skeleton is None):
            found = "neither" if self.dim is None else "both"
            raise ValueError(
                f"found {found} of dim and skeleton, expected dim for features (time, dim) or"
                " skeleton for poses (time, points, channels)"
            )
        if self.dim is not None:
            for key in (*_POSE_KEYS, "augmentation"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is for poses, which have a skeleton")
        elif isinstance(self.skeleton, str) and self.skeleton not in SKELETONS:
            known = ", ".join(SKELETONS)
            raise ValueError(f"skeleton: found {self.skeleton!r}, expected one of {known}")
        if self.channels is not None:
            wanted = {"x", "y", *(["z"] if self.depth else [])}
            if not wanted <= set(self.channels) or len(set(self.channels)) < len(self.channels):
                needed = ", ".join(sorted(wanted))
                raise ValueError(
                    f"channels: found {', '.join(self.channels)}, expected {needed} among them,"
                    " each once"
                )
        return self

    @cached_property
    def points(self) -> Skeleton | None:
        """The skeleton itself; None: features."""
        return SKELETONS[self.skeleton] if isinstance(self.skeleton, str) else self.skeleton

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Channels that are read of each point."""
        return ("x", "y", "z") if self.depth else ("x", "y")

    def channels_of(self, shape: Sequence[int], told: Told) -> tuple[str, ...] | None:
        """Names of a file's channels; None: they are not known."""
        if told.channels is not None:
            return told.channels
        return self.channels or (("x", "y") if shape[2] == 2 else None)

    def fault(self, shape: tuple[int, ...], told: Told) -> str | None:
        """Why an array of this shape is not as expected; None: it is."""
        if self.points is None:
            if len(shape) != 2:
                return f"found an array {shape}, expected features (time, {self.dim})"
            if shape[1] != self.dim:
                turned = ", the axes seem to be exchanged" if shape[0] == self.dim else ""
                return f"found an array {shape}, expected (time, {self.dim}){turned}"
            return None
        return self._fault_of_points(self.points, shape, told)

    def _fault_of_points(
        self, skeleton: Skeleton, shape: tuple[int, ...], told: Told
    ) -> str | None:
        count = len(skeleton.points)
        if len(shape) != 3:
            return f"found an array {shape}, expected poses (time, {count} points, channels)"
        if told.points is not None:
            lacking = [name for name in skeleton.used if name not in told.points]
            if lacking:
                named = f" {self.skeleton}" if isinstance(self.skeleton, str) else ""
                return (
                    f"found another skeleton, without {len(lacking)} of the {len(skeleton.used)}"
                    f" points of{named} that are read ({lacking[0]!r}, ...), expected"
                    " array.skeleton to be that of the files"
                )
        elif shape[1] != count:
            turned = ", the axes seem to be exchanged" if count in (shape[0], shape[2]) else ""
            return f"found an array {shape}, expected (time, {count} points, channels){turned}"
        channels = self.channels_of(shape, told)
        if channels is None:
            return (
                f"found {shape[2]} channels without names, expected array.channels to name them,"
                " such as [x, y, confidence] or [x, y, z]"
            )
        if len(channels) != shape[2]:
            return f"found {shape[2]} channels, expected {', '.join(channels)}"
        if lacking := [name for name in self.coordinates if name not in channels]:
            return f"found the channels {', '.join(channels)}, expected {lacking[0]} among them"
        if None not in (told.units, self.units) and told.units != self.units:
            return f"found coordinates in {told.units}, expected {self.units}, as array.units says"
        if self.units_of(told) == "shares" and self.aspect_of(told) is None:
            return (
                "found shares of a picture of unknown proportions, expected array.aspect_ratio,"
                " its width over its height"
            )
        return None

    def units_of(self, told: Told) -> str:
        """Units of a file's coordinates."""
        return self.units or told.units or "pixels"

    def aspect_of(self, told: Told) -> float | None:
        """Width over height of a file's pictures."""
        if told.width is not None and told.height is not None:
            return told.width / told.height
        return self.aspect_ratio


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
