"""The frames of a video file, exact to the frame.

A frame is known by its presentation stamp. Seeking is only a way to decode less: what comes out has
to bear the stamps asked for, else the file is decoded in order from its beginning.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from unglossed.media.containers import damaged, decode_frames, open_video, to_rgb, turned_size
from unglossed.media.timeline import Timeline, first_size, read_timeline


def deinterlace(
    before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None
) -> av.VideoFrame:
    """Fill in the rows of a frame's second field; a frame not marked as interlaced stays as it is.

    Args:
        before: The frame before it; None: there is none.
        frame: The frame.
        after: The frame after it; None: there is none.

    Returns:
        As FFmpeg's filter bwdif makes it, whatever else of the video is read.
    """
    if not frame.interlaced_frame:
        return frame
    alike = [
        (other, other is frame)
        for other in (before, frame, after)
        if other is not None and _kind(other) == _kind(frame)
    ]
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format.name,
        time_base=Fraction(1, 25),
    )
    graph.link_nodes(
        source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    ).configure()
    for place, (other, _) in enumerate(alike):
        other.pts = place
        graph.push(other)
    graph.push(None)
    whole = [graph.pull() for _ in alike]
    found = next(made for made, (_, is_it) in zip(whole, alike, strict=True) if is_it)
    assert isinstance(found, av.VideoFrame), found
    return found


def _kind(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


Frame = NDArray[np.uint8]
Kept = TypeVar("Kept")

# Their unreferenced frames can be passed over. Not so HEVC's: a higher layer may refer to them.
_SKIPPABLE_CODECS = ("h264", "mpeg4")
# Frames to decode that are worth another seek, and those that are worth threads.
_SEEK_FRAMES = 16
_THREAD_FRAMES = 100
_KEYFRAMES_BACK = (0, 1, 4)


@dataclass(frozen=True)
class VideoContent:
    """What decoding all of a video file tells.

    Attributes:
        timeline: When its frames are shown.
        width: Of the first frame as it is read, to which all are brought.
        height: Likewise.
        changes: Places of the frames whose size differs from that of the one before.
        num_interlaced: Frames that are marked as two fields of different times.
    """

    timeline: Timeline
    width: int
    height: int
    changes: tuple[int, ...]
    num_interlaced: int


def read_video(
    path: Path, wanted: Sequence[int] | None = None, *, deinterlace: bool = False
) -> Frame:
    """Read the frames of a video file; its rotation mark is honoured.

    Where pictures change their size, as those of a call over the net do, all are brought to the
    size of the file's first.

    Args:
        path: The file.
        wanted: Places of frames, counted from 0, in any order; None for all.
        deinterlace: Make one whole picture of each frame that is marked as interlaced.

    Returns:
        (n, height, width, 3) uint8, RGB, in the order of `wanted`.

    Raises:
        InputError: No such file, or it is empty, cut, damaged where it is read, or no video.
    """
    timeline = read_timeline(path)
    order = range(timeline.num_frames) if wanted is None else wanted
    develop = _deinterlace if deinterlace else _develop
    frames = develop(path, timeline, sorted(set(order)))
    if any(frame.shape[1::-1] != timeline.size for frame in frames.values()):
        size = first_size(path)
        frames = {place: _resize(frame, size) for place, frame in frames.items()}
    return np.stack([frames[place] for place in order])


def check_video(path: Path) -> VideoContent:
    """Decode all of a video file.

    Raises:
        InputError: As `read_video`, for all of its frames.
    """
    timeline = read_timeline(path)
    sizes: list[tuple[int, int]] = []
    num_interlaced = 0
    for frame in _decode_as_told(path, timeline):
        sizes.append(turned_size(frame))
        num_interlaced += frame.interlaced_frame
    changes = (place for place, (one, other) in enumerate(pairwise(sizes), 1) if one != other)
    return VideoContent(timeline, *sizes[0], tuple(changes), num_interlaced)


def _resize(frame: Frame, size: tuple[int, int]) -> Frame:
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _develop(path: Path, timeline: Timeline, places: list[int]) -> dict[int, Frame]:
    """Read frames as pictures."""
    return _read(path, timeline, places, to_rgb)


def _deinterlace(path: Path, timeline: Timeline, places: list[int]) -> dict[int, Frame]:
    """Read frames as pictures, each made whole with the help of its neighbours."""
    near = {place + step for place in places for step in (-1, 0, 1)}
    kept = sorted(near.intersection(range(timeline.num_frames)))
    frames = _read(path, timeline, kept, lambda frame: frame)
    return {
        place: to_rgb(deinterlace(frames.get(place - 1), frames[place], frames.get(place + 1)))
        for place in places
    }


def _read(
    path: Path, timeline: Timeline, places: list[int], keep: Callable[[av.VideoFrame], Kept]
) -> dict[int, Kept]:
    """Read frames, each as `keep` makes it; an error if one does not come."""
    frames = _read_by_stamp(path, timeline, places, keep)
    return _read_in_order(path, timeline, places, keep) if frames is None else frames


def _read_by_stamp(
    path: Path, timeline: Timeline, places: list[int], keep: Callable[[av.VideoFrame], Kept]
) -> dict[int, Kept] | None:
    """Seek to each run of frames wanted and read it; None if anything does not fit."""
    if timeline.ticks is None:
        return None
    # The last keyframe at or before each place, as an index into `keyframes`.
    keys = np.searchsorted(timeline.keyframes, places, side="right") - 1
    if not len(places) or keys[0] < 0:
        return None
    begins = timeline.keyframes[keys]
    starts = [0] + [
        index for index in range(1, len(places)) if begins[index] - places[index - 1] > _SEEK_FRAMES
    ]
    runs = [slice(*ends) for ends in zip(starts, [*starts[1:], len(places)], strict=True)]
    frames: dict[int, Kept] = {}
    with open_video(path) as (container, stream):
        _set_threads(stream, sum(places[run][-1] - int(begins[run.start]) for run in runs))
        for run in runs:
            for back in _KEYFRAMES_BACK:
                key = max(int(keys[run.start]) - back, 0)
                found = _read_run(container, stream, timeline, places[run], key, keep)
                if found or not key:
                    break
            if not found:
                return None
            frames.update(found)
    return frames


def _read_run(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    timeline: Timeline,
    places: list[int],
    key: int,
    keep: Callable[[av.VideoFrame], Kept],
) -> dict[int, Kept] | None:
    """Decode from a keyframe to the last of the places; None if one of them does not come."""
    assert timeline.ticks is not None
    context = stream.codec_context
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
                if frame.pts is None:
                    return None
                # Frames shown before the keyframe may refer to others that were not decoded.
                if frame.is_corrupt and frame.pts >= begin:
                    return None
                tick = wanted[len(frames)]
                if frame.pts > tick:
                    return None
                if frame.pts == tick:
                    frames[places[len(frames)]] = keep(frame)
                    if len(frames) == len(places):
                        return frames
    except av.error.FFmpegError:
        pass
    return None


def _read_in_order(
    path: Path, timeline: Timeline, places: list[int], keep: Callable[[av.VideoFrame], Kept]
) -> dict[int, Kept]:
    """Decode from the beginning and count; a frame that is lost or damaged is an error."""
    wanted = set(places)
    frames: dict[int, Kept] = {}
    for index, frame in enumerate(_decode_as_told(path, timeline)):
        if index in wanted:
            frames[index] = keep(frame)
            if len(frames) == len(wanted):
                break
    return frames


def _decode_as_told(path: Path, timeline: Timeline) -> Iterator[av.VideoFrame]:
    """Decode in order; an error if a frame of the timeline does not come."""
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
    """Decode in several threads where that pays.

    Threads cost processor time: they are not for a short segment, nor for the workers of a loader,
    which have the machine's cores among themselves already.
    """
    alone = multiprocessing.parent_process() is None
    stream.codec_context.thread_type = "AUTO" if alone and frames >= _THREAD_FRAMES else "NONE"
