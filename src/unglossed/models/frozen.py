"""The fast form of an encoder that is not trained: no autograd, and no normalisation left.

Batch normalisation is folded into the convolutions before it. What is left runs in torch, or in
OpenVINO where that is installed. The torch encoder stays the reference, with which a fast form is
compared when it is made; training an encoder knows nothing of all this.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from itertools import chain
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import ResNetModel

from unglossed.errors import InputError, note
from unglossed.models.encoder import Encoder
from unglossed.models.two_streams import TwoStreamEncoder
from unglossed.models.visual import VisualEncoder, pool

VARIABLE = "UNGLOSSED_ENCODER"
"""Environment variable that names an `Engine`."""
TOLERANCES = {"bfloat16": 0.05, "float32": 1e-4}
"""How far a frame's vector may be from torch's in float32, as a share of the largest number.
Measured with ResNet-18: 5e-3 and 7e-7; torch's own bfloat16 is 6e-3 away."""
NUM_COMPARED = 4
"""Frames on which a fast form is compared with torch."""
TIMED: dict[str, Any] = {
    "backbone": {
        "model_type": "resnet",
        "layer_type": "basic",
        "embedding_size": 64,
        "hidden_sizes": [64, 128, 256, 512],
        "depths": [2, 2, 2, 2],
    },
    "grid": 1,
    "temporal_dim": 512,
    "temporal_kernel": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
"""Configuration of FLa-LLM's encoder, a ResNet-18: the one whose speed is told."""
Vectors = Callable[[Tensor], Tensor]
"""Frames uint8 as `VisualEncoder.paired` gives them to one vector a frame (n, dim)."""


class Engine(StrEnum):
    """What computes a frozen encoder's features."""

    TORCH = "torch"
    """The encoder as it is trained."""
    FOLDED = "folded"
    """torch, without batch normalisation and autocast."""
    OPENVINO = "openvino"
    """OpenVINO, without batch normalisation."""


AT_ONCE = {Engine.FOLDED: 32, Engine.OPENVINO: 8}
"""Frames of 224 x 224 that go through the backbone together. What layers hand to each other is to
stay in the CPU's caches, but the cores of a machine need something to share."""


def chosen_engine() -> Engine:
    """The engine that `UNGLOSSED_ENCODER` names; else OpenVINO, or folded where it is missing.

    Raises:
        InputError: it names no engine, or one that is not installed.
    """
    wanted = os.environ.get(VARIABLE) or (Engine.OPENVINO if _has_openvino() else Engine.FOLDED)
    if wanted not in list(Engine):
        raise InputError(f"{VARIABLE}: found {wanted!r}, expected one of {', '.join(Engine)}")
    if wanted == Engine.OPENVINO and not _has_openvino():
        raise InputError(
            f"{VARIABLE}: found {wanted!r}, which is not installed: pip install"
            " 'unglossed[openvino]'"
        )
    return Engine(wanted)


def installed_engines() -> list[Engine]:
    """The engines that this machine has."""
    return [engine for engine in Engine if engine is not Engine.OPENVINO or _has_openvino()]


def engine_for(encoder: nn.Module, wanted: Engine | None = None) -> Engine:
    """What `fast_encoder` tries for an encoder.

    Of a visual encoder with a ResNet on a CPU, in eval mode, the wanted one; of two streams, that
    of video is such a one. Nothing is timed for it, so that one machine gives the same features
    each time. OpenVINO takes ResNets with ReLU; with others the convolutions are folded. For all
    other encoders it is torch.

    Args:
        encoder: of any kind.
        wanted: an engine that is installed; None: the `chosen_engine`.

    Raises:
        InputError: see `chosen_engine`.
    """
    if isinstance(encoder, TwoStreamEncoder):
        encoder = encoder.video
    wanted = chosen_engine() if wanted is None else wanted
    if encoder.training:
        return Engine.TORCH
    if not (isinstance(encoder, VisualEncoder) and isinstance(encoder.backbone, ResNetModel)):
        return Engine.TORCH
    if encoder.pixel_scale.device.type != "cpu":
        return Engine.TORCH
    if wanted == Engine.OPENVINO and encoder.backbone.config.hidden_act != "relu":
        return Engine.FOLDED
    return wanted


def engine_of(encoder: nn.Module) -> Engine:
    """What computes the features that an encoder gives, of two streams those of video."""
    if isinstance(encoder, TwoStreamEncoder):
        encoder = encoder.video
    return encoder.engine if isinstance(encoder, FastEncoder) else Engine.TORCH


def fast_encoder(
    encoder: Encoder,
    *,
    bfloat16: bool,
    frames: Tensor | None = None,
    wanted: Engine | None = None,
) -> Encoder:
    """An encoder that gives the same features in less time, within `TOLERANCES`.

    See `engine_for` for the encoders that have such a form; any other is returned as it is. So is
    one whose fast form is further from torch, with a note. Weights that change afterwards do not
    reach it.

    Args:
        encoder: in eval mode.
        bfloat16: round to bfloat16, and give such features; the temporal module does where autocast
            is on.
        frames: (n, height, width, 3) uint8 of a clip, the first of which are compared; None:
            generated ones.
        wanted: see `engine_for`.

    Raises:
        InputError: see `engine_for`.
    """
    engine = engine_for(encoder, wanted)
    if engine is Engine.TORCH:
        return encoder
    if isinstance(encoder, TwoStreamEncoder):
        return encoder.with_video(fast_encoder(encoder.video, bfloat16=bfloat16, wanted=wanted))
    assert isinstance(encoder, VisualEncoder)
    make = _in_openvino if engine is Engine.OPENVINO else _in_torch
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        vectors = make(encoder, fold(encoder.backbone), torch.bfloat16 if bfloat16 else None)
        compared = encoder.paired(_pictures() if frames is None else frames[:NUM_COMPARED])
        difference = _difference(vectors(compared).float(), encoder.pooled(compared))
    expected = TOLERANCES["bfloat16" if bfloat16 else "float32"]
    if difference <= expected:  # not where it is NaN
        return FastEncoder(encoder, vectors, engine)
    note(
        f"encoder: found features by {engine} that are {difference:.1e} of the largest away from"
        f" torch's, expected at most {expected:.0e}: torch computes them"
    )
    return encoder


class FastEncoder(Encoder):
    """A visual encoder whose backbone is computed in another way; see `fast_encoder`.

    Args:
        encoder: whose layout and temporal module are used.
        vectors: what its backbone would give.
        engine: what computes them.
    """

    def __init__(self, encoder: VisualEncoder, vectors: Vectors, engine: Engine) -> None:
        super().__init__()
        self.encoder, self.vectors, self.engine = encoder, vectors, engine
        self.signal, self.output_dim = encoder.signal, encoder.output_dim

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`."""
        return self.laid_out(self.pooled(self.paired(frames, lengths)), lengths)

    def paired(
        self, frames: Tensor, lengths: Tensor | None = None, before: Tensor | None = None
    ) -> Tensor:
        """See `VisualEncoder.paired`."""
        return self.encoder.paired(frames, lengths, before)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """See `Encoder.output_lengths`."""
        return self.encoder.output_lengths(lengths)

    @torch.no_grad()
    def pooled(self, frames: Tensor) -> Tensor:
        """See `VisualEncoder.pooled`."""
        at_once = max(AT_ONCE[self.engine] * 224 * 224 // frames.shape[1:3].numel(), 1)
        chunks = frames.tensor_split(-(-len(frames) // at_once))  # near-equal: few shapes in all
        return torch.cat([self.vectors(one) for one in chunks])

    @torch.no_grad()
    def laid_out(self, pooled: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `VisualEncoder.laid_out`."""
        return self.encoder.laid_out(pooled, lengths)


class FrozenForm:
    """Keeps the fast form of an encoder; makes it anew where the weights or the format changed.

    Weights that were written to through `.data` are not seen to have changed. It is empty in a copy
    of what it belongs to.
    """

    def __init__(self) -> None:
        self._made: tuple[Any, Encoder] | None = None

    def of(self, encoder: Encoder, *, bfloat16: bool, frames: Tensor) -> Encoder:
        """See `fast_encoder`."""
        tensors = chain(encoder.parameters(), encoder.buffers())
        state = [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in tensors]
        key = (id(encoder), bfloat16, os.environ.get(VARIABLE), state)
        if self._made is None or self._made[0] != key:
            self._made = key, fast_encoder(encoder, bfloat16=bfloat16, frames=frames)
        return self._made[1]

    def __deepcopy__(self, _: Any) -> FrozenForm:
        return FrozenForm()

    def __reduce__(self) -> tuple[type[FrozenForm], tuple[()]]:
        return FrozenForm, ()


def frames_per_second(encoder: Encoder, *, bfloat16: bool, num_frames: int = 16) -> float:
    """How many frames of 224 x 224 an encoder encodes in a second: the best of three clips.

    Args:
        encoder: torch's or the fast form, on any device.
        bfloat16: compute in bfloat16.
        num_frames: of a clip.
    """
    device = next(encoder.parameters()).device
    shape, best = (num_frames, 224, 224, 3), float("inf")
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    lengths = torch.tensor([num_frames], device=device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        for number in range(4):
            begin = time.perf_counter()
            encoder(frames, lengths)[0].cpu()
            if number:  # the first warms up
                best = min(best, time.perf_counter() - begin)
    return num_frames / best


def fold(backbone: ResNetModel) -> ResNetModel:
    """A copy in which each convolution does what the batch normalisation behind it did.

    Args:
        backbone: in eval mode.
    """
    folded: ResNetModel = copy.deepcopy(backbone)
    for module in folded.modules():
        if hasattr(module, "normalization"):
            module.convolution = fuse_conv_bn_eval(module.convolution, module.normalization)
            module.normalization = nn.Identity()
    return folded.requires_grad_(False).to(memory_format=torch.channels_last)


def _in_torch(encoder: VisualEncoder, backbone: ResNetModel, dtype: torch.dtype | None) -> Vectors:
    dtype = dtype or torch.float32
    backbone.to(dtype)

    def vectors(frames: Tensor) -> Tensor:
        pixels = encoder.normalised(frames)
        with torch.autocast("cpu", enabled=False):
            return pool(backbone(pixel_values=pixels.to(dtype).permute(0, 3, 1, 2)), encoder.grid)

    return vectors


def _pictures() -> Tensor:
    """Frames (n, 64, 64, 3) of coarse patterns: the first layers would average noise away."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((NUM_COMPARED, 3, 8, 8), generator=generator) * 255
    pictures = nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return pictures.permute(0, 2, 3, 1).to(torch.uint8)


def _difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest number."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


# OpenVINO. The graph is built from the folded convolutions: converting torch's would import torch's
# compiler, take seconds, and tell the makers of OpenVINO.


def _has_openvino() -> bool:
    return find_spec("openvino") is not None


@cache
def load_openvino() -> Any:
    """OpenVINO, which has nothing to send messages with.

    Importing it would write a user's number below the home folder and send it to its makers with
    its version. Where `openvino_telemetry` cannot be imported, it uses an empty stand-in of its
    own.

    Raises:
        InputError: it is installed and cannot be imported, or is too old.
    """
    name = "openvino_telemetry"
    known = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        import openvino

        openvino.opset13.relu  # noqa: B018
    except (ImportError, AttributeError, OSError) as error:
        raise InputError(
            f"openvino: found an installation that cannot be used ({error}), expected 2025.1 or"
            f" newer: install it again, or {VARIABLE}=folded"
        ) from error
    finally:
        sys.modules.pop(name, None)
        if known is not None:
            sys.modules[name] = known
    return openvino


@cache
def _core() -> Any:
    """OpenVINO's core, one for the process: what it loads outlives what it compiles."""
    return load_openvino().Core()


def _in_openvino(
    encoder: VisualEncoder, backbone: ResNetModel, dtype: torch.dtype | None
) -> Vectors:
    settings = {
        "INFERENCE_PRECISION_HINT": "f32" if dtype is None else "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # several processes would be pinned to the same cores
    }
    model = _core().compile_model(_graph(encoder, backbone), "CPU", settings)
    request, busy = model.create_infer_request(), Lock()

    def vectors(frames: Tensor) -> Tensor:
        with busy:
            (found,) = request.infer({0: frames.contiguous().numpy()}).values()
        maps = torch.from_numpy(found).to(dtype or torch.float32)
        if encoder.grid > 1:
            maps = nn.functional.adaptive_avg_pool2d(maps, encoder.grid)
        return maps.flatten(1)

    return vectors


def _graph(encoder: VisualEncoder, backbone: ResNetModel) -> Any:
    """Frames uint8, as `paired` gives them, to pooled outputs (n, dim, 1, 1), float32.

    With a grid, to the last feature map (n, dim, height, width).
    """
    openvino = load_openvino()
    ops = openvino.opset13

    def convolved(layer: Any, values: Any) -> Any:
        conv = layer.convolution
        pads, bias = list(conv.padding), conv.bias.reshape(1, -1, 1, 1)
        weight = ops.constant(conv.weight.contiguous().numpy())  # arrays would become lists
        result = ops.convolution(values, weight, list(conv.stride), pads, pads, list(conv.dilation))
        return ops.add(result, bias.numpy())

    frames = ops.parameter([-1, -1, -1, 6 if encoder.motion else 3], openvino.Type.u8)
    pictures = ops.convert(frames, "f32")
    scale, shift = encoder.pixel_scale.numpy(), encoder.pixel_shift.numpy()
    changes = []
    if encoder.motion:
        pictures, earlier = ops.split(pictures, -1, 2).outputs()
        changes = [ops.multiply(ops.subtract(pictures, earlier), scale)]
    pixels = ops.concat([ops.add(ops.multiply(pictures, scale), shift), *changes], -1)
    hidden = convolved(backbone.embedder.embedder, ops.transpose(pixels, [0, 3, 1, 2]))
    pads = [1, 1]
    hidden = ops.max_pool(ops.relu(hidden), [2, 2], pads, pads, pads, [3, 3]).output(0)
    for block in chain.from_iterable(stage.layers for stage in backbone.encoder.stages):
        branch = hidden
        for layer in block.layer:
            branch = convolved(layer, branch)
            if not isinstance(layer.activation, nn.Identity):
                branch = ops.relu(branch)
        if not isinstance(block.shortcut, nn.Identity):
            hidden = convolved(block.shortcut, hidden)
        hidden = ops.relu(ops.add(branch, hidden))
    if encoder.grid == 1:
        hidden = ops.reduce_mean(hidden, [2, 3], True)
    return openvino.Model([hidden], [frames], "resnet")
