"""Datasets: every item a function of (seed, epoch, sample), whatever the order."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.media.augment import AugmentationConfig
from unglossed.media.frames import read_frames
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.training.data import (
    ClipDataset,
    Collator,
    EpochSampler,
    FeatureDataset,
    MaskingDataset,
    NearTextsDataset,
    TextDataset,
    TextTarget,
    nearest_texts,
)
from unglossed.training.objectives.recognition import GlossCtc, GlossTarget, TranscriptCtc
from unglossed.training.settings import MaskingSettings

AUGMENTATION = AugmentationConfig(probability=0.5)
PROCESSOR = tiny.tiny_processor()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    return read_corpus(tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 4, 1)).split("train")


def clips(samples: Sequence[Sample], *, training: bool, seed: int = 0) -> ClipDataset:
    return ClipDataset(
        samples,
        PROCESSOR,
        limit=4,
        augmentation=AUGMENTATION,
        seed=seed,
        training=training,
    )


@given(st.integers(0, 40), st.integers(0, 2**32), st.integers(0, 99))
def test_sampler_gives_every_index_once_and_the_same_each_time(
    size: int, seed: int, epoch: int
) -> None:
    sampler = EpochSampler(size, seed)
    sampler.set_epoch(epoch)
    items = list(sampler)

    assert len(sampler) == size
    assert {found for found, _ in items} <= {epoch}
    assert sorted(index for _, index in items) == list(range(size))
    assert items == list(sampler)


def test_sampler_order_differs_between_epochs_and_seeds() -> None:
    orders = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = EpochSampler(50, seed)
        sampler.set_epoch(epoch)
        orders.add(tuple(index for _, index in sampler))

    assert len(orders) == 3
    assert tuple(range(50)) not in orders


def test_training_clips_are_the_same_in_any_order(samples: tuple[Sample, ...]) -> None:
    keys = [(epoch, index) for epoch in range(3) for index in range(4)]
    first, second = clips(samples, training=True), clips(samples, training=True)

    found = {key: first[key] for key in keys}

    for key in reversed(keys):
        item = second[key]
        assert torch.equal(item["frames"], found[key]["frames"])
        assert item["labels"] == found[key]["labels"]


def test_training_clips_differ_between_epochs_and_seeds(samples: tuple[Sample, ...]) -> None:
    dataset, other = clips(samples, training=True), clips(samples, training=True, seed=1)

    views = [dataset[epoch, 3]["frames"] for epoch in range(4)] + [other[0, 3]["frames"]]

    assert len({view.numpy().tobytes() for view in views}) == 5


def test_evaluation_leaves_nothing_to_chance(samples: tuple[Sample, ...]) -> None:
    dataset = clips(samples, training=False)

    item = dataset[0, 2]

    assert torch.equal(item["frames"], dataset[5, 2]["frames"])
    # Clip 2 has 8 frames: of each group of two the first, cut in the centre.
    first_ones = PROCESSOR([read_frames(samples[2].media, [0, 2, 4, 6])])
    assert torch.equal(item["frames"], first_ones["frames"])


def test_clips_are_thinned_cut_and_labelled(samples: tuple[Sample, ...]) -> None:
    dataset = clips(samples, training=True)

    assert len(dataset) == 4
    items = [dataset[0, index] for index in range(4)]
    assert [int(item["lengths"]) for item in items] == [3, 4, 4, 4]  # of 6, 7, 8, 9 frames
    assert [item["frames"].shape for item in items][3] == (4, 32, 32, 3)
    for item, sample in zip(items, samples, strict=True):
        assert item["labels"] == PROCESSOR.encode_text(sample.text)


def test_without_augmentation_a_training_clip_is_only_cut_at_random(
    samples: tuple[Sample, ...],
) -> None:
    dataset = clips(samples, training=True)
    dataset.augmentation = None
    frames = dataset[0, 0]["frames"]

    full = TranslatorProcessor(PROCESSOR.tokenizer, frame_share=0.5, resize=36, crop=36)
    squares = full([read_frames(samples[0].media)])["frames"]
    cuts = [
        square[top : top + 32, left : left + 32]
        for square in squares
        for top in range(5)
        for left in range(5)
    ]
    assert all(any(torch.equal(frame, cut) for cut in cuts) for frame in frames)


def test_features_are_read_view_by_view(samples: tuple[Sample, ...]) -> None:
    views = [[torch.full((2, 3), 10.0 * view + index) for index in range(4)] for view in range(3)]
    dataset = FeatureDataset(views, samples, TextTarget(PROCESSOR))

    assert len(dataset) == 4
    for epoch in range(7):
        item = dataset[epoch, 2]
        assert torch.equal(item["features"], views[epoch % 3][2])
        assert item["labels"] == PROCESSOR.encode_text(samples[2].text)


TEXTS = [" ".join(tiny.SENTENCES[(i + j) % 3] for j in range(8)) for i in range(30)]


MASK_ID = PROCESSOR.tokenizer.mask_token_id


def masked(texts: Sequence[str] = TEXTS, seed: int = 0, **masking: float) -> MaskingDataset:
    items = TextDataset(texts, PROCESSOR)
    return MaskingDataset(items, MaskingSettings(**masking), MASK_ID, seed=seed)


def test_masking_hides_about_a_third_and_keeps_the_order() -> None:
    dataset = masked()
    shares, spans = [], []
    for index in range(len(dataset)):
        item = dataset[0, index]
        words, visible = item["labels"][:-1], item["input_ids"]
        assert visible[-1] == item["labels"][-1] == PROCESSOR.tokenizer.eos_token_id
        assert item["labels"] == PROCESSOR.encode_text(TEXTS[index])
        kept = [token for token in visible[:-1] if token != MASK_ID]
        rest = iter(words)
        assert all(token in rest for token in kept)  # a subsequence of the text
        shares.append(1 - len(kept) / len(words))
        spans.append(visible.count(MASK_ID))
        assert not any(a == b == MASK_ID for a, b in pairwise(visible))

    assert np.mean(shares) == pytest.approx(0.35, abs=0.02)
    assert min(shares) >= 0.35
    assert min(spans) >= 1
    assert np.mean(spans) > 3


@given(st.integers(1, 40), st.integers(0, 50), st.sampled_from([0.0, 0.15, 0.35, 0.8]))
def test_masking_hides_its_share_of_a_text_of_any_length(
    num_words: int, epoch: int, share: float
) -> None:
    item = masked([" ".join(["es"] * num_words)], seed=1, share=share)[epoch, 0]

    num_tokens = len(item["labels"]) - 1
    kept = sum(token != MASK_ID for token in item["input_ids"]) - 1
    assert share * num_tokens <= num_tokens - kept < share * num_tokens + 1


def test_longer_spans_leave_fewer_mask_tokens() -> None:
    counts = [
        sum(
            masked(mean_span=mean_span)[0, index]["input_ids"].count(MASK_ID) for index in range(30)
        )
        for mean_span in (0.0, 3.5, 20.0)
    ]

    assert counts[0] > 1.5 * counts[1]
    assert counts[1] > 1.5 * counts[2]


def test_masking_differs_between_epochs_and_not_between_reads() -> None:
    assert masked()[3, 5] == masked()[3, 5]
    assert masked()[3, 5] != masked()[4, 5]
    assert masked()[3, 5] != masked(seed=1)[3, 5]


def test_clips_keep_what_they_are_beside_their_masked_text(samples: tuple[Sample, ...]) -> None:
    items = clips(samples, training=True)
    dataset = MaskingDataset(items, MaskingSettings(), MASK_ID, seed=0)

    item = dataset[1, 3]

    assert len(dataset) == len(items)
    assert set(item) == {"frames", "lengths", "labels", "input_ids"}
    assert torch.equal(item["frames"], items[1, 3]["frames"])
    assert MASK_ID in item["input_ids"]


def test_a_clips_target_may_be_its_glosses(samples: tuple[Sample, ...]) -> None:
    known = sorted({name for sample in samples for name in (sample.gloss or "").split()})
    target = GlossTarget([name for name in known if name != "IM"], GlossCtc.symbols)
    dataset = ClipDataset(samples, PROCESSOR, limit=8, target=target)

    labels = dataset[0, 1]["labels"]

    names = [target.glosses[number - 1] for number in labels]
    assert names == [name for name in (samples[1].gloss or "").split() if name != "IM"]
    assert FeatureDataset([[torch.zeros(1, 2)] * 4], samples, target)[0, 1]["labels"] == labels


def test_a_clips_target_may_be_the_letters_of_what_is_said(samples: tuple[Sample, ...]) -> None:
    said = replace(samples[0], transcript="Es taut")
    target = GlossTarget(["a", "e", "s", "t", "|"], TranscriptCtc.symbols)

    assert target(said) == [2, 3, 5, 4, 1, 4]  # no u in train
    assert target(samples[0]) == []


def test_clips_are_collated_packed(samples: tuple[Sample, ...]) -> None:
    dataset = clips(samples, training=True)
    items = [dataset[0, index] for index in (0, 3)]

    batch = Collator(PROCESSOR)(items)

    assert set(batch) == {"frames", "lengths", "labels"}
    assert batch["lengths"].tolist() == [3, 4]
    assert torch.equal(batch["frames"], torch.cat([item["frames"] for item in items]))
    assert [row[row != IGNORED].tolist() for row in batch["labels"]] == [
        item["labels"] for item in items
    ]


def test_features_are_collated_padded_with_their_mask() -> None:
    rows = [torch.randn(2, 5), torch.randn(4, 5), torch.randn(1, 5)]
    items = [{"features": row, "labels": [7, 2]} for row in rows]

    batch = Collator(PROCESSOR)(items)

    assert set(batch) == {"features", "mask", "labels"}
    assert batch["features"].shape == (3, 4, 5)
    assert batch["mask"].sum(dim=1).tolist() == [2, 4, 1]
    assert all(torch.equal(batch["features"][i][batch["mask"][i]], rows[i]) for i in range(3))
    assert not batch["features"][~batch["mask"]].any()
    assert torch.equal(pad_features(rows)[1], batch["mask"])


def test_masked_texts_are_collated_beside_clips() -> None:
    rows = [torch.randn(2, 5), torch.randn(4, 5)]
    ids = [[9, 4, 2], [8, 2]]
    items = [
        {"features": row, "labels": [7, 2], "input_ids": masked}
        for row, masked in zip(rows, ids, strict=True)
    ]

    batch = Collator(PROCESSOR)(items)

    pad = PROCESSOR.tokenizer.pad_token_id
    assert set(batch) == {"features", "mask", "labels", "input_ids", "attention_mask"}
    assert batch["input_ids"].tolist() == [[9, 4, 2], [8, 2, pad]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_texts_are_collated_for_the_decoder() -> None:
    items = [
        {"input_ids": [9, 4, 2], "labels": [9, 8, 7, 2]},
        {"input_ids": [8, 2], "labels": [8, 2]},
    ]

    batch = Collator(PROCESSOR)(items)

    pad, start = PROCESSOR.tokenizer.pad_token_id, PROCESSOR.start_token_id
    assert batch["input_ids"].tolist() == [[9, 4, 2], [8, 2, pad]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[9, 8, 7, 2], [8, 2, IGNORED, IGNORED]]
    assert batch["decoder_input_ids"].tolist() == [[start, 9, 8, 7], [start, 8, 2, pad]]


def test_worker_processes_change_no_batch(samples: tuple[Sample, ...]) -> None:
    def batches(num_workers: int) -> list[dict[str, torch.Tensor]]:
        sampler = EpochSampler(4, 0)
        sampler.set_epoch(2)
        loader = torch.utils.data.DataLoader(
            clips(samples, training=True),
            batch_size=2,
            sampler=sampler,
            collate_fn=Collator(PROCESSOR),
            num_workers=num_workers,
        )
        return list(loader)

    for alone, together in zip(batches(0), batches(2), strict=True):
        assert alone.keys() == together.keys()
        assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_near_texts_share_most_tokens_and_are_never_the_same() -> None:
    texts = [[5, 6, 7, 2], [9, 2], [5, 6, 8, 2], [5, 6, 7, 2], [5, 9, 2]]

    found = nearest_texts(texts, 3)

    assert found[0] == found[3] == [2, 4, 1]
    assert found[1] == [4, 0, 2]
    assert nearest_texts([[5, 2], [5, 2]], 3) == [[], []]
    far = [[250_000 + token for token in text] for text in texts]
    assert nearest_texts(far, 3) == found
    assert nearest_texts(texts, 1)[2] == [0]


def test_near_texts_do_not_depend_on_how_many_are_compared_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    texts = [generator.integers(3, 12, 6).tolist() for _ in range(30)]
    whole = nearest_texts(texts, 5)
    monkeypatch.setattr("unglossed.training.data._ROWS_AT_ONCE", 7)

    assert nearest_texts(texts, 5) == whole


def test_near_texts_are_drawn_anew_and_padded_with_the_labels() -> None:
    texts = [[5, 6, 2], [5, 7, 2], [5, 8, 9, 9, 2], [6, 7, 2], [5, 6, 7, 2], [8, 2]]
    items = [{"features": torch.ones(2, 3), "labels": text} for text in texts]

    class Items(Dataset[Any]):
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
            return items[item[1]]

    dataset = NearTextsDataset(Items(), texts, 1, seed=0)
    drawn = [dataset[epoch, 0]["others"] for epoch in range(20)]
    assert len({tuple(others[0]) for others in drawn}) > 1
    assert [dataset[epoch, 0]["others"] for epoch in range(20)] == drawn
    assert all(others[0] != texts[0] for others in drawn)

    rows = [{**items[0], "others": [texts[2]]}, {**items[5], "others": [texts[1]]}]
    batch = Collator(PROCESSOR)(rows)
    assert batch["labels"].tolist() == [[5, 6, 2], [8, 2, -100]]
    assert batch["texts"].tolist() == [
        [5, 6, 2, -100, -100],
        [8, 2, -100, -100, -100],
        [5, 8, 9, 9, 2],
        [5, 7, 2, -100, -100],
    ]
