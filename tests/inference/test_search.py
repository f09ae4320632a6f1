"""Drawing tokens, scores of texts, how long a text can be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tiny import tiny_decoder_only, tiny_model, tiny_processor, write_frames
from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.inference import search
from unglossed.inference.limits import text_limit
from unglossed.inference.search import Drawing, text_scores, write_texts, written
from unglossed.inference.translator import SignTranslator, translate_features

SCORE_TOLERANCE = 1e-5
"""Measured worst case 1e-6: a padded batch adds the same numbers in another order."""


def chances(num: int) -> list[np.random.Generator]:
    return [np.random.default_rng(number) for number in range(num)]


def draw(scores: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """Tokens (rows,) drawn from scores (rows, vocabulary)."""
    drawing = Drawing(chances(len(scores)), temperature, top_p)
    found = drawing(torch.zeros(len(scores), 1, dtype=torch.long), scores)
    assert (found.exp().sum(-1) == 1).all()
    return found.argmax(-1)


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, (0.2, 0.5, 0.0, 0.3)),
        (0.5, 1.0, (0.04 / 0.38, 0.25 / 0.38, 0.0, 0.09 / 0.38)),
        (1.0, 0.8, (0.0, 0.625, 0.0, 0.375)),
        (1.0, 0.81, (0.2, 0.5, 0.0, 0.3)),
        (1.0, 0.01, (0.0, 1.0, 0.0, 0.0)),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature, top_p, expected) -> None:
    num = 4000
    tokens = draw(torch.tensor([[0.2, 0.5, 0.0, 0.3]]).log().repeat(num, 1), temperature, top_p)
    found = torch.bincount(tokens, minlength=4) / num
    # Four standard deviations of a share of so many draws are at most 0.032.
    torch.testing.assert_close(found, torch.tensor(expected), atol=0.032, rtol=0)
    assert not found[torch.tensor(expected) == 0].any()


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=8),
    st.floats(0.05, 5),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_a_drawn_token_is_among_the_likeliest(scores, temperature, top_p, seed) -> None:
    drawing = Drawing([np.random.default_rng(seed)], temperature, top_p)
    row = torch.tensor([scores])
    token = int(drawing(torch.zeros(1, 1), row).argmax())
    shares = (row / temperature).softmax(-1)[0]
    assert float(shares[shares > shares[token]].sum()) < top_p + 1e-6


def test_a_draw_at_the_very_end_gives_a_token_that_is_allowed() -> None:
    class Highest(np.random.Generator):
        def random(self) -> float:
            return 1 - 2**-53  # 1 in float32

    drawing = Drawing([Highest(np.random.PCG64(0))], temperature=1.0, top_p=0.75)
    scores = torch.tensor([[0.1, 0.5, 0.1, 0.3]]).log()
    assert int(drawing(torch.zeros(1, 1), scores).argmax()) == 3


@pytest.fixture(scope="module", params=[tiny_model, tiny_decoder_only])
def kind(request) -> Callable:
    return request.param


def features(num: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(length, 24, generator=generator) for length in range(4, 4 + 3 * num, 3)]


def test_what_is_drawn_for_a_clip_follows_from_the_seed_and_its_name(kind) -> None:
    processor = tiny_processor()
    model = kind(processor)
    rows, names = features(), ["a", "b", "c", "d", "e"]
    decoding = DecodingSettings(sample=True, max_new_tokens=8)
    told = translate_features(model, processor, rows, decoding, names=names, n_best=2)
    for batch_size in (1, 3):
        again = translate_features(
            *(model, processor, rows[::-1], decoding),
            names=names[::-1],
            n_best=2,
            batch_size=batch_size,
        )
        for one, other in zip(told, again[::-1], strict=True):
            assert one.media == other.media
            assert [text.text for text in one.n_best] == [text.text for text in other.n_best]
    (alone,) = translate_features(model, processor, rows[2:3], decoding, names=["c"])
    assert alone.text in {text.text for text in told[2].n_best}
    for changed in (decoding.change(seed=1), decoding.change(temperature=3.0)):
        other_texts = translate_features(model, processor, rows, changed, names=names, n_best=2)
        assert {one.text for one in other_texts} != {one.text for one in told}


def test_clips_alike_but_for_their_names_get_draws_of_their_own(kind) -> None:
    processor = tiny_processor()
    decoding = DecodingSettings(sample=True, max_new_tokens=8)
    rows = features(1) * 4
    told = translate_features(kind(processor), processor, rows, decoding)
    assert len({one.text for one in told}) == 4


def test_several_draws_are_ranked_by_score_and_stand_there_once(kind) -> None:
    processor = tiny_processor()
    decoding = DecodingSettings(beams=1, sample=True, max_new_tokens=1, top_p=0.6)
    rows = translate_features(kind(processor), processor, features(), decoding, n_best=20)
    for row in rows:
        scores = [one.score for one in row.n_best]
        texts = [one.text for one in row.n_best]
        assert scores == sorted(scores, reverse=True)
        assert 1 < len(texts) == len(set(texts)) < 20
        assert (row.text, row.score) == (texts[0], scores[0])


def test_drawing_at_a_low_temperature_is_the_greedy_search(kind) -> None:
    processor = tiny_processor()
    model = kind(processor)
    cold = DecodingSettings(sample=True, temperature=1e-4, max_new_tokens=8)
    greedy = DecodingSettings(beams=1, max_new_tokens=8)
    drawn, searched = (
        translate_features(model, processor, features(), decoding) for decoding in (cold, greedy)
    )
    assert [one.text for one in drawn] == [one.text for one in searched]
    # The score is the model's own: it knows of no temperature.
    for one, other in zip(drawn, searched, strict=True):
        assert one.score == pytest.approx(other.score, abs=SCORE_TOLERANCE)


@pytest.mark.parametrize("pads_with_end", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"beams": 1},
        {"beams": 4},
        {"beams": 4, "length_penalty": 0.5},
        {"beams": 4, "language_contrast": 0.3},
        {"sample": True, "temperature": 2.0},
    ],
)
def test_scores_count_each_token_of_a_text_and_no_padding(pads_with_end: bool, settings) -> None:
    processor = tiny_processor()
    tokenizer = processor.tokenizer
    if pads_with_end:
        tokenizer.pad_token = tokenizer.eos_token
    model = tiny_decoder_only(processor, seed=3)  # ends its texts after different lengths
    rows = features()
    decoding = DecodingSettings(max_new_tokens=20, **settings)
    found = translate_features(model, processor, rows, decoding, names=list("abcde"))
    lengths = set()
    for name, row, translation in zip("abcde", rows, found, strict=True):
        clip, mask = row[None], torch.ones(1, len(row), dtype=torch.bool)
        with torch.no_grad():
            (tokens,) = write_texts(model, clip, mask, decoding, names=[name]).tolist()
            if tokenizer.eos_token_id in tokens:
                tokens = tokens[: tokens.index(tokenizer.eos_token_id) + 1]
            labels = torch.tensor([tokens])
            logits = model(features=clip, mask=mask, labels=labels).logits
        expected = logits.log_softmax(-1).gather(2, labels[..., None]).mean()
        assert translation.text == processor.decode(labels)[0]
        assert translation.score == pytest.approx(float(expected), abs=SCORE_TOLERANCE)
        lengths.add(len(tokens))
    assert len(lengths) > 1


def test_scores_do_not_depend_on_how_many_texts_are_scored_at_a_time(kind, monkeypatch) -> None:
    model = kind(tiny_processor(), 3)
    clips = torch.randn(5, 6, 24, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(5, 6, dtype=torch.bool)
    sizes: list[int] = []
    model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(len(given["labels"])), with_kwargs=True
    )
    with torch.no_grad():
        tokens = write_texts(model, clips, mask, DecodingSettings(beams=1, max_new_tokens=9))
        together = text_scores(model, clips, mask, tokens)
        vocab_size = model.language_model.model.config.vocab_size
        monkeypatch.setattr(search, "LOGITS_AT_ONCE", 2 * tokens.shape[1] * vocab_size)
        apart = text_scores(model, clips, mask, tokens)
    assert sizes == [5, 2, 2, 1]
    torch.testing.assert_close(apart, together, atol=SCORE_TOLERANCE, rtol=0)


def test_a_higher_length_penalty_gives_longer_texts() -> None:
    processor = tiny_processor()
    model = tiny_decoder_only(processor, seed=3)
    lengths = []
    for penalty in (-2.0, 0.0, 3.0):
        decoding = DecodingSettings(max_new_tokens=20, length_penalty=penalty)
        mask = torch.ones(4, 6, dtype=torch.bool)
        clips = torch.randn(4, 6, 24, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            tokens = write_texts(model, clips, mask, decoding)
        lengths.append(int(written(model, tokens).sum()))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_a_text_is_written_up_to_its_first_end_token() -> None:
    model = tiny_decoder_only(tiny_processor())
    end = model.language_model.model.generation_config.eos_token_id
    tokens = torch.tensor([[5, end, end, 7], [end, 5, 6, 7], [5, 6, 7, 8]])
    expected = [[True, True, False, False], [True, False, False, False], [True] * 4]
    assert written(model, tokens).tolist() == expected
    model.language_model.model.generation_config.eos_token_id = [end, 7]  # as Llama 3 has it
    assert written(model, tokens[2:]).tolist() == [[True, True, True, False]]
    model.language_model.model.generation_config.eos_token_id = None
    assert written(model, tokens).all()


def test_a_text_has_the_positions_that_the_signal_leaves() -> None:
    processor = tiny_processor()
    model = tiny_decoder_only(processor, before="am ", after=" abend")
    prompt = len(model.language_model.before) + len(model.language_model.after)
    assert text_limit(model, 10) == 96 - prompt - 10
    decoding = DecodingSettings(beams=1, max_new_tokens=500)
    with torch.no_grad():
        model.language_model.model.lm_head.weight[processor.tokenizer.eos_token_id] = 0
    longest = torch.randn(96 - prompt - 3, 24)
    mask = torch.ones(1, len(longest), dtype=torch.bool)
    tokens = write_texts(
        *(model, longest[None], mask),
        decoding.change(max_new_tokens=text_limit(model, len(longest))),
    )
    assert tokens.shape[1] <= 3
    assert translate_features(model, processor, [longest], decoding)[0].num_frames == len(longest)
    with pytest.raises(InputError, match=rf"a: found {97 - prompt} .* at most {95 - prompt}"):
        translate_features(model, processor, [torch.randn(97 - prompt, 24)], decoding, names=["a"])


def test_each_clip_has_its_own_room_for_a_text_whatever_the_batch() -> None:
    processor = tiny_processor()
    model = tiny_decoder_only(processor)
    with torch.no_grad():
        model.language_model.model.lm_head.weight[processor.tokenizer.eos_token_id] = 0
    clips = [torch.randn(length, 24) for length in (92, 5, 40, 91)]  # of 96 positions
    decoding = DecodingSettings(beams=2, max_new_tokens=8)
    alone = [translate_features(model, processor, [clip], decoding)[0] for clip in clips]
    together = translate_features(model, processor, clips, decoding)
    assert [found.text for found in together] == [found.text for found in alone]
    for found, expected in zip(together, alone, strict=True):
        assert found.score == pytest.approx(expected.score, abs=1e-4)
    assert len({found.text for found in alone}) > 1


def test_a_clip_that_leaves_a_decoder_only_model_no_room_is_refused(tmp_path) -> None:
    processor = tiny_processor()
    translator = SignTranslator(tiny_decoder_only(processor), processor)
    # Of 96 positions one is the prompt's and one a word's; every second frame is kept.
    fits, longer = (write_frames(tmp_path / str(num), num) for num in (188, 189))
    assert translator.translate([fits], max_new_tokens=9)[0].num_frames == 94
    with pytest.raises(InputError, match=r"189: found 7\.6 seconds of video, .* at most 7\.5"):
        translator.translate([longer])
