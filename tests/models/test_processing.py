"""The processor: packed views, texts and labels, and its settings through a save."""

from pathlib import Path

import numpy as np
import torch

import tiny
from unglossed.media.augment import AugmentationConfig, render_view
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor, pad_labels


def draw_clip(num_frames: int) -> np.ndarray:
    return np.random.default_rng(num_frames).integers(0, 256, (num_frames, 26, 21, 3), np.uint8)


def test_clips_are_packed_in_their_order() -> None:
    processor = tiny.tiny_processor()
    clips = [draw_clip(3), draw_clip(1), draw_clip(4)]

    batch = processor(clips)

    assert batch["lengths"].tolist() == [3, 1, 4]
    assert batch["frames"].shape == (8, 32, 32, 3)
    assert batch["frames"].dtype == torch.uint8
    centre_cuts = [render_view(clip, resize=36, crop=32) for clip in clips]
    assert np.array_equal(batch["frames"].numpy(), np.concatenate(centre_cuts))


def test_each_clip_has_a_source_of_chance_of_its_own() -> None:
    processor = tiny.tiny_processor()
    augmentation = AugmentationConfig(probability=1.0)
    clips = [draw_clip(2)] * 2

    def views(*seeds: int) -> torch.Tensor:
        generators = [np.random.default_rng(seed) for seed in seeds]
        return processor(clips, augmentation, generators)["frames"]

    first = views(1, 2)
    assert torch.equal(first, views(1, 2))
    assert torch.equal(first[:2], views(1, 3)[:2])
    assert not torch.equal(first[2:], views(1, 3)[2:])
    assert not torch.equal(first[:2], first[2:])


def test_settings_and_tokenizer_survive_a_save(tmp_path: Path) -> None:
    processor = tiny.tiny_processor()
    processor.save_pretrained(tmp_path)
    loaded = TranslatorProcessor.from_pretrained(tmp_path)

    for name in ("language", "start_token", "frame_share", "resize", "crop", "start_token_id"):
        assert getattr(loaded, name) == getattr(processor, name), name
    assert (loaded.language, loaded.frame_share, loaded.resize, loaded.crop) == (
        "de",
        0.5,
        36,
        32,
    )
    assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    for text in [*tiny.SENTENCES, "morgen  regnet es"]:
        ids = processor.encode_text(text)
        assert loaded.encode_text(text) == ids
        assert loaded.decode(torch.tensor([ids])) == [text]
    assert torch.equal(loaded([draw_clip(3)])["frames"], processor([draw_clip(3)])["frames"])


def test_texts_end_with_the_end_token_and_come_back() -> None:
    processor = tiny.tiny_processor()
    rows = [processor.encode_text(text) for text in tiny.SENTENCES]
    labels = pad_labels(rows)

    assert all(row[-1] == processor.tokenizer.eos_token_id for row in rows)
    assert processor.tokenizer.unk_token_id not in {token for row in rows for token in row}
    assert labels.shape == (3, max(map(len, rows)))
    assert [row[row != IGNORED].tolist() for row in labels] == rows
    assert processor.decode(labels) == tiny.SENTENCES


def test_generated_rows_are_decoded_without_special_tokens() -> None:
    processor = tiny.tiny_processor()
    tokenizer = processor.tokenizer
    words = processor.encode_text("heute schneit es")
    row = [processor.start_token_id, *words, tokenizer.pad_token_id, tokenizer.pad_token_id]

    assert processor.start_token_id == tokenizer.convert_tokens_to_ids("<de>")
    assert processor.decode(torch.tensor([row])) == ["heute schneit es"]
