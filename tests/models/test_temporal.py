"""Temporal convolutions with pooling: lengths, padding, statistics."""

from __future__ import annotations

import pytest
import torch

import tiny
from unglossed.errors import InputError
from unglossed.models.adapter import build_adapter
from unglossed.models.encoder import build_encoder
from unglossed.models.segmenter import Segmenter, SegmenterConfig
from unglossed.models.temporal import PooledTemporal, norm_real, real_positions

POOLED = {**tiny.ENCODER, "temporal_kernel": 5, "temporal_pools": [2, 2], "edge_frames": 8}


def test_lengths_are_those_of_the_peers_code() -> None:
    temporal = PooledTemporal(3, 4, 5, [2, 2], 8, 300)
    for frames in (1, 2, 4, 5, 59, 300):
        read = 4 * -(-frames // 4) + 16
        positions = int(((read - 4) / 2 - 4) / 2)
        found, mask = temporal.eval()(torch.randn(1, frames, 3), torch.ones(1, frames).bool())
        assert found.shape == (1, positions, 4)
        assert mask.sum() == temporal.output_lengths(frames) == positions
    assert temporal.output_lengths(torch.tensor([5, 301, 9000])).tolist() == [3, 76, 76]


@pytest.mark.parametrize(("kernel", "pools", "edges"), [(5, [2, 2], 8), (3, [3], 1), (1, [4], 0)])
def test_input_limit_is_the_longest_that_fits(kernel: int, pools: list[int], edges: int) -> None:
    temporal = PooledTemporal(3, 4, kernel, pools, edges)
    for positions in range(temporal.output_lengths(1), 70):
        limit = temporal.input_limit(positions)
        assert temporal.output_lengths(limit) <= positions < temporal.output_lengths(limit + 1)


def test_edges_are_repeated_and_no_clip_sees_another() -> None:
    torch.manual_seed(0)
    temporal = PooledTemporal(3, 4, 5, [2, 2], 8).eval()
    clips = [torch.randn(length, 3) for length in (6, 1, 11)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=9.0)
    found, mask = temporal(padded, real_positions(torch.tensor([6, 1, 11])))
    for row, clip in enumerate(clips):
        behind = 8 + -len(clip) % 4
        whole = torch.cat([clip[:1].repeat(8, 1), clip, clip[-1:].repeat(behind, 1)])
        hidden = whole.T[None]
        for conv, norm in zip(temporal.convs, temporal.norms, strict=True):
            hidden = torch.nn.functional.max_pool1d(torch.relu(norm(conv(hidden))), 2)
        assert torch.allclose(found[row, mask[row]], hidden[0].T, atol=1e-6)
        assert not found[row, ~mask[row]].any()


def test_statistics_are_those_of_real_positions() -> None:
    torch.manual_seed(0)
    values, mask = torch.randn(2, 5, 3), real_positions(torch.tensor([5, 2]))
    norm, same = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    found = norm_real(norm, values.masked_fill(~mask[..., None], 99.0), mask)
    assert torch.equal(found[mask], same(values[mask]))
    assert torch.equal(norm.running_var, same.running_var)
    assert not found[~mask].any()


def test_clip_is_trained_in_batches_of_any_padding() -> None:
    encoder = build_encoder(POOLED).train()
    frames = torch.randint(0, 256, (10, 32, 32, 3), dtype=torch.uint8)
    features, _ = encoder(frames, torch.tensor([1, 9]))
    features.sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"edge_frames": 5}, "edge_frames: found 5, expected at least 6"),
        ({"edge_frames": True}, "edge_frames: found True, expected a whole number"),
        ({"temporal_pools": []}, "edge_frames: has no effect without temporal_pools"),
        ({"temporal_pools": [0]}, "temporal_pools: found"),
        ({"max_frames": 0}, "max_frames: found 0, expected a whole number from 1"),
    ],
)
def test_wrong_values_are_told(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_encoder({**POOLED, **change})


def test_segmenter_needs_every_frame() -> None:
    with pytest.raises(InputError, match="a segmenter tags every frame"):
        Segmenter(SegmenterConfig(encoder=POOLED))


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_normed_adapter_sees_no_padding(norm: str) -> None:
    torch.manual_seed(0)
    adapter = build_adapter(3, 4, {"norm": norm})
    values, mask = torch.randn(2, 5, 3), real_positions(torch.tensor([5, 2]))
    found, _ = adapter(values.masked_fill(~mask[..., None], 99.0), mask)
    again, _ = adapter(values.masked_fill(~mask[..., None], -7.0), mask)
    assert torch.equal(found, again)
    assert found.min() == 0
    with pytest.raises(ValueError, match="norm: found 'group', expected layer or batch"):
        build_adapter(3, 4, {"norm": "group"})
