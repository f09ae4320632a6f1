"""Several channels of sound made one, so that nothing which is said in them is lost.

Channels alike count alike; those of a cinema count as players mix them, see `_WEIGHTS`. Where
channels cancel each other, as from a cable that was wired wrongly, one is turned over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

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
_BLOCK = 1 << 20

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Channels:
    """Sound as it was decoded.

    Attributes:
        samples: (channels, n) in the decoder's own format.
        names: What the channels are, such as FL, FR: one layout for each number of them.
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
        """What follows the first `begin` samples."""
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


class Balance:
    """Finds out whether the channels of sound cancel each other in their mean."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._products: NDArray[np.float64] = np.zeros((0, 0))
        self._sums: NDArray[np.float64] = np.zeros(0)
        self._num_samples = 0

    def add(self, channels: Channels) -> None:
        """Take in a stretch of sound; one of other channels begins anew."""
        if channels.names != self._names:
            self._names, count = channels.names, len(channels.names)
            self._products, self._sums = np.zeros((count, count)), np.zeros(count)
            self._num_samples = 0
        for block in _blocks(channels.samples):
            values = _scaled(block.astype(np.float64), block.dtype)
            self._products += values @ values.T
            self._sums += values.sum(axis=1)
            self._num_samples += values.shape[1]

    @property
    def signs(self) -> NDArray[np.float64] | None:
        """By what to multiply each channel so that they do not cancel; None: they do not."""
        if len(self._names) < 2 or not self._num_samples:
            return None
        mean = self._sums / self._num_samples
        covariance = self._products / self._num_samples - np.outer(mean, mean)
        weights = _weights(self._names)
        power = weights * covariance.diagonal()
        if weights @ covariance @ weights >= _CANCELLED * power.sum():
            return None
        # The first that is heard, not the loudest: in another part that might be another.
        first = int(np.argmax(power >= _HEARD * power.max()))
        return np.where(covariance[first] < 0, -1.0, 1.0)


def mix(pieces: Sequence[Channels]) -> Sound:
    """Make one channel of pieces that follow each other: (n,) in -1..1.

    Whether channels cancel is told from all pieces together, and so from what is read.
    """
    mixed = []
    for _, run in groupby(pieces, lambda piece: (piece.names, piece.samples.dtype)):
        alike = list(run)
        balance = Balance()
        for piece in alike:
            balance.add(piece)
        mixed += [_mix(piece, balance.signs) for piece in alike]
    return np.concatenate(mixed) if mixed else np.zeros(0, np.float32)


def _mix(channels: Channels, signs: NDArray[np.float64] | None) -> Sound:
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
    """What part of the mix each channel is; they add up to 1."""
    parts = np.ones(len(names))
    if len(names) > 1 and _CENTRE in names:
        parts = np.array([_WEIGHTS.get(name, _OTHER_WEIGHT) for name in names])
    return parts / parts.sum()


def _scaled(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values of a format, as they are or computed from such, in -1..1."""
    one = values.dtype.type
    if dtype.kind == "u":
        return values / one(_U8_ZERO) - one(1)
    if dtype.kind == "i":
        return values / -one(np.iinfo(dtype).min)
    return values


def _blocks(samples: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for begin in range(0, samples.shape[1], _BLOCK):
        yield samples[:, begin : begin + _BLOCK]
