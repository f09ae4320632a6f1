"""The feature cache: what the encoder gives, computed once and read back exactly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.media.augment import AugmentationConfig
from unglossed.models.translator import Translator
from unglossed.training.data import ClipDataset, Collator
from unglossed.training.features import BATCH_SIZE, encode_clips, stored_features

PROCESSOR = tiny.tiny_processor()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    """Eighteen clips: more than one batch."""
    corpus = read_corpus(tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 18, 1))
    return ClipDataset(
        corpus.split("train"),
        PROCESSOR,
        limit=8,
        augmentation=AugmentationConfig(probability=1.0),
        training=True,
    )


@pytest.fixture
def counted() -> Iterator[tuple[Translator, list[int]]]:
    """A translator and the number of frames of each call of its encoder."""
    model = tiny.tiny_model(PROCESSOR)
    calls: list[int] = []

    def count(module: Any, arguments: Any, output: Any) -> None:
        calls.append(len(arguments[0]))

    handle = model.encoder.register_forward_hook(count)
    yield model, calls
    handle.remove()


def test_features_equal_those_of_encoding_while_training(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, _ = counted
    model.freeze(["encoder"])
    model.train()
    stored = stored_features(model, clips, 1, tmp_path / "view.safetensors", bfloat16=False)

    model.train()  # as the training loop does; the frozen encoder stays in eval mode
    for chosen in ([3, 0, 17], [5]):
        batch = Collator(PROCESSOR)([clips[1, index] for index in chosen])
        with torch.no_grad():
            features, mask = model.encode(batch["frames"], batch["lengths"])
        for row, real, index in zip(features, mask, chosen, strict=True):
            # Float32, other batches: worst seen 1e-6.
            torch.testing.assert_close(stored[index], row[real], atol=1e-5, rtol=1e-5)


def test_stored_features_are_read_back_exactly_and_not_computed_again(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    path = tmp_path / "deep" / "view.safetensors"
    first = stored_features(model, clips, 0, path, bfloat16=False)
    num_calls = len(calls)

    again = stored_features(model, clips, 0, path, bfloat16=False)

    assert num_calls == -(-len(clips) // BATCH_SIZE) == 2
    assert sum(calls) == sum(len(row) for row in first)  # every frame once
    assert len(calls) == num_calls
    assert [path.name for path in path.parent.iterdir()] == ["view.safetensors"]
    for one, other in zip(first, again, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.equal(one, other)


def test_another_view_has_other_features(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, _ = counted
    views = [
        stored_features(model, clips, view, tmp_path / f"{view}.safetensors", bfloat16=False)
        for view in range(2)
    ]

    assert all(one.shape == other.shape for one, other in zip(*views, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(*views, strict=True))


def test_an_interrupted_writing_leaves_no_file_that_counts(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    path = tmp_path / "view.safetensors"

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_features(model, clips, 0, path, bfloat16=False, advance=interrupt)
    assert not path.exists()

    (tmp_path / ".view.safetensors.partial").write_bytes(b"half")
    calls.clear()
    stored = stored_features(model, clips, 0, path, bfloat16=False)
    assert len(calls) == 2
    assert len(stored) == len(clips)


def test_a_model_in_training_is_scored_in_eval_mode(
    counted: tuple[Translator, list[int]], clips: ClipDataset
) -> None:
    """Dev scores encode with an encoder that is not frozen and was in training a moment ago."""
    model, _ = counted
    expected = [row for batch in encode_clips(model, clips, 0, bfloat16=False) for row in batch]
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()

    found = [row for batch in encode_clips(model, clips, 0, bfloat16=False) for row in batch]

    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_progress_is_told_clip_by_clip(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, _ = counted
    told: list[int] = []
    stored_features(
        model, clips, 0, tmp_path / "view.safetensors", bfloat16=False, advance=told.append
    )

    assert told == [BATCH_SIZE, len(clips) - BATCH_SIZE]


def test_bfloat16_features_are_near_and_kept_in_float32(
    counted: tuple[Translator, list[int]], clips: ClipDataset
) -> None:
    model, _ = counted
    exact = [row for batch in encode_clips(model, clips, 0, bfloat16=False) for row in batch]
    rounded = [row for batch in encode_clips(model, clips, 0, bfloat16=True) for row in batch]

    assert {row.dtype for row in rounded} == {torch.float32}
    worst = max(float((a - b).abs().max()) for a, b in zip(exact, rounded, strict=True))
    largest = max(float(row.abs().max()) for row in exact)
    assert 0 < worst < 0.05 * largest
