"""What the stages of a run share: corpus, tokenizer, clips and their features."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import nn

from unglossed.corpora.needs import find_unfit
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError, InputErrors, Mistakes, note
from unglossed.files import whole_folder
from unglossed.media.augment import AugmentationConfig
from unglossed.media.signal import signal_of
from unglossed.model_folders import bind_folder
from unglossed.models.processing import TranslatorProcessor, encode_texts
from unglossed.models.saved import load_processor
from unglossed.training.callbacks import print_line
from unglossed.training.data import ClipDataset, LeftOut, Target, choose_workers
from unglossed.training.dry_build import check_builds
from unglossed.training.features import FeatureCache, StoredFeatures, use_bfloat16
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.objectives.translation import tell_short_texts
from unglossed.training.positions import check_text_lengths
from unglossed.training.recipe import Recipe
from unglossed.training.settings import StageSettings
from unglossed.training.stage import check_new_parts, check_widths
from unglossed.training.tokenizer import (
    build_tokenizer,
    check_own_tokenizers,
    check_texts,
    tell_changed_texts,
)
from unglossed.training.unused import find_unused
from unglossed_synth.saying import LANGUAGES, draw_texts


class Run:
    """A recipe on a corpus.

    Args:
        recipe: the resolved recipe.
        corpus: its rows.
        output: the run's folder.
        features: where features of frozen encoders are stored; in the run's folder if not given.
        max_damaged: most clips that may be left out, see `LeftOut`.
        listed: where they are listed.

    Attributes:
        notes: what there is to know before the first stage, to be shown if the run begins.

    Raises:
        InputError: a stage cannot be built, or the corpus lacks what it is trained on.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        output: Path,
        features: Path | None = None,
        *,
        max_damaged: int | None = None,
        listed: Path | None = None,
    ) -> None:
        if unfit := [str(fault) for fault in find_unfit(corpus, recipe.needs)]:
            raise InputErrors(unfit)
        self.recipe = recipe
        self.train_samples = corpus.split("train")
        self.dev_samples = corpus.split("dev")
        self.normalisation = corpus.normalisation
        self.texts = [sample.text for sample in self.train_samples]
        language = self.train_samples[0].language  # the only one of train; test may have others
        self.texts += _generated_texts(recipe, corpus, language)
        self.processor = self._processor(language, output / "processor")
        num_clips = len(self.train_samples) + len(self.dev_samples)
        self.left_out = LeftOut(num_clips, max_damaged, listed)
        self.cache = FeatureCache(features or output / "features")
        mistakes = Mistakes()
        if features is not None:
            with mistakes.collected():
                check_store(features, recipe)
        for stage in recipe.stages:
            with mistakes.collected():
                check_new_parts(stage, [one.name for one in recipe.stages], self.processor)
        mistakes.tell()  # what follows builds on it
        clips = [*self.train_samples, *self.dev_samples]
        checks: tuple[Callable[[], None], ...] = (
            lambda: check_widths(recipe.stages, self.processor),
            lambda: check_builds(recipe.stages, self.processor),
            lambda: check_own_tokenizers(recipe, self.processor),
            lambda: check_texts(self.processor.tokenizer, self.train_samples),
            lambda: check_text_lengths(recipe.stages, clips, self.texts, self.processor),
        )
        for check in checks:
            with mistakes.collected():
                check()
        mistakes.tell()
        self.notes = list(find_unused(recipe, language))
        if any(OBJECTIVES[stage.objective].best == "bleu4" for stage in recipe.stages) and (
            told := tell_short_texts(self.dev_samples, language)
        ):
            self.notes.append(told)
        if any(stage.language_model for stage in recipe.stages) and (
            told := tell_changed_texts(
                self.processor, self.train_samples, self.dev_samples, corpus.normalisation
            )
        ):
            self.notes.append(told)

    def vocabulary(self, symbols: Callable[[Sample], str]) -> list[str]:
        """Every symbol of train, such as its glosses, in alphabetical order.

        Args:
            symbols: gives a clip's, separated by spaces.
        """
        return sorted({name for sample in self.train_samples for name in symbols(sample).split()})

    def _processor(self, language: str, folder: Path) -> TranslatorProcessor:
        if not folder.is_dir():
            video, audio = self.recipe.video, self.recipe.audio
            tokenizer, start = build_tokenizer(self.recipe.tokenizer, self.texts, language)
            texts = [sample.text for sample in (*self.train_samples, *self.dev_samples)]
            rows = encode_texts(tokenizer, texts)
            with whole_folder(folder) as partial:
                TranslatorProcessor(
                    tokenizer=tokenizer,
                    language=language,
                    start_token=start,
                    frame_share=video.frame_share,
                    resize=video.resize,
                    crop=video.crop,
                    new_tokens=self.recipe.tokenizer.new_tokens,
                    max_tokens=1 + max(map(len, rows)),
                    audio_rate=audio.audio_rate if audio else None,
                    max_seconds=audio.max_seconds if audio else None,
                    signal=self.recipe.signal,
                ).save_pretrained(partial)
                bind_folder(partial)
        return load_processor(folder)  # compared: trained stages know the tokens by their numbers

    def clips(
        self, samples: Sequence[Sample], *, training: bool, target: Target | None = None
    ) -> ClipDataset:
        """A split's pictures or sound; labels are the texts' unless `target` is given."""
        augmentation = self.recipe.video.augmentation
        return ClipDataset(
            samples,
            self.processor,
            limit=round(self.recipe.max_seconds * signal_of(self.processor).units_per_second),
            target=target,
            augmentation=AugmentationConfig(**augmentation.model_dump()) if augmentation else None,
            seed=self.recipe.seed,
            training=training,
        )

    def features(
        self,
        stage: StageSettings,
        encoder: nn.Module,
        config: dict[str, Any],
        clips: ClipDataset,
        progress: Progress,
    ) -> list[StoredFeatures]:
        """Stored features (time, dim) of each clip: of train all views of a stage, of dev one.

        Args:
            stage: its settings.
            encoder: its encoder.
            config: the encoder's configuration.
            clips: train or dev.
            progress: the run's display.
        """
        num_views = stage.feature_views if clips.training else 1
        total = len(clips) * num_views
        started = time.monotonic()
        task = progress.add_task(f"{stage.name}: features", total=total)
        views = self.cache.features(
            encoder,
            config,
            clips,
            num_views,
            bfloat16=use_bfloat16(stage.precision),
            num_workers=choose_workers(self.recipe.num_workers, len(clips)),
            advance=lambda count: progress.advance(task, count),
            leave_out=self.left_out.add,
        )
        progress.update(task, completed=total)
        if not progress.console.is_terminal:
            print_line(progress, f"{stage.name}: features of {len(clips):,} clips", started)
        return views


def check_store(folder: Path, recipe: Recipe) -> None:
    """Find out before the first stage whether a folder can have stored features; none is made.

    A folder that cannot be written to is only noted where it has something in it: perhaps all.

    Raises:
        InputError: it cannot.
    """
    if not any(stage.feature_views for stage in recipe.stages):
        note(f"--features {folder}: has no effect: no stage has feature_views")
        return
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        with os.scandir(there) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        raise InputError(
            f"{there}: expected a folder for stored features (--features {folder}):"
            f" {error.strerror}"
        ) from None
    if not os.access(there, os.W_OK | os.X_OK):
        told = f"{there}: cannot be written to (--features {folder})"
        if is_empty or there != folder.absolute():
            raise InputError(f"{told}, expected a folder where features can be stored")
        note(f"{told}: the features of all clips have to be there")


def _generated_texts(recipe: Recipe, corpus: Corpus, language: str) -> list[str]:
    """Sentences of the generator in a language that no clip of any split says."""
    wanted = recipe.generated_text
    if wanted is None or language not in LANGUAGES:
        return []
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    return draw_texts(language, wanted.level, wanted.num_sentences, wanted.seed, exclude=said)
