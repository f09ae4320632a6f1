"""Settings that change nothing are told, and no shipped recipe has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from unglossed.training.recipe import find_unused, load_recipe

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_have_none(name: str) -> None:
    assert list(find_unused(load_recipe(name))) == []


@pytest.mark.parametrize(
    ("recipe", "changes", "told"),
    [
        ("demo", ["tokenizer.pretrained=x/y"], "tokenizer.vocab_size: has no effect: the tok"),
        ("demo", ["tokenizer.start_token=de_DE"], "tokenizer.start_token: has no effect: a trai"),
        (
            "demo",
            ["video.augmentation.probability=0"],
            "video.augmentation.rotation_degrees: has no effect: the probability is 0",
        ),
        ("demo", ["stages.0.optimizer.momentum=0.5"], "stages.language_pretraining.optimizer.mo"),
        (
            "fla_llm",
            ["stages.0.optimizer.betas=[0.5, 0.6]"],
            "stages.visual_initialing.optimizer.betas: has no effect with sgd",
        ),
        (
            "demo",
            ["stages.1.evaluate_every=20"],
            "stages.visual_initialing.evaluate_every: 20 is more than the 9 epochs: dev is never",
        ),
        (
            "demo",
            ["stages.1.evaluate_every=5"],
            "stages.visual_initialing.evaluate_every: the last 4 of 9 epochs are trained in vain",
        ),
        (
            "demo",
            [
                "stages.2.language_model.lora={r: 4}",
                "stages.2.frozen=[encoder, language_model]",
                "stages.2.learning_rates={adapter: 0.1}",
            ],
            "stages.llm_fine_tuning.language_model.lora: has no effect: language_model is frozen",
        ),
        (
            "fla_llm",
            ["extra_texts=texts.txt"],
            "extra_texts: has no effect: no stage has the objective denoising",
        ),
        ("lst", ["video.crop=100"], "video: has no effect: the recipe has audio"),
    ],
)
def test_a_setting_without_effect_is_told(recipe: str, changes: list[str], told: str) -> None:
    found = list(find_unused(load_recipe(recipe, changes)))
    assert any(line.startswith(told) for line in found), found
