"""A single frame, which has no variance, trains in every encoder that normalises over batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import tiny
from unglossed.models.encoder import build_encoder
from unglossed.models.visual import VisualEncoder, spare_single_values

BACKBONES: dict[str, dict[str, Any]] = {
    "resnet": tiny.ENCODER["backbone"],
    "regnet": {
        "model_type": "regnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "groups_width": 8,
    },
    "convnext": {
        "model_type": "convnext",
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "num_stages": 2,
    },
}


def draw_frames(num_frames: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num_frames, side, side, 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("family", BACKBONES)
@pytest.mark.parametrize(("lengths", "budget"), [([1], None), ([1, 2], 1), ([1, 1, 1], 2)])
def test_clips_of_one_frame_train_alone_and_in_chunks(
    family: str, lengths: list[int], budget: int | None
) -> None:
    torch.manual_seed(0)
    encoder = VisualEncoder({**tiny.ENCODER, "backbone": BACKBONES[family]}).train()
    encoder.frame_budget = budget
    side = 8 if family == "resnet" else 32  # whose last map is a single cell

    features, mask = encoder(draw_frames(sum(lengths), side), torch.tensor(lengths))
    features[mask].square().sum().backward()

    for name, weight in encoder.named_parameters():
        if weight.grad is not None:
            assert torch.isfinite(weight.grad).all(), name
    assert encoder.temporal.conv.weight.grad.abs().sum() > 0
    for module in encoder.modules():
        if isinstance(module, _BatchNorm):
            assert module.training
            assert torch.isfinite(module.running_var).all()


def test_sound_of_one_position_trains() -> None:
    frontend = {**tiny.FRONTEND, "model_type": "hubert", "conv_pos_batch_norm": True}
    torch.manual_seed(0)
    encoder = build_encoder({"frontend": frontend}).train()

    features, mask = encoder(torch.randn(300), torch.tensor([300]))
    features.square().sum().backward()

    assert mask.tolist() == [[True]]
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_a_single_value_is_taken_as_in_eval_mode_and_leaves_the_statistics() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)
    spare_single_values(norm)
    norm(torch.randn(16, 5) * 3 + 1)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    one = torch.randn(1, 5)

    found = norm(one)

    assert norm.training
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    torch.testing.assert_close(found, norm.eval()(one))


def test_more_values_are_normalised_as_pytorch_does() -> None:
    torch.manual_seed(0)
    spared, plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    spare_single_values(spared)
    for shape in ((2, 3, 1, 1), (1, 3, 1, 2), (4, 3, 5, 5)):
        values = torch.randn(shape)
        assert torch.equal(spared(values), plain(values))
    for name, value in spared.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name
