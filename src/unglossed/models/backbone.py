"""The image backbone of a visual encoder: its configuration and its channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from unglossed.config import FieldError

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
