"""An alignment kept beside a model: the same similarities, whole files, the same encoder."""

from pathlib import Path

import pytest
import torch

from tiny import tiny_model, tiny_processor, tiny_translator
from unglossed.errors import InputError
from unglossed.models.kept_alignment import CONFIG, WEIGHTS, KeptAlignment, shares_encoder
from unglossed.models.language_model import IGNORED
from unglossed.models.token_alignment import FrozenReader, TokenAlignment

TOKENS = torch.tensor([[5, 6, 7], [8, 5, IGNORED]])


def aligned():
    torch.manual_seed(1)
    model = tiny_model(tiny_processor())
    model.align(TokenAlignment(32, 32, 0.07).eval())
    features = torch.randn(2, 4, model.encoder.output_dim)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    return model, features, mask


def test_it_gives_the_similarities_of_the_training(tmp_path: Path) -> None:
    model, features, mask = aligned()
    (tmp_path / "model").mkdir()
    kept = KeptAlignment.of(model)
    assert kept is not None
    kept.save(tmp_path / "model")
    loaded = KeptAlignment.load(tmp_path / "model")
    assert loaded is not None
    words = model.language_model.model.get_input_embeddings()
    with torch.no_grad():
        trained = model.alignment(*model.adapter(features, mask), TOKENS, words)
        scale = model.alignment.log_scale.exp()
    both = (trained.of_clips.diag() + trained.of_texts.diag()) / (2 * scale)
    torch.testing.assert_close(loaded(features, mask, TOKENS), both, atol=1e-6, rtol=0)
    assert not any(one.requires_grad for one in loaded.parameters())


def test_neither_padding_nor_the_other_clips_change_a_similarity() -> None:
    model, features, mask = aligned()
    kept = KeptAlignment.of(model)
    assert kept is not None
    alone = kept(features[1:, :2], mask[1:, :2], TOKENS[1:, :2])
    torch.testing.assert_close(kept(features, mask, TOKENS)[1:], alone, atol=1e-6, rtol=0)


def test_states_of_texts_are_not_kept() -> None:
    model, *_ = aligned()
    reader = FrozenReader(tiny_model(tiny_processor()).language_model.model, contextual=True)
    model.align(TokenAlignment(32, 32, 0.07, reader))
    assert KeptAlignment.of(model) is None


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    assert KeptAlignment.load(tmp_path) is None
    kept = KeptAlignment.of(aligned()[0])
    assert kept is not None
    kept.save(tmp_path)
    config = tmp_path / CONFIG
    config.write_text(config.read_text().replace('"text_dim": 32', '"text_dim": 31'))
    with pytest.raises(InputError, match=r"expected alignment/alignment\.json and .* one training"):
        KeptAlignment.load(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"alignment\.safetensors: is missing"):
        KeptAlignment.load(tmp_path)


def test_encoders_are_compared_to_the_last_bit(tmp_path: Path) -> None:
    one, other = tiny_translator(tmp_path / "one"), tmp_path / "other"
    model = tiny_model(tiny_processor())
    with torch.no_grad():
        model.language_model.model.get_input_embeddings().weight.add_(1)
    model.save_pretrained(other)
    assert shares_encoder(one, other)
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1e-3)
    model.save_pretrained(other)
    assert not shares_encoder(one, other)
