"""Adapters: how many positions features become, padding, limits, and whose attention is whose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from unglossed.config import DecodingSettings
from unglossed.inference.export import SignalReader
from unglossed.inference.limits import signal_limit, text_limit
from unglossed.inference.translator import translate_features
from unglossed.models.adapter import MLPAdapter, ShorteningAdapter, build_adapter
from unglossed.models.processing import pad_labels
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.training.objectives.translation import text_loss
from unglossed.training.recipe import load_recipe

SIZES = {"channels": 6, "layers": 2, "kernel": 3, "stride": 2}
SHAPES = [
    SIZES,
    {**SIZES, "layers": 1},
    {**SIZES, "kernel": 5, "stride": 3},
    {**SIZES, "kernel": 4},
]
LENGTHS = (13, 8, 5, 1)


def adapter_of(config: dict[str, Any]) -> ShorteningAdapter:
    torch.manual_seed(0)
    adapter = build_adapter(4, 10, config)
    assert isinstance(adapter, ShorteningAdapter)
    return adapter.eval()


def clips(dim: int = 4) -> tuple[Tensor, Tensor]:
    """Features (4, 15, dim) of clips of `LENGTHS`, 9 where padded, and their mask."""
    features = torch.randn(len(LENGTHS), 15, dim, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(15) < torch.tensor(LENGTHS)[:, None]
    return features.masked_fill(~mask[..., None], 9.0), mask


def translator_with(model: Translator, config: dict[str, Any] = SIZES) -> Translator:
    """The same translator with a shortening adapter."""
    torch.manual_seed(2)
    fields = {key: getattr(model.config, key) for key in ("encoder", "language_model", "prompt")}
    changed = Translator(TranslatorConfig(**fields, adapter=config)).eval()
    changed.language_model.load_state_dict(model.language_model.state_dict())
    return changed


def test_the_configuration_tells_the_kind() -> None:
    assert isinstance(build_adapter(4, 10, {"hidden_dim": 8, "dropout": 0.0}), MLPAdapter)
    assert isinstance(build_adapter(4, 10, SIZES), ShorteningAdapter)


@pytest.mark.parametrize("config", SHAPES, ids=str)
@torch.no_grad()
def test_the_formula_gives_the_length_of_the_output(config: dict[str, Any]) -> None:
    adapter = adapter_of(config)
    lengths = torch.arange(1, 2001)
    expected = adapter.output_lengths(lengths)
    for length in range(1, 2001 if config is SIZES else 101):
        embeds, positions = adapter(torch.zeros(1, length, 4), torch.ones(1, length).bool())
        assert embeds.shape == (1, expected[length - 1], 10)
        assert positions.all()
        assert adapter.output_lengths(length) == expected[length - 1]
    assert expected.min() == 1
    if config is SIZES:
        assert expected[torch.tensor([1, 4, 5, 8, 1500]) - 1].tolist() == [1, 1, 2, 2, 375]


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_the_limit_is_the_longest_that_fits(config: dict[str, Any]) -> None:
    adapter = adapter_of(config)
    for positions in range(2, 300):
        limit = adapter.input_limit(positions)
        assert adapter.output_lengths(limit) == positions
        assert adapter.output_lengths(limit + 1) == positions + 1


@pytest.mark.parametrize("config", SHAPES, ids=str)
@torch.no_grad()
def test_a_clip_alone_and_padded_in_a_batch_gives_the_same(config: dict[str, Any]) -> None:
    adapter = adapter_of(config)
    features, mask = clips()
    embeds, positions = adapter(features, mask)

    assert positions.sum(1).tolist() == adapter.output_lengths(torch.tensor(LENGTHS)).tolist()
    for number, length in enumerate(LENGTHS):
        alone, _ = adapter(
            features[number : number + 1, :length], mask[number : number + 1, :length]
        )
        torch.testing.assert_close(alone[0], embeds[number, positions[number]])


def test_no_gradient_goes_to_padding() -> None:
    adapter = adapter_of(SIZES)
    features, mask = clips()
    features.requires_grad_()
    embeds, positions = adapter(features, mask)
    embeds[positions].square().sum().backward()

    assert features.grad is not None
    assert torch.equal(features.grad.abs().amax(-1) > 0, mask)


@torch.no_grad()
def test_it_computes_gated_convolutions_and_a_linear_map() -> None:
    adapter = adapter_of(SIZES)
    features, mask = clips()
    found, _ = adapter(features[:1, :13], mask[:1, :13])

    values = torch.nn.functional.pad(features[0, :13], (0, 0, 1, 1))  # a zero on either side
    for layer in (0, 1):
        state = adapter.length[layer].state_dict()
        rows = []
        for start in range(0, len(values) - 2, 2):
            window = values[start : start + 3]  # (kernel, channels)
            rows.append(torch.einsum("kc,ock->o", window, state["weight"]) + state["bias"])
        content, gate = torch.stack(rows).chunk(2, dim=1)
        values = torch.nn.functional.pad(content * gate.sigmoid(), (0, 0, 1, 1))
    torch.testing.assert_close(found[0], adapter.modality(values[1:-1]))


@torch.no_grad()
def test_a_clip_alone_and_in_a_batch_has_the_same_logits_behind_it() -> None:
    processor = tiny.tiny_processor()
    model = translator_with(tiny.tiny_decoder_only(processor, before="am ", after=" abend"))
    features, mask = clips(24)
    labels = torch.tensor([processor.encode_text("heute")] * len(LENGTHS))
    together = model(features=features, mask=mask, labels=labels).logits
    for number, length in enumerate(LENGTHS):
        row = slice(number, number + 1)
        alone = model(features=features[row, :length], mask=mask[row, :length], labels=labels[row])
        torch.testing.assert_close(alone.logits[0], together[number], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_attention_is_over_the_features_and_each_has_that_of_the_position_above_it() -> None:
    processor = tiny.tiny_processor()
    model = translator_with(tiny.tiny_decoder_only(processor))
    features, mask = clips(24)
    tokens = torch.tensor([processor.encode_text("heute")] * len(LENGTHS))

    weights = model.attend(features, mask, tokens)

    assert weights.shape == (*tokens.shape, 15)
    torch.testing.assert_close(weights.sum(-1), torch.ones(tokens.shape))
    assert torch.equal((weights > 0).any(1), mask)
    # Four features a position, the first two and the last ones being at the edge.
    for number, groups in ((0, [2, 4, 4, 3]), (1, [2, 6]), (2, [2, 3]), (3, [1])):
        for group in weights[number, :, : LENGTHS[number]].split(groups, dim=1):
            assert (group == group[:, :1]).all()
    embeds, positions = model.adapter(features, mask)
    below = model.language_model.attend(embeds, positions, tokens)[0, :, :4]
    expected = below.repeat_interleave(torch.tensor([2, 4, 4, 3]), 1)
    torch.testing.assert_close(weights[0, :, :13], expected / expected.sum(1, keepdim=True))


def test_limits_count_the_positions_behind_the_adapter() -> None:
    processor = tiny.tiny_processor()
    model = translator_with(tiny.tiny_decoder_only(processor))  # reads its begin token
    assert signal_limit(model) == 4 * (96 - 1 - 1)
    assert text_limit(model, 4 * 94) == 1
    assert text_limit(model, 9) == 96 - 1 - 3
    both = translator_with(tiny.tiny_model(processor))
    assert signal_limit(both) == 4 * 64
    assert text_limit(both, 9) == text_limit(both, 90) == 63


def test_a_translation_attends_to_the_features_it_was_given() -> None:
    processor = tiny.tiny_processor()
    model = translator_with(tiny.tiny_decoder_only(processor))
    rows = [torch.randn(length, 24) for length in LENGTHS]
    decoding = DecodingSettings(beams=2, max_new_tokens=8)
    found = translate_features(model, processor, rows, decoding, attention=True)
    for row, one in zip(rows, found, strict=True):
        assert one.num_frames == len(row)
        assert one.attention is not None
        for word in one.attention:
            assert len(word.weights) == len(row)
            assert sum(word.weights) == pytest.approx(1)


@torch.no_grad()
def test_what_is_exported_is_padded_behind_the_shorter_clip() -> None:
    model = translator_with(tiny.tiny_model(tiny.tiny_processor()))
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([9, 2, 6])
    frames = torch.randint(0, 256, (17, 32, 32, 3), generator=generator).byte()
    expected, positions = model.adapter(*model.encode(frames, lengths))

    found = SignalReader(model)(frames, torch.arange(9) < lengths[:, None])

    assert positions.sum(1).tolist() == [3, 1, 2]
    torch.testing.assert_close(found[positions], expected[positions])
    assert not found[~positions].any()


def test_its_weights_are_those_that_its_parts_have() -> None:
    adapter = adapter_of({"channels": 1024, "layers": 2, "kernel": 3, "stride": 2})
    shapes = [tuple(one.weight.shape) for one in adapter.length if isinstance(one, nn.Conv1d)]
    assert shapes == [(2048, 4, 3), (2048, 1024, 3)]
    assert adapter.modality.weight.shape == (10, 1024)


@torch.no_grad()
def test_behind_the_prompt_of_lst_the_loss_counts_the_answers_tokens_alone() -> None:
    part = load_recipe("lst").stages[0].language_model
    assert part is not None
    assert part.prompt is not None
    processor = tiny.tiny_processor()
    model = translator_with(tiny.tiny_decoder_only(processor, **part.prompt.model_dump()))
    face = model.language_model
    features, mask = clips(24)
    answers = [processor.encode_text(text) for text in ("heute", "am abend", "morgen", "im")]
    table = face.model.get_input_embeddings()
    total = torch.tensor(0.0)
    for number, (length, answer) in enumerate(zip(LENGTHS, answers, strict=True)):
        row = slice(number, number + 1)
        heard, _ = model.adapter(features[row, :length], mask[row, :length])
        words = [table(torch.tensor([ids])) for ids in (face.before, face.after, answer)]
        read = torch.cat([words[0], heard, *words[1:]], 1)
        logits = face.model(inputs_embeds=read).logits[0, -len(answer) - 1 : -1]
        total -= logits.log_softmax(-1)[torch.arange(len(answer)), answer].sum()

    assert min(len(face.before), len(face.after)) > 5
    labels = pad_labels(answers)
    found = text_loss(model(features=features, mask=mask, labels=labels).logits, labels)
    torch.testing.assert_close(found, total / sum(map(len, answers)))
