"""What a translator reads of a clip, and what there is to say of it before it is translated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unglossed.corpora.sample import Sample
from unglossed.corpora.table_rows import TABLE_SUFFIXES
from unglossed.errors import InputError
from unglossed.inference.search import signal_limit
from unglossed.media.clip import Clip, WholeFile, at_frame_rate, signal_of
from unglossed.media.contents import Emptiness, emptiness_of
from unglossed.media.names import find_path
from unglossed.media.probe import sound_seconds
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.trained_lengths import TrainedLengths
from unglossed.models.translator import Translator

Media = Path | str | Sample

_EXPECTED = "a path of a video, a folder of frames or sound, or a Sample"


@dataclass(frozen=True, eq=False)
class ClipContent:
    """A clip as a model is given it.

    Attributes:
        content: Frames (n, height, width, 3) uint8 RGB, or sound (n,) float32.
        empty: Why there is nothing to translate in it; None: there is something.
        notes: What a user should know of it, a sentence each.
    """

    content: NDArray[Any]
    empty: Emptiness | None
    notes: tuple[str, ...]


def list_media(media: Media | Iterable[Media]) -> list[Media]:
    """The clips that a user gave: one, or several one after the other.

    Raises:
        InputError: something is neither a path nor a sample.
    """
    if isinstance(media, (str, Path, Sample)):
        return [media]
    is_file = hasattr(media, "read")
    if isinstance(media, (bytes, Mapping)) or is_file or not isinstance(media, Iterable):
        raise InputError(f"media: found {_kind(media)}, expected {_EXPECTED}, or a list of them")
    clips: list[Any] = [media] if hasattr(media, "shape") else list(media)
    for number, clip in enumerate(clips, start=1):
        if not isinstance(clip, (str, Path, Sample)):
            raise InputError(f"media, clip {number}: found {_kind(clip)}, expected {_EXPECTED}")
    return clips


def read_clip(
    model: Translator,
    processor: TranslatorProcessor,
    clip: Media,
    frame_rate: float | None = None,
) -> ClipContent:
    """Read what a model is given of a clip.

    Args:
        model: the translator; it limits how long a clip may be.
        processor: of the model.
        clip: a video, a frame folder, sound, or a sample of a corpus.
        frame_rate: pictures per second of a frame folder; None: 25, or what a sample says.

    Raises:
        InputError: the clip cannot be read, or is longer than the model can take in; the rate is
            out of range, or given for what is no frame folder.
    """
    if clip == "":
        raise InputError("found an empty name, expected a video, a folder of frames, or sound")
    where: Clip = clip if isinstance(clip, Sample) else WholeFile(find_path(Path(clip)))
    if where.media.suffix.lower() in TABLE_SUFFIXES and where.media.is_file():
        raise InputError(
            f"{where.media}: is a table, expected a video, a folder of frames, or sound;"
            f" `unglossed translate` reads the clips that it lists as table:{where.media}"
        )
    if frame_rate is not None:
        where = at_frame_rate(where, frame_rate)
    try:
        content, cut = _read(model, processor, where)
    except OSError as error:
        told = error.filename or where.media
        raise InputError(f"{told}: cannot be read: {error.strerror}") from error
    notes = [] if cut is None else [cut]
    if cut is None and processor.trained_seconds is not None:
        lengths = TrainedLengths.from_dict(processor.trained_seconds)
        notes += filter(None, [lengths.told(len(content) / signal_of(processor).units_per_second)])
    empty = emptiness_of(content)
    if empty is not None:
        notes.append(f"nothing is in it to translate: {empty.told}")
    return ClipContent(content, empty, tuple(notes))


def _read(
    model: Translator, processor: TranslatorProcessor, where: Clip
) -> tuple[NDArray[Any], str | None]:
    """The content, and what is told if it was cut."""
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
    seconds, kept = sound_seconds(where), most / signal.units_per_second
    return read[:most], f"{seconds:.1f} seconds, cut to {kept:.1f}"


def _kind(value: object) -> str:
    """What a value is, for a message."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return (
            f"{type(value).__name__} of shape {tuple(shape)} (frames in memory: write them to a"
            " video first)"
        )
    return "an open file" if hasattr(value, "read") else type(value).__name__
