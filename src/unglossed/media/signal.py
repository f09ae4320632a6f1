"""The kinds of signal that a model reads: video, audio, arrays, two streams, those of packages.

This is the only module that tells the kinds apart. Everybody else asks the signal: how a clip is
read, how long it is, which files hold it, when there is nothing in it.
"""

from __future__ import annotations

import math
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.array_files import is_array_file, is_json_folder, split_key
from unglossed.media.audio import AUDIO_SUFFIXES, draw_audio, read_audio
from unglossed.media.frames import (
    FRAME_RATE,
    VIDEO_SUFFIXES,
    Frames,
    open_frames,
    sample_indices,
)
from unglossed.media.pictures import Size
from unglossed.media.probe import (
    Emptiness,
    MediaFacts,
    emptiness_of,
    emptiness_of_frames,
    examine,
    probe,
)

ENTRY_POINTS = "unglossed.signals"
"""Group of the entry points by which other packages add kinds of signal."""

Box = tuple[float, float, float, float]
Units = TypeVar("Units", bound=NDArray[Any])

_LEAST_SHARE = 1e-6
_FRAME_RATES = (1.0, 1000.0)
_FIRST_FRAMES = 16
_BYTES_AT_ONCE = 256_000_000  # of frames in memory at their full size
_FEWEST_FRAMES = 8  # of fewer all are looked at


class Clip(Protocol):
    """Where a clip lies: a corpus's `Sample`, or a `WholeFile`."""

    @property
    def media(self) -> Path:
        """Frame folder, video or audio file, clip in a shard, or a file of another signal."""

    @property
    def start_seconds(self) -> float | None:
        """Begin within the media; None: where it begins."""

    @property
    def end_seconds(self) -> float | None:
        """End within the media; None: where it ends."""

    @property
    def box(self) -> Box | None:
        """Part of the frame: left, top, right, bottom in 0..1; None: all of it."""

    @property
    def frame_rate(self) -> float | None:
        """Pictures per second of a frame folder, rows of an array; None: 25, or its own."""

    @property
    def deinterlace(self) -> bool:
        """Whether frames of a video that are marked as interlaced are deinterlaced."""

    @property
    def array(self) -> Path | None:
        """Array beside the media, for a model that reads both; None: there is none."""

    @property
    def array_is_clip(self) -> bool:
        """Whether that array is of this clip alone: begin and end do not count in it."""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file or folder that is one clip."""

    media: Path
    start_seconds: float | None = None
    end_seconds: float | None = None
    box: Box | None = None
    frame_rate: float | None = None
    deinterlace: bool = False
    array: Path | None = None
    array_is_clip: bool = False


class Signal(ABC):
    """How the clips of a model are read.

    A package adds a kind by an entry point of the group `unglossed.signals`, which leads to a
    subclass that can be made without arguments. What it reads has one row for each unit of time.
    A kind in files of its own overrides `facts_of` as well, see `examples/signal`.

    Attributes:
        kind: Its name in recipes, model folders and messages.
        suffixes: Endings of the files that hold it, in lower case.
        unit: What a unit of time is called.
    """

    kind: ClassVar[str]
    suffixes: ClassVar[frozenset[str]]
    unit: ClassVar[str] = "units"

    @classmethod
    def of(cls, processor: Any) -> Self:
        """Make the signal of a model from the settings in its processor."""
        del processor
        return cls()

    @property
    def varies(self) -> bool:
        """Whether training reads or augments a clip in another way each time."""
        return False

    @property
    @abstractmethod
    def units_per_second(self) -> float:
        """Units of time a second."""

    @abstractmethod
    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> NDArray[Any]:
        """Read a clip.

        Args:
            clip: Where it lies.
            generator: Source of randomness in training; None in evaluation.
            limit: Most units of time that can be used.
            cut: Cut a longer clip there; else it is an error.

        Returns:
            (units of time, ...).

        Raises:
            InputError: The clip cannot be read, or is longer than the limit.
        """

    def fit(self, clip: Clip, units: Units, limit: int | None, cut: bool) -> Units:
        """Cut what was read of a clip at the limit, or refuse it, see `read`."""
        if limit is None or len(units) <= limit:
            return units
        if cut:
            return cast(Units, units[:limit])
        rate = self.units_per_second
        raise InputError(
            f"{clip.media}: found {len(units) / rate:.1f} seconds of {self.kind}, expected at most"
            f" {limit / rate:.1f} for this model: cut it into sentences, or let `translate -f srt`"
            " find them"
        )

    def facts_of(self, media: Path, *, deep: bool = False) -> MediaFacts:
        """Facts about media that hold this signal; if `deep`, all of it is decoded.

        Raises:
            InputError: It cannot be read; if `deep`, it is damaged anywhere.
        """
        return examine(media, audio=self.kind == "audio") if deep else probe(media)

    def is_in(self, facts: MediaFacts) -> bool:
        """Whether media hold this signal."""
        return facts.kind == self.kind

    def span_of(self, facts: MediaFacts, frame_rate: float | None = None) -> tuple[float, float]:
        """When the signal begins and ends in its media, in seconds."""
        return facts.span(frame_rate)

    def seconds_of(self, clip: Clip) -> float:
        """Length of a clip, from the headers of its media as far as they tell."""
        begin, end = self.span_of(self.facts_of(clip.media), clip.frame_rate)
        return min(end, clip.end_seconds or end) - max(clip.start_seconds or 0.0, begin)

    def emptiness(self, content: NDArray[Any]) -> Emptiness | None:
        """Why what was read has nothing to translate; None: it has something."""
        return emptiness_of(content)

    def emptiness_in(self, clip: Clip) -> Emptiness | None:
        """Read a clip of any length and say why it has nothing to translate."""
        return self.emptiness(self.read(clip))

    def told(self, content: NDArray[Any]) -> str | None:
        """What a user should know of what was read, beside its length; None: nothing."""
        del content
        return None

    def pictures(self, content: NDArray[Any]) -> Sequence[NDArray[np.uint8]]:
        """Pictures (height, width, 3) RGB of what was read, over all of its time, for a report."""
        del content
        return ()


@dataclass(frozen=True, slots=True)
class VideoSignal(Signal):
    """Clips as frames on the 25 fps grid, thinned: (kept, height, width, 3) uint8 RGB.

    Attributes:
        frame_share: Share of the 25 fps frames that is kept, see `sample_indices`.
        resize: Side in pixels to which frames are resized: much larger JPEG pictures are decoded at
            a reduced size. None: every picture is read at its own size.
    """

    frame_share: float = 0.25
    resize: int | None = None

    kind: ClassVar[str] = "video"
    suffixes: ClassVar[frozenset[str]] = VIDEO_SUFFIXES
    unit: ClassVar[str] = "frames kept"

    @classmethod
    def of(cls, processor: Any) -> Self:
        """Frame share and size of the processor."""
        return cls(processor.frame_share, processor.resize)

    @property
    def varies(self) -> bool:
        """Frames and views are drawn."""
        return True

    @property
    def units_per_second(self) -> float:
        """Kept frames a second."""
        return FRAME_RATE * self.frame_share

    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> NDArray[np.uint8]:
        """Read the kept frames; a source of another rate is thinned by time first."""
        frames = open_frames(clip.media, clip.frame_rate)
        kept = self.fit(clip, _keep(frames, clip, self.frame_share, generator), limit, cut)
        read = frames.read(kept, self._at_least(clip.box), deinterlace=clip.deinterlace)
        return cut_box(read, clip.box)

    def is_in(self, facts: MediaFacts) -> bool:
        """Whether media hold frames."""
        return facts.kind in ("frames", "video")

    def emptiness_in(self, clip: Clip) -> Emptiness | None:
        """Read a share of the frames in parts, all of a short clip."""
        frames = open_frames(clip.media, clip.frame_rate)
        kept = _keep(frames, clip, self.frame_share)
        if len(kept) < _FEWEST_FRAMES:
            kept = _keep(frames, clip, 1.0)
        parts = _in_parts(frames, clip, np.unique(kept))
        empty = emptiness_of_frames(chain.from_iterable(parts))
        if clip.start_seconds is not None or clip.end_seconds is not None:
            for _ in parts:  # read to the end, though the first may have proved content
                pass
        return empty

    def pictures(self, content: NDArray[Any]) -> Sequence[NDArray[np.uint8]]:
        """The frames themselves."""
        return list(content)

    def _at_least(self, box: Box | None) -> Size | None:
        """Width and height of frames whose box is not smaller than `resize`."""
        if self.resize is None:
            return None
        left, top, right, bottom = box or (0.0, 0.0, 1.0, 1.0)
        # Of a box without extent one pixel is left, see `cut_box`.
        width, height = max(right - left, _LEAST_SHARE), max(bottom - top, _LEAST_SHARE)
        return math.ceil(self.resize / width), math.ceil(self.resize / height)


@dataclass(frozen=True, slots=True)
class AudioSignal(Signal):
    """Clips as audio of one channel, `audio_rate` samples a second: (samples,) in -1..1."""

    audio_rate: int = 16000

    kind: ClassVar[str] = "audio"
    suffixes: ClassVar[frozenset[str]] = AUDIO_SUFFIXES
    unit: ClassVar[str] = "samples"

    @classmethod
    def of(cls, processor: Any) -> Self:
        """The processor's sample rate."""
        return cls(processor.audio_rate)

    @property
    def units_per_second(self) -> float:
        """Samples a second."""
        return float(self.audio_rate)

    def read(
        self,
        clip: Clip,
        generator: np.random.Generator | None = None,
        *,
        limit: int | None = None,
        cut: bool = False,
    ) -> NDArray[np.float32]:
        """Read the samples."""
        start, end = clip.start_seconds or 0.0, clip.end_seconds
        if limit is not None and cut:  # what is cut off is not decoded
            most = start + (limit + 1) / self.audio_rate
            end = most if end is None else min(end, most)
        return self.fit(clip, read_audio(clip.media, self.audio_rate, start, end), limit, cut)

    def is_in(self, facts: MediaFacts) -> bool:
        """Whether media hold audio, as a video may."""
        return facts.has_audio

    def span_of(self, facts: MediaFacts, frame_rate: float | None = None) -> tuple[float, float]:
        """Begin and end of the audio, also in a video."""
        if facts.audio_seconds is not None:
            return 0.0, facts.audio_seconds
        return facts.span(frame_rate)

    def pictures(self, content: NDArray[Any]) -> Sequence[NDArray[np.uint8]]:
        """A spectrogram, cut into pieces."""
        return draw_audio(content, self.audio_rate)


_BUILT_IN: Mapping[str, str] = {
    "video": f"{__name__}:VideoSignal",
    "audio": f"{__name__}:AudioSignal",
    "array": "unglossed.media.array_signal:ArraySignal",
    "streams": "unglossed.media.two_stream_signal:TwoStreamSignal",
}


@lru_cache(maxsize=1)
def _added(search_path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Kinds of signal of other packages, by name; looked up again when `sys.path` changes."""
    del search_path
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def signal_kinds() -> list[str]:
    """Names of all kinds of signal, those of other packages last."""
    return list(dict.fromkeys([*_BUILT_IN, *_added(tuple(sys.path))]))


def signal_class(kind: str) -> type[Signal]:
    """Find a kind of signal by its name.

    Raises:
        InputError: There is none of this name, or its package fails to give it.
    """
    if kind in _BUILT_IN:
        ours: type[Signal] = pkgutil.resolve_name(_BUILT_IN[kind])
        return ours
    entry = _added(tuple(sys.path)).get(kind)
    if entry is None:
        told = f"found {kind!r}, expected one of {', '.join(signal_kinds())}"
        raise InputError(f"signal: {told}, or install the package that adds it")
    try:
        found = entry.load()
    except Exception as error:  # whatever another package does when it is imported
        raise InputError(f"signal {kind!r}: {entry.value} cannot be loaded: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, Signal) and found.kind == kind):
        raise InputError(f"signal {kind!r}: {entry.value} is no Signal of this kind")
    return found


def signal_of(processor: Any) -> Signal:
    """How a model's clips are read: by `signal`, `streams`, `array` or `audio_rate` of it."""
    told = (name for name in ("streams", "array") if getattr(processor, name, None) is not None)
    kind = getattr(processor, "signal", None) or next(told, None)
    return signal_class(kind or ("video" if processor.audio_rate is None else "audio")).of(
        processor
    )


def kind_of_file(name: str) -> str | None:
    """The kind of signal that a file holds, by the ending of its name; None: no known one.

    That of another package comes before arrays.
    """
    suffix = split_key(Path(name))[0].suffix.lower()
    kinds = sorted(signal_kinds(), key=lambda kind: kind == "array")
    return next((kind for kind in kinds if suffix in signal_class(kind).suffixes), None)


def signal_in(facts: MediaFacts, wanted: str = "video") -> Signal:
    """The signal to look for in media: the wanted one, or what they hold instead."""
    signal = signal_class(wanted)()
    if signal.is_in(facts):
        return signal
    return signal_class("video" if facts.kind == "frames" else facts.kind)()


def common_kind(facts: Iterable[MediaFacts]) -> str:
    """The kind of signal that all media hold; video if they differ."""
    kinds = {one.kind for one in facts}
    return kinds.pop() if len(kinds) == 1 and "frames" not in kinds else "video"


def media_facts(media: Path, wanted: str = "video", *, deep: bool = False) -> MediaFacts:
    """Facts about media of any kind, see `Signal.facts_of`.

    Args:
        media: A frame folder, a file, or a clip in a shard.
        wanted: Kind of signal that is read from it, as far as it holds it.
        deep: Decode all of it.
    """
    kind = kind_of_file(str(media)) or ("array" if is_json_folder(media) else None)
    if kind in (None, "video", "audio"):  # a video can hold either
        kind = wanted if wanted in ("video", "audio") else "video"
    return signal_class(kind)().facts_of(media, deep=deep)


def kept_indices(
    clip: Clip, frame_share: float, generator: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Which frames of a clip's media are kept, see `sample_indices`: (kept,) indices into them."""
    return _keep(open_frames(clip.media, clip.frame_rate), clip, frame_share, generator)


def _keep(
    frames: Frames, clip: Clip, frame_share: float, generator: np.random.Generator | None = None
) -> NDArray[np.int64]:
    grid = frames.indices_at(FRAME_RATE, clip.start_seconds, clip.end_seconds)
    return grid[sample_indices(len(grid), frame_share, generator)]


def frames_in_parts(clip: Clip, kept: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Read frames (kept,) of a clip of any length in parts that fit into memory.

    Yields:
        (n, height, width, 3) uint8 RGB, cut to the clip's box.
    """
    return _in_parts(open_frames(clip.media, clip.frame_rate), clip, kept)


def _in_parts(frames: Frames, clip: Clip, kept: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    place, at_once = 0, _FIRST_FRAMES  # until their size is known
    while place < len(kept):
        read = frames.read(kept[place : place + at_once], deinterlace=clip.deinterlace)
        yield cut_box(read, clip.box)
        place += at_once
        at_once = max(_FIRST_FRAMES, _BYTES_AT_ONCE // read[0].nbytes)


def cut_box(frames: NDArray[np.uint8], box: Box | None) -> NDArray[np.uint8]:
    """Cut a part out of frames (n, height, width, 3); at least one pixel of each side is left."""
    if box is None:
        return frames
    height, width = frames.shape[1:3]
    left, top = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    right, bottom = max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)
    return frames[:, top:bottom, left:right]


def check_frame_rate(value: object, where: str) -> float:
    """Read a rate of pictures, a number from 1 to 1000 or its digits; `where` names it."""
    least, most = _FRAME_RATES
    try:
        rate = math.nan if isinstance(value, bool) else float(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        rate = math.nan
    if not least <= rate <= most:
        told = f"found {str(value)[:60]!r}, expected pictures per second, {least:g} to {most:g}"
        raise InputError(f"{where}: {told}")
    return rate


def has_no_rate(media: Path) -> bool:
    """Whether media may not tell their rate: a folder, or an array."""
    return media.is_dir() or is_array_file(media)


def at_frame_rate(clip: Clip, frame_rate: float) -> Clip:
    """The same clip, its frame folder read at another rate than 25 pictures a second."""
    rate = check_frame_rate(frame_rate, "frame_rate")
    if clip.media.exists() and not has_no_rate(clip.media):
        told = "found a frame rate for it, expected it for frame folders and arrays"
        raise InputError(f"{clip.media}: {told}")
    changed: Clip = replace(cast(Any, clip), frame_rate=rate)
    return changed
