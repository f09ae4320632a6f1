"""Texts beside the features: what the language model reads of them, and which are retrieved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from unglossed.corpora.segments import Segment
from unglossed.errors import InputError
from unglossed.inference.aligning import similarities
from unglossed.inference.context import context_of, find_rows, find_texts
from unglossed.inference.export import SignalReader
from unglossed.inference.limits import signal_limit, text_limit
from unglossed.inference.search import continue_text
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.inference.web.parts import FrameReader
from unglossed.models.context import (
    DRAFT,
    KINDS,
    RETRIEVED,
    Context,
    ContextText,
    Gallery,
    pad_rows,
)
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor, pad_features, pad_labels
from unglossed.models.translator import Translator
from unglossed.training.tokenizer import train_tokenizer

TOLERANCE = 1e-5
"""Of logits; measured worst case 1e-6: another shape adds the same numbers in another order."""
KINDS_OF_MODEL = [tiny.tiny_model, tiny.tiny_decoder_only]
MakeModel = Callable[[TranslatorProcessor], Translator]


@pytest.fixture(scope="module")
def processor() -> TranslatorProcessor:
    return tiny.tiny_processor()


def with_context(make: MakeModel, processor: TranslatorProcessor, lead: str = "") -> Translator:
    """A translator that reads a draft of another tiny model, and two of three texts."""
    model, source = make(processor), tiny.tiny_model(processor, seed=1)
    texts = pad_labels(processor.encode_texts(tiny.SENTENCES))
    ids = torch.unique(texts[texts != IGNORED])
    places = torch.searchsorted(ids, texts.clamp(min=0)).masked_fill(texts == IGNORED, -1)
    width = source.language_model.width
    config = {
        "width": width,
        "adapter": source.config.adapter,
        "draft": {
            "language_model": source.config.language_model,
            "prompt": None,
            "lora": None,
            "beams": 1,
            "max_new_tokens": 8,
        },
        "retrieved": {
            "number": 2,
            "dim": 8,
            "num_entries": len(ids),
            "num_texts": len(texts),
            "longest": texts.shape[1],
            "temperature": 0.07,
        },
        "leads": {DRAFT: lead, RETRIEVED: ""},
        "tokens": {DRAFT: 12, RETRIEVED: 10},
    }
    torch.manual_seed(2)
    context = Context(model.language_model.width, model.encoder.output_dim, config)
    assert context.gallery is not None
    context.adapter.load_state_dict(source.adapter.state_dict())
    context.language_model.load_state_dict(source.language_model.state_dict())
    context.gallery.vectors.copy_(torch.nn.functional.normalize(torch.randn(len(ids), 8), dim=1))
    context.gallery.token_ids.copy_(ids)
    context.gallery.places.copy_(places)
    torch.nn.init.normal_(context.marks)
    model.read_beside(context)
    return model.eval()


def features(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, 24, generator=generator) for length in lengths]


def logits(
    model: Translator, rows: list[Tensor], texts: list[list[int]], beside: list[Tensor] | None
) -> Tensor:
    batch, mask = pad_features(rows)
    context = None if beside is None else pad_rows(beside)
    with torch.no_grad():
        output = model(features=batch, mask=mask, labels=pad_labels(texts), context=context)
    assert output.logits is not None
    return output.logits


@pytest.mark.parametrize("make", KINDS_OF_MODEL)
def test_a_padded_batch_equals_single_clips(
    make: MakeModel, processor: TranslatorProcessor
) -> None:
    model = with_context(make, processor)
    rows, texts = features(3, 9, 5), processor.encode_texts(tiny.SENTENCES)
    beside = find_rows(model, processor, rows)
    assert beside is not None
    beside[2] = beside[2][:0]  # dropped
    assert len({len(row) for row in beside}) == 3

    together = logits(model, rows, texts, beside)

    for number, text in enumerate(texts):
        alone = logits(model, [rows[number]], [text], [beside[number]])
        torch.testing.assert_close(
            together[number, : len(text)], alone[0], atol=TOLERANCE, rtol=TOLERANCE
        )


@pytest.mark.parametrize("make", KINDS_OF_MODEL)
def test_texts_change_what_is_said_and_none_is_as_without(
    make: MakeModel, processor: TranslatorProcessor
) -> None:
    model = with_context(make, processor)
    assert model.context is not None
    rows, texts = features(4), processor.encode_texts(tiny.SENTENCES[:1])

    def said(*beside: ContextText) -> Tensor:
        assert model.context is not None
        return logits(model, rows, texts, [model.context.row(processor, beside)])

    draft = said(ContextText(DRAFT, tiny.SENTENCES[1], 0.5))

    torch.testing.assert_close(said(), logits(model, rows, texts, None), atol=1e-6, rtol=1e-6)
    for other in (
        said(),
        said(ContextText(DRAFT, tiny.SENTENCES[2], 0.5)),
        said(ContextText(RETRIEVED, tiny.SENTENCES[1], 0.5)),
        said(ContextText(DRAFT, tiny.SENTENCES[1], 0.9)),
    ):
        assert (draft - other).abs().max() > 1e-3


def test_only_the_marks_are_trained(processor: TranslatorProcessor) -> None:
    model = with_context(tiny.tiny_model, processor)
    assert model.context is not None
    model.freeze(["encoder"])
    model.train()
    rows, texts = features(4, 6), processor.encode_texts(tiny.SENTENCES[:2])
    beside = find_rows(model, processor, rows)
    assert beside is not None
    batch, mask = pad_features(rows)
    labels = pad_labels(texts)
    output = model(features=batch, mask=mask, labels=labels, context=pad_rows(beside))
    output.logits.sum().backward()

    moved = [name for name, one in model.context.named_parameters() if one.grad is not None]
    assert moved == ["marks"]
    assert model.context.marks.grad is not None
    assert model.context.marks.grad.abs().sum(-1).all()
    assert not any(module.training for module in model.context.modules())


def test_a_row_says_token_kind_and_confidence() -> None:
    processor = tiny.tiny_processor()
    tokenizer = train_tokenizer([*tiny.SENTENCES, "0123456789 </s>"], "de", 120)
    processor.tokenizer = tokenizer
    model = with_context(tiny.tiny_model, processor, lead="{confidence} ")
    assert model.context is not None
    row = model.context.row(
        processor,
        [ContextText(DRAFT, "regnet </s>", 0.734), ContextText(RETRIEVED, tiny.SENTENCES[0], 0.5)],
    )

    own, other = row[row[:, 1] == KINDS.index(DRAFT)], row[row[:, 1] == KINDS.index(RETRIEVED)]
    assert tokenizer.decode(own[:, 0]).split() == ["73", "regnet", "</s>"]
    assert set(own[:, 2].tolist()) == {734}
    assert set(other[:, 2].tolist()) == {500}
    assert tokenizer.eos_token_id not in row[:, 0]  # what looks like a control token is spelt
    assert len(own) <= 12
    assert len(other) == min(10, len(processor.encode_text(tiny.SENTENCES[0])) - 1)


def test_texts_too_long_are_cut(processor: TranslatorProcessor) -> None:
    model = with_context(tiny.tiny_model, processor)
    assert model.context is not None
    row = model.context.row(processor, [ContextText(DRAFT, "regnet " * 50, 1.0)])

    assert len(row) == 12
    assert model.context_positions == 12 + 2 * 10


def test_similarities_are_those_of_the_formula_for_many_texts() -> None:
    torch.manual_seed(0)
    sizes = {"num_entries": 40, "num_texts": 2100, "longest": 3}
    gallery = Gallery(6, {"dim": 5, "temperature": 0.1, **sizes})
    gallery.vectors.copy_(torch.nn.functional.normalize(torch.randn(40, 5), dim=1))
    gallery.places.copy_(torch.randint(0, 40, (2100, 3)))
    gallery.places[::2, 2] = -1
    clips, mask = torch.randn(2, 4, 6), torch.tensor([[True] * 4, [True] * 3 + [False]])

    with torch.no_grad():
        found = gallery.similarities(clips, mask)

        for clip, text in ((0, 0), (1, 1), (0, 1500), (1, 2099)):
            positions = torch.nn.functional.normalize(gallery.clip_map(clips[clip, mask[clip]]))
            own = gallery.places[text]
            cosines = positions @ gallery.vectors[own[own >= 0].long()].T
            seen = ((cosines / 0.1).softmax(1) * cosines).sum(1).mean()
            torch.testing.assert_close(found[clip, text], seen)


def test_the_most_similar_texts_are_found_without_a_clips_own(
    processor: TranslatorProcessor,
) -> None:
    context = with_context(tiny.tiny_model, processor).context
    assert context is not None
    rows = features(3, 8, 5, 4)
    whole = find_texts(context, processor, rows)
    first = [
        tiny.SENTENCES.index(next(one.text for one in texts if one.kind == RETRIEVED))
        for texts in whole
    ]

    without = find_texts(context, processor, rows, own=first)

    for texts, others, own in zip(whole, without, first, strict=True):
        assert [one.kind for one in texts] == [DRAFT, RETRIEVED, RETRIEVED]
        assert texts[1].confidence >= texts[2].confidence
        assert texts[0] == others[0]
        assert tiny.SENTENCES[own] not in [one.text for one in others[1:]]
        assert texts[2].text == others[1].text
        assert len(others) == 3


@pytest.mark.parametrize("make", KINDS_OF_MODEL)
def test_a_saved_model_has_all_that_it_needs(
    make: MakeModel, processor: TranslatorProcessor, tmp_path: Path
) -> None:
    model = with_context(make, processor, lead="heute {confidence}")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    clips = [tiny.write_frames(tmp_path / str(n), 6 + 4 * n, seed=n) for n in range(3)]

    own = SignTranslator(model, processor)
    found = SignTranslator.from_pretrained(tmp_path / "model")

    wanted = {"max_new_tokens": 6, "attention": True, "beams": 2, "n_best": 2}
    assert found.translate(clips, **wanted) == own.translate(clips, **wanted)
    assert torch.equal(found.model.context.marks, model.context.marks)
    alone = [found.translate(clip, max_new_tokens=6)[0].text for clip in clips]
    assert alone == [one.text for one in found.translate(clips, max_new_tokens=6)]


@pytest.mark.parametrize("make", KINDS_OF_MODEL)
def test_words_attend_to_features_alone(make: MakeModel, processor: TranslatorProcessor) -> None:
    model = with_context(make, processor)
    rows = features(5, 7)
    settings = SignTranslator(model, processor).decoding.change(max_new_tokens=5, beams=1)
    for row, translation in zip(
        rows, translate_features(model, processor, rows, settings, attention=True), strict=True
    ):
        for word in translation.attention or ():
            assert len(word.weights) == len(row)
            assert sum(word.weights) == pytest.approx(1, abs=1e-4)


def test_a_model_needs_positions_for_its_texts(processor: TranslatorProcessor) -> None:
    plain = tiny.tiny_decoder_only(processor)
    model = with_context(tiny.tiny_decoder_only, processor)

    room, less = text_limit(plain, 10), text_limit(model, 10)
    assert room is not None
    assert less == room - model.context_positions == room - 32
    limit = signal_limit(model)
    assert limit == min(96 - 1 - 32 - 1, 64)  # of the answer's one token, and what drafts
    with pytest.raises(InputError, match="positions of signal, expected at most 62"):
        translate_features(
            model, processor, features(90), SignTranslator(model, processor).decoding
        )


def test_live_captions_and_subtitles_read_the_same_texts(processor: TranslatorProcessor) -> None:
    model = with_context(tiny.tiny_model, processor)
    translator = SignTranslator(model, processor)
    rows = features(7, 4)
    decoding = translator.decoding.change(max_new_tokens=6, beams=2)
    whole = translate_features(model, processor, rows, decoding)

    for row, translation in zip(rows, whole, strict=True):
        beside = context_of(model, processor, row)
        tokens, score = continue_text(model, row, [], decoding, beside)
        assert processor.decode(torch.tensor([tokens]))[0] == translation.text
        assert score == pytest.approx(translation.score, abs=1e-5)

    cues = [Segment(0.0, 2.0, tiny.SENTENCES[0]), Segment(2.0, 3.0, tiny.SENTENCES[1])]
    found = similarities(translator, rows, [(0.0, 2.0), (2.0, 3.0)], cues)
    model.context = None
    assert np.abs(similarities(translator, rows, [(0.0, 2.0), (2.0, 3.0)], cues) - found).max() > 0


def test_what_knows_no_texts_refuses_the_model(processor: TranslatorProcessor) -> None:
    model = with_context(tiny.tiny_model, processor)
    with pytest.raises(ValueError, match="reads texts beside the signal"):
        SignalReader(model)
    with pytest.raises(InputError, match="reads texts beside the signal"):
        FrameReader(model)


def test_a_saved_context_that_is_damaged_is_an_error(
    processor: TranslatorProcessor, tmp_path: Path
) -> None:
    with_context(tiny.tiny_model, processor).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for wrong in (5, {}, {**config["context"], "tokens": None}):
        path.write_text(json.dumps({**config, "context": wrong}), encoding="utf-8")
        with pytest.raises(InputError, match=r"config\.json: context: ") as caught:
            SignTranslator.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_model_without_a_context_reads_no_texts(processor: TranslatorProcessor) -> None:
    model = tiny.tiny_model(processor)

    assert find_rows(model, processor, features(4)) is None
    assert context_of(model, processor, features(4)[0]) is None
    assert model.config.context is None
