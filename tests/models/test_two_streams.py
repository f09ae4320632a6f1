"""The encoder of two streams: what it gives does not depend on the batch, nor on a stream's own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from processes import run_python
from unglossed.errors import InputError
from unglossed.media.two_streams import TwoStreams
from unglossed.models.encoder import build_encoder
from unglossed.models.frozen import Engine, engine_of, fast_encoder
from unglossed.models.synced_norm import sync_norms
from unglossed.models.temporal import real_positions
from unglossed.models.two_streams import TwoStreamEncoder, resample, unpack
from unglossed.ranks import Ranks

SIZES = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
VIDEO: dict[str, Any] = {
    "backbone": {"model_type": "resnet", **SIZES},
    "grid": 1,
    "temporal_dim": 12,
    "temporal_kernel": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.2, 0.2, 0.2],
}
ARRAY = {
    **{"kind": "features", "input_dim": 5, "rate": 25, "dim": 8, "layers": 1, "heads": 2},
    **{"ffn_dim": 16, "dropout": 0.1, "temporal_kernel": 3, "temporal_pools": [2]},
    **{"edge_frames": 4, "max_frames": None},
}
CONFIG = {"kind": "streams", "video": VIDEO, "array": ARRAY}
SIDE, WIDTH = 16, 5


def encoder(of_array: Mapping[str, Any] | None = None) -> TwoStreamEncoder:
    torch.manual_seed(0)
    built = build_encoder({**CONFIG, "array": {**ARRAY, **(of_array or {})}})
    assert isinstance(built, TwoStreamEncoder)
    with torch.no_grad():
        for vector in built.missing.values():
            vector.normal_()
    return built.eval()


def clip(units: int, *, video: bool = True, array: bool = True, seed: int = 0) -> TwoStreams:
    rng = np.random.default_rng([seed, units])
    frames = rng.integers(0, 256, (units, SIDE, SIDE, 3), np.uint8)
    rows = rng.normal(size=(4 * units + 1, WIDTH)).astype(np.float32)
    return TwoStreams(units, frames[: units * video], rows[: len(rows) * array], 4.0)


def batch(*clips: TwoStreams) -> tuple[Tensor, Tensor]:
    packed = [one.packed() for one in clips]
    return torch.from_numpy(np.concatenate(packed)), torch.tensor([len(one) for one in packed])


def test_a_packed_clip_comes_back_bit_for_bit() -> None:
    clips = clip(3), clip(5, video=False), clip(2, array=False)
    points = np.random.default_rng(0).normal(size=(7, 3, 3)).astype(np.float32)
    points[2, 1, 0] = np.nan
    poses = TwoStreams(1, clips[0].video[:1, :5, :7], points, 4.0)

    for found, given in zip(unpack(*batch(*clips, poses)), (*clips, poses), strict=True):
        assert found.units == given.units
        np.testing.assert_array_equal(found.video.numpy(), given.video)
        np.testing.assert_array_equal(found.array.numpy(), given.array)


def test_the_begin_of_a_clip_is_that_of_both_streams() -> None:
    begin = clip(6)[:2]
    assert (len(begin), begin.video.shape[0], begin.array.shape[0]) == (2, 2, 8)


def test_what_a_clip_gives_does_not_depend_on_those_beside_it() -> None:
    clips = [clip(3), clip(9, video=False), clip(5), clip(7, array=False)]
    model = encoder()
    with torch.no_grad():
        features, mask = model(*batch(*clips))
        assert features.shape == (4, 9, 20)
        assert mask.sum(1).tolist() == [3, 9, 5, 7]
        assert (features[~mask] == 0).all()
        for number, one in enumerate(clips):
            alone, real = model(*batch(one))
            assert real.all()
            torch.testing.assert_close(features[number, mask[number]], alone[0])


def test_both_streams_count_and_a_learnt_vector_stands_for_one_that_is_missing() -> None:
    model = encoder()
    with torch.no_grad():
        (both,), _ = model(*batch(clip(4)))
        (seen,), _ = model(*batch(clip(4, array=False)))
        (pointed,), _ = model(*batch(clip(4, video=False)))
    torch.testing.assert_close(both[:, :12], seen[:, :12])
    torch.testing.assert_close(both[:, 12:], pointed[:, 12:])
    torch.testing.assert_close(seen[:, 12:], model.missing["array"].data.expand(4, -1))
    torch.testing.assert_close(pointed[:, :12], model.missing["video"].data.expand(4, -1))
    assert not torch.allclose(both[:, 12:], seen[:, 12:])


def test_gradients_reach_both_streams_and_the_vectors_alone_where_one_is_missing() -> None:
    model = encoder().train()
    model(*batch(clip(4), clip(3, video=False)))[0].square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None or name == "missing.array", name
    assert model.missing["video"].grad is not None
    for part in (model.video.backbone, model.video.temporal, model.array.over_time):
        assert any(weight.grad.abs().sum() > 0 for weight in part.parameters())

    model.zero_grad()
    model(*batch(clip(4, array=False)))[0].square().sum().backward()
    assert all(weight.grad is None for weight in model.array.parameters())
    assert model.missing["array"].grad.abs().sum() > 0


def test_positions_are_averaged_by_the_time_that_they_share() -> None:
    values = torch.tensor([[[0.0], [3.0], [6.0], [100.0]], [[1.0], [5.0], [7.0], [9.0]]])
    lengths, steps = torch.tensor([3, 4]), torch.tensor([2, 4])

    found = resample(values, lengths, steps, 4)

    # Of 3 positions each of 2 steps has one whole and half of the middle one.
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.0, 5.0, 0.0, 0.0]))
    torch.testing.assert_close(found[1, :, 0], values[1, :, 0])
    longer = resample(values[:1], torch.tensor([3]), torch.tensor([6]), 6)
    torch.testing.assert_close(longer[0, :, 0], torch.tensor([0.0, 0, 3, 3, 6, 6]))


@pytest.mark.parametrize("seed", range(5))
def test_resampling_keeps_the_mean_and_sees_no_padding(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    lengths, steps = torch.randint(1, 30, (2, 6), generator=rng)
    values = torch.randn((6, 35, 3), generator=rng)
    found = resample(values, lengths, steps, 31)
    real, wanted = real_positions(lengths, 35), real_positions(steps, 31)
    assert (found[~wanted] == 0).all()
    mean = (values * real[..., None]).sum(1) / lengths[:, None]
    torch.testing.assert_close(found.sum(1) / steps[:, None], mean)
    other = torch.where(real[..., None], values, torch.tensor(1e6))
    torch.testing.assert_close(resample(other, lengths, steps, 31), found)


def test_one_stream_can_be_frozen() -> None:
    model = encoder().train()
    model.video.requires_grad_(False)
    model.video.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], 0.1)
    model(*batch(clip(4), clip(3)))[0].square().sum().backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert {name.partition(".")[0] for name in moved} == {"array"}
    assert any("running_mean" in name for name in moved)  # of the array's temporal module


def test_the_fast_form_gives_the_same() -> None:
    model = encoder()
    fast = fast_encoder(model, bfloat16=False)
    assert engine_of(fast) is not Engine.TORCH
    clips = batch(clip(4), clip(6, video=False))
    with torch.no_grad():
        (found, mask), (expected, same) = fast(*clips), model(*clips)
    assert torch.equal(mask, same)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"video": ARRAY}, "video: found an encoder of array, expected one of video"),
        ({"array": VIDEO}, "array: found an encoder of video, expected one of array"),
        ({"array": None}, "array: found None, expected an encoder's config"),
    ],
)
def test_other_encoders_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_encoder({**CONFIG, **change})


STEP = """
import sys
import numpy as np, torch
sys.path[:0] = {paths!r}
from test_two_streams import batch, clip, one_step
from unglossed.ranks import joined
with joined() as ranks:
    clips = (clip(4, array=False),), (clip(3, video=False),)
    found = one_step(ranks, *clips[ranks.index])
    if ranks.is_first:
        torch.save(found, {output!r})
"""


def one_step(ranks: Ranks, *clips: TwoStreams) -> dict[str, Tensor]:
    """Gradients and normalisation statistics of a step, summed over processes."""
    model = encoder({"dropout": 0.0}).train()
    sync_norms(model, ranks)
    model(*batch(*clips))[0].square().sum().backward()
    ranks.sum_gradients(model.parameters())
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    return {name: one for name, one in gradients.items() if one is not None} | {
        name: value for name, value in model.named_buffers() if "running" in name
    }


@pytest.mark.slow
def test_processes_of_which_each_lacks_a_stream_keep_step(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(Path(__file__).parent), *sys.path]
    program = STEP.format(paths=paths, output=str(tmp_path / "found.pt"))

    def process(rank: int) -> None:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        env = {**os.environ, **place, "RANK": str(rank)}
        done = run_python(["-c", program], env=env, timeout=240)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(process, range(2)))
    found = torch.load(tmp_path / "found.pt")
    expected = one_step(Ranks(), clip(4, array=False), clip(3, video=False))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda told, at=name: f"{at}: {told}")
