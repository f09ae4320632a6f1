"""The frames of a video file, exact to the frame, and when each is shown.

The times come from the packets where these can be trusted, else from decoding. A frame is known by
its presentation stamp. Seeking is only a way to decode less: what comes out has to bear the stamps
asked for, else the file is decoded in order from its beginning.
"""

from __future__ import annotations

import multiprocessing
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from itertools import pairwise, repeat
from pathlib import Path
from typing import Generic, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.containers import (
    damaged,
    decode_frames,
    open_video,
    origin_seconds,
    reason,
    to_rgb,
    turned_size,
)
from unglossed.media.deinterlacing import deinterlace

_ALWAYS_ONE = ("h264", "hevc", "av1", "libdav1d", "mjpeg")
# A shorter packet of MPEG-4 may say no more than "nothing new", which shows nothing.
_MPEG4_BYTES = 20
_FALLBACK_RATE = 25.0
# Where each packet carries the stamp of what it shows. Elsewhere only decoding tells, and only from
# the begin: after a seek FFmpeg guesses the stamps of packets that have none of their own.
_STAMPED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv")
# Their unreferenced frames can be skipped. Not so HEVC's: a higher layer may refer to them.
_SKIPPABLE_CODECS = ("h264", "mpeg4")
# Frames to decode that are worth another seek, and those that are worth threads.
_SEEK_FRAMES = 16
_THREAD_FRAMES = 100
_KEYFRAMES_BACK = (0, 1, 4)
# Of frames that are kept from one seek on.
_GROUP = 512
# Frames a keyframe, on average, from which on seeking does not pay.
_MOST_A_KEYFRAME = 1000

Frame = NDArray[np.uint8]
Kept = TypeVar("Kept")
Found = TypeVar("Found")
Marks = list[tuple[int | None, bool]]
"""Stamp of each frame, and whether it is a keyframe."""


@dataclass(frozen=True, slots=True)
class PacketRow:
    """A file's packets in order, to find them again by their content.

    Attributes:
        checksums: CRC-32 of each: (packets,).
        stamps: When each is shown, as found when reading from the file's begin, or -1: (packets,).
    """

    checksums: NDArray[np.uint32]
    stamps: NDArray[np.int64]

    def restamp(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """Give packets after a seek the stamps that they have when read from the file's begin.

        It begins with a keyframe that is unlike every other packet, and ends at one that is not the
        next of the row.
        """
        place: int | None = None
        for packet in packets:
            if packet.size:
                checksum = zlib.crc32(packet)
                if place is None:
                    matches = np.flatnonzero(self.checksums == checksum)
                    if not packet.is_keyframe or len(matches) != 1:
                        continue
                    place = int(matches[0])
                if place >= len(self.stamps) or self.checksums[place] != checksum:
                    return
                packet.pts = int(self.stamps[place])
                place += 1
            yield packet


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video file in the order in which they are shown.

    Attributes:
        ticks: Their stamps, rising: (num_frames,); None if stamps are missing or double.
        begin_seconds: When the first frame is shown, counted as players do, from where the file's
            first stream begins.
        keyframes: Places of the frames to which the container can seek, rising: (keyframes,).
        rate: Frames per second where there are no stamps.
        size: Width and height in the headers, before any turn.
        packets: Identifies packets after a seek; None: their stamps do.
    """

    num_frames: int
    ticks: NDArray[np.int64] | None
    tick_seconds: float
    keyframes: NDArray[np.int64]
    rate: float
    size: tuple[int, int]
    begin_seconds: float = 0.0
    packets: PacketRow | None = None

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds from the first frame on: (num_frames,)."""
        if self.ticks is None:
            return np.arange(self.num_frames) / self.rate
        times: NDArray[np.float64] = (self.ticks - self.ticks[0]) * self.tick_seconds
        return times

    @property
    def seconds(self) -> float:
        """Length: the last frame is shown as long as most."""
        times = self.times
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / self.rate
        return float(times[-1]) + step

    @property
    def mean_rate(self) -> float:
        """Frames per second on average."""
        return self.num_frames / self.seconds


def _until_it_changes(look: Callable[[Path], Found]) -> Callable[[Path], Found]:
    """Cache what is found out about a file by its time stamp and size."""

    @lru_cache(maxsize=4096)
    def cached(path: Path, modified: int, num_bytes: int) -> Found:
        del modified, num_bytes
        return look(path)

    @wraps(look)
    def ask(path: Path) -> Found:
        try:
            status = path.stat()
        except (OSError, ValueError):  # no name of a file: a zero byte, half of a surrogate pair
            raise InputError(
                f"{path}: not found, expected a video file or a folder of frames"
            ) from None
        return cached(path, status.st_mtime_ns, status.st_size)

    return ask


@_until_it_changes
def first_size(path: Path) -> tuple[int, int]:
    """Width and height of a video's first frame as it is read."""
    for frame in decode_frames(path):
        return turned_size(frame)
    raise _empty(path)


def read_video(
    path: Path, wanted: Sequence[int] | None = None, *, deinterlace: bool = False
) -> Frame:
    """Read frames of a video file, all if `wanted` is None; see `Frames.read`.

    Raises:
        InputError: No such file, or it is empty, truncated, damaged where it is read, or no video.
    """
    timeline = read_timeline(path)
    order = range(timeline.num_frames) if wanted is None else wanted
    places = sorted(set(order))
    if deinterlace:
        frames = _read_whole(path, timeline, places)
    else:
        frames = _Reader(path, timeline, to_rgb).read(places)
    if any(frame.shape[1::-1] != timeline.size for frame in frames.values()):
        size = first_size(path)
        frames = {place: _resize(frame, size) for place, frame in frames.items()}
    return np.stack([frames[place] for place in order])


def keep_of_video(
    path: Path, wanted: Sequence[int], keep: Callable[[Frame], Kept]
) -> Iterator[Kept]:
    """Read frames of a video file and keep of each what `keep` makes of it, at once.

    A file is read in groups of frames, from a keyframe before each; one that cannot be read from
    its keyframes, or has hardly any, in one go.

    Args:
        path: The file.
        wanted: Places, never falling.
        keep: Is given the frame as `read_video` would give it.

    Raises:
        InputError: See `read_video`.
    """
    timeline, size = read_timeline(path), first_size(path)

    def made(frame: av.VideoFrame) -> Kept:
        return keep(_resize(to_rgb(frame), size))

    seldom = len(timeline.keyframes) * _MOST_A_KEYFRAME < timeline.num_frames
    if timeline.ticks is None or timeline.packets is not None or seldom:
        times = Counter(wanted)
        for place, frame in enumerate(_decode_checked(path, timeline)):
            if place in times:
                yield from repeat(made(frame), times.pop(place))
            if not times:
                return
        return
    reader = _Reader(path, timeline, made)
    for start in range(0, len(wanted), _GROUP):
        group = wanted[start : start + _GROUP]
        kept = reader.read(sorted(set(group)))
        yield from (kept[place] for place in group)


def check_video(path: Path) -> tuple[Timeline, list[tuple[int, int]], int]:
    """Decode all of a video file; a damaged frame anywhere is an `InputError`.

    Returns:
        When its frames are shown, width and height of each, and how many are marked as interlaced.
    """
    timeline = read_timeline(path)
    frames = [(turned_size(one), one.interlaced_frame) for one in _decode_checked(path, timeline)]
    return timeline, [size for size, _ in frames], sum(mark for _, mark in frames)


@_until_it_changes
def read_timeline(path: Path) -> Timeline:
    """Find out when the frames of a video file are shown."""
    marks = packets = None
    with open_video(path) as (container, stream):
        size = stream.codec_context.width, stream.codec_context.height
        is_stamped = container.format.name in _STAMPED_FORMATS
        try:
            if is_stamped:
                marks = _scan_packets(container, stream)
            else:
                packets = _list_packets(container, stream)
        except av.error.FFmpegError as error:
            raise InputError(f"{path}: the video is damaged: {reason(error)}") from error
        # AVI numbers its packets as they lie, which is another order where frames refer forward.
        ordered = container.format.name != "avi" or not stream.codec_context.has_b_frames
        tick_seconds = float(stream.time_base or 0)
        rate = float(stream.average_rate or _FALLBACK_RATE)
        # Without a start of its own the file begins with its first frame.
        origin = None if container.start_time is None else origin_seconds(container)
    if marks is None:
        marks = [(frame.pts, frame.key_frame) for frame in decode_frames(path)]
        told = [stamp for stamp, _ in marks if stamp is not None]
        ordered = ordered and all(one < other for one, other in pairwise(told))
    if not marks:
        raise _empty(path)
    stamps = [stamp for stamp, _ in marks if stamp is not None]
    if len(set(stamps)) < len(marks) or not ordered:
        return Timeline(len(marks), None, tick_seconds, np.zeros(0, np.int64), rate, size)
    ticks = np.sort(np.array(stamps, np.int64))
    if packets is not None and not np.array_equal(np.sort(packets.stamps), ticks):
        packets = None
    can_seek = is_stamped or packets is not None
    keys = np.array([stamp for stamp, is_key in marks if is_key and can_seek], np.int64)
    places = np.sort(np.searchsorted(ticks, keys))
    begin = 0.0 if origin is None else max(float(ticks[0]) * tick_seconds - origin, 0.0)
    return Timeline(len(ticks), ticks, tick_seconds, places, rate, size, begin, packets)


def _empty(path: Path) -> InputError:
    return InputError(f"{path}: the video stream has no frame")


def _scan_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Marks | None:
    """Stamps and keyframe marks from the packets; None if only decoding tells."""
    marks: Marks = []
    opening: av.Packet | None = None
    for packet in container.demux(stream):
        if not packet.size:
            continue
        shown = count_shown(packet, stream.codec_context.name)
        if shown is None:
            return None
        opening = opening or packet
        # A file may be cut out of another between keyframes, or so that frames refer to what came
        # before: only decoding tells what is left.
        early = None not in (packet.pts, opening.pts) and packet.pts < opening.pts
        if early or not opening.is_keyframe:
            return None
        if shown and not packet.is_discard:
            marks.append((packet.pts, packet.is_keyframe))
    return marks


def _list_packets(container: av.container.InputContainer, stream: av.VideoStream) -> PacketRow:
    rows = [
        (zlib.crc32(packet), -1 if packet.pts is None else packet.pts)
        for packet in container.demux(stream)
        if packet.size
    ]
    checksums, stamps = zip(*rows, strict=True) if rows else ((), ())
    return PacketRow(np.array(checksums, np.uint32), np.array(stamps, np.int64))


def count_shown(packet: av.Packet, codec: str) -> int | None:
    """Count the frames that a packet shows; None if only decoding tells.

    Args:
        packet: Of a container that keeps together what is shown at one time.
        codec: FFmpeg's name of the decoder.
    """
    if codec in _ALWAYS_ONE:
        return 1
    if codec == "mpeg4":
        return 1 if packet.size >= _MPEG4_BYTES else None
    if codec == "vp8":
        return bytes(packet)[0] >> 4 & 1
    if codec == "vp9":
        marks = [_is_shown(first) for first in _split_superframe(bytes(packet))]
        # Two are layers of one picture.
        return None if None in marks or sum(map(bool, marks)) > 1 else int(any(marks))
    return None


def _split_superframe(data: bytes) -> list[int]:
    """First byte of each VP9 frame in a packet (the format's specification, annex B)."""
    mark = data[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    index = len(data) - 2 - count * width
    if mark >> 5 != 0b110 or index < 0 or data[index] != mark:
        return [data[0]]
    firsts = []
    begin = 0
    for place in range(index + 1, len(data) - 1, width):
        size = int.from_bytes(data[place : place + width], "little")
        if size and begin < index:
            firsts.append(data[begin])
        begin += size
    return firsts


def _is_shown(first: int) -> bool | None:
    """Read the first byte of a VP9 frame (section 6.2); None for profile 3, which differs."""
    if first >> 4 & 0b11 == 0b11:
        return None
    return bool(first >> 3 & 1 or first >> 1 & 1)  # an earlier frame is shown, or this one


def _resize(frame: Frame, size: tuple[int, int]) -> Frame:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _read_whole(path: Path, timeline: Timeline, places: list[int]) -> dict[int, Frame]:
    """Read frames as pictures, each deinterlaced with the help of its neighbours."""
    near = {place + step for place in places for step in (-1, 0, 1)}
    kept = sorted(near.intersection(range(timeline.num_frames)))
    frames = _Reader(path, timeline, lambda frame: frame).read(kept)
    return {
        place: to_rgb(deinterlace(frames.get(place - 1), frames[place], frames.get(place + 1)))
        for place in places
    }


@dataclass(frozen=True)
class _Reader(Generic[Kept]):
    """Reads frames, each as `keep` converts it."""

    path: Path
    timeline: Timeline
    keep: Callable[[av.VideoFrame], Kept]

    def read(self, places: list[int]) -> dict[int, Kept]:
        """Read the frames at these places, rising; a frame that is missing is an error."""
        frames = self._read_by_stamp(places)
        return self._read_in_order(places) if frames is None else frames

    def _read_by_stamp(self, places: list[int]) -> dict[int, Kept] | None:
        """Seek to each run of frames wanted and read it; None if anything does not fit."""
        keyframes = self.timeline.keyframes
        if self.timeline.ticks is None:
            return None
        # The last keyframe at or before each place, as an index into `keyframes`.
        keys = np.searchsorted(keyframes, places, side="right") - 1
        if not len(places) or keys[0] < 0:
            return None
        begins = keyframes[keys]
        starts = [0] + [
            index
            for index in range(1, len(places))
            if begins[index] - places[index - 1] > _SEEK_FRAMES
        ]
        runs = [slice(*ends) for ends in zip(starts, [*starts[1:], len(places)], strict=True)]
        frames: dict[int, Kept] = {}
        with open_video(self.path) as (container, stream):
            _set_threads(stream, sum(places[run][-1] - int(begins[run.start]) for run in runs))
            for run in runs:
                for back in _KEYFRAMES_BACK:
                    key = max(int(keys[run.start]) - back, 0)
                    found = self._read_run(container, stream, places[run], key)
                    if found or not key:
                        break
                if not found:
                    return None
                frames.update(found)
        return frames

    def _read_run(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        places: list[int],
        key: int,
    ) -> dict[int, Kept] | None:
        """Decode from a keyframe to the last of the places; None if one of them does not come."""
        timeline, context = self.timeline, stream.codec_context
        assert timeline.ticks is not None
        wanted = timeline.ticks[places].tolist()
        needed = set(wanted)
        begin = int(timeline.ticks[timeline.keyframes[key]])
        skippable = context.name in _SKIPPABLE_CODECS
        frames: dict[int, Kept] = {}
        try:
            container.seek(begin, stream=stream)
            packets: Iterable[av.Packet] = container.demux(stream)
            if timeline.packets is not None:
                packets = timeline.packets.restamp(packets)
            for packet in packets:
                if skippable:
                    unwanted = packet.pts is not None and packet.pts not in needed
                    context.skip_frame = "NONREF" if unwanted else "DEFAULT"
                for frame in packet.decode():
                    # Frames shown before the keyframe may refer to others that were not decoded.
                    if frame.pts is None or (frame.is_corrupt and frame.pts >= begin):
                        return None
                    tick = wanted[len(frames)]
                    if frame.pts > tick:
                        return None
                    if frame.pts == tick:
                        frames[places[len(frames)]] = self.keep(frame)
                        if len(frames) == len(places):
                            return frames
        except av.error.FFmpegError:
            pass
        return None

    def _read_in_order(self, places: list[int]) -> dict[int, Kept]:
        """Decode from the beginning and count; a frame that is lost or damaged is an error."""
        wanted = set(places)
        frames: dict[int, Kept] = {}
        for index, frame in enumerate(_decode_checked(self.path, self.timeline)):
            if index in wanted:
                frames[index] = self.keep(frame)
                if len(frames) == len(wanted):
                    break
        return frames


def _decode_checked(path: Path, timeline: Timeline) -> Iterator[av.VideoFrame]:
    """Decode in order; an error if a frame of the timeline is missing."""
    ticks = [] if timeline.ticks is None else timeline.ticks.tolist()
    known = {tick: place for place, tick in enumerate(ticks)}
    count = 0
    for frame in decode_frames(path):
        if known.get(frame.pts, count) != count:
            raise damaged(path, count)
        yield frame
        count += 1
    if count < timeline.num_frames:
        raise damaged(path, count)


def _set_threads(stream: av.VideoStream, frames: int) -> None:
    # Threads cost CPU time: not for a short segment, nor in a loader's workers, which share the
    # cores already.
    alone = multiprocessing.parent_process() is None
    stream.codec_context.thread_type = "AUTO" if alone and frames >= _THREAD_FRAMES else "NONE"
