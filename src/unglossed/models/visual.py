"""The visual encoder: an image backbone frame by frame, then a local temporal module.

A ResNet trains with half the memory of transformers' own: the same numbers from the same modules.
What a plain backward pass keeps of a frame is mostly what normalisation, ReLU and pooling put out.
That is cheap to compute again, so only what the convolutions put out is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import AutoModel, ResNetModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndNoAttention

from unglossed import hub
from unglossed.models.backbone import backbone_config_from, backbone_dim, with_motion
from unglossed.models.encoder import Encoder
from unglossed.models.frozen_block import KEY, FrozenBlock
from unglossed.models.synced_norm import SyncedNorm
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

KEPT = [torch.ops.aten.convolution.default]
FRAMES_AT_ONCE = 16
"""Of the stem's pooling, on a CPU: few enough that memory is used again and not asked for anew."""


def use_in_place_relu(backbone: ResNetModel) -> None:
    """Let each ReLU write over its input, which is a normalisation's output that nobody needs."""
    for module in backbone.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True


def frugal_resnet(
    backbone: ResNetModel, pixels: Tensor
) -> BaseModelOutputWithPoolingAndNoAttention:
    """What `backbone(pixels)` gives, for a backward pass of little memory.

    Args:
        backbone: a ResNet; its modules and weights are used as they are.
        pixels: (frames, 3, height, width), in the number format to compute in.
    """
    hidden = _stem(backbone, pixels)
    for stage in backbone.encoder.stages:
        for layer in stage.layers:
            hidden = checkpoint(
                layer, hidden, use_reentrant=False, context_fn=partial(_keep_convolutions, layer)
            )
    return BaseModelOutputWithPoolingAndNoAttention(hidden, backbone.pooler(hidden))


def recompute(work: Callable[[Tensor], Tensor], module: nn.Module, inputs: Tensor) -> Tensor:
    """`work(inputs)`, of which nothing is kept; the backward pass does it once more.

    Args:
        work: uses the module.
        module: whose normalisation statistics are not to move the second time.
        inputs: given to `work`.
    """

    def run(inputs: Tensor, _: Tensor) -> Tensor:
        if not torch.is_grad_enabled():  # the first time
            return work(inputs)
        with _still_statistics(module, nullcontext()):
            return work(inputs)

    # Reentrant: the first time has no gradients, so that checkpoints within `work` keep nothing.
    # It wants an input that has gradients, which frames have not.
    anchor = torch.zeros((), device=inputs.device, requires_grad=True)
    return checkpoint(run, inputs, anchor, use_reentrant=True)


Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


def _keep_convolutions(module: nn.Module) -> Contexts:
    make: Callable[[list[Any]], Contexts] = create_selective_checkpoint_contexts
    first, again = make(KEPT)
    return first, _still_statistics(module, again)


@contextmanager
def _still_statistics(module: nn.Module, inner: AbstractContextManager[Any]) -> Iterator[None]:
    """Keep what is computed again from counting twice in the running statistics."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        with inner:
            yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _stem(backbone: ResNetModel, pixels: Tensor) -> Tensor:
    """Convolution, normalisation, ReLU, pooling: half of the memory of the whole network."""
    stem = backbone.embedder.embedder
    norm = stem.normalization
    alone = not isinstance(norm, SyncedNorm)
    if not (norm.training and alone and isinstance(stem.activation, nn.ReLU)):
        return backbone.embedder(pixels)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    run: Callable[..., Tensor] = _Stem.apply
    return run(pixels, stem.convolution.weight, norm.weight, norm.bias, norm)


class _Stem(torch.autograd.Function):
    """Convolution, batch normalisation in training, 3x3 maximum of stride 2, ReLU.

    Few frames at a time, so that memory is used again and not asked for anew; the statistics are
    those of all frames. ReLU and maximum change places, which changes neither value nor gradient:
    the ReLU has a quarter of the work. Kept are the output and where the maxima lie; the
    convolution, a fortieth of the work of a step, is computed again.
    """

    CONVOLUTION = ([2, 2], [3, 3], [1, 1], False, [0, 0], 1)
    """Stride, padding, dilation, transposed, output padding, groups."""
    POOL = ([3, 3], [2, 2], [1, 1], [1, 1], False)
    """Kernel, stride, padding, dilation, ceil mode."""

    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor, norm: _BatchNorm
    ) -> Tensor:
        kernel = kernel.to(pixels.dtype)
        on_cpu = pixels.device.type == "cpu"  # a GPU's memory is kept by torch, its cores are many
        parts = torch.split(pixels, FRAMES_AT_ONCE if on_cpu else len(pixels))
        with torch.autocast(pixels.device.type, enabled=False):
            maps = [_Stem.convolve(part, kernel) for part in parts]
        mean, variance = _statistics(maps, norm)
        positions = maps[0].shape[2] * maps[0].shape[3]
        small = torch.int16 if positions < 2**15 else torch.int32
        pooled, places = [], []
        for part in maps:
            normed = nn.functional.batch_norm(part, mean, variance, weight, bias, eps=norm.eps)
            highest, where = torch.ops.aten.max_pool2d_with_indices(normed, *_Stem.POOL)
            pooled.append(highest.relu_())
            places.append(where.to(small))
        output = torch.cat(pooled)
        ctx.eps, ctx.num_parts = norm.eps, len(parts)
        ctx.save_for_backward(
            kernel, weight, mean, torch.rsqrt(variance + norm.eps), output, *parts, *places
        )
        return output

    @staticmethod
    def convolve(pixels: Tensor, kernel: Tensor) -> Tensor:
        """What the convolution puts out."""
        return torch.convolution(pixels, kernel, None, *_Stem.CONVOLUTION)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernel, weight, mean, inverse, output, *lists = ctx.saved_tensors
        parts, places = lists[: ctx.num_parts], lists[ctx.num_parts :]
        maps = [_Stem.convolve(part, kernel) for part in parts]
        gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        grads = torch.split(gradient, [len(part) for part in parts])

        def spread(pooled: Tensor, part: Tensor, where: Tensor) -> Tensor:
            return torch.ops.aten.max_pool2d_with_indices_backward(
                pooled, part, *_Stem.POOL, where.long()
            )

        slope, offset = torch.zeros_like(weight), torch.zeros_like(weight)
        for pooled, part, where in zip(grads, maps, places, strict=True):
            _, more_slope, more_offset = torch.ops.aten.native_batch_norm_backward(
                *(spread(pooled, part, where), part, weight, None, None, mean, inverse),
                *(True, ctx.eps, [False, True, True]),
            )
            slope += more_slope
            offset += more_offset

        # Through the normalisation: scale * (gradient - mean of it - x's share), x's and the
        # constant share being one linear function of the map.
        num_values = sum(part.numel() for part in maps) / len(weight)
        scale = weight * inverse
        on_map = -scale * inverse * slope / num_values
        constant = -scale * offset / num_values - on_map * mean
        zero, one = torch.zeros_like(weight), torch.ones_like(weight)
        kernel_gradient = torch.zeros_like(kernel, dtype=torch.float32)
        for pooled, part, where, pixels in zip(grads, maps, places, parts, strict=True):
            scaled = nn.functional.batch_norm(pooled, zero, one, scale, zero, eps=0.0)
            through = nn.functional.batch_norm(part, zero, one, on_map, constant, eps=0.0)
            through += spread(scaled, part, where)
            kernel_gradient += torch.ops.aten.convolution_backward(
                through, pixels, kernel, None, *_Stem.CONVOLUTION, [False, True, False]
            )[1]
        return None, kernel_gradient, slope, offset, None


def _statistics(maps: list[Tensor], norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance (dim,) of all maps; the running ones move as `norm` would move them."""
    unused = torch.zeros_like(norm.bias), torch.zeros_like(norm.bias)  # tell that it is float32
    rows = [torch.ops.aten.batch_norm_update_stats(part, *unused, 0.0) for part in maps]
    means, variances = (torch.stack(column) for column in zip(*rows, strict=True))
    shares = torch.tensor([float(part.numel()) for part in maps], device=means.device)[:, None]
    shares /= shares.sum()
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(0)
    num_values = sum(part.numel() for part in maps) / len(mean)
    assert norm.running_mean is not None and norm.running_var is not None
    momentum = norm.momentum or 0.0
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (num_values / (num_values - 1)), momentum)
    return mean, variance


FRAME_WISE = "frame_wise"
PIXEL_BUDGET = 256 * 224 * 224


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
        pictures = frames[..., :3].float()
        pixels = torch.addcmul(self.pixel_shift, pictures, self.pixel_scale)
        if not self.motion:
            return pixels
        change = (pictures - frames[..., 3:].float()) * self.pixel_scale
        return torch.cat([pixels, change], dim=-1)

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
