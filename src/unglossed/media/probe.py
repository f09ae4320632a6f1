"""Facts about a media file, at two prices: from headers and listings, or by decoding all of it.

And what a clip lacks: silent audio, or black, blank or still video, has nothing to translate. That
works on what a model reads of a clip and opens no file. Only what is almost exactly empty counts:
little movement, dark video and quiet speech are content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.format import Flags
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.array_settings import Told
from unglossed.media.audio import AUDIO_SUFFIXES, audio_seconds, examine_audio
from unglossed.media.containers import (
    Kind,
    damaged,
    find_audio,
    find_video,
    header_seconds,
    is_untagged_hd,
    is_wide,
    open_container,
    origin_seconds,
    pick_audio,
    pick_video,
    turned_size,
)
from unglossed.media.frames import Frames, open_pictures
from unglossed.media.pictures import pictures_each
from unglossed.media.videofile import check_video, read_timeline

# A folder whose pictures bear the time of day would have millions of gaps.
_MOST_MISSING = 1000
# Rows of packets. FFmpeg guesses their length from the first ones' size or the last stamp that it
# sees, or believes a header that nobody could go back to when the recording ended.
_WITHOUT_LENGTH = ("mp3", "aac", "ac3", "eac3", "dts", "mpeg", "mpegts", "flv")


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of a clip's media without looking at its content.

    Attributes:
        kind: "frames" (a folder of pictures, or a clip in a shard), "video", "audio", "array", or a
            kind of signal that another package adds.
        duration_seconds: Length; of a video that of its frames, not of its audio.
        num_frames: None if the headers do not tell, and for audio, as all that follows.
        width: Of the frames as they are read, turned by the rotation mark, as `height`.
        frame_rate: Frames per second, on average.
        missing_frames: Numbers that are missing between the first and the last picture of a folder,
            at most 1000 of them.
        pictures_each: How many pictures of a folder seem to have one number, see `pictures_each`.
        has_audio: Whether there is audio to read, in a video as well.
        begin_seconds: When its first frame is shown, see `Timeline`; 0 for audio.
        audio_seconds: Length of that audio; None: none, or a video whose headers do not tell.
        num_interlaced: Frames of a video marked as interlaced; 0 if it was not decoded.
        size_changes: Times of a video at which its frames change their size; () if not decoded.
        has_opposite_channels: Whether its channels were found to cancel each other; False if not
            decoded.
        shape: Of an array; () for all else.
        told: What an array's file tells of it.
    """

    kind: str
    duration_seconds: float
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    missing_frames: tuple[int, ...] = ()
    pictures_each: int = 1
    has_audio: bool = False
    begin_seconds: float = 0.0
    audio_seconds: float | None = None
    num_interlaced: int = 0
    size_changes: tuple[float, ...] = ()
    has_opposite_channels: bool = False
    shape: tuple[int, ...] = ()
    told: Told | None = None

    def span(self, frame_rate: float | None = None) -> tuple[float, float]:
        """When its frames, or its audio, begin and end, in seconds.

        Args:
            frame_rate: Pictures per second of a frame folder, or rows of an array whose file tells
                no rate; None: 25.
        """
        seconds = self.duration_seconds
        has_none = self.kind == "frames" or (self.kind == "array" and self.frame_rate is None)
        if has_none and frame_rate is not None and self.num_frames is not None:
            seconds = self.num_frames / frame_rate
        return self.begin_seconds, self.begin_seconds + seconds


def probe(media: Path) -> MediaFacts:
    """Look at headers and listings only: milliseconds, whatever the length.

    Live recordings without a length in their header are read through, still without decoding.

    Args:
        media: A frame folder, a video or audio file, or a clip in a shard.

    Raises:
        InputError: Nothing is there, or it cannot be read.
    """
    pictures = open_pictures(media)
    if pictures is not None:
        return _facts_of(pictures)
    with open_container(media, _likely_kind(media)) as container:
        if _is_audio(media, container):
            stream = pick_audio(media, container)
            length = _seconds_of(media, container, stream)
            return _audio_facts(audio_seconds(media) if length is None else length)
        audio = find_audio(container)
        picked = pick_video(media, container)
        num_frames = None if _is_length_guessed(container, picked) else picked.frames or None
        rate = float(picked.average_rate or 0) or None
        seconds = _seconds_of(media, container, picked)
        length = audio and _seconds_of(media, container, audio)
        size = _first_size(media, container, picked)
        first = float((picked.start_time or 0) * picked.time_base) - origin_seconds(container)
    if seconds is None or rate is None:
        timeline = read_timeline(media)
        seconds, rate, num_frames = timeline.seconds, timeline.mean_rate, timeline.num_frames
    return MediaFacts(
        *("video", seconds, num_frames, *size, rate),
        has_audio=audio is not None,
        begin_seconds=max(first, 0.0),
        audio_seconds=length,
    )


def examine(media: Path, *, audio: bool = False) -> MediaFacts:
    """Decode everything and report the exact facts.

    Args:
        media: As for `probe`.
        audio: Decode the audio of a video too.

    Raises:
        InputError: It cannot be read, is damaged anywhere, or a folder's pictures differ in size.
    """
    pictures = open_pictures(media)
    if pictures is not None:
        pictures.check()
        return _facts_of(pictures)
    with open_container(media, _likely_kind(media)) as container:
        is_audio = _is_audio(media, container)
        has_audio = find_audio(container) is not None
    if is_audio:
        seconds, opposite = examine_audio(media)
        return replace(_audio_facts(seconds), has_opposite_channels=opposite)
    timeline, sizes, num_interlaced = check_video(media)
    changes = [place for place, (one, other) in enumerate(pairwise(sizes), 1) if one != other]
    length, opposite = examine_audio(media) if audio and has_audio else (None, False)
    return MediaFacts(
        *("video", timeline.seconds, timeline.num_frames, *sizes[0], timeline.mean_rate),
        has_audio=has_audio,
        begin_seconds=timeline.begin_seconds,
        audio_seconds=length,
        has_opposite_channels=opposite,
        num_interlaced=num_interlaced,
        size_changes=tuple(timeline.times[changes].tolist()),
    )


def revisions_of(media: Path) -> list[str]:
    """Name what earlier versions read in another way; nothing for nearly all files.

    Channels that cancel each other are inverted. The header does not tell whether they do, so audio
    in several channels counts as changed; in a video only that of cinemas does.
    """
    is_audio = _likely_kind(media) == "audio"
    try:
        with open_container(media, _likely_kind(media)) as container:
            audio = find_audio(container)
            mixed = audio is not None and audio.channels > (1 if is_audio else 2)
            found = [] if is_audio else _revisions(container)
            return [*found, "channels"] if mixed else found
    except InputError:
        return []  # whoever reads it will report it


def _revisions(container: av.container.InputContainer) -> list[str]:
    found = []
    chosen = find_video(container), find_audio(container)
    first = (*container.streams.video[:1], None)[0], (*container.streams.audio[:1], None)[0]
    if [stream and stream.index for stream in chosen] != [one and one.index for one in first]:
        found.append("stream")
    if container.format.name == "mpeg":
        found.append("seek")
    if container.start_time is None:
        found.append("begin")
    if chosen[0] is not None:
        context = chosen[0].codec_context
        size = context.width, context.height
        if is_wide(context.color_trc, context.color_primaries):
            found.append("wide")
        elif not context.format.is_rgb and is_untagged_hd(context.colorspace, *size):
            found.append("untagged")
    return found


def _audio_facts(seconds: float) -> MediaFacts:
    return MediaFacts("audio", seconds, has_audio=True, audio_seconds=seconds)


def _facts_of(pictures: Frames) -> MediaFacts:
    size, count = pictures.size, pictures.num_frames
    missing = tuple(islice(_find_gaps(pictures.names), _MOST_MISSING))
    seconds, each = count / pictures.rate, pictures_each(pictures.names)
    return MediaFacts("frames", seconds, count, *size, pictures.rate, missing, each)


def _find_gaps(names: Sequence[str]) -> Iterator[int]:
    """Numbers that no picture has; that of a name is the last one in it."""
    found = [re.findall(r"[0-9]+", name.rpartition(".")[0]) for name in names]
    numbers = sorted({int(digits[-1]) for digits in found if digits})
    for one, other in pairwise(numbers):
        yield from range(one + 1, other)


def _likely_kind(path: Path) -> Kind:
    return "audio" if path.suffix.lower() in AUDIO_SUFFIXES else "video"


def _is_audio(path: Path, container: av.container.InputContainer) -> bool:
    """Whether a file is read for its audio; a cover in an audio file is no video."""
    if find_video(container) is None:
        return find_audio(container) is not None or _likely_kind(path) == "audio"
    return _likely_kind(path) == "audio" and find_audio(container) is not None


def _seconds_of(
    media: Path, container: av.container.InputContainer, stream: av.Stream
) -> float | None:
    """Length of a stream in the headers, or by its packets; None if neither tells."""
    if container.format.flags & Flags.no_timestamps.value:
        return None
    if not _is_length_guessed(container, stream):
        return header_seconds(container, stream)
    with open_container(media, _likely_kind(media)) as again:
        marks = [
            (packet.pts, packet.duration or 0)
            for packet in again.demux(again.streams[stream.index])
            if packet.size and packet.pts is not None
        ]
    if not marks:
        return None
    end = max(stamp + length for stamp, length in marks)
    return float((end - min(marks)[0]) * stream.time_base)


def _is_length_guessed(container: av.container.InputContainer, stream: av.Stream) -> bool:
    if container.format.name == "avi":  # its index has every packet, where it was written
        return stream.type == "video" and len(stream.index_entries) != stream.duration
    return container.format.name in _WITHOUT_LENGTH


def _first_size(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[int, int]:
    """Width and height of the first frame, which is decoded: only frames tell their rotation."""
    stream.codec_context.thread_type = "NONE"
    try:
        for frame in container.decode(stream):
            return turned_size(frame)
    except av.error.FFmpegError as error:
        raise damaged(path, 0, error) from error
    raise damaged(path, 0)


# Frames are compared by the mean brightness, 0..255, of so many fields a side: what a codec or a
# sensor adds vanishes in them, a moving hand changes some by 10 to 100.
_FIELDS = 16
_NO_MOTION = 1.5  # change of a field over the whole clip that still video may have
# The same where a codec refines a frame or begins it anew and then keeps it, so that no more than
# this share of the frames differs from the one before by more than so much in any field.
_MOST_PULSE, _MOST_CHANGES, _SAME = 8.0, 0.25, 0.25
_NO_CONTRAST = 2.0  # difference between two fields that a blank frame may have
_DARKEST = 4.0  # brightest field of a black frame
_SILENCE = 2.0**-13  # swing of silence around its mean: four steps of 16 bits, -78 dB


class Emptiness(StrEnum):
    """Why a clip has nothing to translate."""

    SILENT = "silent"
    BLACK = "black"
    BLANK = "blank"
    STILL = "still"
    ONE_FRAME = "one_frame"
    NO_POINTS = "no_points"
    UNCHANGED = "unchanged"

    @property
    def told(self) -> str:
        """What was found, in words."""
        return _TOLD[self]


_TOLD = {
    Emptiness.SILENT: "the audio is silent",
    Emptiness.BLACK: "the video is black",
    Emptiness.BLANK: "the video is blank, one colour all over",
    Emptiness.STILL: "the video stands still, nothing moves",
    Emptiness.ONE_FRAME: "there is only one frame, nothing can move",
    Emptiness.NO_POINTS: "no point is in any frame",
    Emptiness.UNCHANGED: "all frames are the same, nothing moves",
}


def emptiness_of(content: NDArray[Any]) -> Emptiness | None:
    """Say why a clip has nothing to translate; None if it has something, or the kind is unknown.

    Args:
        content: Frames (n, height, width, 3) uint8 RGB, thinned or not, or audio (n,) in -1..1;
            at least one frame or sample.
    """
    known = {1: emptiness_of_audio, 4: emptiness_of_frames}.get(content.ndim)
    return None if known is None else known(content)


def emptiness_of_audio(audio: NDArray[np.floating[Any]]) -> Emptiness | None:
    """Say whether audio (n,) in -1..1 is silent up to an offset and its last bits."""
    return Emptiness.SILENT if np.ptp(audio) <= 2 * _SILENCE else None


def emptiness_of_frames(frames: Iterable[NDArray[np.uint8]]) -> Emptiness | None:
    """Say whether frames are black, blank, all alike, or a single one.

    Frames are compared by the mean brightness, in 0..255, of 16 x 16 fields. They are blank if no
    two fields of any of them differ by more than 2, and black if also no field is above 4. They
    stand still if no field changes by more than 1.5 over the whole clip; or by more than 8 where
    three of four equal the one before, which is how a codec stores a still scene.

    A moving hand of a fiftieth of the frame's height is content. So is the noise of a camera where
    it shows in the fields, as in small or grainy frames.

    Args:
        frames: (height, width, 3) uint8 RGB each, at least one; reading ends at the first that
            proves content.
    """
    rows: list[NDArray[np.float32]] = []
    darkest = brightest = np.zeros(0, np.float32)
    contrast = 0.0
    for frame in frames:
        fields = _fields(frame)
        if not rows:
            darkest = brightest = fields
        rows.append(fields)
        darkest, brightest = np.minimum(darkest, fields), np.maximum(brightest, fields)
        contrast = max(contrast, float(np.ptp(fields)))
        if contrast > _NO_CONTRAST and np.max(brightest - darkest) > _MOST_PULSE:
            return None
    if contrast <= _NO_CONTRAST:
        return Emptiness.BLACK if np.max(brightest) <= _DARKEST else Emptiness.BLANK
    if len(rows) == 1:
        return Emptiness.ONE_FRAME
    changes = [np.abs(after - before).max() > _SAME for before, after in pairwise(rows)]
    moved = np.max(brightest - darkest) > _NO_MOTION
    return None if moved and np.mean(changes) > _MOST_CHANGES else Emptiness.STILL


def _fields(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean brightness (rows, columns) of a frame's fields."""
    height, width = frame.shape[:2]
    bright = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (min(_FIELDS, width), min(_FIELDS, height))
    return np.asarray(cv2.resize(bright, size, interpolation=cv2.INTER_AREA), np.float32)
