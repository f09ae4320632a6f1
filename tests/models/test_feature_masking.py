"""A second reading without some of the features: what it compares, and where gradients go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from unglossed.models.feature_masking import masked_distances, masked_loss
from unglossed.models.language_model import IGNORED, DecoderOnly
from unglossed.models.temporal import real_positions
from unglossed.models.translator import Translator
from unglossed.training.draws import Draws

LENGTHS = [6, 3, 8]
WIDTH, DIM = 32, 24
CPU = torch.device("cpu")


def writer() -> DecoderOnly:
    found = translator().language_model
    assert isinstance(found, DecoderOnly)
    return found


def translator() -> Translator:
    return tiny.tiny_decoder_only(tiny.tiny_processor(), before="morgen", after="heute")


def clips(width: int = WIDTH, time: int | None = None, filling: float = 9.0) -> tuple[Any, Any]:
    mask = real_positions(torch.tensor(LENGTHS), time)
    generator = torch.Generator().manual_seed(1)
    embeds = torch.full((*mask.shape, width), filling)
    for row, length in enumerate(LENGTHS):
        embeds[row, :length] = torch.randn(length, width, generator=generator)
    return embeds, mask


def measured(embeds: Tensor, mask: Tensor, share: float = 0.5, step: int = 0, **of: Any) -> Tensor:
    rows = of.get("rows", range(len(mask)))
    with Draws(of.get("seed", 0)).dropout(step, [*rows], CPU):
        return masked_distances(of.get("model") or writer(), embeds, mask, share)


def hidden(mask: Tensor, share: float = 0.5) -> Tensor:
    """Which positions are hidden in step 0."""
    with Draws(0).dropout(0, [*range(len(mask))], CPU):
        kept = torch.nn.functional.dropout(torch.ones(mask.shape), share) > 0
    return mask & ~kept


@torch.no_grad()
def test_it_is_the_distance_of_states_with_and_without_what_is_hidden() -> None:
    model, (embeds, mask) = writer(), clips()
    table, decoder = model.model.get_input_embeddings(), model.model.get_decoder()
    before = table(torch.tensor([model.before]))
    missing = hidden(mask)
    assert missing.any(1).all()

    found = measured(embeds, mask)

    for row, length in enumerate(LENGTHS):
        left = ~missing[row, :length]
        whole, part = (
            decoder(inputs_embeds=torch.cat([before, read[None]], 1)).last_hidden_state[0]
            for read in (embeds[row, :length], embeds[row, :length][left])
        )
        number = before.shape[1]
        squares = (part[number:] - whole[number:][left]).square()
        assert float(found[row]) == pytest.approx(float(squares.mean()), rel=1e-4)


def test_padding_and_the_other_clips_change_nothing() -> None:
    before = measured(*clips())

    torch.testing.assert_close(measured(*clips(time=13, filling=-4.0)), before)
    embeds, mask = clips()
    alone = measured(embeds[1:2, :3], mask[1:2, :3], rows=[1])
    torch.testing.assert_close(alone, before[1:2])


def test_what_is_hidden_has_no_gradient_and_what_is_left_has() -> None:
    model, (features, mask) = translator(), clips(DIM)
    features.requires_grad_()
    embeds, _ = model.adapter(features, mask)

    measured(embeds, mask, model=model.language_model).sum().backward()

    missing = hidden(mask)
    assert features.grad is not None
    reached = features.grad.abs().sum(2) > 0
    assert not reached[missing].any()
    assert not reached[~mask].any()
    assert reached[mask & ~missing].all()


def test_the_first_reading_is_the_aim_and_has_no_gradient() -> None:
    """Drawing the second one to it is all that a step along the gradient does."""
    model, (embeds, mask) = writer(), clips()
    embeds.requires_grad_()
    whole = model.states(embeds, mask).detach()
    part = model.states(embeds, mask & ~hidden(mask))
    left = mask & ~hidden(mask)
    squares = (part - whole).square().mean(2).masked_fill(~left, 0).sum(1) / left.sum(1)
    (expected,) = torch.autograd.grad(squares.sum(), embeds)

    (found,) = torch.autograd.grad(measured(embeds, mask, model=model).sum(), embeds)

    torch.testing.assert_close(found, expected)


def test_it_is_drawn_by_seed_step_and_clip() -> None:
    first = measured(*clips())

    assert torch.equal(measured(*clips()), first)
    for other in ({"step": 1}, {"seed": 1}, {"rows": [4, 5, 6]}):
        assert not torch.isclose(measured(*clips(), **other), first).all()


def test_a_clip_that_would_be_hidden_whole_is_read_whole() -> None:
    found = measured(*clips(), share=0.999999)

    torch.testing.assert_close(found, torch.zeros(3))


def test_clips_count_by_the_tokens_of_their_texts_however_a_batch_is_split() -> None:
    distances = torch.tensor([1.0, 4.0])
    labels = torch.tensor([[5, 6, 2], [7, IGNORED, IGNORED]])

    assert float(masked_loss(distances, labels, None)) == pytest.approx((3 * 1 + 4) / 4)
    parts = [masked_loss(distances[i : i + 1], labels[i : i + 1], 4) for i in range(2)]
    assert float(sum(parts)) == pytest.approx((3 * 1 + 4) / 4)


def test_a_translator_measures_it_in_training_alone() -> None:
    model, (features, mask) = translator(), clips(DIM)
    labels = torch.tensor([[5, 6, 2]] * 3)
    plain = model(features=features, mask=mask, labels=labels)
    model.mask_features(0.5)

    assert model(features=features, mask=mask, labels=labels).distances is None
    found = model.train()(features=features, mask=mask, labels=labels)
    assert found.distances.shape == (3,)
    torch.testing.assert_close(found.logits, plain.logits)
