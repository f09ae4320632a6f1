"""Which features an encoder hands on: frame-wise, sign-wise, a text encoder's states (Table 8)."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import tiny
from unglossed.models.encoder import build_encoder
from unglossed.models.speech import SpeechEncoder
from unglossed.models.translator import TextEncoderStates, Translator, TranslatorConfig
from unglossed.models.visual import VisualEncoder

PROCESSOR = tiny.tiny_processor()


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    frames = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return frames, torch.tensor([4, 3])


def states_config() -> dict[str, object]:
    config = tiny.tiny_model(PROCESSOR).config
    return {
        "encoder": config.encoder,
        "adapter": config.adapter,
        "text_encoder": config.language_model,
        "lora": None,
    }


def test_the_kind_follows_from_the_configuration() -> None:
    assert isinstance(build_encoder(tiny.ENCODER), VisualEncoder)
    assert isinstance(build_encoder({"frontend": tiny.FRONTEND}), SpeechEncoder)
    assert isinstance(build_encoder(states_config()), TextEncoderStates)


def test_frame_wise_features_are_what_the_temporal_module_would_read() -> None:
    whole = build_encoder(tiny.ENCODER).eval()
    frame_wise = build_encoder({**tiny.ENCODER, "features": "frame_wise"}).eval()
    names = frame_wise.load_state_dict(whole.state_dict(), strict=False)
    assert not names.missing_keys
    assert all(name.startswith("temporal.") for name in names.unexpected_keys)
    read: list[torch.Tensor] = []
    whole.temporal.register_forward_hook(lambda _, inputs, __: read.extend(inputs))
    whole(*clips())

    features, mask = frame_wise(*clips())

    assert features.shape == (2, 4, frame_wise.output_dim) == (2, 4, 16)
    assert torch.equal(features, read[0])
    assert torch.equal(mask, read[1])
    assert not features[~mask].any()


def test_text_encoder_states_are_those_of_the_translator_that_they_come_from() -> None:
    translator = tiny.tiny_model(PROCESSOR)
    encoder = build_encoder(states_config()).eval()
    encoder.encoder.load_state_dict(translator.encoder.state_dict())
    encoder.adapter.load_state_dict(translator.adapter.state_dict())
    model = translator.language_model.model
    encoder.text_encoder.load_state_dict(model.get_encoder().state_dict())

    states, mask = encoder(*clips())

    embeds, real = translator.adapter(*translator.encode(*clips()))
    expected = model.get_encoder()(inputs_embeds=embeds, attention_mask=real.long())
    assert states.shape == (2, 4, encoder.output_dim) == (2, 4, 32)
    assert torch.equal(mask, real)
    torch.testing.assert_close(states[mask], expected.last_hidden_state[real])
    assert not states[~mask].any()


def test_states_of_a_clip_do_not_depend_on_the_batch() -> None:
    encoder = build_encoder(states_config()).eval()
    frames, lengths = clips()

    together, _ = encoder(frames, lengths)
    alone, _ = encoder(frames[4:], lengths[1:])

    # Float32, another batch: worst seen 1e-6.
    torch.testing.assert_close(together[1, :3], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("positions", "limit"), [(10, 10), (500, 64)])
def test_no_more_frames_are_read_than_the_text_encoder_has_positions_for(
    positions: int, limit: int
) -> None:
    assert build_encoder(states_config()).input_limit(positions) == limit


def test_a_translator_on_top_of_a_text_encoder_is_saved_and_loaded(tmp_path: Path) -> None:
    config = tiny.tiny_model(PROCESSOR).config
    torch.manual_seed(1)
    model = Translator(
        TranslatorConfig(
            encoder=states_config(), adapter=config.adapter, language_model=config.language_model
        )
    ).eval()
    model.save_pretrained(tmp_path)

    again = AutoModel.from_pretrained(tmp_path).eval()

    assert isinstance(again.encoder, TextEncoderStates)
    frames, lengths = clips()
    labels = torch.tensor([[7, 8, 2], [9, 2, -100]])
    assert torch.equal(
        model(frames=frames, lengths=lengths, labels=labels).logits,
        again(frames=frames, lengths=lengths, labels=labels).logits,
    )
