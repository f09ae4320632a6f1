"""A batch in parts: every row once, little padding, the same loss and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import pad_features, pad_labels
from unglossed.training.data import cut_batch
from unglossed.training.objectives.translation import text_loss

SOURCES = [5, 17, 3, 9, 9, 12, 4]
TARGETS = [4, 6, 3, 8, 2, 5, 7]


def draw_batch(dim: int = 24) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    features, mask = pad_features([torch.randn(size, dim, generator=draw) for size in SOURCES])
    labels = pad_labels([torch.randint(5, 30, (n,), generator=draw).tolist() for n in TARGETS])
    return {"features": features, "mask": mask, "labels": labels}


def rows_of(batch: dict[str, Tensor]) -> list[tuple[Any, ...]]:
    """What is real in each row, in an order that follows from it."""
    return sorted(
        (features[mask].tolist(), labels[labels != IGNORED].tolist())
        for features, mask, labels in zip(
            batch["features"], batch["mask"], batch["labels"], strict=True
        )
    )


@pytest.mark.parametrize("budget", [1, 20, 30, 60, 150])
def test_every_row_is_in_one_part_within_the_budget(budget: int) -> None:
    batch = draw_batch()

    parts = list(cut_batch(batch, budget))

    assert sorted(row for part in parts for row in rows_of(part)) == rows_of(batch)
    for part in parts:
        size, source = part["mask"].shape
        target = part["labels"].shape[1]
        assert source == part["mask"].sum(1).max()
        assert target == (part["labels"] != IGNORED).sum(1).max()
        assert size == 1 or size * (source + target) <= budget
    assert len(parts) == {1: 7, 20: 7, 30: 5, 60: 3, 150: 2}[budget]


def test_a_batch_within_the_budget_stays_as_it_is() -> None:
    batch = draw_batch()

    (part,) = cut_batch(batch, len(SOURCES) * (max(SOURCES) + max(TARGETS)))

    assert part is batch


def test_masked_texts_are_cut_too() -> None:
    texts = torch.tensor([[7, 8, 2, 1], [9, 2, 1, 1], [7, 7, 9, 2]])
    batch = {
        "input_ids": texts,
        "attention_mask": (texts != 1).long(),
        "labels": texts.masked_fill(texts == 1, IGNORED),
        "decoder_input_ids": texts.roll(1, 1),
    }

    parts = [{name: rows.tolist() for name, rows in p.items()} for p in cut_batch(batch, 10)]

    assert [part["input_ids"] for part in parts] == [[[7, 7, 9, 2]], [[7, 8, 2]], [[9, 2]]]
    assert [part["decoder_input_ids"] for part in parts] == [[[2, 7, 7, 9]], [[1, 7, 8]], [[1, 9]]]


@pytest.mark.parametrize("budget", [1, 30, 60])
def test_loss_and_gradients_are_those_of_the_whole_batch(budget: int) -> None:
    processor = tiny.tiny_processor()
    batch = draw_batch()

    def gradients(parts: list[dict[str, Tensor]]) -> tuple[float, list[Tensor]]:
        torch.manual_seed(0)
        model = tiny.tiny_model(processor).eval()
        model.freeze(["encoder"])
        count = (batch["labels"] != IGNORED).sum()
        total = 0.0
        for part in parts:
            loss = text_loss(model(**part).logits, part["labels"], num_tokens=count)
            torch.autograd.backward(loss)
            total += loss.item()
        return total, [p.grad for p in model.parameters() if p.grad is not None]

    whole, theirs = gradients([batch])
    found, mine = gradients(list(cut_batch(batch, budget)))

    assert found == pytest.approx(whole, rel=1e-5)
    assert len(mine) == len(theirs) > 20
    for one, two in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)
