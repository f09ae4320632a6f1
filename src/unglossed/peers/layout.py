"""Names and shapes of a peer's checkpoint, and what of ours each is.

GFSLT-VLP's public code and sltbaselines, which is built on it, name their weights alike: a
torchvision ResNet, a row of temporal layers, a linear map with its normalisation, and mBART.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unglossed.errors import InputError

RESNET, TEMPORAL, ADAPTER, MBART = (
    *("backbone.conv_2d.resnet.", "backbone.conv_1d.temporal_conv."),
    *("sign_emb.", "mbart."),
)
"""How names of the parts begin in a checkpoint."""
POOLS = [2, 2]
EDGE_FRAMES = 8
MAX_FRAMES = 300
"""Constants of the peers' code."""

Weights = Mapping[str, Tensor]

# In the order in which a first match is taken; what is not matched is not ours.
_RENAMED = tuple(
    (re.compile(re.escape(begin) + pattern), ours)
    for begin, pattern, ours in (
        (RESNET, r"conv1\.", "encoder.backbone.embedder.embedder.convolution."),
        (RESNET, r"bn1\.", "encoder.backbone.embedder.embedder.normalization."),
        (RESNET, r"layer(\d)\.(\d+)\.conv([12])\.", "{0}.layer.{1}.convolution."),
        (RESNET, r"layer(\d)\.(\d+)\.bn([12])\.", "{0}.layer.{1}.normalization."),
        (RESNET, r"layer(\d)\.(\d+)\.downsample\.0\.", "{0}.shortcut.convolution."),
        (RESNET, r"layer(\d)\.(\d+)\.downsample\.1\.", "{0}.shortcut.normalization."),
        (TEMPORAL, r"0\.", "encoder.temporal.convs.0."),
        (TEMPORAL, r"1\.", "encoder.temporal.norms.0."),
        (TEMPORAL, r"4\.", "encoder.temporal.convs.1."),
        (TEMPORAL, r"5\.", "encoder.temporal.norms.1."),
        (ADAPTER, r"src_emb\.", "adapter.linear."),
        (ADAPTER, r"bn_ac\.0\.", "adapter.norm."),
        (MBART, r"", "language_model.model."),
    )
)
_UNUSED = (f"{MBART}model.shared.weight", f"{MBART}model.encoder.embed_tokens.weight")
"""Word embeddings of an encoder that reads features."""
_OURS_ALONE = ("encoder.pixel_scale", "encoder.pixel_shift")
"""Buffers that no checkpoint has: mean and deviation of pictures."""
_MOST_TOLD = 5


@dataclass(frozen=True)
class Shape:
    """Sizes of a model that its weights tell."""

    encoder: dict[str, Any]
    adapter: dict[str, Any]
    language_model: dict[str, int]
    """Fields of an mBART configuration."""


def read_shape(weights: Weights) -> Shape:
    """Find a model's sizes in its weights.

    Raises:
        InputError: a weight that tells one is missing or has another number of dimensions.
    """

    def size(name: str, axis: int) -> int:
        if name not in weights:
            raise InputError(f"found no weight {name}, expected those of a translator")
        shape = weights[name].shape
        if axis >= len(shape) or not shape[axis]:
            raise InputError(f"{name}: found the shape {tuple(shape)}, expected another")
        return int(shape[axis])

    depths = _count(weights, RESNET + r"layer{0}\.(\d+)\.conv1\.weight", range(1, 10))
    backbone = {
        "model_type": "resnet",
        "layer_type": "basic",
        "embedding_size": size(f"{RESNET}conv1.weight", 0),
        "hidden_sizes": [
            size(f"{RESNET}layer{stage}.0.conv1.weight", 0) for stage in range(1, len(depths) + 1)
        ],
        "depths": depths,
    }
    encoder = {
        "backbone": backbone,
        "grid": 1,
        "temporal_dim": size(f"{TEMPORAL}0.weight", 0),
        "temporal_kernel": size(f"{TEMPORAL}0.weight", 2),
        "temporal_pools": POOLS,
        "edge_frames": EDGE_FRAMES,
        "max_frames": MAX_FRAMES,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    model = f"{MBART}model."
    language_model = {
        "vocab_size": size(f"{model}decoder.embed_tokens.weight", 0),
        "d_model": size(f"{model}decoder.embed_tokens.weight", 1),
        "max_position_embeddings": size(f"{model}decoder.embed_positions.weight", 0) - 2,
    }
    for side in ("encoder", "decoder"):
        (layers,) = _count(weights, model + side + r"\.layers\.(\d+)\.fc1\.weight", [0])
        ffn_dim = size(f"{model}{side}.layers.0.fc1.weight", 0)
        language_model |= {f"{side}_layers": layers, f"{side}_ffn_dim": ffn_dim}
    norm = "batch" if f"{ADAPTER}bn_ac.0.running_mean" in weights else "layer"
    return Shape(encoder, {"norm": norm}, language_model)


def rename(weights: Weights, others: Iterable[str] = ()) -> dict[str, Tensor]:
    """Weights by their names in a `Translator`, as float32; unknown ones keep their names.

    Args:
        weights: by the names of the checkpoint.
        others: beginnings of names of what was for training alone, which is left out.
    """
    left_out = (*_UNUSED, *others)
    return {
        _our_name(name): weight.float() if weight.is_floating_point() else weight
        for name, weight in weights.items()
        if not name.startswith(left_out)
    }


def check_fit(found: Weights, expected: Weights) -> None:
    """Refuse weights that are not exactly those that a model has.

    Args:
        found: by their names in the model.
        expected: the model's.

    Raises:
        InputError: lists weights that are left over, missing or of another shape or kind of number,
            by our names; or one with values that are NaN or infinite, or variances below 0.
    """
    wanted = {name for name in expected if name not in _OURS_ALONE}
    told = []
    if over := sorted(found.keys() - wanted):
        told.append(f"{len(over)} left over ({_few(over)})")
    if missing := sorted(wanted - found.keys()):
        told.append(f"{len(missing)} missing ({_few(missing)})")
    misfits = [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(wanted & found.keys())
        if found[name].shape != expected[name].shape
    ]
    if misfits:
        told.append(f"{len(misfits)} of another shape ({_few(misfits)})")
    others = [
        f"{name} is {found[name].dtype}, expected {expected[name].dtype}"
        for name in sorted(wanted & found.keys())
        if not _can_become(found[name], expected[name])
    ]
    if others:
        told.append(f"{len(others)} of another kind of number ({_few(others)})")
    if told:
        raise InputError(f"found weights that do not fit: {'; '.join(told)}")
    for name, weight in found.items():
        if not torch.isfinite(weight).all():
            raise InputError(f"the weight {name} has values that are NaN or infinite")
        if name.endswith("running_var") and (weight < 0).any():
            raise InputError(f"the weight {name} has values below 0, expected variances")


def _can_become(found: Tensor, expected: Tensor) -> bool:
    """Whether numbers keep their meaning; counters that were averaged are no integers any more."""
    if expected.is_floating_point():
        return found.is_floating_point()
    return not found.is_complex()


def _our_name(name: str) -> str:
    for pattern, ours in _RENAMED:
        if match := pattern.match(name):
            place = [int(number) for number in match.groups()]
            if len(place) > 1:
                block = f"encoder.backbone.encoder.stages.{place[0] - 1}.layers.{place[1]}"
                ours = ours.format(block, place[2] - 1 if len(place) > 2 else "")
            return ours + name[match.end() :]
    return name


def _count(weights: Weights, pattern: str, places: Iterable[int]) -> list[int]:
    """How many numbers from 0 on the names have, for each place until one has none."""
    counts = []
    for place in places:
        matcher = re.compile(pattern.replace("{0}", str(place)))
        numbers = {int(match[1]) for name in weights if (match := matcher.fullmatch(name))}
        count = next(number for number in range(len(numbers) + 1) if number not in numbers)
        if not count:
            break
        counts.append(count)
    return counts or [0]


def _few(names: list[str]) -> str:
    more = ["..."] if len(names) > _MOST_TOLD else []
    return ", ".join([*names[:_MOST_TOLD], *more])
