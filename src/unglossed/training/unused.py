"""Settings of a recipe that change nothing, because of others beside them: they are told.

Settings that no stage of their objective could use are refused by `stage_settings.py`; those here
may come from a recipe that another one starts from, or wait for a change on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from unglossed.training.objectives import OBJECTIVES
from unglossed.training.settings import NEW_TOKENS, StageSettings
from unglossed_synth.saying import LANGUAGES

if TYPE_CHECKING:
    from unglossed.training.recipe import Recipe


def find_unused(recipe: Recipe, language: str) -> Iterator[str]:
    """Find settings without effect: `key: has no effect: ...`.

    Args:
        recipe: the recipe.
        language: of the corpus's texts.
    """
    tokenizer = recipe.tokenizer
    reads_texts = any(stage.objective == "denoising" for stage in recipe.stages)
    if recipe.generated_text is not None:
        if language not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            yield f"generated_text: has no effect: the generator writes {known}, not {language}"
        elif tokenizer.pretrained is not None and not reads_texts:
            yield (
                "generated_text: has no effect: no stage has the objective denoising, and the"
                " tokenizer is not trained"
            )
    if tokenizer.pretrained is not None and "vocab_size" in tokenizer.model_fields_set:
        yield "tokenizer.vocab_size: has no effect: the tokenizer is not trained"
    if tokenizer.pretrained is None and tokenizer.start_token is not None:
        yield "tokenizer.start_token: has no effect: a trained tokenizer has the language's own"
    if recipe.audio is not None and "video" in recipe.model_fields_set:
        yield "video: has no effect: the recipe has audio, whose clips are read as sound"
    augmentation = recipe.video.augmentation
    if augmentation is not None and augmentation.probability == 0 and recipe.audio is None:
        for name in ("rotation_degrees", "resize_fraction", "shift_pixels"):
            if getattr(augmentation, name) and name in augmentation.model_fields_set:
                yield f"video.augmentation.{name}: has no effect: the probability is 0"
    for stage in recipe.stages:
        for fault in _of_stage(stage, of_sound=recipe.audio is not None):
            yield f"stages.{stage.name}.{fault}"


def _of_stage(stage: StageSettings, *, of_sound: bool) -> Iterator[str]:
    optimizer = stage.optimizer
    is_sgd = optimizer.name == "sgd"
    for name, counts in (("momentum", is_sgd), ("nesterov", is_sgd), ("betas", not is_sgd)):
        if name in optimizer.model_fields_set and not counts:
            yield f"optimizer.{name}: has no effect with {optimizer.name}"
    if of_sound and stage.feature_views > 1:
        yield f"feature_views: {stage.feature_views} are as 1: views of sound do not differ"
    if OBJECTIVES[stage.objective].best is not None:
        left = stage.epochs % stage.evaluate_every
        if stage.evaluate_every > stage.epochs:
            yield (
                f"evaluate_every: {stage.evaluate_every} is more than the {stage.epochs} epochs:"
                " dev is never scored, and the last epoch's model is kept"
            )
        elif left:
            yield (
                f"evaluate_every: the last {left} of {stage.epochs} epochs are trained in vain:"
                f" dev is scored every {stage.evaluate_every}, and one of those models is kept"
            )
    writer = stage.language_model
    trains_rows = NEW_TOKENS in stage.learning_rates
    if writer is not None and writer.lora and "language_model" in stage.frozen and not trains_rows:
        yield "language_model.lora: has no effect: language_model is frozen"
