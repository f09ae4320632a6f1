"""The speech encoder: lengths, padding, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.speech import SpeechEncoder, frontend_config_from, normalise_waveform


def build_encoder(**changes: Any) -> SpeechEncoder:
    torch.manual_seed(0)
    return SpeechEncoder({"frontend": {**tiny.FRONTEND, **changes}}).eval()


def sound(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.3, num_samples).astype(np.float32)


def pack(*waves: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.concatenate(waves)), torch.tensor([len(wave) for wave in waves])


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_a_clip_alone_and_in_a_batch_gives_the_same(kind: str) -> None:
    encoder = build_encoder(model_type=kind)
    waves = [normalise_waveform(sound(size, size)) for size in (4000, 1700, 900)]
    with torch.no_grad():
        features, mask = encoder(*pack(*waves))
        for row, real, wave in zip(features, mask, waves, strict=True):
            alone, alone_mask = encoder(*pack(wave))
            assert alone_mask.all()
            torch.testing.assert_close(row[real], alone[0], atol=2e-5, rtol=1e-4)
            assert not row[~real].any()


@given(st.integers(1, 3000))
def test_lengths_are_those_of_the_features(num_samples: int) -> None:
    encoder = build_encoder(num_hidden_layers=1)
    with torch.no_grad():
        features, mask = encoder(*pack(sound(num_samples)))
    assert mask.all()
    assert features.shape[1] == int(encoder.output_lengths(torch.tensor(num_samples)))


@given(st.integers(1, 400))
def test_the_input_limit_gives_just_so_many_positions(positions: int) -> None:
    encoder = build_encoder(num_hidden_layers=1)
    lengths = torch.tensor([encoder.input_limit(positions), encoder.input_limit(positions + 1)])
    assert encoder.output_lengths(lengths).tolist() == [positions, positions + 1]


def test_waveforms_are_normalised_each_on_its_own() -> None:
    processor = TranslatorProcessor(tiny.tiny_processor().tokenizer, sample_rate=16000)
    waves = [sound(500), 3 * sound(700, 1) + 2]
    batch = processor(waves)
    assert batch["lengths"].tolist() == [500, 700]
    for part in batch["frames"].split([500, 700]):
        assert part.dtype == torch.float32
        assert float(part.mean()) == pytest.approx(0, abs=1e-4)
        assert float(part.std()) == pytest.approx(1, abs=1e-2)


def test_silence_stays_finite() -> None:
    assert np.isfinite(normalise_waveform(np.zeros(500, np.float32))).all()


def test_a_model_that_reads_no_waveform_is_refused() -> None:
    with pytest.raises(ValueError, match="bert does not read waveforms"):
        frontend_config_from({"model_type": "bert"})
