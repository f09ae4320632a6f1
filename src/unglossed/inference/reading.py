"""What a translator reads of a clip, and what there is to say of it before it is translated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.beside import ArraysBeside
from unglossed.corpora.sample import Sample
from unglossed.corpora.table import TABLE_SUFFIXES
from unglossed.errors import InputError
from unglossed.files import find_path
from unglossed.inference.limits import signal_limit
from unglossed.media.array_files import is_json_folder, split_key
from unglossed.media.frames import FRAME_RATE, nearest_frames, sample_indices
from unglossed.media.probe import Emptiness
from unglossed.media.signal import (
    Clip,
    VideoSignal,
    WholeFile,
    at_frame_rate,
    check_frame_rate,
    signal_of,
)
from unglossed.media.two_stream_signal import TwoStreamSignal
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import TrainedLengths
from unglossed.models.translator import Translator

Media = Path | str | Sample

_EXPECTED = "a path of a video, a folder of frames or an audio file, or a Sample"


@dataclass(frozen=True, eq=False)
class ClipContent:
    """A clip as a model is given it.

    Attributes:
        content: Frames (n, height, width, 3) uint8 RGB, or audio (n,) float32, or a `TwoStreams`.
        empty: Why there is nothing to translate in it; None: there is something.
        notes: What a user should know of it, a sentence each.
    """

    content: NDArray[Any]
    empty: Emptiness | None
    notes: tuple[str, ...]


class ArraysOf:
    """Finds the arrays of clips that are files, for a model that reads both.

    Args:
        given: the array of the one clip there is, or a folder of arrays that are called as their
            clips; None: they lie beside the clips.

    Raises:
        InputError: nothing is there.
    """

    def __init__(self, given: Path | str | None = None) -> None:
        self._given = None if given is None else find_path(Path(given))
        if self._given is not None and not split_key(self._given)[0].exists():
            raise InputError(f"array: found no {given}, expected an array, or a folder of arrays")
        self._folders: dict[Path, ArraysBeside] = {}
        self._only: Path | None = None

    def find(self, media: Path) -> Path | None:
        """The array of a clip; None: there is none, or the clip is an array itself.

        Raises:
            InputError: there are two of the clip's name, or the folder cannot be listed.
        """
        given = self._given
        if given is not None and (not given.is_dir() or is_json_folder(given)):
            self._only = self._only or media
            if media != self._only:
                raise InputError(f"array: found one, {given}, for several clips, expected a folder")
            return given
        folder = media.parent if given is None else given
        if given is None and not folder.is_dir():
            return None
        arrays = self._folders.setdefault(folder, ArraysBeside(folder))
        found, _ = arrays.find(media.name, "", media)
        return None if found == media else found


def arrays_for(processor: TranslatorProcessor, given: Path | str | None) -> ArraysOf:
    """What finds the arrays of a model's clips.

    Raises:
        InputError: some are given, and the model reads none beside its clips; or see `ArraysOf`.
    """
    kind = signal_of(processor).kind
    if given is not None and kind != TwoStreamSignal.kind:
        raise InputError(
            f"array: found {str(given)!r} for a model that reads {kind}, expected it for one of two"
            " streams"
        )
    return ArraysOf(given)


def list_media(media: Media | Iterable[Media]) -> list[Media]:
    """The clips that a user gave: one, or several one after the other.

    Raises:
        InputError: Something is neither a path nor a sample.
    """
    return list(each_clip(media))


def each_clip(media: Media | Iterable[Media]) -> Iterator[Media]:
    """The clips that a user gave, one by one; what is wrong with one is raised at its turn."""
    if isinstance(media, (str, Path, Sample)):
        return iter([media])
    is_file = hasattr(media, "read")
    if isinstance(media, (bytes, Mapping)) or is_file or not isinstance(media, Iterable):
        raise InputError(f"media: found {_kind(media)}, expected {_EXPECTED}, or a list of them")
    clips: Iterable[Any] = [media] if hasattr(media, "shape") else media
    return (_checked(clip, number) for number, clip in enumerate(clips, start=1))


def _checked(clip: Any, number: int) -> Media:
    if not isinstance(clip, (str, Path, Sample)):
        raise InputError(f"media, clip {number}: found {_kind(clip)}, expected {_EXPECTED}")
    return clip


def read_clip(
    model: Translator,
    processor: TranslatorProcessor,
    clip: Media,
    frame_rate: float | None = None,
    arrays: ArraysOf | None = None,
) -> ClipContent:
    """Read what a model is given of a clip.

    Args:
        model: the translator; it limits how long a clip may be.
        processor: of the model.
        clip: a video, a frame folder, audio, or a sample of a corpus.
        frame_rate: pictures per second of a frame folder; None: 25, or what a sample says.
        arrays: finds the array of a clip that is no sample, for a model of two streams.

    Raises:
        InputError: the clip cannot be read, or is longer than the model can take in; the rate is
            out of range, or given for what is no frame folder.
    """
    if clip == "":
        raise InputError(
            "found an empty name, expected a video, a folder of frames, or an audio file"
        )
    where: Clip = clip if isinstance(clip, Sample) else WholeFile(find_path(Path(clip)))
    if where.media.suffix.lower() in TABLE_SUFFIXES and where.media.is_file():
        raise InputError(
            f"{where.media}: is a table, expected a video, a folder of frames, or an audio file;"
            f" `unglossed translate` reads the clips that it lists as table:{where.media}"
        )
    if frame_rate is not None:
        where = at_frame_rate(where, frame_rate)
    if isinstance(where, WholeFile) and isinstance(signal_of(processor), TwoStreamSignal):
        where = replace(where, array=(arrays or ArraysOf()).find(where.media))
    try:
        content, cut = _read(model, processor, where)
    except OSError as error:
        told = error.filename or where.media
        raise InputError(f"{told}: cannot be read: {error.strerror}") from error
    return _content(processor, content, cut)


def read_frames(
    model: Translator, processor: TranslatorProcessor, frames: Any, fps: float
) -> ClipContent:
    """Thin frames in memory as those of a folder with this rate are.

    Args:
        model: the translator; it limits how long a clip may be.
        processor: of the model.
        frames: (n, height, width, 3) uint8 RGB, or an iterable of such frames.
        fps: frames per second.

    Raises:
        InputError: the frames are something else, there are too many for the model, or it reads
            audio; the rate is out of range.
    """
    signal = signal_of(processor)
    if not isinstance(signal, VideoSignal):
        raise InputError(f"frames: the model reads {signal.kind}, expected one that reads video")
    rate = check_frame_rate(fps, "fps")
    rows = _list_frames(frames)
    steps = np.arange(max(1, round(len(rows) / rate * FRAME_RATE))) / FRAME_RATE
    grid = nearest_frames(np.arange(len(rows)) / rate, steps)
    kept = grid[sample_indices(len(grid), signal.frame_share)]
    limit = model.encoder.input_limit(signal_limit(model, processor.max_tokens))
    if limit is not None and len(kept) > limit:
        raise InputError(
            f"frames: found {len(kept) / signal.units_per_second:.1f} seconds of video, expected at"
            f" most {limit / signal.units_per_second:.1f} for this model: cut it into sentences"
        )
    return _content(processor, np.stack([rows[index] for index in kept]), None)


def _list_frames(frames: Any) -> list[NDArray[np.uint8]]:
    expected = "expected (n, height, width, 3) uint8 RGB, or an iterable of such frames"
    if isinstance(frames, (str, bytes, Path, Mapping)) or not isinstance(frames, Iterable):
        raise InputError(f"frames: found {type(frames).__name__}, {expected}")
    rows = [np.asarray(frame) for frame in frames]
    for number, row in enumerate(rows, start=1):
        if row.ndim != 3 or row.shape[2] != 3 or row.dtype != np.uint8 or not row.size:
            found = f"{row.dtype} of shape {row.shape}"
            raise InputError(f"frames, frame {number}: found {found}, {expected}")
        if row.shape != rows[0].shape:
            raise InputError(
                f"frames, frame {number}: found shape {row.shape}, expected {rows[0].shape} as in"
                " the first frame"
            )
    if not rows:
        raise InputError(f"frames: found none, {expected}")
    return rows


def _content(processor: TranslatorProcessor, content: NDArray[Any], cut: str | None) -> ClipContent:
    notes = [] if cut is None else [cut]
    if cut is None and processor.trained_seconds is not None:
        lengths = TrainedLengths.from_dict(processor.trained_seconds)
        notes += filter(None, [lengths.told(len(content) / signal_of(processor).units_per_second)])
    notes += filter(None, [signal_of(processor).told(content)])
    empty = signal_of(processor).emptiness(content)
    if empty is not None:
        notes.append(f"nothing is in it to translate: {empty.told}")
    return ClipContent(content, empty, tuple(notes))


def _read(
    model: Translator, processor: TranslatorProcessor, where: Clip
) -> tuple[NDArray[Any], str | None]:
    """The content, and a note if it was cut."""
    signal = signal_of(processor)
    room = signal_limit(model, processor.max_tokens)
    limit = model.encoder.input_limit(room)
    if processor.max_seconds is None:
        return signal.read(where, limit=limit), None
    most = round(processor.max_seconds * signal.units_per_second)
    most = most if limit is None else min(most, limit)
    read = signal.read(where, limit=most + 1, cut=True)  # one more tells whether there is more
    if len(read) <= most:
        return read, None
    seconds, kept = signal.seconds_of(where), most / signal.units_per_second
    return read[:most], f"{seconds:.1f} seconds, cut to {kept:.1f}"


def _kind(value: object) -> str:
    """What a value is, for a message."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return (
            f"{type(value).__name__} of shape {tuple(shape)} (frames in memory:"
            " `translate_frames` takes them)"
        )
    return "an open file" if hasattr(value, "read") else type(value).__name__
