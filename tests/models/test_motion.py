"""An encoder that sees what changed since the frame before, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from unglossed.inference.translator import SignTranslator
from unglossed.models.visual import VisualEncoder, widened


def build(**changes: object) -> VisualEncoder:
    torch.manual_seed(0)
    return VisualEncoder({**tiny.ENCODER, **changes}).eval()


def draw(num_frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, 32, 32, 3), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def test_a_frame_stands_beside_the_one_before_it_and_a_clip_begins_with_none() -> None:
    encoder, frames = build(motion=True), draw(7)

    paired = encoder.paired(frames, torch.tensor([3, 4]))

    assert (paired[..., :3] == frames).all()
    assert (paired[[1, 2, 4, 5, 6]][..., 3:] == frames[[0, 1, 3, 4, 5]]).all()
    change = encoder.normalised(paired)[..., 3:]
    assert not change[[0, 3]].any()
    torch.testing.assert_close(
        change[1], (frames[1].float() - frames[0].float()) * encoder.pixel_scale
    )


@torch.no_grad()
def test_a_clip_has_the_same_features_alone_and_beside_others() -> None:
    encoder = build(motion=True)
    lengths, frames = torch.tensor([3, 6, 1]), draw(10)

    features, mask = encoder(frames, lengths)

    for row, clip in enumerate(torch.split(frames, lengths.tolist())):
        alone, _ = encoder(clip, torch.tensor([len(clip)]))
        torch.testing.assert_close(features[row, mask[row]], alone[0])


@torch.no_grad()
def test_another_frame_before_changes_a_frame_and_without_motion_nothing() -> None:
    frames = draw(5)
    changed = frames.clone()
    changed[1] = 255 - changed[1]
    found = {}
    for motion in (False, True):
        encoder = build(motion=motion)
        one, other = (encoder.pooled(encoder.paired(rows)) for rows in (frames, changed))
        found[motion] = [bool((a != b).any()) for a, b in zip(one, other, strict=True)]

    assert found == {
        False: [False, True, False, False, False],
        True: [False, True, True, False, False],
    }


@torch.no_grad()
def test_pieces_of_a_clip_have_the_vectors_of_the_whole() -> None:
    processor = tiny.tiny_processor()
    translator = SignTranslator(tiny.tiny_model(processor, motion=True), processor)
    frames = draw(9)

    whole = translator.vectors_of(frames)
    pieces = [translator.vectors_of(frames[:4]), translator.vectors_of(frames[4:], frames[3])]

    torch.testing.assert_close(torch.cat(pieces), whole)
    assert (translator.vectors_of(frames[4:])[0] != whole[4]).any()  # as if a clip began there


@torch.no_grad()
def test_weights_of_a_backbone_of_pictures_give_the_same_until_motion_is_learned() -> None:
    plain, encoder = build(grid=2), build(grid=2, motion=True)
    encoder.backbone.load_state_dict(widened(plain.backbone.state_dict()))
    frames = draw(6)

    torch.testing.assert_close(encoder.pooled(encoder.paired(frames)), plain.pooled(frames))


def test_it_is_learned() -> None:
    encoder = build(motion=True).train()
    features, _ = encoder(draw(6), torch.tensor([6]))
    features.square().mean().backward()

    gradient = encoder.backbone.embedder.embedder.convolution.weight.grad
    assert gradient.shape[1] == 6
    assert gradient[:, 3:].abs().sum() > 0


def test_a_saved_model_has_it(tmp_path: Path) -> None:
    model = tiny.tiny_translator(tmp_path / "model", motion=True)

    assert SignTranslator.from_pretrained(model).model.encoder.motion


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"motion": "yes"}, "motion: found 'yes', expected true or false"),
        ({"backbone": {**tiny.ENCODER["backbone"], "num_channels": 6}}, "num_channels 6"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build(**{"motion": True, **changes})
