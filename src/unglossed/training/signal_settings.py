"""Settings of a recipe's signal: frames of videos, or audio; arrays: `media/array_settings.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from unglossed.config import WHOLE, Count, Settings, Share

OF_CLIPS = ("video", "audio", "array", "streams", "signal")
"""Settings of a recipe that say how clips are read."""

Pixels = Annotated[int, Field(gt=0, le=4096), WHOLE]


class Augmentation(Settings):
    """Variation of a clip in training; one draw for the whole clip (values of GFSLT-VLP's code)."""

    rotation_degrees: Annotated[float, Field(ge=0, le=360)] = 30.0
    """Largest turn either way, in degrees."""
    resize_fraction: Share = 0.2
    """Largest change of size: 0.2 draws a factor from 0.8 to 1.2."""
    shift_pixels: Annotated[float, Field(ge=0, le=256)] = 10.0
    """Largest shift along each axis, in pixels of a picture 256 wide."""
    probability: Share = 0.5
    """Chance of each of the three above, for each clip."""
    colour: Share = 0.0
    """Largest change of brightness, contrast and tint: 0.3 draws gains from 0.7 to 1.3. Not in the
    papers."""


class VideoSettings(Settings):
    """Which frames of a clip are kept and what becomes of them."""

    frame_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the frames, at 25 a second, that is kept."""
    resize: Pixels = 256
    """Side to which a picture is resized, in pixels."""
    crop: Pixels = 224
    """Side of the square that is cut out of it and read by the encoder, in pixels."""
    augmentation: Augmentation | None = Augmentation()
    max_frames: Count = 300
    """Longest clip, in kept frames; a longer one is cut at its end in training."""

    @model_validator(mode="after")
    def _crop_fits(self) -> VideoSettings:
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


class AudioSettings(Settings):
    """How much of a clip's audio is read (LST: 16 kHz, segments up to 30 s)."""

    audio_rate: Annotated[int, Field(gt=0, le=768_000), WHOLE] = 16000
    """To which audio is resampled, in Hz; the one that the frontend was trained with."""
    max_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """A longer clip is cut at its end, in training and when it is translated."""
