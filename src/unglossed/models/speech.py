"""The speech encoder: a speech frontend of transformers over packed waveforms.

Turns sound into speech features. It knows nothing of text or of files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from unglossed.models.visual import real_positions

SAMPLE_RATE = 16000
"""Samples a second that speech frontends are trained at."""


class SpeechEncoder(nn.Module):
    """Waveforms to speech features (LST, section 3: the speech frontend, its CTC head dropped).

    1. The waveforms of all clips, packed without padding, are laid out as (batch, samples).
    2. The frontend (wav2vec 2.0, HuBERT or WavLM) gives its last hidden layer.
    3. Positions that come from padding are zero, and the mask says so.

    Args:
        config: `frontend`, a transformers configuration as dict.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        frontend_config = frontend_config_from(config["frontend"])
        self.frontend = AutoModel.from_config(frontend_config)
        self.output_dim = int(frontend_config.hidden_size)
        self._layers = list(
            zip(frontend_config.conv_kernel, frontend_config.conv_stride, strict=True)
        )

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of clips.

        Args:
            frames: (sum of lengths,) float32 samples, the clips one after another.
            lengths: (batch,) number of samples of each clip.

        Returns:
            Features (batch, time, dim), zero where padded, and the mask (batch, time).
        """
        lengths = lengths.to(frames.device)
        real = real_positions(lengths)
        padded = frames.new_zeros(real.shape).masked_scatter(real, frames)
        missing = self.input_limit(1) - padded.shape[1]
        if missing > 0:  # too short for the frontend's first position
            padded, real = (nn.functional.pad(one, (0, missing)) for one in (padded, real))
        features = self.frontend(padded, attention_mask=real.long()).last_hidden_state
        mask = real_positions(self.output_lengths(lengths), features.shape[1])
        return features * mask[..., None], mask

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Positions that clips of so many samples have, at least one: (batch,)."""
        for kernel, stride in self._layers:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp(min=1)

    def input_limit(self, positions: int) -> int:
        """Samples that give exactly so many positions."""
        samples = positions
        for kernel, stride in reversed(self._layers):
            samples = (samples - 1) * stride + kernel
        return samples


def normalise_waveform(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sound (samples,) with mean 0 and variance 1, as these frontends were trained on it."""
    scaled: NDArray[np.float32] = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    return scaled.astype(np.float32)


def frontend_config_from(config: dict[str, Any]) -> PreTrainedConfig:
    """Build the transformers configuration of a speech frontend from its dict.

    Raises:
        ValueError: `model_type` names no model that transformers knows, or none over waveforms.
    """
    settings = dict(config)
    built = AutoConfig.for_model(settings.pop("model_type"), **settings)
    if not hasattr(built, "conv_stride"):
        raise ValueError(f"{built.model_type} does not read waveforms")
    return built
