"""Which of a file's streams is read: the one that players play.

A stream that nothing here can decode is passed over, and so is a picture that only goes with the
file: a cover, a thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import av
from av.stream import Disposition

from unglossed.errors import InputError
from unglossed.media.picture_size import check_size

_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# Streams for some of the audience, which players do not begin with.
_FOR_SOME = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.dependent
)

Stream = TypeVar("Stream", av.VideoStream, av.AudioStream)


def find_video(container: av.container.InputContainer) -> av.VideoStream | None:
    """The video stream that players show; None: there is none that can be read."""
    videos = container.streams.video
    return _choose(stream for stream in videos if not stream.disposition & _COVERS)


def find_sound(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound stream that players play; None: there is none that can be read."""
    return _choose(container.streams.audio)


def pick_video(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The video stream of a file that is open.

    Raises:
        InputError: There is none, or its pictures are larger than any camera's.
    """
    stream = find_video(container)
    if stream is None:
        if find_sound(container) and container.streams.video:
            raise InputError(f"{path}: no video: found sound with a cover picture")
        raise InputError(f"{path}: no video stream (found {_kinds(container)})")
    check_size(path, (stream.codec_context.width, stream.codec_context.height))
    return stream


def pick_sound(path: Path, container: av.container.InputContainer) -> av.AudioStream:
    """The sound stream of a file that is open.

    Raises:
        InputError: There is none, or one without a sample rate.
    """
    stream = find_sound(container)
    if stream is None:
        raise InputError(f"{path}: no sound (found {_kinds(container)})")
    if not stream.codec_context.sample_rate:
        raise InputError(f"{path}: the sound is damaged: it has no sample rate")
    return stream


def _choose(streams: Iterable[Stream]) -> Stream | None:
    # A stream of a codec that FFmpeg does not know, as of a phone's spatial sound, has no context.
    known = [stream for stream in streams if stream.codec_context is not None]
    return min(known, key=_rank, default=None)


def _rank(stream: av.stream.Stream) -> tuple[bool, bool, int]:
    """Of equal streams the first is read."""
    disposition = stream.disposition
    return not disposition & Disposition.default, bool(disposition & _FOR_SOME), stream.index


def _kinds(container: av.container.InputContainer) -> str:
    return (
        ", ".join(
            stream.type if stream.codec_context else f"{stream.type} of an unknown codec"
            for stream in container.streams
        )
        or "nothing"
    )
