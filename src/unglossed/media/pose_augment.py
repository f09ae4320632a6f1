"""What training varies in a pose: the side, size, turn, noise, hands and frames, and the rate.

Every draw comes from the clip's own generator, see `generator_for`; all numbers are drawn whether
used or not, so that one change never shifts another's draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from unglossed.config import AS_LIST, Settings, Share
from unglossed.media.skeletons import HANDS, Skeleton

Rate = Annotated[float, Field(ge=0.1, le=1000)]


class PoseAugmentation(Settings):
    """Variation of a pose in training; one draw for the whole clip."""

    mirror: Share = 0.0
    """Chance that left and right change places, points and hands with them."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest turn either way in the picture's plane, in degrees."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Largest change of each of width and height: 0.2 draws a factor from 0.8 to 1.2."""
    noise: Share = 0.0
    """Standard deviation of what is added to each coordinate, in widths of the shoulders."""
    drop_hand: Share = 0.0
    """Chance that one of the hands is missing for the whole clip."""
    drop_frames: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the frames that is left out."""
    rates: Annotated[tuple[Rate, Rate], AS_LIST] | None = None
    """Rows a second between which a clip's rate is drawn: [25, 50]. None: always `rate`."""

    @model_validator(mode="after")
    def _rates_rise(self) -> PoseAugmentation:
        if self.rates is not None and self.rates[0] > self.rates[1]:
            raise ValueError(f"rates: found {list(self.rates)}, expected the lower one first")
        return self


@dataclass(frozen=True)
class Variation:
    """What was drawn for one clip."""

    settings: PoseAugmentation
    rate: float | None
    mirrored: bool
    matrix: NDArray[np.float64]
    hand: str | None
    generator: np.random.Generator

    @classmethod
    def draw(cls, settings: PoseAugmentation, generator: np.random.Generator) -> Variation:
        """Draw from a clip's generator."""
        amounts = generator.uniform(-1.0, 1.0, 4)
        chances = generator.random(2)
        side = int(generator.integers(2))
        angle = np.deg2rad(settings.rotation_degrees * amounts[0])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rate = None
        if settings.rates is not None:
            low, high = settings.rates
            rate = low + (high - low) * (amounts[3] + 1) / 2
        return cls(
            settings=settings,
            rate=rate,
            mirrored=bool(chances[0] < settings.mirror),
            matrix=turn @ np.diag(1 + settings.scale * amounts[1:3]),
            hand=HANDS[side] if chances[1] < settings.drop_hand else None,
            generator=generator,
        )

    def keep(self, count: int) -> NDArray[np.int64]:
        """Which of so many frames are kept, rising; at least one."""
        values = self.generator.random(count)
        dropped = min(round(self.settings.drop_frames * count), count - 1)
        kept = np.sort(np.argsort(values)[dropped:])
        return np.asarray(kept, np.int64)

    def apply(self, points: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.float32]:
        """Vary points (time, points, channels), NaN where missing, x and y the first channels."""
        changed = points.astype(np.float64)
        if self.mirrored:
            changed = changed[:, skeleton.mirror_order]
            changed[..., 0] *= -1
        changed[..., :2] = changed[..., :2] @ self.matrix.T
        noise = self.generator.standard_normal(changed.shape)
        width = shoulder_width(changed, skeleton)
        changed += self.settings.noise * width * noise
        if self.hand in skeleton.groups:
            changed[:, skeleton.group_indices[str(self.hand)]] = np.nan
        return changed.astype(np.float32)


def shoulder_width(points: NDArray[Any], skeleton: Skeleton) -> float:
    """Median distance of the shoulders over a clip's frames; 0 where they are in none together."""
    one, other = skeleton.shoulder_indices
    distances = np.linalg.norm(points[:, one, :2] - points[:, other, :2], axis=-1)
    known = distances[np.isfinite(distances)]
    return float(np.median(known)) if len(known) else 0.0
