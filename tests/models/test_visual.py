"""The visual encoder: masks, statistics of real frames, normalisation, other backbones."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tiny
from unglossed.models import visual
from unglossed.models.temporal import TemporalModule, real_positions
from unglossed.models.visual import VisualEncoder

VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
CONVNEXT = {"model_type": "convnext", "hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
DINOV2 = {**VIT, "model_type": "dinov2", "patch_size": 16}


def build_encoder(**changes: Any) -> VisualEncoder:
    torch.manual_seed(0)
    return VisualEncoder({**tiny.ENCODER, **changes}).eval()


def draw_frames(num_frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, 32, 32, 3), generator=generator, dtype=torch.uint8)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 3))
def test_mask_is_true_for_the_first_positions_of_each_row(lengths: list[int], extra: int) -> None:
    time = max(lengths) + extra

    mask = real_positions(torch.tensor(lengths), time)

    assert mask.dtype == torch.bool
    assert mask.tolist() == [[position < length for position in range(time)] for length in lengths]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_mask_is_as_long_as_the_longest_row(lengths: list[int]) -> None:
    mask = real_positions(torch.tensor(lengths))

    assert mask.shape == (len(lengths), max(lengths))
    assert mask.sum(dim=1).tolist() == lengths


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_temporal_module_in_training_equals_the_packed_computation(
    lengths: list[int], extra: int, kernel: int
) -> None:
    torch.manual_seed(sum(lengths))
    module = TemporalModule(4, 6, kernel).train()
    clips = [torch.randn(length, 4) for length in lengths]
    mask = real_positions(torch.tensor(lengths), max(lengths) + extra)
    padded = torch.zeros(*mask.shape, 4)
    padded[mask] = torch.cat(clips)

    with torch.no_grad():
        output = module(padded, mask)

        # By hand: each clip alone through the convolution, all real frames through the statistics.
        mixed = torch.cat([module.conv(clip.T[None])[0].T for clip in clips])
        mean, variance = mixed.mean(dim=0), mixed.var(dim=0, unbiased=False)
        expected = torch.relu((mixed - mean) / torch.sqrt(variance + module.norm.eps))
    # Float32; worst of 3,000 draws: 4e-6.
    torch.testing.assert_close(output[mask], expected, atol=5e-5, rtol=1e-5)
    assert (output[~mask] == 0).all()
    torch.testing.assert_close(module.norm.running_mean, 0.1 * mean)
    torch.testing.assert_close(module.norm.running_var, 0.9 + 0.1 * mixed.var(dim=0))


def test_frames_are_normalised_with_the_configured_mean_and_std() -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    encoder = build_encoder(image_mean=mean, image_std=std)
    frames = draw_frames(2)
    seen: list[torch.Tensor] = []

    def record(module: nn.Module, arguments: Any, named: dict[str, torch.Tensor]) -> None:
        seen.append(named["pixel_values"])

    encoder.backbone.register_forward_pre_hook(record, with_kwargs=True)
    with torch.no_grad():
        encoder(frames, torch.tensor([2]))

    assert seen[0].shape == (2, 3, 32, 32)
    for channel in range(3):
        by_hand = (frames[..., channel] / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(seen[0][:, channel], by_hand, atol=1e-5, rtol=1e-5)


def test_a_frame_reaches_its_neighbours_and_no_further() -> None:
    encoder = build_encoder()
    frames = draw_frames(7)
    changed = frames.clone()
    changed[3] = 255 - changed[3]

    with torch.no_grad():
        before, _ = encoder(frames, torch.tensor([7]))
        after, _ = encoder(changed, torch.tensor([7]))

    touched = (before != after).any(dim=-1)[0]
    assert touched.tolist() == [False, False, True, True, True, False, False]


def test_neighbouring_clips_of_a_packed_batch_do_not_mix() -> None:
    encoder = build_encoder()
    frames = draw_frames(6)
    changed = frames.clone()
    changed[3] = 255 - changed[3]  # the first frame of the second clip
    lengths = torch.tensor([3, 3])

    with torch.no_grad():
        before, _ = encoder(frames, lengths)
        after, _ = encoder(changed, lengths)

    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize(
    "backbone", [VIT, CONVNEXT, DINOV2], ids=lambda config: config["model_type"]
)
def test_another_backbone_works_by_config(backbone: dict[str, Any]) -> None:
    encoder = build_encoder(backbone=backbone)
    frames = draw_frames(5)

    with torch.no_grad():
        features, mask = encoder(frames, torch.tensor([2, 3]))
        alone, _ = encoder(frames[:2], torch.tensor([2]))

    assert features.shape == (2, 3, 24)
    assert mask.tolist() == [[True, True, False], [True, True, True]]
    assert features[1].std() > 0
    torch.testing.assert_close(features[:1, :2], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_a_grid_keeps_where_in_the_picture_something_is(grid: int) -> None:
    encoder = build_encoder(grid=grid)
    frames = draw_frames(2)
    flipped = frames.flip(2)
    seen: list[torch.Tensor] = []
    encoder.temporal.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))

    with torch.no_grad():
        for pictures in (frames, flipped):
            features, _ = encoder(pictures, torch.tensor([2]))
            assert features.shape == (1, 2, 24)
        pixels = (frames.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        maps = encoder.backbone(pixel_values=pixels).last_hidden_state  # (2, 16, 8, 8)

    side = maps.shape[-1] // grid
    cells = maps.unflatten(3, (grid, side)).unflatten(2, (grid, side)).mean(dim=(3, 5))
    torch.testing.assert_close(seen[0][0], cells.flatten(1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_a_backbone_without_a_map_has_no_grid() -> None:
    encoder = build_encoder(backbone=VIT, grid=2)

    with pytest.raises(ValueError, match="grid"):
        encoder(draw_frames(2), torch.tensor([2]))


def test_an_unknown_backbone_type_is_refused() -> None:
    with pytest.raises(ValueError, match="resnett"):
        build_encoder(backbone={"model_type": "resnett"})


def convolved(encoder: VisualEncoder) -> list[int]:
    """How many frames go through the first layer at once, noted call by call."""
    counts: list[int] = []
    first = encoder.backbone.encoder.stages[0].layers[0]
    first.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    return counts


@pytest.mark.parametrize(
    ("much", "budget", "counts"),
    [
        (False, 8, [8]),
        (False, 7, [4] * 4),
        (False, 3, [3, 3, 2, 2, 3, 3]),
        (True, 8, [8, 8]),
        (True, 7, [4] * 6),
        (True, 3, [3, 3, 2, 2, 2, 3, 3, 3, 3]),
    ],
)
def test_training_keeps_to_the_budget_in_chunks_of_near_equal_size(
    much: bool, budget: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if much:
        monkeypatch.setattr(visual, "PIXEL_BUDGET", 8)
    encoder = build_encoder().train()
    encoder.frame_budget = budget
    seen = convolved(encoder)

    features, _ = encoder(draw_frames(8), torch.tensor([5, 3]))
    features.sum().backward()

    # In the backward pass each chunk again, the last one first; of much its layer for itself, too.
    assert seen == counts


@pytest.mark.parametrize("backbone", [tiny.ENCODER["backbone"], CONVNEXT, VIT])
def test_without_gradients_chunks_change_nothing(backbone: Any) -> None:
    encoder = build_encoder(backbone=backbone)
    frames, lengths = draw_frames(8), torch.tensor([5, 3])
    seen: list[int] = []
    encoder.backbone.register_forward_pre_hook(
        lambda _, __, named: seen.append(len(named["pixel_values"])), with_kwargs=True
    )

    with torch.no_grad():
        whole, _ = encoder(frames, lengths)
        encoder.frame_budget = 24
        chunked, _ = encoder(frames, lengths)

    assert seen == [8, 3, 3, 2]
    # Float32, other sizes of matrix products; worst seen: 1e-6.
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)


def test_a_backbone_that_is_not_trained_is_computed_once() -> None:
    encoder = build_encoder().train()
    encoder.backbone.requires_grad_(False).eval()
    encoder.frame_budget = 8
    seen = convolved(encoder)

    features, _ = encoder(draw_frames(8), torch.tensor([5, 3]))
    features.sum().backward()

    assert seen == [1] * 8
    assert all(weight.grad is not None for weight in encoder.temporal.parameters())


def test_chunks_do_not_change_the_gradients_of_a_backbone_without_batch_normalisation() -> None:
    gradients = []
    for budget in (None, 3):
        encoder = build_encoder(backbone=CONVNEXT).train()
        encoder.frame_budget = budget
        features, _ = encoder(draw_frames(8), torch.tensor([5, 3]))
        features.square().sum().backward()
        gradients.append([weight.grad for weight in encoder.backbone.parameters()])

    for whole, chunked in zip(*gradients, strict=True):
        assert (whole is None) == (chunked is None)
        if whole is not None:
            torch.testing.assert_close(chunked, whole, atol=1e-4, rtol=1e-3)
