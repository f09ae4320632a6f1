"""The encoder of two streams: one of video and one of arrays, joined sign by sign.

Either stream may be missing from a clip; a vector that is learnt stands for it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from unglossed.config import FieldError
from unglossed.media.two_streams import ARRAY, HEADER, STREAMS, VIDEO
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.temporal import real_positions
from unglossed.ranks import here


class Unpacked(NamedTuple):
    """The streams of a packed clip: its length in kept frames, and for each stream its rows."""

    units: int
    video: Tensor
    array: Tensor


def unpack(frames: Tensor, lengths: Tensor) -> list[Unpacked]:
    """What `TwoStreams.packed` made of clips, as views of their bytes.

    Args:
        frames: (sum of lengths,) uint8.
        lengths: (batch,) bytes of each clip.

    Returns:
        For each clip its frames (time, height, width, 3) uint8 and its array (time, ...) float32;
        of what is missing the time is 0.
    """
    clips = torch.split(frames, lengths.tolist())
    headers = torch.stack([clip[: HEADER * 8].view(torch.int64) for clip in clips]).tolist()
    found = []
    for clip, (units, time, height, width, *sizes) in zip(clips, headers, strict=True):
        shape = sizes[: 3 if sizes[2] else 2]
        num_bytes = time * height * width * 3
        begin = HEADER * 8 + num_bytes + -num_bytes % 4
        video = clip[HEADER * 8 :][:num_bytes].view(time, height, width, 3)
        array = clip[begin:][: 4 * math.prod(shape)].view(torch.float32).view(shape)
        found.append(Unpacked(units, video, array))
    return found


class TwoStreamEncoder(Encoder):
    """Video and arrays of a clip to features of signs.

    1. Each stream has an encoder of its own, with its own temporal module. It is given the clips of
       the batch that have the stream.
    2. The array's positions are brought to the number of the video's, clip by clip: both streams
       last as long as the clip, and a step of the video takes the mean of the positions that share
       its time, by how much of it they share. As many positions stay as they are.
    3. The features of both stand side by side, the video's first. Where a clip lacks a stream, a
       vector that is learnt stands at each of its steps.

    A clip without video has as many steps as its frames would have.

    Args:
        config: `video` and `array`, each the configuration of an encoder.
    """

    signal = "streams"
    defaults: ClassVar[Mapping[str, Any]] = {VIDEO: None, ARRAY: None}

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        for name in STREAMS:
            if not isinstance(config.get(name), dict):
                raise FieldError(name, f"found {config.get(name)!r}, expected an encoder's config")
        self.video, self.array = (build_encoder(config[name]) for name in STREAMS)
        for name in STREAMS:
            found = getattr(self, name).signal
            if found != name:
                raise FieldError(name, f"found an encoder of {found}, expected one of {name}")
        self.widths = [self.video.output_dim, self.array.output_dim]
        self.output_dim = sum(self.widths)
        self.missing = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(width)) for name, width in self._named_widths()}
        )

    def _named_widths(self) -> list[tuple[str, int]]:
        return list(zip(STREAMS, self.widths, strict=True))

    def with_video(self, video: Encoder) -> TwoStreamEncoder:
        """The same with another encoder of video, such as a fast form; the rest is shared."""
        changed = copy.copy(self)
        changed._modules = {**self._modules, VIDEO: video}
        return changed

    def misfit(self, processor: Any) -> str | None:
        """See `Encoder.misfit`."""
        return self.array.misfit(processor)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`; frames are (sum of lengths,) bytes, see `unpack`."""
        clips = unpack(frames, lengths)
        units = torch.tensor([clip.units for clip in clips], device=frames.device)
        steps = self.video.output_lengths(units)
        mask = real_positions(steps)
        joined = [
            self._stream(self.video, VIDEO, [clip.video for clip in clips], steps, mask),
            self._stream(self.array, ARRAY, [clip.array for clip in clips], steps, mask),
        ]
        return torch.cat([one.to(joined[0].dtype) for one in joined], -1) * mask[..., None], mask

    def _stream(
        self, encoder: Encoder, name: str, clips: Sequence[Tensor], steps: Tensor, mask: Tensor
    ) -> Tensor:
        """Features (batch, steps, dim) of one stream, also where it is missing."""
        absent = self.missing[name].expand(*mask.shape, -1)
        there = [number for number, clip in enumerate(clips) if len(clip)]
        if not there:
            return absent + self._kept_in_step(encoder, clips[0])
        rows = torch.cat([clips[number] for number in there])
        num_rows = torch.tensor([len(clips[number]) for number in there], device=rows.device)
        features, real = encoder(rows, num_rows)
        places = torch.tensor(there, device=rows.device)
        features = resample(features, real.sum(1), steps[places], mask.shape[1])
        if len(there) == len(clips):
            return features
        return absent.to(features.dtype).index_copy(0, places, features)

    def _kept_in_step(self, encoder: Encoder, clip: Tensor) -> Tensor | float:
        """0, for which this process computes what others do that train with it.

        They wait for each other in each batch normalisation; what is computed here counts nowhere.
        """
        ranks = here()
        if ranks.count == 1 or not (encoder.training and torch.is_grad_enabled()):
            return 0.0
        idle, ranks.idle = ranks.idle, True
        try:
            nothing = clip.new_zeros((1, *clip.shape[1:]))
            features, _ = encoder(nothing, torch.tensor([1], device=clip.device))
        finally:
            ranks.idle = idle
        return features.sum() * 0.0

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """See `Encoder.output_lengths`, of lengths in kept frames."""
        return self.video.output_lengths(lengths)

    def input_limit(self, positions: int | None) -> int | None:
        """See `Encoder.input_limit`, in kept frames."""
        return self.video.input_limit(positions)


def resample(features: Tensor, lengths: Tensor, steps: Tensor, time: int) -> Tensor:
    """Bring positions of clips to other numbers of steps over the same time.

    Args:
        features: (batch, positions, dim).
        lengths: (batch,) real positions, at least 1; what is behind them does not count.
        steps: (batch,) wanted.
        time: padded number of steps.

    Returns:
        (batch, time, dim): at each step the mean of the positions that overlap it, weighted by the
        overlap; 0 behind a clip's last step.
    """
    if features.shape[1] == time and torch.equal(lengths, steps):
        return features
    device = features.device
    # Step i of n and position j of m lie between i m and (i + 1) m, j n and (j + 1) n: whole
    # numbers, so that what only touches shares nothing.
    counts, wanted = lengths[:, None, None], steps[:, None, None]
    step = torch.arange(time, device=device)[:, None]
    place = torch.arange(features.shape[1], device=device)[None]
    end = torch.minimum((step + 1) * counts, (place + 1) * wanted)
    shared = (end - torch.maximum(step * counts, place * wanted)).clamp(min=0)
    weights = shared * (step < wanted) * (place < counts)  # (batch, time, positions)
    return (weights / counts).to(features.dtype) @ features
