"""Stores the features that a recipe's stages will train from, before any of them is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from torch import nn
from transformers.utils import logging as transformers_logging

from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.models.encoder import build_encoder
from unglossed.training.encoders import encoder_part
from unglossed.training.recipe import Recipe, load_recipe
from unglossed.training.run import Run
from unglossed.training.settings import StageSettings
from unglossed.training.train import check_clips_of, show_progress


def extract_features(
    recipe: str | Path,
    corpus: str,
    output: Path,
    *,
    trained: Path | None = None,
    overrides: Sequence[str] = (),
    check_media: bool = True,
    max_damaged: int | None = None,
) -> Path:
    """Store features of train and dev for each stage that trains from them.

    `train_recipe` with the same `features` folder then encodes nothing, where the language model
    has positions for as long a clip as the recipe allows.

    Args:
        recipe: file, or name of a shipped recipe.
        corpus: spec, as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        output: folder for the features; what it has already is not computed again.
        trained: folder of a run, whose stages give the encoders that the recipe's stages inherit.
        overrides: `key=value` changes of the recipe.
        check_media: look at every clip first.
        max_damaged: see `train_recipe`.

    Returns:
        The folder.

    Raises:
        InputError: the recipe or the corpus is not as it must be, no stage trains from features, or
            one's encoder is not known before it is trained.
    """
    transformers_logging.disable_progress_bar()
    cv2.setNumThreads(1)  # the readers run side by side already, as processes
    settings = load_recipe(recipe, list(overrides))
    stages = [stage for stage in settings.stages if stage.feature_views]
    if not stages:
        raise InputError(f"{recipe}: no stage has feature_views, expected one that is to train so")
    earlier = _trained_stages(settings, trained)
    encoders = [_known_encoder(stage, settings, earlier) for stage in stages]
    rows = read_corpus(corpus)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(settings, rows, Path(scratch), output, max_damaged=max_damaged)
    if check_media:
        check_clips_of(rows, settings, run.left_out)
    with show_progress() as progress:
        for stage, (encoder, config) in zip(stages, encoders, strict=True):
            for samples, training in ((run.train_samples, True), (run.dev_samples, False)):
                clips = run.clips(samples, training=training)
                run.features(stage, encoder, config, clips, progress)
    return output


def _trained_stages(recipe: Recipe, trained: Path | None) -> dict[str, Path]:
    """Model folders of a run's stages that the recipe has too, by name."""
    if trained is None:
        return {}
    found = {path.parent.name.partition("-")[2]: path for path in trained.glob("[0-9]*-*/model")}
    if not found:
        raise InputError(f"{trained}: is not a run folder: it has no trained stage")
    return {stage.name: found[stage.name] for stage in recipe.stages if stage.name in found}


def _known_encoder(
    stage: StageSettings, recipe: Recipe, earlier: Mapping[str, Path]
) -> tuple[nn.Module, dict[str, Any]]:
    """A stage's encoder and its configuration, if its weights are known before the training."""
    assert stage.encoder is not None
    where, source = f"stages.{stage.name}.encoder.source", stage.encoder.source
    if source in [one.name for one in recipe.stages] and source not in earlier:
        raise InputError(
            f"{where}: {source} is yet to be trained: name a run that has it (--run), or a model"
            f" ({where}=FOLDER)"
        )
    config, weights = encoder_part(stage, earlier)
    holder = nn.Module()
    holder.encoder = build_encoder(config)
    known: set[str] = set()
    for name, values in weights.items():
        try:
            holder.get_submodule(name).load_state_dict(dict(values))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"stages.{stage.name}.{name}: weights do not fit: {reason}") from None
        known.update(f"{name}.{key}" for key in values)
    drawn = [name for name, _ in holder.named_parameters() if name not in known]
    if drawn:
        raise InputError(
            f"{where}: {len(drawn)} weights (as {drawn[0]}) are drawn when the stage is trained,"
            " expected an encoder that is trained"
        )
    return holder.encoder, config
