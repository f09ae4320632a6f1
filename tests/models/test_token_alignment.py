"""Similarities of clips and texts by positions and tokens, and the loss that is made of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad
from transformers import LlamaConfig, LlamaForCausalLM, MBartConfig, MBartForConditionalGeneration

from unglossed.models.language_model import IGNORED
from unglossed.models.token_alignment import (
    LOWEST_TEMPERATURE,
    FrozenReader,
    Similarities,
    TokenAlignment,
    alignment_loss,
    token_similarities,
    word_loss,
)

CLIPS, DIM = [3, 5, 2], 8
TEXTS = [[4, 5, 6, 2], [7, 2], [6, 4, 4, 6, 8, 2]]


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clips of several lengths with their mask; ten tokens, and their counts in three texts."""
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(len(CLIPS), max(CLIPS), DIM, generator=generator)
    tokens = torch.randn(10, DIM, generator=generator)
    mask = torch.arange(max(CLIPS)) < torch.tensor(CLIPS)[:, None]
    counts = torch.tensor([[float(text.count(token)) for text in TEXTS] for token in range(10)])
    return normalize(clips, dim=-1), mask, normalize(tokens, dim=-1), counts


@pytest.mark.parametrize("temperature", [0.03, 0.07, 0.5])
def test_similarities_are_those_of_the_formula(temperature: float) -> None:
    clips, mask, tokens, counts = batch()

    found = token_similarities(clips, mask, tokens, counts, temperature)

    for a, frames in enumerate(CLIPS):
        for b, text in enumerate(TEXTS):
            cosines = clips[a, :frames] @ tokens[text].T
            of_clip = ((cosines / temperature).softmax(1) * cosines).sum(1).mean()
            of_text = ((cosines / temperature).softmax(0) * cosines).sum(0).mean()
            assert float(found.of_clips[a, b]) == pytest.approx(float(of_clip), abs=1e-6)
            assert float(found.of_texts[a, b]) == pytest.approx(float(of_text), abs=1e-6)


def test_opposite_tokens_are_still_numbers_at_the_lowest_temperature() -> None:
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    clips = ends[:, None]  # one position each: of all tokens the least similar may be its only one
    mask = torch.ones(2, 1, dtype=torch.bool)
    clips.requires_grad_()

    found = token_similarities(clips, mask, ends, torch.eye(2), LOWEST_TEMPERATURE)
    (found.of_clips.sum() + found.of_texts.square().sum()).backward()

    torch.testing.assert_close(found.of_clips.detach(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    assert clips.grad is not None
    assert bool(clips.grad.isfinite().all())


def test_padding_a_batch_changes_no_similarity() -> None:
    torch.manual_seed(0)
    alignment, words = TokenAlignment(6, DIM, 0.07), torch.nn.Embedding(10, DIM)
    clips, mask = torch.randn(2, 3, 6), torch.tensor([[True] * 3, [True, True, False]])
    texts = labels([5, 2], [6, 7, 2])
    before = alignment(clips, mask, texts, words)

    after = alignment(
        torch.cat([clips, 9 * torch.ones(2, 4, 6)], 1),
        pad(mask, (0, 4)),
        pad(texts, (0, 3), value=IGNORED),
        words,
    )

    torch.testing.assert_close(after.of_clips, before.of_clips)
    torch.testing.assert_close(after.of_texts, before.of_texts)


def labels(*rows: list[int]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows])


def test_clips_with_equal_texts_are_positives_of_each_other() -> None:
    apart, equal = labels([5, 2], [6, 2], [7, 2]), labels([5, 2], [5, 2], [7, 2])
    alike = torch.tensor([[9.0, 9.0, 0.0], [9.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    found = Similarities(alike, alike)

    assert float(alignment_loss(found, equal)) == pytest.approx(2 / 3 * math.log(2), abs=1e-3)
    own = Similarities(20 * torch.eye(3), 20 * torch.eye(3))
    assert float(alignment_loss(own, apart)) < 1e-6
    assert float(alignment_loss(own, equal)) > 6  # its equal counts as half of the target


def test_a_text_that_another_begins_with_is_not_equal_to_it() -> None:
    own = Similarities(20 * torch.eye(2), 20 * torch.eye(2))

    assert float(alignment_loss(own, labels([5, 6, 2], [5, 6]))) < 1e-6


def test_both_directions_count() -> None:
    texts = labels([5, 2], [6, 2])
    good, bad = 20 * torch.eye(2), torch.zeros(2, 2)

    for found in (Similarities(good, bad), Similarities(bad, good)):
        assert float(alignment_loss(found, texts)) == pytest.approx(math.log(2) / 2, abs=1e-4)
    # A clip is compared with all texts, a text with all clips.
    column = torch.tensor([[20.0, 0.0], [20.0, 0.0]])
    assert float(alignment_loss(Similarities(column, good), texts)) == pytest.approx(5.0, abs=1e-3)
    assert float(alignment_loss(Similarities(good, column.T), texts)) == pytest.approx(
        5.0, abs=1e-3
    )


def test_smoothing_spreads_the_target() -> None:
    own = Similarities(20 * torch.eye(4), 20 * torch.eye(4))

    assert float(alignment_loss(own, labels([3], [4], [5], [6]), 0.2)) == pytest.approx(
        0.2 * 0.75 * 20, abs=1e-3
    )


def test_texts_of_no_clip_are_told_apart_from_its_own() -> None:
    own, texts = 20 * torch.eye(2), labels([5, 2], [6, 2], [7, 2])
    found = torch.cat([own, torch.tensor([[20.0], [0.0]])], 1)  # one is as like the first clip

    loss = float(alignment_loss(Similarities(found, found), texts))

    assert loss == pytest.approx(math.log(2) / 4, abs=1e-4)  # of one clip, in one direction
    # Where it is equal to a clip's text, it is none that could be wrong.
    equal = labels([5, 2], [6, 2], [5, 2])
    assert float(alignment_loss(Similarities(found, found), equal)) == pytest.approx(
        math.log(2) / 4, abs=1e-4
    )


def words_of(*rows: list[float]) -> Similarities:
    """Of clips with the texts [5, 2], [5, 6, 2] and [7, 7, 2]: how much each is like 5, 6, 7, 2."""
    alike = torch.tensor(rows)
    counts = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 2], [1, 1, 1]])
    return Similarities(alike, alike, alike, counts)


def test_each_word_is_told_by_the_clips_that_have_it() -> None:
    right = words_of([20.0, 0, 0, 0], [20, 20, 0, 0], [0, 0, 20, 0])
    nothing = words_of(*3 * [[0.0] * 4])

    # 5 is in two of three texts and 6 in one, whatever its number; 7 counts once; 2 is in all.
    assert float(word_loss(right)) == pytest.approx(math.log(2) / 3, abs=1e-4)
    assert float(word_loss(nothing)) == pytest.approx(math.log(3), abs=1e-6)


def test_words_of_all_clips_or_of_others_texts_do_not_count() -> None:
    alike = torch.tensor([[3.0, 1.0], [0.0, 2.0]], requires_grad=True)
    of_all_and_of_none = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # the third is no clip's

    loss = word_loss(Similarities(alike, alike, alike, of_all_and_of_none))
    loss.backward()

    assert float(loss.detach()) == 0
    assert alike.grad is not None
    assert not alike.grad.any()


def test_words_are_learned_through_the_alignment() -> None:
    torch.manual_seed(0)
    alignment, words = TokenAlignment(6, DIM, 0.07), torch.nn.Embedding(10, DIM)
    clips, mask = torch.randn(3, 4, 6), torch.ones(3, 4, dtype=torch.bool)
    texts = labels([5, 2], [5, 6, 2], [7, 7, 2])
    optimizer = torch.optim.Adam([*alignment.parameters(), *words.parameters()], 0.05)
    losses = []
    for _ in range(40):
        loss = word_loss(alignment(clips, mask, texts, words))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.4 < losses[0]  # the least is ln 2 / 3


def test_scale_and_maps_are_trained_and_the_scale_has_a_limit() -> None:
    alignment = TokenAlignment(6, DIM, 0.07)
    words = torch.nn.Embedding(10, DIM)
    clips, mask = torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool)
    texts = labels([5, 2], [6, 7, 2])

    found = alignment(clips, mask, texts, words)
    alignment_loss(found, texts).backward()

    assert all(weight.grad is not None for weight in alignment.parameters())
    assert words.weight.grad is not None
    assert float(found.of_clips.detach().abs().max()) <= 1 / 0.07 + 1e-3
    with torch.no_grad():
        alignment.log_scale.fill_(50.0)
    assert float(alignment(clips, mask, texts, words).of_clips.detach().abs().max()) <= 100.001


@pytest.mark.parametrize("states", [False, True])
def test_a_frozen_model_of_texts_is_no_part_of_the_alignment(states: bool) -> None:
    torch.manual_seed(0)
    sides = ("encoder", "decoder")
    sizes = {f"{side}_{key}": 2 for side in sides for key in ("layers", "attention_heads")}
    reader = MBartForConditionalGeneration(MBartConfig(vocab_size=20, d_model=DIM, **sizes))
    alignment = TokenAlignment(6, DIM, 0.07, FrozenReader(reader, contextual=states)).train()
    clips, mask = torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool)
    texts = labels([5, 2], [6, 7, 2])

    found = alignment(clips, mask, texts, None)

    torch.testing.assert_close(alignment(clips, mask, texts, None), found)  # no dropout in it
    alignment_loss(found, texts).backward()
    assert all(weight.grad is None for weight in reader.parameters())
    assert {name.split(".")[0] for name in alignment.state_dict()} == {
        *("clip_map", "text_map", "log_scale")
    }
    longer = pad(texts, (0, 3), value=IGNORED)
    again = alignment(clips, mask, longer, None)
    torch.testing.assert_close(again.of_texts, found.of_texts)
    alignment.double()
    assert next(alignment._reader[0].parameters()).dtype == torch.float64


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=20, hidden_size=DIM, intermediate_size=16, initializer_range=0.3, **heads
    )
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_decoder_only_model_reads_texts_forwards_or_both_ways(both_ways: bool) -> None:
    model = llama()
    reader = FrozenReader(model, contextual=True, both_ways=both_ways)
    texts = labels([5, 8, 2], [6, 7, 9, 4, 2])
    real = texts != IGNORED

    states = reader(texts.masked_fill(~real, 0), real)

    for row, ids in enumerate(([5, 8, 2], [6, 7, 9, 4, 2])):
        seen = torch.ones(len(ids), len(ids), dtype=torch.bool)
        seen = seen if both_ways else seen.tril()
        alone = model.model(torch.tensor([ids]), attention_mask=seen[None, None])
        torch.testing.assert_close(states[row, : len(ids)], alone.last_hidden_state[0])
    other = reader(texts.masked_fill(texts == 2, 3).masked_fill(~real, 0), real)
    assert torch.isclose(other[0, 0], states[0, 0]).all() != both_ways


@pytest.mark.parametrize("both_ways", [False, True])
def test_its_states_teach_clips_and_learn_nothing(both_ways: bool) -> None:
    torch.manual_seed(0)
    reader = FrozenReader(llama(), contextual=True, both_ways=both_ways)
    alignment = TokenAlignment(6, DIM, 0.07, reader).train()
    clips, mask = torch.randn(2, 3, 6, requires_grad=True), torch.ones(2, 3, dtype=torch.bool)
    texts = labels([5, 2], [6, 7, 2])

    found = alignment(clips, mask, texts, None)

    alignment_loss(found, texts).backward()
    assert clips.grad is not None
    assert clips.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in reader.parameters())
    assert not any("model" in name for name in alignment.state_dict())
    again = alignment(clips, mask, pad(texts, (0, 3), value=IGNORED), None)
    torch.testing.assert_close(again.of_clips, found.of_clips)
    torch.testing.assert_close(again.of_texts, found.of_texts)
