"""The encoders of features and poses: clips do not see each other, missing points no one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unglossed.media.array_settings import ArraySettings
from unglossed.media.skeletons import SKELETONS
from unglossed.models.encoder import Encoder, build_encoder, encoder_kind
from unglossed.models.graph import GroupNetwork
from unglossed.models.over_time import time_encoding

SMALL = {"dim": 16, "layers": 1, "heads": 2, "ffn_dim": 32, "dropout": 0.0}
SKELETON = SKELETONS["openpose"]
NUM_POINTS = len(SKELETON.used)


def features(**config: Any) -> Encoder:
    torch.manual_seed(0)
    kind = encoder_kind({"kind": "features"})
    whole = {**kind.defaults, "kind": "features", "input_dim": 6, "rate": 25.0, **SMALL, **config}
    return build_encoder(whole).eval()


def graph(**config: Any) -> Encoder:
    torch.manual_seed(0)
    kind = encoder_kind({"kind": "graph"})
    own = {"kind": "graph", "skeleton": "openpose", "depth": False, "point_dim": 8}
    return build_encoder({**kind.defaults, **own, **SMALL, **config}).eval()


def poses(length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = 100 * torch.rand(length, NUM_POINTS, 2, generator=generator)
    seconds = (torch.arange(length) / 25)[:, None, None].expand(length, NUM_POINTS, 1)
    return torch.cat([points, seconds], dim=2)


@pytest.mark.parametrize("pools", [None, [2, 2]])
@pytest.mark.parametrize("kind", ["features", "graph"])
def test_a_clip_is_encoded_alike_alone_and_in_a_batch(kind: str, pools: Any) -> None:
    edges = {"temporal_pools": pools, "edge_frames": pools and 8}
    encoder = (features if kind == "features" else graph)(**edges)
    clips = [torch.randn(n, 6) if kind == "features" else poses(n, seed=n) for n in (9, 5)]
    if kind == "graph":
        clips[1][:, 8:29, :2] = torch.nan
    lengths = torch.tensor([9, 5])

    together, mask = encoder(torch.cat(clips), lengths)
    alone, alone_mask = encoder(clips[1], lengths[1:])

    count = int(encoder.output_lengths(lengths)[1])
    assert alone_mask.sum() == mask[1].sum() == count
    assert together.shape[2] == encoder.output_dim == 16
    torch.testing.assert_close(together[1, :count], alone[0], rtol=1e-4, atol=1e-5)
    assert not together[1, count:].any()
    assert torch.isfinite(together).all()
    limit = encoder.input_limit(4)
    assert int(encoder.output_lengths(torch.tensor([limit]))) <= 4
    assert encoder.input_limit(None) is None


def test_place_and_size_in_the_picture_do_not_matter() -> None:
    encoder, clip = graph(), poses(6)
    moved = clip.clone()
    moved[..., :2] = 3 * moved[..., :2] + torch.tensor([40.0, -7.0])

    one, _ = encoder(clip, torch.tensor([6]))
    other, _ = encoder(moved, torch.tensor([6]))

    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_missing_point_is_no_point_at_the_origin() -> None:
    encoder, clip = graph(), poses(6)
    place = SKELETON.group_indices["left_hand"][4]
    missing, at_origin = clip.clone(), clip.clone()
    missing[:, place, :2] = torch.nan
    at_origin[:, place, :2] = clip[:, SKELETON.group_indices["left_hand"][0], :2]  # its centre

    lengths = torch.tensor([6])
    gone, there = encoder(missing, lengths)[0], encoder(at_origin, lengths)[0]

    assert torch.isfinite(gone).all()
    assert not torch.allclose(gone, there, atol=1e-3)


def test_edges_lead_to_neighbours() -> None:
    names = SKELETON.groups["left_hand"]
    joined = {place for pair in SKELETON.edges for place in pair}
    assert set(names) <= joined
    torch.manual_seed(0)
    network = GroupNetwork(SKELETON, SKELETON.group_indices["left_hand"], 1, 4, num_layers=1)
    layer, there = network.layers[0], torch.ones(1, len(names), dtype=torch.bool)
    tip, before, far = 4, 3, 20
    plain = torch.zeros(1, len(names), 1)
    moved = plain.clone()
    moved[0, tip] = 5.0
    change = (layer(moved, there) - layer(plain, there)).abs().sum(-1)[0]
    assert change[before] > 0
    assert change[far] == 0


def test_gradients_are_finite_where_points_or_shoulders_are_missing() -> None:
    encoder = graph().train()
    clips = poses(12)
    clips[:4, :, :2] = torch.nan  # nobody is seen
    clips[6:, SKELETON.shoulder_indices[0], :2] = torch.nan

    found, _ = encoder(clips, torch.tensor([6, 6]))
    found.square().sum().backward()

    gradients = {name: weight.grad for name, weight in encoder.named_parameters()}
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients.values())
    assert any(grad.any() for name, grad in gradients.items() if "learnt" in name)


def test_time_is_in_seconds_whatever_the_rate() -> None:
    slow, fast = torch.arange(5) / 25, torch.arange(10) / 50
    torch.testing.assert_close(time_encoding(slow, 8), time_encoding(fast, 8)[::2])
    doubled = features(rate=50.0)
    doubled.load_state_dict(features().state_dict())
    rows = torch.randn(5, 6)
    lengths = torch.tensor([5])
    assert not torch.allclose(doubled(rows, lengths)[0], features()(rows, lengths)[0], atol=1e-4)


def test_misfits_are_named() -> None:
    class Processor:
        array = ArraySettings(dim=7, rate=25.0).model_dump(mode="json")

    assert "reads features of 6 numbers" in str(features().misfit(Processor))
    assert "another skeleton" in str(graph().misfit(Processor))
    Processor.array = ArraySettings(skeleton="openpose", depth=True).model_dump(mode="json")
    assert "reads 2 coordinates" in str(graph().misfit(Processor))
    assert graph(depth=True).misfit(Processor) is None


def test_widths_that_do_not_fit_the_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="dim: found 16, expected an even multiple of heads, 3"):
        features(heads=3)
