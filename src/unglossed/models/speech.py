"""The speech encoder: a speech frontend of transformers over packed waveforms."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.audio_utils import mel_filter_bank
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from unglossed import hub
from unglossed.models.encoder import Encoder
from unglossed.models.temporal import real_positions
from unglossed.models.visual import one_at_a_time, spare_single_values

SAMPLE_RATE = 16000
"""Samples a second that speech frontends are trained at."""

FRONTENDS = ("hubert", "wav2vec2", "wavlm", "whisper")
"""Model types of the frontends."""

_MEL_WINDOW, _MEL_HOP = 400, 160
"""Samples that a frame of Whisper's spectrogram is made of, and from one frame to the next."""


class SpeechEncoder(Encoder):
    """Waveforms to speech features (LST, section 3: the speech frontend, its CTC head dropped).

    1. Each clip's audio is scaled to mean 0 and variance 1 if the frontend was trained on such, and
       for Whisper turned into a log-mel spectrogram; each for itself, at its own length.
    2. The clips are laid out as (batch, samples) or (batch, frames, bins).
    3. The frontend gives its last hidden layer. One whose result depends on padding, as with group
       normalisation over time in the first layer of wav2vec 2.0 Base, reads one clip at a time.

    Args:
        config: `frontend`, a transformers configuration as dict; `normalise`, whether audio is
            scaled, by default for all but Whisper.
    """

    signal = "audio"

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        settings = frontend_config_from(config["frontend"])
        self.frontend = build_frontend(settings)
        spare_single_values(self.frontend)
        self.output_dim = int(settings.hidden_size)
        self.reads_mel = isinstance(self.frontend, WhisperFrontend)
        self.normalises: bool = config.get("normalise", not self.reads_mel)
        self.max_positions: int | None = None
        if self.reads_mel:
            self.max_positions = settings.max_source_positions
            self._layers = [(2 * _MEL_HOP, 2 * _MEL_HOP)]
        else:
            self._layers = list(zip(settings.conv_kernel, settings.conv_stride, strict=True))
        self._augments = bool(getattr(settings, "apply_spec_augment", False))
        over_time = getattr(settings, "feat_extract_norm", None) == "group"
        self._one_by_one = over_time or getattr(settings, "conv_pos_batch_norm", False)

    @property
    def normalises_single_clips(self) -> bool:
        """Whether a batch normalisation takes one clip after another, each with its statistics."""
        return any(isinstance(module, _BatchNorm) for module in self.modules())

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`; `input_limit` says how long a clip may be."""
        if self._one_by_one and len(lengths) > 1:
            return one_at_a_time(self, frames, lengths)
        clips = [self._prepare(clip) for clip in torch.split(frames, lengths.tolist())]
        padded = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        num_positions = self.output_lengths(lengths.to(frames.device))
        self._spare_short_clips(int(num_positions.max()))
        real = real_positions(torch.tensor([len(clip) for clip in clips], device=frames.device))
        features = self.frontend(padded, attention_mask=real.long()).last_hidden_state
        mask = real_positions(num_positions, features.shape[1])
        return features * mask[..., None], mask

    def _prepare(self, audio: Tensor) -> Tensor:
        """What the frontend reads of (samples,): (samples,), or (frames, bins) for Whisper."""
        if self.normalises:
            audio = normalise_audio(audio)
        least = _least_samples(self._layers, 1)
        if len(audio) < least:  # too short for the frontend's first position
            audio = nn.functional.pad(audio, (0, least - len(audio)))
        return log_mel(audio, self.frontend.num_mel_bins) if self.reads_mel else audio

    def _spare_short_clips(self, positions: int) -> None:
        """Switch SpecAugment off where it would hide more positions in a row than there are."""
        config = self.frontend.config
        if self.training and hasattr(config, "mask_time_length"):
            config.apply_spec_augment = self._augments and positions >= config.mask_time_length

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Positions that clips of so many samples have, at least one: (batch,)."""
        for kernel, stride in self._layers:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp(min=1)

    def input_limit(self, positions: int | None) -> int | None:
        """See `Encoder.input_limit`; Whisper's frontend has a limit of its own."""
        known = [limit for limit in (positions, self.max_positions) if limit is not None]
        return _least_samples(self._layers, min(known) + 1) - 1 if known else None

    @property
    def blocks(self) -> nn.ModuleList:
        """The frontend's Transformer layers."""
        return getattr(self.frontend, "encoder", self.frontend).layers


class WhisperFrontend(WhisperEncoder):
    """Whisper's encoder (arXiv 2212.04356) over clips of their own length.

    transformers' own reads 30 seconds, silence behind shorter clips. Here there is none: positions
    behind a clip's end are not attended to (docs/decisions/0011). On 30 seconds both are the same.
    """

    def forward(
        self, input_features: Tensor, attention_mask: Tensor, **kwargs: Any
    ) -> BaseModelOutput:
        """Log-mel spectrograms (batch, frames, bins) to states (batch, frames / 2, dim).

        An even number of frames each, zero where padded and where the attention mask (batch,
        frames) is 0: then the strided layer carries nothing of the padding into a clip.
        """
        states = nn.functional.gelu(self.conv1(input_features.transpose(1, 2)))
        states = nn.functional.gelu(self.conv2(states)).transpose(1, 2)
        states = states + self.embed_positions.weight[: states.shape[1]]
        states = nn.functional.dropout(states, self.dropout, self.training)
        mask = create_bidirectional_mask(self.config, states, attention_mask[:, ::2])
        for layer in self.layers:
            states = layer(states, mask, **kwargs)
            if isinstance(states, tuple):  # with attention weights, in the first 5.x
                states = states[0]
        return BaseModelOutput(last_hidden_state=self.layer_norm(states))


def normalise_audio(audio: Tensor) -> Tensor:
    """Audio (samples,) with mean 0 and variance 1, as frontends are trained on it; silence is 0."""
    return (audio - audio.mean()) / torch.sqrt(audio.var(correction=0) + 1e-7)


def log_mel(audio: Tensor, num_bins: int) -> Tensor:
    """Whisper's log-mel spectrogram (frames, num_bins) of one clip (arXiv 2212.04356, section 2.2).

    Args:
        audio: (samples,) float32 at 16 kHz, at least two frames' worth. An even number of frames,
            10 ms each, is made of it; what is left over is cut off.
        num_bins: bins of a frame.
    """
    audio = audio[: len(audio) // (2 * _MEL_HOP) * 2 * _MEL_HOP]
    with torch.autocast(audio.device.type, enabled=False):
        window = torch.hann_window(_MEL_WINDOW, device=audio.device)
        spectrum = torch.stft(audio, _MEL_WINDOW, _MEL_HOP, window=window, return_complex=True)
        power = spectrum[:, :-1].abs().square().contiguous()
        log = (_mel_filters(num_bins).to(audio.device) @ power).clamp(min=1e-10).log10()
        return ((torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0).T


@cache
def _mel_filters(num_bins: int) -> Tensor:
    """(num_bins, frequencies), as Whisper's feature extractor has them."""
    filters = mel_filter_bank(
        num_frequency_bins=_MEL_WINDOW // 2 + 1,
        num_mel_filters=num_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T.astype("float32"))


def _least_samples(layers: list[tuple[int, int]], positions: int) -> int:
    """Fewest samples from which layers of (kernel, stride) make so many positions."""
    for kernel, stride in reversed(layers):
        positions = (positions - 1) * stride + kernel
    return positions


def build_frontend(config: PreTrainedConfig) -> PreTrainedModel:
    """A frontend with random weights."""
    if config.model_type == "whisper":
        return WhisperFrontend(config)
    model: PreTrainedModel = hub.build(AutoModel, config)
    return model


def frontend_config_from(config: dict[str, Any]) -> PreTrainedConfig:
    """Build the transformers configuration of a speech frontend from its dict.

    Raises:
        ValueError: `model_type` is none of `FRONTENDS`, or the frontend has an adapter of its own.
    """
    settings = dict(config)
    kind = settings.pop("model_type", None)
    if kind not in FRONTENDS:
        raise ValueError(f"found the type {kind!r}, expected one of {', '.join(FRONTENDS)}")
    built = AutoConfig.for_model(kind, **settings)
    if getattr(built, "add_adapter", False):
        raise ValueError("found add_adapter, expected none: the adapter is a part of its own")
    return built
