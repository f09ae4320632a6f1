"""The visual encoder: an image backbone frame by frame, then a local temporal module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoConfig, AutoModel, PreTrainedConfig, ResNetModel

from unglossed import hub
from unglossed.config import FieldError
from unglossed.models.encoder import Encoder
from unglossed.models.frozen_block import KEY, FrozenBlock
from unglossed.models.frugal import frugal_resnet, recompute
from unglossed.models.temporal import (
    Lengths,
    PooledTemporal,
    TemporalModule,
    build_temporal,
    lay_out,
    mix,
    mixed_lengths,
    mixed_limit,
    real_positions,
)
from unglossed.ranks import here

FRAME_WISE = "frame_wise"
PIXEL_BUDGET = 256 * 224 * 224


def use_in_place_relu(backbone: ResNetModel) -> None:
    """Let each ReLU write over its input, which is a normalisation's output that nobody needs."""
    for module in backbone.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True


class VisualEncoder(Encoder):
    """Frames to sign-wise features (FLa-LLM, section 3.1: f = VisualEncoder(I)).

    1. Frames of all clips, packed without padding, are normalised with the backbone's mean and std.
    2. The backbone turns each frame into one vector: its pooled output (the paper's), or its last
       feature map averaged to a coarse grid, which keeps where in the frame something is.
    3. The vectors are laid out as (batch, time, dim) and the temporal module mixes neighbours.
       Frame-wise features (Table 8) are those before it: there is no temporal module then.
       With `temporal_pools` it shortens clips as well, see `PooledTemporal`.
    4. With `frozen_block` they go through a frozen layer of a language model, see `FrozenBlock`.

    With `motion` the backbone sees each frame together with what changed since the frame before it,
    as three further channels: 0 in a clip's first frame. These are the RGB differences of temporal
    segment networks (Wang et al., ECCV 2016, arXiv 1608.00859, section 3.2), beside the pictures.

    No more than `frame_budget` frames go through the backbone at once. Training of more frames
    goes chunk by chunk, each computed once more in the backward pass, so that memory grows with the
    budget and not with the clips; batch normalisation then counts over each chunk.

    Args:
        config: `backbone` (a transformers configuration as dict), `grid` (cells along each side of
            the pooled map, 1 in the paper), `features` ("sign_wise", the default, or
            "frame_wise"), `temporal_dim`, `temporal_kernel`, `image_mean`, `image_std`. Not in the
            paper: `temporal_pools` ([2, 2]: two convolutions, each pooled by 2; none by default)
            and with it `edge_frames` (how often the first and the last frame are repeated; 0) and
            `max_frames` (to which longer clips are thinned; null: never); `frozen_block`; `motion`.

    Raises:
        ValueError: one of these five has a wrong value.
    """

    pixel_scale: Tensor
    pixel_shift: Tensor
    frame_budget: int | None = None
    """Most frames of a training batch that are kept in memory; None: as many as have the pixels
    of 256 frames of 224 x 224."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        backbone_config = backbone_config_from(config["backbone"])
        self.motion = with_motion(config, backbone_config)
        # Convolutions are quick with channels last; what they put out then has them last, too.
        backbone = hub.build(AutoModel, backbone_config)
        self.backbone = backbone.to(memory_format=torch.channels_last)
        if isinstance(self.backbone, ResNetModel):
            use_in_place_relu(self.backbone)
        self.grid: int = config["grid"]
        self.output_dim = self.grid**2 * backbone_dim(backbone_config)
        self.temporal: TemporalModule | PooledTemporal | nn.Identity = nn.Identity()
        self.frozen_block: FrozenBlock | None = None
        if config.get("features") != FRAME_WISE:
            self.temporal = build_temporal(self.output_dim, config)
            self.output_dim = config["temporal_dim"]
            if config.get(KEY) is not None:
                self.frozen_block = FrozenBlock(self.output_dim, config[KEY])
        spare_single_values(self)
        # In numpy: arithmetic on torch's meta device imports sympy, which takes half a second.
        mean, std = (np.asarray(config[key], np.float32) for key in ("image_mean", "image_std"))
        self.register_buffer("pixel_scale", torch.tensor(1 / (255 * std)))
        self.register_buffer("pixel_shift", torch.tensor(-mean / std))

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`."""
        return self.laid_out(self.pooled(self.paired(frames, lengths)), lengths)

    def paired(
        self, frames: Tensor, lengths: Tensor | None = None, before: Tensor | None = None
    ) -> Tensor:
        """What the backbone sees: frames, and with `motion` each with the frame before it.

        Args:
            frames: (n, height, width, 3) uint8.
            lengths: (clips,) of each clip, where there are several, one after another.
            before: (height, width, 3) the frame before the first, of one clip of which these are a
                part; None: they begin it.

        Returns:
            (n, height, width, 3), or with `motion` (n, height, width, 6).
        """
        if not self.motion:
            return frames
        places = torch.arange(frames.shape[0], device=frames.device) - 1
        if lengths is not None:
            starts = (lengths.cumsum(0) - lengths).to(frames.device)
            places[starts] = starts
        earlier = frames[places.clamp(min=0)]
        if before is not None:
            earlier[0] = before
        return torch.cat([frames, earlier], dim=-1)

    def laid_out(self, pooled: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features and mask, see `forward`, from one vector a frame (sum of lengths, dim)."""
        features, mask = mix(self.temporal, *lay_out(pooled, lengths))
        return features if self.frozen_block is None else self.frozen_block(features, mask), mask

    def output_lengths(self, lengths: Lengths) -> Lengths:
        """See `Encoder.output_lengths`; fewer with `temporal_pools`."""
        return mixed_lengths(self.temporal, lengths)

    def input_limit(self, positions: int | None) -> int | None:
        """See `Encoder.input_limit`; more with `temporal_pools`."""
        return mixed_limit(self.temporal, positions)

    def pooled(self, frames: Tensor) -> Tensor:
        """One vector (frames, grid^2 * dim) a frame, from frames as `paired` gives them."""
        trained = torch.is_grad_enabled() and any(
            weight.requires_grad for weight in self.backbone.parameters()
        )
        num_chunks, is_much = self._plan(frames, trained=trained)
        chunks = frames.tensor_split(num_chunks)
        train = self._trained if is_much else self._pooled
        device = frames.device.type
        # Weights are cast once a chunk; a cache of them would only hold memory for the whole step.
        with torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
            cache_enabled=False,
        ):
            if trained and num_chunks > 1:
                vectors = [recompute(train, self.backbone, chunk) for chunk in chunks]
            else:
                vectors = [train(chunk) for chunk in chunks]
        return torch.cat(vectors)

    def traced(self, frames: Tensor) -> Tensor:
        """The same as `pooled` in one piece, without autocast: what exporters can follow."""
        return pool(
            self.backbone(pixel_values=self.normalised(frames).permute(0, 3, 1, 2)), self.grid
        )

    def normalised(self, frames: Tensor) -> Tensor:
        """What goes into the backbone, channels last, in float32, from frames of `paired`."""
        pixels, changes = frames[..., :3].float(), []
        if self.motion:
            changes = [(pixels - frames[..., 3:]) * self.pixel_scale]
        torch.addcmul(self.pixel_shift, pixels, self.pixel_scale, out=pixels)
        return torch.cat([pixels, *changes], dim=-1) if changes else pixels

    def _plan(self, frames: Tensor, *, trained: bool) -> tuple[int, bool]:
        """The fewest chunks of near-equal size that keep to the budget; and how to train them.

        Much is trained with less memory where we know how. Processes that train together go in
        step: their normalisation counts over the chunks of all.
        """
        pixels = frames.shape[1] * frames.shape[2]
        budget = self.frame_budget or PIXEL_BUDGET // pixels
        if not trained:  # nothing is kept, and small chunks stay in the CPU's caches
            return -(-len(frames) // max(budget // 8, 1)), False
        num_chunks = -(-len(frames) // max(budget, 1))
        largest = -(-len(frames) // num_chunks) * pixels
        is_much = largest > PIXEL_BUDGET // 8  # else it would be slower for nothing
        own = [1, 0] if here().idle else [num_chunks, int(is_much)]
        num_chunks, is_most = here().largest(own)
        return num_chunks, bool(is_most)

    def _pooled(self, frames: Tensor) -> Tensor:
        return pool(self.backbone(pixel_values=self._pixels(frames)), self.grid)

    def _trained(self, frames: Tensor) -> Tensor:
        """The same as `_pooled`, with less memory where we know how."""
        if isinstance(self.backbone, ResNetModel):
            return pool(frugal_resnet(self.backbone, self._pixels(frames)), self.grid)
        return self._pooled(frames)

    def _pixels(self, frames: Tensor) -> Tensor:
        # A permuted (n, h, w, c) tensor is channels_last, the CNN's fast layout, without a copy.
        pixels = self.normalised(frames)
        device = frames.device.type
        if torch.is_autocast_enabled(device):  # as the first convolution would; float32 is let go
            pixels = pixels.to(torch.get_autocast_dtype(device))
        return pixels.permute(0, 3, 1, 2)


MAPS = ("convnext", "convnextv2", "efficientnet", "regnet", "resnet")
"""Backbones whose last hidden state is a map (frames, dim, height, width)."""
MOTION = "motion"
"""Key of the configuration of a `VisualEncoder` that sees what changed since the frame before."""


def with_motion(config: dict[str, Any], backbone: PreTrainedConfig) -> bool:
    """Whether an encoder has motion; its backbone's configuration then gets the channels for it.

    Raises:
        ValueError: the value is wrong, or the backbone takes no pictures of three channels.
    """
    motion = config.get(MOTION) or False
    if not isinstance(motion, bool):
        raise ValueError(f"{MOTION}: found {motion!r}, expected true or false")
    if motion:
        channels = getattr(backbone, "num_channels", None)
        if channels != 3:
            told = (
                f"{MOTION}: found a backbone of the type {backbone.model_type!r} with num_channels"
            )
            raise ValueError(f"{told} {channels!r}, expected 3")
        backbone.num_channels = 6
    return motion


def widened(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a backbone of pictures for one with `motion`, which gives the same at first."""
    return {
        name: torch.cat([value, torch.zeros_like(value)], dim=1)
        if value.ndim == 4 and value.shape[1] == 3
        else value
        for name, value in weights.items()
    }


def backbone_config_from(config: dict[str, Any]) -> PreTrainedConfig:
    """Build the transformers configuration of an image backbone from its dict.

    Raises:
        ValueError: `model_type` names no model that transformers knows, or stages are counted in
            two ways.
    """
    settings = dict(config)
    built = AutoConfig.for_model(settings.pop("model_type"), **settings)
    depths, sizes = (getattr(built, name, None) for name in ("depths", "hidden_sizes"))
    # Built all the same, it would have fewer stages than its last width says.
    if isinstance(depths, list) and isinstance(sizes, list) and len(depths) != len(sizes):
        raise ValueError(
            f"backbone: found depths of {len(depths)} stages and hidden_sizes of {len(sizes)},"
            " expected as many of one as of the other"
        )
    return built


def backbone_dim(config: PreTrainedConfig) -> int:
    """Width of a backbone's pooled output: its last stage's, or its hidden size.

    Raises:
        ValueError: the configuration has neither.
    """
    if sizes := getattr(config, "hidden_sizes", None):
        return int(sizes[-1])
    for name in ("hidden_size", "hidden_dim"):  # the second is EfficientNet's
        if hasattr(config, name):
            return int(getattr(config, name))
    raise ValueError(
        f"found a backbone of the type {config.model_type!r}, which tells no hidden_size, expected"
        " one that does, such as resnet"
    )


def check_grid(grid: int, model_type: str) -> None:
    """Refuse a grid (FieldError) for a backbone of a type that has no map."""
    if grid > 1 and model_type not in MAPS:
        told = f"found {grid}, expected 1, or a backbone with a feature map: {', '.join(MAPS)}"
        raise FieldError("grid", told)


def pool(output: Any, grid: int) -> Tensor:
    """One vector a frame from the output of a transformers image model.

    A grid of 1 takes the pooled output, or the first token where a backbone has none; more averages
    the last feature map (frames, dim, height, width) to grid x grid cells.

    Raises:
        ValueError: `grid` is over 1 and the backbone gives no feature map.
    """
    if grid > 1:
        features = output.last_hidden_state
        if features.ndim != 4:
            raise ValueError(f"encoder.grid: found {grid}, expected 1: the backbone has no map")
        return nn.functional.adaptive_avg_pool2d(features, grid).flatten(1)
    pooled = getattr(output, "pooler_output", None)
    return output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def one_at_a_time(
    encoder: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], frames: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Encode the clips of a batch one after another; see `Encoder.forward` for the shapes."""
    rows = []
    for clip, length in zip(torch.split(frames, lengths.tolist()), lengths, strict=True):
        features, mask = encoder(clip, length[None])
        rows.append(features[0, mask[0]])
    num_positions = torch.tensor([len(row) for row in rows], device=frames.device)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), real_positions(num_positions)


def spare_single_values(module: nn.Module) -> None:
    """Let a module's batch normalisations take single values with their running statistics.

    In training, a batch of one value a channel is then normalised as in eval mode and leaves the
    running statistics as they are: its own would be that value and a variance of 0. All other
    batches are normalised as before.
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.register_forward_pre_hook(_begin)
            norm.register_forward_hook(_end, always_call=True)


def _begin(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if norm.training and inputs[0].numel() == inputs[0].shape[1]:
        norm.training, norm.spared = False, True  # type: ignore[assignment]


def _end(norm: nn.Module, *_: Any) -> None:
    if getattr(norm, "spared", False):
        norm.training, norm.spared = True, False  # type: ignore[assignment]
