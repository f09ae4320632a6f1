"""The whole translator: batching changes nothing, frozen parts stay, save and load are exact."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import MBartConfig

import tiny
from unglossed.models.processing import TranslatorProcessor, pad_labels
from unglossed.models.translator import PARTS, Translator, TranslatorConfig

LENGTHS = (9, 2, 5, 1)
TOLERANCE = 1e-5
"""Between a clip alone and in a padded batch, in float32: only the order in which a matrix product
sums differs. Worst of 20 models: 1.0e-6 in the features (up to 3.7), 1.9e-6 in the logits."""


@pytest.fixture(scope="module")
def processor() -> TranslatorProcessor:
    return tiny.tiny_processor()


@pytest.fixture(scope="module")
def model(processor: TranslatorProcessor) -> Translator:
    """A tiny translator whose normalisation statistics are not those of a new one."""
    model = tiny.tiny_model(processor).train()
    with torch.no_grad():
        model.encode(*pack(draw_clips()))
    return model.eval()


def draw_clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randint(0, 256, (length, 32, 32, 3), generator=generator, dtype=torch.uint8)
        for length in LENGTHS
    ]


def pack(clips: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat(clips), torch.tensor([len(clip) for clip in clips])


def mbart_translator(processor: TranslatorProcessor) -> Translator:
    """A translator around an mBART, whose word embeddings and head are one weight."""
    torch.manual_seed(0)
    shape = {f"{side}_layers": 1 for side in ("encoder", "decoder")}
    shape |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    shape |= {f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")}
    language_model = MBartConfig(
        vocab_size=len(processor.tokenizer),
        d_model=16,
        decoder_start_token_id=processor.start_token_id,
        **shape,
    )
    return Translator(
        TranslatorConfig(
            encoder=tiny.ENCODER,
            adapter={"hidden_dim": 8, "dropout": 0.0},
            language_model=language_model.to_dict(),
        )
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_clip_alone_and_in_a_padded_batch_gives_the_same(
    processor: TranslatorProcessor, seed: int
) -> None:
    model = tiny.tiny_model(processor, seed)
    clips = draw_clips()
    labels = pad_labels([processor.encode_text(tiny.SENTENCES[i % 3]) for i in range(len(clips))])
    settings: dict[str, Any] = {"max_new_tokens": 8, "num_beams": 3}

    with torch.no_grad():
        features, mask = model.encode(*pack(clips))
        logits = model(*pack(clips), labels=labels).logits
    texts = processor.decode(model.generate(features, mask, **settings))

    assert features.shape == (4, 9, 24)
    for index, clip in enumerate(clips):
        with torch.no_grad():
            alone, alone_mask = model.encode(*pack([clip]))
            alone_logits = model(*pack([clip]), labels=labels[index : index + 1]).logits
        torch.testing.assert_close(
            features[index, : len(clip)], alone[0], atol=TOLERANCE, rtol=TOLERANCE
        )
        assert not features[index, len(clip) :].any()
        torch.testing.assert_close(logits[index], alone_logits[0], atol=TOLERANCE, rtol=TOLERANCE)
        assert processor.decode(model.generate(alone, alone_mask, **settings)) == [texts[index]]


def test_the_order_of_clips_in_a_batch_changes_nothing(
    model: Translator, processor: TranslatorProcessor
) -> None:
    clips = draw_clips()
    order = [2, 0, 3, 1]
    labels = pad_labels([processor.encode_text(tiny.SENTENCES[i % 3]) for i in range(len(clips))])

    with torch.no_grad():
        logits = model(*pack(clips), labels=labels).logits
        shuffled = model(*pack([clips[i] for i in order]), labels=labels[order]).logits

    torch.testing.assert_close(shuffled, logits[order], atol=TOLERANCE, rtol=TOLERANCE)


def test_known_features_take_the_place_of_frames(model: Translator) -> None:
    frames, lengths = pack(draw_clips())
    labels = torch.tensor([[7, 8, 2]] * len(lengths))

    with torch.no_grad():
        features, mask = model.encode(frames, lengths)
        from_frames = model(frames, lengths, labels=labels).logits
        from_features = model(features=features, mask=mask, labels=labels).logits

    assert torch.equal(from_frames, from_features)


def test_another_clip_gives_other_logits(model: Translator) -> None:
    frames, lengths = pack(draw_clips()[:1])
    labels = torch.tensor([[7, 8, 2]])

    with torch.no_grad():
        logits = model(frames, lengths, labels=labels).logits
        others = model(255 - frames, lengths, labels=labels).logits

    assert (logits - others).abs().max() > 100 * TOLERANCE


def buffers_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def test_frozen_parts_stay_in_eval_mode_and_keep_their_statistics(
    processor: TranslatorProcessor,
) -> None:
    model = tiny.tiny_model(processor)
    model.freeze(["encoder"])
    before = buffers_of(model.encoder)
    frames, lengths = pack(draw_clips())
    labels = torch.tensor([[7, 8, 2]] * len(lengths))

    for _ in range(2):
        model.train()
        model(frames, lengths, labels=labels).logits.sum().backward()

    assert not any(module.training for module in model.encoder.modules())
    assert all(module.training for module in model.language_model.modules())
    assert all(module.training for module in model.adapter.modules())
    assert any("running_var" in name for name in before)
    for name, buffer in model.encoder.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert all(weight.grad is None for weight in model.encoder.parameters())
    assert all(weight.grad is not None for weight in model.adapter.parameters())


def test_statistics_of_a_part_that_is_not_frozen_do_move(processor: TranslatorProcessor) -> None:
    model = tiny.tiny_model(processor).train()
    before = buffers_of(model.encoder)

    with torch.no_grad():
        model.encode(*pack(draw_clips()))

    moved = [
        name for name, now in model.encoder.named_buffers() if not torch.equal(now, before[name])
    ]
    assert len(moved) == 3 * sum(
        isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.encoder.modules()
    )


def test_freezing_anew_replaces_what_was_frozen(processor: TranslatorProcessor) -> None:
    model = tiny.tiny_model(processor)
    model.freeze(["encoder", "language_model"])
    model.freeze(["adapter"])
    model.train()

    trained = {name for name in PARTS if getattr(model, name).training}
    with_gradients = {
        name for name in PARTS if all(p.requires_grad for p in getattr(model, name).parameters())
    }
    assert trained == with_gradients == {"encoder", "language_model"}


@pytest.mark.parametrize("kind", ["light_t", "mbart", "vit"])
def test_saved_and_loaded_it_is_bit_equal(
    kind: str, processor: TranslatorProcessor, model: Translator, tmp_path: Path
) -> None:
    if kind == "mbart":
        model = mbart_translator(processor)
    elif kind == "vit":
        vit = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "image_size": 32}
        vit |= {"num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
        config = TranslatorConfig.from_dict(model.config.to_dict())
        config.encoder = {**tiny.ENCODER, "backbone": vit}
        model = Translator(config)
    model.eval().save_pretrained(tmp_path)
    loaded = Translator.from_pretrained(tmp_path)

    assert (tmp_path / "model.safetensors").is_file()
    assert not loaded.training
    for mine, theirs in (
        (model.named_parameters(), loaded.named_parameters()),
        (model.named_buffers(), loaded.named_buffers()),
    ):
        expected, found = dict(mine), dict(theirs)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert value.dtype == found[name].dtype, name
            assert torch.equal(value, found[name]), name
    frames, lengths = pack(draw_clips())
    labels = torch.tensor([[7, 8, 2]] * len(lengths))
    with torch.no_grad():
        logits = model(frames, lengths, labels=labels).logits
        assert torch.equal(logits, loaded(frames, lengths, labels=labels).logits)


def test_tied_embeddings_are_still_one_weight_after_loading(
    processor: TranslatorProcessor, tmp_path: Path
) -> None:
    mbart_translator(processor).save_pretrained(tmp_path)
    loaded = Translator.from_pretrained(tmp_path).language_model.model

    assert loaded.lm_head.weight.data_ptr() == loaded.model.shared.weight.data_ptr()
    assert loaded.model.decoder.embed_tokens.weight.data_ptr() == (
        loaded.model.shared.weight.data_ptr()
    )


def test_attention_lies_on_each_clips_own_frames(
    model: Translator, processor: TranslatorProcessor
) -> None:
    with torch.no_grad():
        features, mask = model.encode(*pack(draw_clips()))
        tokens = model.generate(features, mask, max_new_tokens=5, num_beams=1)[:, 1:]
        weights = model.attend(features, mask, tokens)

    assert weights.shape == (4, tokens.shape[1], 9)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(4, tokens.shape[1]))
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()


def test_dropout_of_the_adapter_works_in_training_only(processor: TranslatorProcessor) -> None:
    config = tiny.tiny_model(processor).config
    config.adapter = {"hidden_dim": 64, "dropout": 0.5}
    adapter = Translator(config).adapter
    features, mask = torch.randn(2, 3, 24), torch.ones(2, 3, dtype=torch.bool)

    with torch.no_grad():
        adapter.train()
        assert not torch.equal(adapter(features, mask)[0], adapter(features, mask)[0])
        adapter.eval()
        output, same_mask = adapter(features, mask)
        assert torch.equal(output, adapter(features, mask)[0])

        by_hand = nn.functional.gelu(features @ adapter.hidden.weight.T + adapter.hidden.bias)
        by_hand = by_hand @ adapter.output.weight.T + adapter.output.bias
    assert output.shape == (2, 3, 32)
    assert same_mask is mask
    torch.testing.assert_close(output, by_hand)
