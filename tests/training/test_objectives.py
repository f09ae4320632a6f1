"""The loss of a text against a computation by hand."""

import pytest
import torch

from unglossed.models.language_model import IGNORED
from unglossed.training.objectives import text_loss


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (3, 4, 11) and labels with 4, 2 and 1 real tokens."""
    logits = 3 * torch.randn(3, 4, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 5, 9, 2], [3, 2, IGNORED, IGNORED], [2] + [IGNORED] * 3])
    return logits, labels


def by_hand(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> float:
    """Sum over the real tokens of -sum q log p, q = smoothed target over the vocabulary."""
    total = 0.0
    for row, targets in zip(logits.double(), labels, strict=True):
        for scores, target in zip(row, targets.tolist(), strict=True):
            if target != IGNORED:
                log_p = scores - torch.log(torch.exp(scores).sum())
                q = torch.full_like(scores, smoothing / len(scores))
                q[target] += 1 - smoothing
                total -= float((q * log_p).sum())
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2, 1.0])
def test_loss_is_smoothed_cross_entropy_per_token(
    batch: tuple[torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    expected = by_hand(*batch, smoothing) / 7

    assert float(text_loss(*batch, label_smoothing=smoothing)) == pytest.approx(expected, rel=1e-5)


def test_loss_of_a_cut_batch_adds_up_to_that_of_the_whole(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = batch
    whole = text_loss(logits, labels, label_smoothing=0.2)

    halves = [
        text_loss(logits[part], labels[part], label_smoothing=0.2, num_tokens=torch.tensor(7))
        for part in (slice(0, 1), slice(1, 3))
    ]

    torch.testing.assert_close(sum(halves), whole)


def test_what_stands_where_labels_are_padded_has_no_gradient(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = batch
    logits.requires_grad_()
    text_loss(logits, labels, label_smoothing=0.2).backward()

    padded = labels == IGNORED
    assert logits.grad is not None
    assert (logits.grad[padded] == 0).all()
    assert (logits.grad[~padded] != 0).all()


def test_loss_of_bfloat16_logits_is_computed_in_float32(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = batch

    loss = text_loss(logits.bfloat16(), labels)

    assert loss.dtype == torch.float32
    assert torch.equal(loss, text_loss(logits.bfloat16().float(), labels))
