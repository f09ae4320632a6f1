"""What a clip is, at two prices: from headers and listings, or by decoding all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

import av
from av.format import Flags

from unglossed.errors import InputError
from unglossed.media import packed
from unglossed.media.audio import AUDIO_SUFFIXES, audio_seconds, examine_sound
from unglossed.media.colours import is_untagged_hd, is_wide
from unglossed.media.containers import (
    Kind,
    damaged,
    find_sound,
    find_video,
    header_seconds,
    open_container,
    origin_seconds,
    pick_sound,
    pick_video,
    turned_size,
)
from unglossed.media.frames import FRAME_RATE
from unglossed.media.pictures import (
    check_picture,
    check_sizes,
    list_pictures,
    pictures_each,
    read_size,
)
from unglossed.media.signal import Clip
from unglossed.media.timeline import Timeline, read_timeline
from unglossed.media.videofile import check_video


def revisions_of(media: Path) -> list[str]:
    """Name what is read in another way: nothing of nearly all files.

    Channels that cancel each other are turned over. Whether they do is not known from a header, so
    sound in several channels counts as changed; beside pictures only that of cinemas does.
    """
    is_sound = media.suffix.lower() in AUDIO_SUFFIXES
    try:
        with open_container(media, "sound" if is_sound else "video") as container:
            sound = find_sound(container)
            mixed = sound is not None and sound.channels > (1 if is_sound else 2)
            found = [] if is_sound else _revisions(container)
            return [*found, "channels"] if mixed else found
    except InputError:
        return []  # whoever reads it will tell


def _revisions(container: av.container.InputContainer) -> list[str]:
    found = []
    chosen = find_video(container), find_sound(container)
    first = (*container.streams.video[:1], None)[0], (*container.streams.audio[:1], None)[0]
    if [stream and stream.index for stream in chosen] != [one and one.index for one in first]:
        found.append("stream")
    if container.format.name == "mpeg":
        found.append("seek")
    if container.start_time is None:
        found.append("begin")
    if chosen[0] is not None:
        context = chosen[0].codec_context
        if is_wide(context.color_trc, context.color_primaries):
            found.append("wide")
        elif not context.format.is_rgb and is_untagged_hd(
            context.colorspace, context.width, context.height
        ):
            found.append("untagged")
    return found


# A folder whose pictures bear the time of day would have millions of gaps.
_MOST_MISSING = 1000
# Rows of packets. FFmpeg guesses their length from the first ones' size or the last stamp that it
# sees, or believes a header that nobody could go back to when the recording ended.
_WITHOUT_LENGTH = ("mp3", "aac", "ac3", "eac3", "dts", "mpeg", "mpegts", "flv")


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What there is to know of a clip without looking at its content.

    Attributes:
        kind: Frame folder (or clip in a shard), video file or sound file.
        duration_seconds: Length; of a video that of its pictures, not of its sound.
        num_frames: Pictures; None if the headers do not tell, and for sound.
        width: Of the pictures as they are read, turned by the rotation mark; None for sound.
        height: Likewise.
        frame_rate: Pictures per second, on average; None for sound.
        missing_frames: Numbers that are missing between the first and the last picture of a folder,
            at most 1000 of them.
        has_sound: Whether there is sound to read, in a video as well.
        pictures_each: How many pictures of a folder seem to have one number, see `pictures_each`.
        begin_seconds: When its first picture is shown, see `Timeline`; of sound 0.
        sound_seconds: Length of that sound; None: none, or a video whose headers do not tell.
        has_opposite_channels: Whether its channels were found to cancel each other, see `channels`;
            decoding tells.
        num_interlaced: Frames of a video marked as interlaced; 0 too where it was not decoded.
        size_changes: Times of a video at which its pictures change their size, likewise.
    """

    kind: Literal["frames", "video", "audio"]
    duration_seconds: float
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    missing_frames: tuple[int, ...] = ()
    pictures_each: int = 1
    has_sound: bool = False
    begin_seconds: float = 0.0
    sound_seconds: float | None = None
    num_interlaced: int = 0
    size_changes: tuple[float, ...] = ()
    has_opposite_channels: bool = False

    def span(self, frame_rate: float | None = None) -> tuple[float, float]:
        """When its pictures, or its sound, begin and end, in seconds.

        Args:
            frame_rate: Pictures per second, if a frame folder; None: 25.
        """
        seconds = self.duration_seconds
        if self.kind == "frames" and frame_rate is not None and self.num_frames is not None:
            seconds = self.num_frames / frame_rate
        return self.begin_seconds, self.begin_seconds + seconds


def probe(media: Path) -> MediaFacts:
    """Look at headers and listings only: milliseconds, whatever the length.

    Live recordings without a length in their header are read through, still without decoding.

    Args:
        media: A frame folder, a video or sound file, or a clip in a shard.

    Raises:
        InputError: Nothing is there, or it cannot be read.
    """
    if media.is_dir():
        return _probe_folder(media)
    if packed.is_packed(media):
        return _probe_packed(media)
    with open_container(media, _likely_kind(media)) as container:
        if _is_sound(media, container):
            stream = pick_sound(media, container)
            length = _seconds_of(media, container, stream)
            return _sound_facts(audio_seconds(media) if length is None else length)
        sound = find_sound(container)
        picked = pick_video(media, container)
        num_frames = None if _is_length_guessed(container, picked) else picked.frames or None
        rate = float(picked.average_rate or 0) or None
        seconds = _seconds_of(media, container, picked)
        sound_seconds = sound and _seconds_of(media, container, sound)
        width, height = _first_size(media, container, picked)
        first = float((picked.start_time or 0) * picked.time_base) - origin_seconds(container)
    if seconds is None or rate is None:
        timeline = read_timeline(media)
        seconds, rate, num_frames = timeline.seconds, _mean_rate(timeline), timeline.num_frames
    return MediaFacts(
        *("video", seconds, num_frames, width, height, rate),
        has_sound=sound is not None,
        begin_seconds=max(first, 0.0),
        sound_seconds=sound_seconds,
    )


def examine(media: Path, *, sound: bool = False) -> MediaFacts:
    """Decode everything and tell the truth about it.

    Args:
        media: As for `probe`.
        sound: Of a video decode the sound as well.

    Raises:
        InputError: It cannot be read, is damaged anywhere, or a folder's pictures differ in size.
    """
    if media.is_dir():
        facts = _probe_folder(media)
        sizes = {check_picture(media / name) for name in list_pictures(media)}
        check_sizes(media, sizes)
        return facts
    if packed.is_packed(media):
        packed.read_frames(media)
        return _probe_packed(media)
    with open_container(media, _likely_kind(media)) as container:
        is_sound = _is_sound(media, container)
        has_sound = find_sound(container) is not None
    if is_sound:
        seconds, opposite = examine_sound(media)
        return replace(_sound_facts(seconds), has_opposite_channels=opposite)
    content = check_video(media)
    timeline = content.timeline
    sound_seconds, opposite = examine_sound(media) if sound and has_sound else (None, False)
    return MediaFacts(
        *("video", timeline.seconds, timeline.num_frames),
        *(content.width, content.height, _mean_rate(timeline)),
        has_sound=has_sound,
        begin_seconds=timeline.begin_seconds,
        sound_seconds=sound_seconds,
        has_opposite_channels=opposite,
        num_interlaced=content.num_interlaced,
        size_changes=tuple(timeline.times[list(content.changes)].tolist()),
    )


def sound_seconds(clip: Clip) -> float:
    """Length of a clip's sound, from the headers of its media as far as they tell.

    Raises:
        InputError: As `probe`.
    """
    facts = probe(clip.media)
    end = facts.duration_seconds if facts.sound_seconds is None else facts.sound_seconds
    return min(end, clip.end_seconds or end) - (clip.start_seconds or 0.0)


def _sound_facts(seconds: float) -> MediaFacts:
    return MediaFacts("audio", seconds, has_sound=True, sound_seconds=seconds)


def _seconds_of(
    media: Path, container: av.container.InputContainer, stream: av.Stream
) -> float | None:
    """Length of a stream as the headers have it, or its packets; None if neither tells."""
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


def _probe_folder(folder: Path) -> MediaFacts:
    names = list_pictures(folder)
    width, height = read_size(folder / names[0])
    missing = tuple(islice(_find_gaps(names), _MOST_MISSING))
    seconds = len(names) / FRAME_RATE
    each = pictures_each(names)
    return MediaFacts("frames", seconds, len(names), width, height, FRAME_RATE, missing, each)


def _find_gaps(names: list[str]) -> Iterator[int]:
    """Numbers that no picture has; that of a name is the last one in it."""
    found = [re.findall(r"[0-9]+", name.rpartition(".")[0]) for name in names]
    numbers = sorted({int(digits[-1]) for digits in found if digits})
    for one, other in pairwise(numbers):
        yield from range(one + 1, other)


def _probe_packed(media: Path) -> MediaFacts:
    num_frames = packed.num_frames(media)
    width, height = packed.picture_size(media)
    return MediaFacts("frames", num_frames / FRAME_RATE, num_frames, width, height, FRAME_RATE)


def _likely_kind(path: Path) -> Kind:
    return "sound" if path.suffix.lower() in AUDIO_SUFFIXES else "video"


def _is_sound(path: Path, container: av.container.InputContainer) -> bool:
    """Whether a file is read for its sound; a cover in a sound file is no video."""
    if find_video(container) is None:
        return find_sound(container) is not None or _likely_kind(path) == "sound"
    return _likely_kind(path) == "sound" and find_sound(container) is not None


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


def _mean_rate(timeline: Timeline) -> float:
    return timeline.num_frames / timeline.seconds
