"""What a recipe says of arrays, what a file tells of its own, and whether the two agree.

No file is opened here; `array_files` reads them, `array_signal` gives a model their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from unglossed.config import AS_LIST, WHOLE, Settings, Share
from unglossed.media.pose_augment import PoseAugmentation, Rate
from unglossed.media.skeletons import SKELETONS, Skeleton

CONFIDENCE = "confidence"
"""Channel that says how sure a point is; 0: it is missing."""
UNITS = ("pixels", "shares", "other")
"""Of coordinates; shares are those of the picture's width and height."""
_POSE_KEYS = ("channels", "depth", "units", "aspect_ratio", "zeros", "min_confidence")


@dataclass(frozen=True)
class Told:
    """What a file tells of its array; None: it does not.

    Attributes:
        rate: Rows a second.
        channels: Names, such as x, y and confidence.
        points: Names.
        units: One of `UNITS`.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
    """

    rate: float | None = None
    channels: tuple[str, ...] | None = None
    points: tuple[str, ...] | None = None
    units: str | None = None
    width: float | None = None
    height: float | None = None


class ArraySettings(Settings):
    """What arrays hold, and how they are read: poses with a `skeleton`, or features with a `dim`.

    What a file tells of itself has to agree.
    """

    dim: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    """Width of features (time, dim)."""
    skeleton: Skeleton | str | None = None
    """Points of poses (time, points, channels): openpose, mediapipe, coco_wholebody, generated, or
    points, groups, edges, mirrored and shoulders of one of your own."""
    channels: Annotated[tuple[Literal["x", "y", "z", "confidence"], ...], AS_LIST] | None = None
    """Of each point, in the order of files that do not tell. None: x, y where there are two."""
    depth: bool = False
    """Read z beside x and y."""
    units: Literal["pixels", "shares", "other"] | None = None
    """Of coordinates; shares are those of the picture's width and height. None: as the file tells,
    else pixels."""
    aspect_ratio: Annotated[float, Field(ge=0.1, le=10)] | None = None
    """Width of the picture over its height, for shares in files that do not tell it."""
    zeros: Literal["missing", "values"] | None = None
    """What a point at exactly 0, 0 is, where there is no confidence. None: none is expected."""
    min_confidence: Share = 0.0
    """A point that is not surer than this is missing."""
    rate: Rate = 25.0
    """Rows a second that the model reads; those of the file nearest in time are taken."""
    max_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """A longer clip is cut at its end, in training and when it is translated."""
    augmentation: PoseAugmentation | None = None
    """Of poses."""

    @model_validator(mode="after")
    def _one_kind(self) -> ArraySettings:
        if (self.dim is None) == (self.skeleton is None):
            found = "neither" if self.dim is None else "both"
            raise ValueError(
                f"found {found} of dim and skeleton, expected dim for features (time, dim) or"
                " skeleton for poses (time, points, channels)"
            )
        if self.dim is not None:
            for key in (*_POSE_KEYS, "augmentation"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is for poses, which have a skeleton")
        elif isinstance(self.skeleton, str) and self.skeleton not in SKELETONS:
            known = ", ".join(SKELETONS)
            raise ValueError(f"skeleton: found {self.skeleton!r}, expected one of {known}")
        if self.channels is not None:
            wanted = {"x", "y", *(["z"] if self.depth else [])}
            if not wanted <= set(self.channels) or len(set(self.channels)) < len(self.channels):
                needed = ", ".join(sorted(wanted))
                raise ValueError(
                    f"channels: found {', '.join(self.channels)}, expected {needed} among them,"
                    " each once"
                )
        return self

    @cached_property
    def points(self) -> Skeleton | None:
        """The skeleton itself; None: features."""
        return SKELETONS[self.skeleton] if isinstance(self.skeleton, str) else self.skeleton

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Channels that are read of each point."""
        return ("x", "y", "z") if self.depth else ("x", "y")

    def channels_of(self, shape: Sequence[int], told: Told) -> tuple[str, ...] | None:
        """Names of a file's channels; None: they are not known."""
        if told.channels is not None:
            return told.channels
        return self.channels or (("x", "y") if shape[2] == 2 else None)

    def fault(self, shape: tuple[int, ...], told: Told) -> str | None:
        """Why an array of this shape is not as expected; None: it is."""
        if self.points is None:
            if len(shape) != 2:
                return f"found an array {shape}, expected features (time, {self.dim})"
            if shape[1] != self.dim:
                turned = ", the axes seem to be exchanged" if shape[0] == self.dim else ""
                return f"found an array {shape}, expected (time, {self.dim}){turned}"
            return None
        return self._fault_of_points(self.points, shape, told)

    def _fault_of_points(
        self, skeleton: Skeleton, shape: tuple[int, ...], told: Told
    ) -> str | None:
        count = len(skeleton.points)
        if len(shape) != 3:
            return f"found an array {shape}, expected poses (time, {count} points, channels)"
        if told.points is not None:
            lacking = [name for name in skeleton.used if name not in told.points]
            if lacking:
                named = f" {self.skeleton}" if isinstance(self.skeleton, str) else ""
                return (
                    f"found another skeleton, without {len(lacking)} of the {len(skeleton.used)}"
                    f" points of{named} that are read ({lacking[0]!r}, ...), expected"
                    " array.skeleton to be that of the files"
                )
        elif shape[1] != count:
            turned = ", the axes seem to be exchanged" if count in (shape[0], shape[2]) else ""
            return f"found an array {shape}, expected (time, {count} points, channels){turned}"
        channels = self.channels_of(shape, told)
        if channels is None:
            return (
                f"found {shape[2]} channels without names, expected array.channels to name them,"
                " such as [x, y, confidence] or [x, y, z]"
            )
        if len(channels) != shape[2]:
            return f"found {shape[2]} channels, expected {', '.join(channels)}"
        if lacking := [name for name in self.coordinates if name not in channels]:
            return f"found the channels {', '.join(channels)}, expected {lacking[0]} among them"
        if None not in (told.units, self.units) and told.units != self.units:
            return f"found coordinates in {told.units}, expected {self.units}, as array.units says"
        if self.units_of(told) == "shares" and self.aspect_of(told) is None:
            return (
                "found shares of a picture of unknown proportions, expected array.aspect_ratio,"
                " its width over its height"
            )
        return None

    def units_of(self, told: Told) -> str:
        """Units of a file's coordinates."""
        return self.units or told.units or "pixels"

    def aspect_of(self, told: Told) -> float | None:
        """Width over height of a file's pictures."""
        if told.width is not None and told.height is not None:
            return told.width / told.height
        return self.aspect_ratio
