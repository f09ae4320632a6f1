"""The losses of the objectives against computations by hand."""

import math
from itertools import groupby, product

import pytest
import torch

from unglossed.models.language_model import IGNORED
from unglossed.training.objectives import OBJECTIVES, OURS
from unglossed.training.objectives.alignment import alignment_loss
from unglossed.training.objectives.recognition import gloss_loss
from unglossed.training.objectives.translation import text_loss
from unglossed.training.settings import PARTS


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


def spelt(symbols: tuple[int, ...]) -> list[int]:
    """What a path of symbols reads as: repetitions joined, blanks left out."""
    return [symbol for symbol, _ in groupby(symbols) if symbol]


def ctc_by_hand(logits: torch.Tensor, target: list[int]) -> float:
    """- log of the summed probability of every path that reads as the target."""
    probabilities = logits.double().softmax(-1)
    total = 0.0
    for path in product(range(logits.shape[-1]), repeat=len(logits)):
        if spelt(path) == target:
            total += math.prod(float(probabilities[time, s]) for time, s in enumerate(path))
    return -math.log(total)


def test_gloss_loss_sums_over_every_way_to_spell_the_glosses() -> None:
    logits = 2 * torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(5) < torch.tensor([5, 4, 3])[:, None]
    labels = torch.tensor([[1, 3, 3], [2, 1, IGNORED], [2, IGNORED, IGNORED]])
    logits[~mask] = 50.0  # padding, whatever stands there

    loss = gloss_loss(logits, mask, labels)

    targets = [[1, 3, 3], [2, 1], [2]]
    expected = sum(
        ctc_by_hand(row[real], target)
        for row, real, target in zip(logits, mask, targets, strict=True)
    )
    assert float(loss) == pytest.approx(expected / 6, rel=1e-5)
    assert float(gloss_loss(logits, mask, labels, num_glosses=12)) == pytest.approx(
        expected / 12, rel=1e-5
    )


def test_a_clip_too_short_for_its_glosses_adds_nothing() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    mask = torch.ones(2, 3, dtype=torch.bool)
    labels = torch.tensor([[1, 2, IGNORED], [1, 1, 2]])  # the second needs four positions

    loss = gloss_loss(logits, mask, labels, num_glosses=1)
    loss.backward()

    alone = gloss_loss(logits[:1], mask[:1], labels[:1], num_glosses=1)
    assert float(loss.detach()) == pytest.approx(float(alone.detach()), rel=1e-6)
    assert logits.grad is not None
    assert not logits.grad[1].any()
    assert logits.grad[0].any()


def test_alignment_loss_is_the_divergence_from_the_identity_both_ways() -> None:
    similarities = 3 * torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    identity = torch.eye(4)
    ways = [
        torch.nn.functional.kl_div(rows.log_softmax(1), identity, reduction="batchmean")
        for rows in (similarities, similarities.T)
    ]

    assert float(alignment_loss(similarities)) == pytest.approx(float(sum(ways)) / 2, rel=1e-6)


def test_alignment_loss_falls_from_chance_to_nothing_with_the_pairs() -> None:
    assert float(alignment_loss(torch.zeros(8, 8))) == pytest.approx(math.log(8))
    assert float(alignment_loss(50 * torch.eye(8))) < 1e-6
    assert float(alignment_loss(50 * torch.eye(8).flip(0))) > 40


def test_every_objective_is_whole() -> None:
    assert set(OBJECTIVES) == set(OURS)
    assert all(set(objective.parts) <= set(PARTS) for objective in OBJECTIVES.values())
