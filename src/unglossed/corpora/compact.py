"""Samples of which a million take little memory, however many processes look at them.

A process that reads clips shares the samples of the one that started it until it looks at one: that
changes the count of who uses it, and with it a page of memory that is then the process's own. Here
all samples are bytes in one piece, and one is made of them anew each time that it is asked for.
"""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import overload

from unglossed.corpora.sample import Sample

_NAMES = [field.name for field in fields(Sample)]
_PATHS = [_NAMES.index(name) for name in ("media", "array")]
_VALUES = attrgetter(*_NAMES)


class CompactSamples(Sequence[Sample]):
    """Samples, kept as bytes; those that are given out equal those that were given."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._bytes = bytearray()
        self._ends = array("Q", [0])
        for sample in samples:
            values = list(_VALUES(sample))
            for place in _PATHS:  # in bytes a path is several times its text
                values[place] = values[place] and str(values[place])
            self._bytes += pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
            self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        with memoryview(self._bytes) as held:
            values = pickle.loads(held[self._ends[number] : self._ends[number + 1]])
        for place in _PATHS:
            values[place] = values[place] and Path(values[place])
        return Sample(*values)
