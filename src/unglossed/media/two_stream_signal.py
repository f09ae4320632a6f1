"""Two streams of a clip as one signal: how they are read, and what training drops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from unglossed.config import check_settings
from unglossed.errors import InputError
from unglossed.media.array_files import is_array_file, is_json_folder, open_array, split_key
from unglossed.media.array_signal import ArraySignal
from unglossed.media.frames import FRAME_RATE, is_packed, sample_indices
from unglossed.media.probe import Emptiness, MediaFacts
from unglossed.media.signal import Clip, Signal, VideoSignal
from unglossed.media.two_streams import ARRAY, VIDEO, StreamsSettings, TwoStreams, missing_told

_WHERE = Path("processor_config.json, streams")  # for messages
_MOST_APART = 0.25  # share of the longer stream by which the lengths of both may differ
_LEAST_APART = 1.0  # seconds by which they may differ in any case


@dataclass(frozen=True, slots=True)
class TwoStreamSignal(Signal):
    """Clips as frames on the 25 fps grid, thinned, and as an array: a `TwoStreams`.

    A unit of time is a kept frame. The array lies in `clip.array`; where a clip's media are
    themselves an array, there is no video.

    Attributes:
        video: How frames are read.
        array: How arrays are read.
        settings: What training drops.
        crop: Side of the frames that the encoder reads, in pixels.
    """

    video: VideoSignal = field(default_factory=VideoSignal)
    array: ArraySignal = field(default_factory=ArraySignal)
    settings: StreamsSettings = field(default_factory=StreamsSettings)
    crop: int = 224

    kind: ClassVar[str] = "streams"
    suffixes: ClassVar[frozenset[str]] = frozenset()  # those of its two kinds
    unit: ClassVar[str] = "frames kept"

    @classmethod
    def of(cls, processor: Any) -> Self:
        """As the processor says of frames, arrays and streams."""
        settings = check_settings(StreamsSettings, processor.streams, _WHERE)
        signals = VideoSignal.of(processor), ArraySignal.of(processor)
        return cls(*signals, settings, processor.crop)

    @property
    def varies(self) -> bool:
        """Frames and views are drawn."""
        return True

    @property
    def units_per_second(self) -> float:
        """Kept frames a second."""
        return self.video.units_per_second

    def read(  # type: ignore[override]
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> TwoStreams:
        """Read the streams that are there; in training perhaps only one of two.

        Raises:
            InputError: There is neither, one cannot be read, both are there and differ in length by
                more than a quarter and a second, or see `Signal.read`.
        """
        pictures, rows = self.parts(clip)
        if pictures is None and rows is None:
            beside = clip.array
            also = "no array beside it" if beside is None else f"no array {beside}"
            raise InputError(f"{clip.media}: found no video there and {also}, expected one of both")
        missing = VIDEO if pictures is None else ARRAY if rows is None else None
        if missing is None and generator is not None:
            drawn = generator.random()
            if drawn < self.settings.drop_video:
                pictures = None
            elif drawn < self.settings.drop_video + self.settings.drop_array:
                rows = None
        video = np.zeros((0, self.crop, self.crop, 3), np.uint8)
        if pictures is not None:
            video = self.video.read(pictures, generator, limit=limit, cut=cut)
        array, ratio = self._no_rows, self.array.units_per_second / self.units_per_second
        if rows is not None:
            most = None if limit is None else math.ceil(limit * ratio)
            may_cut = cut or pictures is not None  # then the frames tell what is too long
            array = self.array.read(rows, generator, limit=most, cut=may_cut)
        units = len(video)
        if pictures is None:
            units = len(sample_indices(self._steps(array), self.video.frame_share))
            units = units if limit is None else min(units, limit)
        elif rows is not None:
            self._compare(clip, units / self.units_per_second, self._seconds(array))
        return TwoStreams(units, video, array, ratio, missing)

    def parts(self, clip: Clip) -> tuple[Clip | None, Clip | None]:
        """The clip as one of pictures and as one of an array; None where its file is not there."""
        if is_array_file(clip.media) or is_json_folder(clip.media):
            return None, clip if _is_there(clip.media) else None
        pictures = clip if is_packed(clip.media) or clip.media.exists() else None
        return pictures, None if clip.array is None or not _is_there(clip.array) else _beside(clip)

    def facts_of(self, media: Path, *, deep: bool = False) -> MediaFacts:
        """Those of the stream that the media hold."""
        is_array = is_array_file(media) or is_json_folder(media)
        return (self.array if is_array else self.video).facts_of(media, deep=deep)

    def is_in(self, facts: MediaFacts) -> bool:
        """Whether media hold one of the two."""
        return self.video.is_in(facts) or self.array.is_in(facts)

    def seconds_of(self, clip: Clip) -> float:
        """Length of the video, or else of the array."""
        pictures, rows = self.parts(clip)
        if pictures is not None or rows is None:
            return self.video.seconds_of(pictures or clip)
        return self.array.seconds_of(rows)

    def emptiness(self, content: Any) -> Emptiness | None:
        """Why none of the streams that are there has something to translate."""
        found = [self.video.emptiness(content.video)] if len(content.video) else []
        found += [self.array.emptiness(content.array)] if len(content.array) else []
        return None if None in found else found[0]

    def pictures(self, content: Any) -> Sequence[NDArray[np.uint8]]:
        """The frames, if there are any."""
        return list(content.video)

    def told(self, content: Any) -> str | None:
        """Which stream is missing, and whether training has ever done without it."""
        return missing_told(content.missing, self.settings)

    @property
    def _no_rows(self) -> NDArray[np.float32]:
        settings = self.array.settings
        if settings is None or settings.points is None:
            shape: tuple[int, ...] = (0, 0 if settings is None else settings.dim or 0)
        else:
            shape = 0, len(settings.points.used), len(settings.coordinates) + 1
        return np.zeros(shape, np.float32)

    def _seconds(self, array: NDArray[np.float32]) -> float:
        """Length of an array; rows of poses tell their times, of which some may be left out."""
        if array.ndim == 3:
            return float(array[-1, 0, -1]) + 1 / self.array.units_per_second
        return len(array) / self.array.units_per_second

    def _steps(self, array: NDArray[np.float32]) -> int:
        """Frames at 25 a second in the time of an array."""
        return max(1, round(self._seconds(array) * FRAME_RATE))

    @staticmethod
    def _compare(clip: Clip, video: float, array: float) -> None:
        """Refuse streams whose lengths, in seconds, cannot be those of one clip."""
        if abs(video - array) > max(_LEAST_APART, _MOST_APART * max(video, array)):
            raise InputError(
                f"{clip.array}: found {array:.1f} seconds of array and {video:.1f} of video in"
                f" {clip.media}, expected the same: is it the array of this clip, and its rate"
                " right?"
            )


def _beside(clip: Clip) -> Clip:
    """The array beside a clip as a clip."""
    assert clip.array is not None
    times = {"start_seconds": None, "end_seconds": None} if clip.array_is_clip else {}
    rate = clip.frame_rate
    if rate is not None and open_array(clip.array, whole=False).told.rate is not None:
        rate = None  # that of a folder of frames; the array has its own
    changed = replace(cast(Any, clip), media=clip.array, box=None, frame_rate=rate, **times)
    return cast(Clip, replace(changed, array=None, array_is_clip=False))


def _is_there(array: Path) -> bool:
    return split_key(array)[0].exists()
