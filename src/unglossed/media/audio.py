"""Read audio of a file, or a part of it, as one channel at the rate that a model wants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.containers import open_container, origin_seconds, pick_audio, reason

AUDIO_SUFFIXES = frozenset(".wav .flac .mp3 .ogg .oga .opus .m4a .aac .wma .aif .aiff .mka".split())
"""Endings of files that are taken for audio when a folder is listed, in lower case."""

# Audio decoded before the part wanted: codecs need some to be right, and resampling a little.
_WARM_UP_SECONDS = 0.1
_STEPS_BACK = (1.0, 10.0)
# Program streams stamp one packet in many: after a seek FFmpeg guesses, and begins within a frame.
_NOT_SEEKABLE = "mpeg"
# Stamps are rounded, to milliseconds in Matroska; a hole is longer than that and filled with
# silence, so that what follows keeps its time. A leap of a minute is a fault of the stamps.
_HOLE_SECONDS = (0.05, 60.0)
# Of a spectrogram: how many pieces of which size, and the range from loudest to black.
_PICTURE_PIECES, _PICTURE_SIZE, _PICTURE_DECIBELS = 8, (60, 90), 60

_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_U8_ZERO = 128
# ITU-R BS.775, as FFmpeg has it: the centre, where the speech is, counts most, the bass nothing.
_CENTRE = "FC"
_WEIGHTS = {_CENTRE: 1.0, "FL": math.sqrt(0.5), "FR": math.sqrt(0.5), "LFE": 0.0, "LFE2": 0.0}
_OTHER_WEIGHT = 0.5
# Of what the channels hold, this much is left where they cancel: channels that have nothing in
# common keep one part in as many as there are, which is 1/8 in the largest cinema.
_CANCELLED = 0.05
_HEARD = 0.1  # of the power of the loudest
_BLOCK = 1 << 20  # samples at a time

Audio = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Channels:
    """Audio as it was decoded.

    Attributes:
        samples: (channels, n) in the decoder's own format.
        names: Names of the channels, such as FL, FR.
    """

    samples: NDArray[Any]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.samples.shape[1])

    @property
    def is_finite(self) -> bool:
        """Whether all samples are numbers."""
        return self.samples.dtype.kind != "f" or bool(np.isfinite(self.samples).all())

    def cut(self, begin: int) -> Channels:
        """The samples from `begin` on."""
        return Channels(self.samples[:, begin:], self.names)

    def silence(self, length: int) -> Channels:
        """Silence of the same format."""
        zero = _U8_ZERO if self.samples.dtype.kind == "u" else 0
        shape = len(self.names), length
        return Channels(np.full(shape, zero, self.samples.dtype), self.names)


def read_channels(frame: av.AudioFrame) -> Channels:
    """Take a decoded frame's samples."""
    names = tuple(channel.name for channel in frame.layout.channels)
    dtype = np.dtype(_DTYPES[frame.format.packed.name])
    planes = frame.planes
    if not frame.format.is_planar:
        samples = np.frombuffer(planes[0], dtype, frame.samples * len(names))
        return Channels(samples.reshape(-1, len(names)).T.copy(), names)
    # One by one, as many as the layout says: PyAV 18.1's `to_ndarray` has ended the process.
    rows = [np.frombuffer(planes[place], dtype, frame.samples) for place in range(len(names))]
    return Channels(np.stack(rows), names)


def _signs(pieces: Iterable[Channels]) -> NDArray[np.float64] | None:
    """Factor for each channel so that they do not cancel in their mean; None: they do not.

    Where the channels change on the way, the last ones count.
    """
    names: tuple[str, ...] = ()
    products, sums, count = np.zeros((0, 0)), np.zeros(0), 0
    for piece in pieces:
        if piece.names != names:
            names, num = piece.names, len(piece.names)
            products, sums, count = np.zeros((num, num)), np.zeros(num), 0
        for block in _blocks(piece.samples):
            values = _scaled(block.astype(np.float64), block.dtype)
            products += values @ values.T
            sums += values.sum(axis=1)
            count += values.shape[1]
    if len(names) < 2 or not count:
        return None
    mean = sums / count
    covariance = products / count - np.outer(mean, mean)
    weights = _weights(names)
    power = weights * covariance.diagonal()
    if weights @ covariance @ weights >= _CANCELLED * power.sum():
        return None
    # The first that is heard, not the loudest: in another part that might be another.
    first = int(np.argmax(power >= _HEARD * power.max()))
    return np.where(covariance[first] < 0, -1.0, 1.0)


def mix(pieces: Sequence[Channels]) -> Audio:
    """Make one channel of pieces that follow each other: (n,) in -1..1.

    Whether channels cancel is decided on all pieces together, that is on what is read.
    """
    mixed = []
    for _, run in groupby(pieces, lambda piece: (piece.names, piece.samples.dtype)):
        alike = list(run)
        signs = _signs(alike)
        mixed += [_mix(piece, signs) for piece in alike]
    return np.concatenate(mixed) if mixed else np.zeros(0, np.float32)


def _mix(channels: Channels, signs: NDArray[np.float64] | None) -> Audio:
    samples, dtype = channels.samples, channels.samples.dtype
    mixed = np.empty(samples.shape[1], np.float32)
    place = 0
    for block in _blocks(samples):
        if signs is None and _CENTRE not in channels.names:
            one = _scaled(block.mean(axis=0, dtype=np.float64).astype(np.float32), dtype)
        else:
            weights = _weights(channels.names) * (1.0 if signs is None else signs)
            one = (weights @ _scaled(block.astype(np.float64), dtype)).astype(np.float32)
        mixed[place : place + len(one)] = one
        place += len(one)
    return mixed


def _weights(names: tuple[str, ...]) -> NDArray[np.float64]:
    """Share of each channel in the mix; they add up to 1."""
    parts = np.ones(len(names))
    if len(names) > 1 and _CENTRE in names:
        parts = np.array([_WEIGHTS.get(name, _OTHER_WEIGHT) for name in names])
    return parts / parts.sum()


def _scaled(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values of a sample format in -1..1."""
    one = values.dtype.type
    if dtype.kind == "u":
        return values / one(_U8_ZERO) - one(1)
    if dtype.kind == "i":
        return values / -one(np.iinfo(dtype).min)
    return values


def _blocks(samples: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for begin in range(0, samples.shape[1], _BLOCK):
        yield samples[:, begin : begin + _BLOCK]


def read_audio(
    path: Path,
    rate: int = 16000,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Audio:
    """Read audio, or a part of it, as one channel: the mean of all.

    Cinema channels are weighted as players do, and where channels cancel each other in what is
    read, those against the first are inverted. A part has the samples that the whole has there: it
    is cut on the grid of `rate` that begins with the file, exactly where the container counts
    samples (wav, flac, mp3, mp4), else to about a millisecond.

    Args:
        path: An audio file, or a video with audio.
        rate: Samples per second wanted.
        start_seconds: Begin of the part; None begins with the file.
        end_seconds: Its end, may lie past the end of the audio; None ends with it.

    Returns:
        (n,) float32 in -1..1.

    Raises:
        InputError: Nothing is there, the file is empty, damaged or truncated, has no audio, or the
            part holds none.
    """
    start = max(start_seconds or 0.0, 0.0)
    first = round(start * rate)
    last = None if end_seconds is None else max(round(end_seconds * rate), first)
    source = _source_rate(path)
    # Every so many samples one of the source falls together with one of the result.
    common = math.gcd(source, rate)
    offset = max(0, math.floor((start - _WARM_UP_SECONDS) * common))
    end = None if last is None else math.ceil((last / rate + _WARM_UP_SECONDS) * source)
    audio = np.zeros(0, np.float32)
    if last is None or last > first:
        audio = _decode(path, source, offset * (source // common), end)
        audio = _resample(audio, source, rate)
    begin = first - offset * (rate // common)
    part = audio[begin : None if last is None else begin + last - first]
    if not len(part):
        end_told = "its end" if end_seconds is None else f"{end_seconds:g} seconds"
        raise InputError(
            f"{path}: no audio between {start:g} seconds and {end_told}: the file is"
            f" {audio_seconds(path):.2f} seconds long"
        )
    return part


def audio_seconds(path: Path) -> float:
    """Length of a file's audio, found by decoding it to the end."""
    return examine_audio(path)[0]


def examine_audio(path: Path) -> tuple[float, bool]:
    """Decode a file's audio to the end: its length in seconds, and whether its channels cancel."""
    source, end = _source_rate(path), 0

    def pieces() -> Iterator[Channels]:
        nonlocal end
        for place, piece in _place_pieces(path, source, None):
            end = place + len(piece)
            yield piece

    signs = _signs(pieces())
    return end / source, signs is not None


def draw_audio(audio: Audio, rate: int) -> list[NDArray[np.uint8]]:
    """Draw a spectrogram as eight pictures (height, width, 3) RGB of equal time, loud is light.

    Time runs to the right, frequency up to half the rate.
    """
    window, hop = max(rate // 40, 2), max(rate // 100, 1)
    padded = np.pad(audio, (0, window - 1))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(views * np.hanning(window))) ** 2
    level = 10 * np.log10(np.maximum(power, 1e-10))
    shade = np.clip(1 + (level - level.max()) / _PICTURE_DECIBELS, 0, 1)
    width, height = _PICTURE_PIECES * _PICTURE_SIZE[0], _PICTURE_SIZE[1]
    picture = cv2.resize(shade.T[::-1].astype(np.float32), (width, height))
    colours = cv2.applyColorMap((255 * picture).astype(np.uint8), cv2.COLORMAP_MAGMA)
    return np.split(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), _PICTURE_PIECES, axis=1)


def _source_rate(path: Path) -> int:
    with open_container(path, "audio") as container:
        return int(pick_audio(path, container).codec_context.sample_rate)


def _decode(path: Path, source: int, begin: int, end: int | None) -> Audio:
    """Decode source samples `begin` to `end`: one channel, at the source's rate."""
    for back in _STEPS_BACK:
        seconds = begin / source - back
        if seconds <= 0:
            break
        audio = _collect(path, source, begin, end, seconds)
        if audio is not None:
            return audio
    audio = _collect(path, source, begin, end, None)
    return np.zeros(0, np.float32) if audio is None else audio


def _collect(
    path: Path, source: int, begin: int, end: int | None, seconds: float | None
) -> Audio | None:
    """Gather samples after a seek to `seconds`; None if the seek missed."""
    pieces: list[Channels] = []
    expected = begin
    try:
        for place, piece in _place_pieces(path, source, seconds):
            if not pieces and place > begin and seconds is not None:
                return None
            if place > expected:
                pieces.append(piece.silence(place - expected))
            piece = piece.cut(max(expected - place, 0))
            if len(piece):
                pieces.append(piece)
                expected = max(expected, place) + len(piece)
            if end is not None and expected >= end:
                break
    except InputError:
        if seconds is None:
            raise
        return None  # what looks like damage may come from a seek into the middle of a frame
    if not pieces:
        return None
    return mix(pieces)[: None if end is None else end - begin]


def _place_pieces(path: Path, source: int, seconds: float | None) -> Iterator[tuple[int, Channels]]:
    """Decode from the file's begin, or from a seek on; yield each piece with its first sample."""
    place: int | None = None
    with open_container(path, "audio") as container:
        stream = pick_audio(path, container)
        base = stream.time_base
        # It counts its samples without fail; other formats may have holes and err in their length.
        strict = container.format.name == "flac"
        origin = origin_seconds(container)
        try:
            if container.format.name == _NOT_SEEKABLE:
                seconds = None
            if seconds is not None:
                container.seek(int((origin + seconds) / base), stream=stream)
            for frame in container.decode(stream):
                if frame.is_corrupt or frame.sample_rate != source:
                    raise _damaged(path, (place or 0) / source)
                told = None
                if frame.pts is not None:
                    told = round((float(frame.pts * base) - origin) * source)
                if place is None:
                    if told is None and seconds is not None:
                        continue
                    place = told or 0
                elif told is not None:
                    hole = (told - place) / source
                    if strict and hole:
                        raise _damaged(path, place / source)
                    if _HOLE_SECONDS[0] < hole < _HOLE_SECONDS[1]:
                        place = told
                piece = read_channels(frame)
                if not piece.is_finite:
                    raise _damaged(path, place / source, "found samples that are NaN or infinite")
                yield place, piece
                place += len(piece)
        except av.error.FFmpegError as error:
            raise _damaged(path, (place or 0) / source, error) from error
        declared = round(float((stream.duration or 0) * base) * source)
        if strict and (place or 0) < declared:
            raise InputError(
                f"{path}: the audio ends after {(place or 0) / source:.2f} seconds, "
                f"expected {declared / source:.2f} as its header says: the file is truncated"
            )


def _resample(audio: Audio, source: int, rate: int) -> Audio:
    if source != rate and len(audio):
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        pieces = []
        for begin in range(0, len(audio), _BLOCK):
            block = audio[None, begin : begin + _BLOCK]
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate = source
            frame.pts = begin
            pieces += resampler.resample(frame)
        pieces += resampler.resample(None)
        audio = np.concatenate([piece.to_ndarray()[0] for piece in pieces])
    return np.clip(audio, -1.0, 1.0)


def _damaged(path: Path, seconds: float, why: Exception | str = "") -> InputError:
    detail = f": {reason(why) if isinstance(why, Exception) else why}" if why else ""
    return InputError(f"{path}: the audio is damaged at {seconds:.2f} seconds{detail}")
