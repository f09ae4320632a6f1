"""The speech encoder, for every family of frontends: lengths, padding, scale, and what it refuses.

A frontend is a chain of strided layers and a Transformer; what is asked here is that a clip's
features are its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, WhisperConfig, WhisperFeatureExtractor, WhisperModel

import tiny
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.speech import SpeechEncoder, frontend_config_from, log_mel, normalise_audio

FAMILIES: dict[str, dict[str, Any]] = {
    "wav2vec2": tiny.FRONTEND,
    "wav2vec2 with group norm": {
        **tiny.FRONTEND,
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
    },
    "hubert": {**tiny.FRONTEND, "model_type": "hubert"},
    "hubert with batch norm": {
        **tiny.FRONTEND,
        "model_type": "hubert",
        "conv_pos_batch_norm": True,
    },
    "wavlm": {**tiny.FRONTEND, "model_type": "wavlm"},
    "wavlm with group norm": {
        **tiny.FRONTEND,
        "model_type": "wavlm",
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
    },
    "whisper": tiny.WHISPER,
}
PROCESSOR = tiny.tiny_processor()
every_family = pytest.mark.parametrize("family", list(FAMILIES))


def build_encoder(family: str = "wav2vec2", **changes: Any) -> SpeechEncoder:
    torch.manual_seed(0)
    encoder = SpeechEncoder({"frontend": FAMILIES[family] | changes}).eval()
    with torch.no_grad():
        for weight in encoder.parameters():  # biases are zero at first, as if they did not matter
            if weight.ndim == 1:
                weight.add_(0.1 * torch.randn_like(weight))
    return encoder


def sound(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.3, num_samples).astype(np.float32)


def pack(*waves: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.concatenate(waves)), torch.tensor([len(wave) for wave in waves])


@every_family
def test_a_clip_alone_and_in_a_batch_gives_the_same(family: str) -> None:
    encoder = build_encoder(family)
    waves = [sound(size, size) for size in (8001, 1700, 1, 3999, 641, 7999, 200)]
    with torch.no_grad():
        features, mask = encoder(*pack(*waves))
        for row, real, wave in zip(features, mask, waves, strict=True):
            alone, alone_mask = encoder(*pack(wave))
            assert alone_mask.all()
            # Float32, sums in another order.
            torch.testing.assert_close(row[real], alone[0], atol=2e-5, rtol=1e-4)
            assert not row[~real].any()


@every_family
def test_a_clip_in_a_batch_has_the_gradients_that_it_has_alone(family: str) -> None:
    encoder = build_encoder(family)
    waves = [sound(size, size) for size in (3000, 900, 1500)]

    def gradient(*clips: np.ndarray) -> torch.Tensor:
        encoder.zero_grad()
        features, _ = encoder(*pack(*clips))
        features.square().sum().backward()
        return torch.cat(
            [weight.grad.flatten() for weight in encoder.parameters() if weight.grad is not None]
        )

    together = gradient(*waves)
    apart = torch.stack([gradient(wave) for wave in waves]).sum(0)
    scale = float(apart.abs().max())
    assert scale > 0
    torch.testing.assert_close(together / scale, apart / scale, atol=1e-4, rtol=1e-3)


LENGTHS = st.one_of(st.integers(1, 3000), st.integers(30_000, 50_000))


@every_family
@settings(max_examples=12, deadline=None)
@given(num_samples=LENGTHS)
def test_lengths_are_those_of_the_features(family: str, num_samples: int) -> None:
    encoder = build_encoder(family, num_hidden_layers=1, encoder_layers=1)
    with torch.no_grad():
        features, mask = encoder(*pack(sound(num_samples)))
    assert mask.all()
    assert features.isfinite().all()
    assert features.shape[1] == int(encoder.output_lengths(torch.tensor(num_samples)))


@every_family
@pytest.mark.parametrize("positions", [1, 2, 3, 49, 150])
def test_no_more_samples_than_the_input_limit_give_so_many_positions(
    family: str, positions: int
) -> None:
    encoder = build_encoder(family, num_hidden_layers=1)
    limit = encoder.input_limit(positions)
    assert limit is not None
    found = encoder.output_lengths(torch.tensor([limit, limit + 1]))
    assert found.tolist() == [positions, positions + 1]
    with torch.no_grad():
        features, _ = encoder(*pack(sound(limit)))
    assert features.shape[1] == positions


def test_only_whisper_limits_the_sound_itself() -> None:
    assert build_encoder().input_limit(None) is None
    whisper = build_encoder("whisper")
    assert whisper.input_limit(None) == whisper.input_limit(200) == whisper.input_limit(9999)
    limit = whisper.input_limit(None)
    assert limit is not None
    with torch.no_grad():
        features, _ = whisper(*pack(sound(limit)))
    assert features.shape[1] == 200


@every_family
def test_an_encoder_is_saved_and_loaded(family: str, tmp_path) -> None:
    torch.manual_seed(2)
    model = tiny.tiny_speech_model(PROCESSOR, FAMILIES[family])
    model.save_pretrained(tmp_path)

    again = AutoModel.from_pretrained(tmp_path).eval()

    clips = pack(sound(3000), sound(1111))
    with torch.no_grad():
        for mine, other in zip(model.encoder(*clips), again.encoder(*clips), strict=True):
            assert torch.equal(mine, other)


@every_family
def test_a_frozen_encoder_gives_a_clip_the_same_bits_in_any_batch(family: str) -> None:
    model = tiny.tiny_speech_model(PROCESSOR, FAMILIES[family])
    model.freeze(["encoder"])
    model.train()
    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    waves = [sound(size, size) for size in (5003, 640, 1, 2500)]

    features, mask = model.encode(*pack(*waves))

    assert not features.requires_grad
    for row, real, wave in zip(features, mask, waves, strict=True):
        assert torch.equal(row[real], model.encode(*pack(wave))[0][0])


@pytest.mark.parametrize("num_bins", [80, 128])
@pytest.mark.parametrize("num_samples", [320, 640, 16000, 48000])
def test_the_spectrogram_is_whispers_own(num_bins: int, num_samples: int) -> None:
    extractor = WhisperFeatureExtractor(feature_size=num_bins)
    wave = sound(num_samples)
    expected = extractor(wave, sampling_rate=16000, padding="do_not_pad")["input_features"][0]
    found = log_mel(torch.from_numpy(wave), num_bins).T.numpy()
    # The same sums, in another order on some processors: worst seen 0.
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_a_clip_as_long_as_whisper_reads_gives_what_transformers_gives() -> None:
    config = WhisperConfig(**{k: v for k, v in tiny.WHISPER.items() if k != "model_type"})
    torch.manual_seed(1)
    whole = WhisperModel(config).eval()
    encoder = build_encoder("whisper")
    encoder.frontend.load_state_dict(whole.encoder.state_dict())
    wave = sound(200 * 320)
    mel = torch.from_numpy(
        WhisperFeatureExtractor(feature_size=config.num_mel_bins)(
            wave, sampling_rate=16000, padding="do_not_pad"
        )["input_features"]
    )
    with torch.no_grad():
        features, _ = encoder(*pack(wave))
        expected = whole.encoder(mel).last_hidden_state
    # Of spectrograms whose last bits may differ, see above: worst seen 0.
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_bfloat16_leaves_the_spectrogram_its_digits() -> None:
    wave = torch.from_numpy(sound(3200))
    with torch.autocast("cpu", torch.bfloat16):
        found = log_mel(wave, 80)
    assert torch.equal(found, log_mel(wave, 80))


@pytest.mark.parametrize(("family", "normalises"), [("wav2vec2", True), ("whisper", False)])
def test_each_clip_is_scaled_on_its_own_where_the_frontend_wants_it(
    family: str, normalises: bool
) -> None:
    encoder = build_encoder(family)
    assert encoder.normalises is normalises
    wave = sound(2000)
    with torch.no_grad():
        plain, _ = encoder(*pack(wave))
        louder, _ = encoder(*pack(3 * wave + 2))
        beside, _ = encoder(*pack(3 * wave + 2, sound(700, 1)))
    assert torch.allclose(plain, louder, atol=1e-4) is normalises
    torch.testing.assert_close(beside[0, : louder.shape[1]], louder[0], atol=2e-5, rtol=1e-4)

    other = SpeechEncoder({"frontend": FAMILIES[family], "normalise": not normalises}).eval()
    other.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert not torch.allclose(other(*pack(3 * wave + 2))[0], louder, atol=1e-3)


def test_scaled_sound_has_mean_0_and_variance_1() -> None:
    scaled = normalise_audio(torch.from_numpy(3 * sound(700) + 2))
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-5)
    assert float(scaled.var(correction=0)) == pytest.approx(1, abs=1e-4)


def test_the_processor_leaves_sound_as_it_is() -> None:
    processor = TranslatorProcessor(PROCESSOR.tokenizer, audio_rate=16000)
    waves = [sound(500), 3 * sound(700, 1) + 2]
    batch = processor(waves)
    assert batch["lengths"].tolist() == [500, 700]
    assert batch["frames"].dtype == torch.float32
    assert np.array_equal(batch["frames"].numpy(), np.concatenate(waves))


@every_family
@pytest.mark.parametrize("num_samples", [1, 16000])
def test_silence_gives_finite_features_and_gradients(family: str, num_samples: int) -> None:
    encoder = build_encoder(family)
    features, _ = encoder(*pack(np.zeros(num_samples, np.float32)))
    features.sum().backward()
    assert features.isfinite().all()
    assert all(
        weight.grad.isfinite().all() for weight in encoder.parameters() if weight.grad is not None
    )


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2 with group norm", "hubert", "wavlm"])
def test_spec_augment_leaves_out_clips_that_it_cannot_cut(family: str) -> None:
    encoder = build_encoder(family, mask_time_prob=0.9, mask_time_length=10).train()
    short, long = pack(sound(1000)), pack(sound(16000))
    np.random.seed(0)  # noqa: NPY002 - transformers draws from there
    features, _ = encoder(*short)
    assert features.isfinite().all()
    encoder(*long)
    assert encoder.frontend.masked_spec_embed.grad is None
    features, _ = encoder(*long)
    features.sum().backward()
    assert encoder.frontend.masked_spec_embed.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "found the type 'bert', expected one of hubert, wav2vec2, wavlm"),
        ({"model_type": "sew"}, "found the type 'sew'"),
        ({}, "found the type None"),
        ({"model_type": "wavlm", "add_adapter": True}, "found add_adapter"),
    ],
)
def test_what_is_no_frontend_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frontend_config_from(config)


def test_specaugment_that_is_switched_off_stays_off() -> None:
    encoder = build_encoder(apply_spec_augment=False).train()

    encoder(*pack(sound(16000)))

    assert encoder.frontend.config.apply_spec_augment is False
