"""Takes something away from the clips of an evaluation, to see what a model does not read.

Hands or face are covered, time is shuffled or stands still, the clip is noise or blank. Clips are
changed after they were read and before the model's processor sees them; nothing is stored. Of poses
the times stay, and points that are missing, but in a blank clip, where all are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.regions import REGIONS, RegionSource
from unglossed.inference.reading import ClipContent
from unglossed.media.augment import generator_for
from unglossed.media.signal import Signal
from unglossed.ranks import Ranks

COVERED = {"hands": ("hands",), "face": ("face",), "both": REGIONS}
"""What is covered by a corruption, of the regions of a picture."""
OF_AUDIO = ("shuffle", "noise", "blank")
OF_ARRAYS = (*OF_AUDIO, "freeze")
CORRUPTIONS = (*COVERED, "shuffle", "noise", "blank", "freeze")
SEED = 0

_FILL = (124, 116, 104)  # the mean of ImageNet: an encoder's input is about 0 there
_PIECE_SECONDS = 0.1


class Corruption:
    """One way to corrupt clips.

    Args:
        name: of `CORRUPTIONS`.
        signal: what the model reads.
        corpus: that the clips are of.
        samples: the clips.
        regions: where hands and face are, see `RegionSource.of`.

    Raises:
        InputError: there is none of this name, it makes no sense for the signal, regions are given
            to what covers none, or see `RegionSource.of`.
    """

    def __init__(
        self,
        name: str,
        signal: Signal,
        corpus: Corpus,
        samples: Sequence[Sample],
        regions: str | Path | None = None,
    ) -> None:
        if name not in CORRUPTIONS:
            raise InputError(f"corrupt: found {name!r}, expected one of {', '.join(CORRUPTIONS)}")
        kinds = {"video": CORRUPTIONS, "audio": OF_AUDIO, "array": OF_ARRAYS}
        allowed = kinds.get(signal.kind, ())
        if name not in allowed:
            raise InputError(
                f"corrupt: found {name!r} for a model that reads {signal.kind}, expected"
                f" {', '.join(allowed) or 'a model that reads video, audio or arrays'}"
            )
        if regions is not None and name not in COVERED:
            told = ", ".join(COVERED)
            raise InputError(f"regions: found them with {name!r}, expected one of {told}")
        self.name = name
        self._signal = signal
        self._source = (
            RegionSource.of(corpus, samples, regions) if name in COVERED else RegionSource({})
        )
        self._kinds: Counter[str] = Counter()
        self._covered: list[float] = []
        self._late = 0

    def apply(self, sample: Sample, read: ClipContent) -> ClipContent:
        """The clip as the model shall see it."""
        return replace(read, content=self.change(sample, read.content))

    def change(self, sample: Sample, content: NDArray[Any]) -> NDArray[Any]:
        """Corrupt frames, samples, poses or features: the same shape and kind.

        Frames are (n, height, width, 3) uint8, samples (n,), poses and features as an
        `ArraySignal` reads them.

        The same clip always becomes the same.
        """
        rng = generator_for(SEED, 0, f"{self.name} {sample.id}")
        if self.name in COVERED:
            return self._cover(sample, content)
        if content.ndim == 1:
            return self._change_audio(content, rng)
        if self._signal.kind == "array":
            return self._change_array(content, rng)
        if self.name == "shuffle":
            return content[rng.permutation(len(content))]
        if self.name == "noise":
            return rng.integers(0, 256, content.shape, np.uint8)
        if self.name == "freeze":
            return _frozen(content)
        return np.full_like(content, _FILL)

    def _cover(self, sample: Sample, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
        names = COVERED[self.name]
        units_per_second = self._signal.units_per_second
        kind, found, late = self._source.find(sample, content, units_per_second, names)
        height, width = content.shape[1:3]
        covered = content.copy()
        mask = np.zeros(content.shape[:3], bool)
        for name in names:
            for number, areas in enumerate(found[name]):
                for left, top, right, bottom in areas:
                    rows = slice(int(top * height), int(np.ceil(bottom * height)))
                    mask[number, rows, int(left * width) : int(np.ceil(right * width))] = True
        covered[mask] = _FILL
        self._kinds[kind] += 1
        self._covered.append(float(mask.mean()))
        self._late += late
        return covered

    def _change_audio(self, content: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        if self.name == "shuffle":
            size = max(1, round(_PIECE_SECONDS * self._signal.units_per_second))
            pieces = np.split(content, range(size, len(content), size))
            return np.concatenate([pieces[index] for index in rng.permutation(len(pieces))])
        if self.name == "noise":
            loudness = float(np.sqrt(np.mean(np.square(content, dtype=np.float64))))
            drawn = loudness * rng.standard_normal(len(content))
            return np.clip(drawn, -1, 1).astype(content.dtype)
        return np.zeros_like(content)

    def _change_array(self, content: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Noise has the mean and the spread of the clip's points, or of each feature."""
        points = content.ndim == 3
        changed = content.copy()
        values = changed[..., :-1] if points else changed  # behind a point's coordinates: seconds
        if self.name == "shuffle":
            values[:] = values[rng.permutation(len(values))]
        elif self.name == "freeze":
            values[:] = _frozen(values)
        elif self.name == "blank":
            values[:] = np.nan if points else 0
        elif np.isfinite(values).any():
            over = (0, 1) if points else 0
            drawn = rng.standard_normal(values.shape, dtype=np.float32)
            noise = np.nanmean(values, over) + np.nanstd(values, over) * drawn
            values[:] = np.where(np.isnan(values), values, noise)
        return changed

    def record(self, ranks: Ranks) -> dict[str, Any]:
        """What was done, for `metrics.json`, over all processes of an evaluation.

        Where something was covered: how the regions of how many clips were known, how many frames
        come after the end of theirs, and the mean share of the picture that was covered.
        """
        told: dict[str, Any] = {"name": self.name, "seed": SEED}
        parts = ranks.all((dict(self._kinds), self._covered, self._late))
        if self.name in COVERED:
            kinds: Counter[str] = Counter()
            for own, *_ in parts:
                kinds.update(own)
            shares = [share for _, own, _ in parts for share in own]
            told["regions"] = dict(sorted(kinds.items()))
            if late := sum(own for *_, own in parts):
                told["frames_without_regions"] = late
            told["covered"] = round(sum(shares) / len(shares), 4) if shares else 0.0
        return told


def _frozen(content: NDArray[Any]) -> NDArray[Any]:
    """The middle of a clip, for all of its time."""
    middle = len(content) // 2
    return np.repeat(content[middle : middle + 1], len(content), axis=0)
