"""Which clips are drafted by which model, what is dropped when, and what a recipe may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

import tiny
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.augment import generator_for
from unglossed.models.context import DRAFT, KINDS, RETRIEVED, Context, ContextText
from unglossed.training.context import ContextDataset, _read_texts, folds_of
from unglossed.training.data import Collator, cut_batch
from unglossed.training.recipe import load_recipe

TINY = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
STAGE = "stages.llm_fine_tuning"
RATE = f"{STAGE}.learning_rates.context=0.01"
ALIGNED = (
    "stages.visual_initialing.alignment=tokens",
    "stages.visual_initialing.learning_rates.alignment=0.01",
)


def clip(number: int, text: str) -> Sample:
    return Sample(id=f"{number}", media=Path("x"), text=text, language="de", split="train")


def test_each_clip_is_in_one_fold_with_all_that_say_the_same() -> None:
    samples = [clip(number, f"satz {number % 10}") for number in range(35)]

    parts = folds_of(samples, 3, seed=1)

    assert sorted(one.id for part in parts for one in part) == sorted(one.id for one in samples)
    texts = [{one.text for one in part} for part in parts]
    assert sorted(len(each) for each in texts) == [3, 3, 4]
    assert not texts[0] & texts[1]
    assert not texts[2] & (texts[0] | texts[1])
    assert [set(part) for part in folds_of(samples[::-1], 3, seed=1)] == [set(p) for p in parts]
    assert folds_of(samples, 3, seed=2) != parts
    assert folds_of(samples, 0, seed=1) == [samples]


def test_more_folds_than_sentences_are_refused() -> None:
    samples = [clip(number, f"satz {number % 2}") for number in range(9)]
    with pytest.raises(InputError, match="found 3, expected at most the 2 different sentences"):
        folds_of(samples, 3, seed=0)


class Plain(Dataset[dict[str, Tensor]]):
    """Clips without anything but labels and a feature."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, item: tuple[int, int]) -> dict[str, object]:
        return {"features": torch.ones(1 + item[1], 2), "labels": [1, 2]}


def laid_out(dropped: float, size: int = 40) -> ContextDataset:
    config = {
        "width": 4,
        "adapter": {"hidden_dim": 4, "dropout": 0.0},
        "leads": dict.fromkeys(KINDS, ""),
        "tokens": dict.fromkeys(KINDS, 20),
    }
    texts = (ContextText(DRAFT, "regnet", 0.5), ContextText(RETRIEVED, "heute schneit", 0.25))
    context = Context(4, 2, config)
    processor = tiny.tiny_processor()
    return ContextDataset(Plain(size), context, processor, [texts] * size, dropped, seed=7)


@pytest.mark.parametrize("dropped", [0.0, 0.3, 1.0])
def test_texts_are_dropped_as_drawn(dropped: float) -> None:
    clips = laid_out(dropped)
    counts = torch.zeros(2)
    for epoch in range(10):
        for index in range(len(clips)):
            row = clips[epoch, index]["context"]
            kinds = {KINDS[number] for number in row[:, 1].tolist()}
            drawn = generator_for(7, epoch, f"context {index}").random(2) >= dropped
            assert kinds == {kind for kind, kept in zip(KINDS, drawn, strict=True) if kept}
            counts += torch.tensor(drawn)
    # Five standard deviations of a share of 400 draws are at most 0.125.
    torch.testing.assert_close(counts / 400, torch.full((2,), 1 - dropped), atol=0.125, rtol=0)
    if dropped == 0.3:
        both = [clips[0, index]["context"][:, 1].unique().numel() for index in range(40)]
        assert {0, 1, 2} >= set(both) > {2}


def test_a_batch_in_parts_has_the_texts_of_its_rows() -> None:
    clips = laid_out(0.5, size=6)
    batch = Collator(tiny.tiny_processor())([{**clips[0, n], "row": n} for n in range(6)])
    seen = {}
    for part in cut_batch(batch, budget=9):
        for row, context in zip(part["rows"], part["context"], strict=True):
            seen[row] = context

    assert len(seen) == 6
    for index in range(6):
        own = clips[0, index]["context"]
        assert torch.equal(seen[index][: len(own)], own)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fold-1.jsonl"
    good = '{"id": "a", "texts": [{"kind": "draft", "text": "a\u2028b", "confidence": 0.5}]}\n'
    path.write_text(good, encoding="utf-8")
    assert _read_texts(path) == {"a": (ContextText("draft", "a\u2028b", 0.5),)}
    for wrong in ('{"id": "b"', '{"id": "b"}', good.replace("draft", "x"), good.replace(".5", "7")):
        path.write_text(good + wrong, encoding="utf-8")
        with pytest.raises(InputError, match=r"fold-1\.jsonl, line 2: ") as caught:
            _read_texts(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["context={source: pretraining}"], "context.source: found 'pretraining', expected the"),
        (
            ["context={source: visual_initialing}", "features=frame_wise"],
            "expected the stage whose encoder this one takes over as it is, frozen",
        ),
        (
            ["context={source: visual_initialing, retrieved: {}}"],
            "expected a stage with an alignment, by which texts are retrieved",
        ),
        (["context={source: visual_initialing, draft: null}"], "found neither draft nor retrieved"),
        (["context={source: visual_initialing, folds: 1}"], "folds: found 1, expected 2 at least"),
        (["context={source: visual_initialing, folds: 0}"], "folds: found 0, expected 2 at least"),
        (["context={source: visual_initialing, dropped: 2}"], "dropped: found 2"),
        (["context={source: visual_initialing, draft: {beams: 0}}"], "beams: found 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(TINY, [RATE, *(f"{STAGE}.{change}" for change in changes)])

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_context_needs_a_learning_rate_and_only_translation_has_one() -> None:
    context = f"{STAGE}.context={{source: visual_initialing}}"
    with pytest.raises(InputError, match="learning_rates must name what is trained"):
        load_recipe(TINY, [context])
    with pytest.raises(InputError, match="context means nothing to the objective denoising"):
        load_recipe(TINY, ["stages.pretraining.context={source: visual_initialing}"])
    settings = load_recipe(TINY, [context, RATE]).stages[-1].context
    assert settings is not None
    assert (settings.folds, settings.dropped) == (5, 0.5)
    without = "{source: visual_initialing, draft: null, retrieved: {}, folds: 0}"
    assert load_recipe(TINY, [f"{STAGE}.context={without}", RATE, *ALIGNED])
