"""Dropout depends on seed, step and clip: not on the other clips, padding, or what came before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unglossed.training.draws import Draws

CPU = torch.device("cpu")


def dropped(shape: tuple[int, ...], rows: list[int], p: float = 0.3, **drawn: int) -> Tensor:
    """What becomes of ones."""
    draws = Draws(drawn.get("seed", 0))
    with draws.dropout(drawn.get("step", 0), rows, CPU):
        return nn.functional.dropout(torch.ones(shape), p)


def test_a_row_is_the_same_whatever_lies_beside_and_behind_it() -> None:
    whole = dropped((3, 7, 4, 9), [5, 2, 8])

    assert torch.equal(dropped((1, 7, 4, 9), [2])[0], whole[1])
    assert torch.equal(dropped((2, 6, 3, 8), [8, 5]), whole[[2, 0], :6, :3, :8])


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}])
def test_another_seed_or_step_draws_other_numbers(other: dict[str, int]) -> None:
    assert not torch.equal(dropped((2, 50), [0, 1], **other), dropped((2, 50), [0, 1]))


def test_each_call_draws_anew() -> None:
    with Draws(0).dropout(0, [0, 1], CPU):
        first, second = (nn.functional.dropout(torch.ones(2, 50), 0.5) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for_and_independently(p: float) -> None:
    found = dropped((8, 100, 250), list(range(8)), p)

    kept = (found != 0).double()
    deviation = (p * (1 - p) / kept.numel()) ** 0.5
    assert abs(kept.mean() - (1 - p)) < 4 * deviation
    assert abs(found.mean() - 1) < 4 * deviation / (1 - p)
    centred = kept - kept.mean()
    for other in (centred[1:], centred[:, 1:], centred[:, :, 1:]):
        same = centred[tuple(slice(0, size) for size in other.shape)]
        assert abs((same * other).mean()) < 4 * p * (1 - p) / other.numel() ** 0.5


def test_outside_of_training_and_with_nothing_to_drop_all_stays() -> None:
    values = torch.randn(2, 3)
    with Draws(0).dropout(0, [0, 1], CPU):
        assert torch.equal(nn.functional.dropout(values, 0.5, training=False), values)
        assert torch.equal(nn.functional.dropout(values, 0.0), values)
        assert torch.equal(nn.functional.dropout(values, 1.0), torch.zeros(2, 3))
        inplace = values.clone()
        nn.functional.dropout(inplace, 0.5, inplace=True)
    assert set((inplace / values).round(decimals=4).flatten().tolist()) <= {0.0, 2.0}


def test_modules_draw_here_and_torch_draws_again_behind() -> None:
    before = nn.functional.dropout
    with pytest.raises(KeyError), Draws(0).dropout(0, [4], CPU):
        assert torch.equal(nn.Dropout(0.3)(torch.ones(1, 9)), dropped((1, 9), [4]))
        raise KeyError
    assert nn.functional.dropout is before


def test_what_is_no_clip_is_drawn_by_torch() -> None:
    """Frames of all clips in one dimension, as an image model has them."""
    with Draws(0).dropout(0, [4, 5], CPU):
        torch.manual_seed(1)
        found = nn.functional.dropout(torch.ones(7, 9), 0.5)
    torch.manual_seed(1)
    assert torch.equal(found, nn.functional.dropout(torch.ones(7, 9), 0.5))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_drops_weights_and_else_is_as_torch_computes_it(
    causal: bool, mask: str | None
) -> None:
    if causal and mask:
        pytest.skip("torch takes one of them")
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 5, 8, generator=generator) for _ in range(3))
    real = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    real[1, :, :, 3:] = False
    attn_mask = None if mask is None else real
    if mask == "float":
        attn_mask = torch.zeros(real.shape).masked_fill(~real, -torch.inf)
    attend = nn.functional.scaled_dot_product_attention
    expected = attend(query, key, value, attn_mask, is_causal=causal)
    draws = Draws(0)

    with draws.dropout(0, [0, 1], CPU):
        plain = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, is_causal=causal
        )
        found = torch.stack(
            [
                nn.functional.scaled_dot_product_attention(
                    query, key, value, attn_mask, dropout_p=0.2, is_causal=causal
                )
                for _ in range(4000)
            ]
        )

    assert torch.equal(plain, expected)
    assert not torch.equal(found[0], expected)
    torch.testing.assert_close(found.mean(0), expected, atol=0.08, rtol=0)


def test_the_generators_of_a_step_are_those_of_its_number() -> None:
    draws = Draws(3)
    drawn = []
    for step in (0, 1, 0):
        draws.seed_step(step)
        drawn.append(torch.rand(3).tolist())
        torch.rand(step)
    assert drawn[0] == drawn[2] != drawn[1]


def test_what_is_computed_again_in_the_backward_pass_is_drawn_by_torch() -> None:
    """Else the second time would have another mask than the first."""
    draws, module = Draws(0), nn.Dropout(0.5)
    draws.spare(module)
    with draws.dropout(0, [4, 5], CPU):
        torch.manual_seed(1)
        found = module(torch.ones(2, 9))
        ours = nn.functional.dropout(torch.ones(2, 9), 0.5)
    torch.manual_seed(1)
    assert torch.equal(found, module(torch.ones(2, 9)))
    assert torch.equal(ours, dropped((2, 9), [4, 5], 0.5))
